"""What is measured, without a service: labels that do not grow without end, jobs as metrics, and a scrape while all is away."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Blueprint, Flask
from prometheus_client.parser import text_string_to_metric_families

from search_api import metrics, metrics_scrape, problems
from search_api.answer import Degraded, Hit, SearchResult
from search_api.breakers import Breakers
from search_api.metrics import REGISTRY
from search_api.metrics_scrape import AtScrape, scraped
from triptych.errors import ElasticsearchError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def value(name: str, /, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def requests_of(**labels: str) -> float:
    return value("triptych_http_request_seconds_count", **labels)


@pytest.fixture
def client() -> Any:
    app = Flask("test")
    problems.register(app)
    metrics.register(app)
    views = Blueprint("jobs", __name__)
    views.add_url_rule("/measured/<job_id>", "job", lambda job_id: job_id)
    app.register_blueprint(views)
    return app.test_client()


def test_requests_are_counted_by_route_and_not_by_path(client: Any) -> None:
    labels = {"route": "/measured/<job_id>", "method": "GET", "status": "200"}
    before = requests_of(**labels)
    for name in ("a", "b", "c"):
        client.get(f"/measured/{name}")
    assert requests_of(**labels) == before + 3


def test_a_stranger_cannot_make_names_without_end(client: Any) -> None:
    def names() -> set[tuple[str, str]]:
        return {
            (sample.labels["route"], sample.labels["method"])
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == "triptych_http_request_seconds_count"
        }

    client.get("/nowhere/0")
    before = names()
    for number in range(50):
        client.get(f"/nowhere/{number}")
        client.open("/measured/a", method=f"VERB{number}")
    assert ("none", "any") in before
    assert names() == before


def test_answers_and_what_they_lack_are_counted() -> None:
    hit = Hit("a", 1.0, {}, {})
    lost = Degraded("text.image#2", "encoder.failed", "It failed.")
    before = {what: value("triptych_search_answers_total", answer=what) for what in ("full", "empty", "degraded")}
    left_out = value("triptych_search_degraded_total", name="text.image", code="encoder.failed")

    @metrics.counted
    def search(*hits: Hit, degraded: tuple[Degraded, ...] = ()) -> SearchResult:
        return SearchResult("q", 1.0, len(hits), hits, degraded=degraded)

    search(hit)
    search()
    search(hit, degraded=(lost, lost))
    after = {what: value("triptych_search_answers_total", answer=what) for what in before}
    assert {what: after[what] - before[what] for what in before} == {"full": 1, "empty": 1, "degraded": 1}
    assert value("triptych_search_degraded_total", name="text.image", code="encoder.failed") == left_out + 2


def test_a_stage_is_measured_also_when_it_fails() -> None:
    @metrics.timed("a stage of a test")
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert value("triptych_search_stage_seconds_count", stage="a stage of a test") == 1


def test_what_a_leg_took_is_in_seconds() -> None:
    metrics.leg_took("leg.of_a_test", 1500)
    metrics.leg_took("leg.of_a_test#2", 500)
    assert value("triptych_search_leg_seconds_count", leg="leg.of_a_test") == 2
    assert value("triptych_search_leg_seconds_sum", leg="leg.of_a_test") == 2.0


def test_a_breaker_is_seen_to_open() -> None:
    breakers = Breakers(failures=2, rest_seconds=100)

    def fail() -> None:
        with breakers.guarding("of a test", ElasticsearchError, "elasticsearch.unavailable"):
            raise ElasticsearchError("away", retryable=True)

    seen = []
    for _ in range(2):
        with pytest.raises(ElasticsearchError):
            fail()
        seen.append(value("triptych_breaker_open", dependency="of a test"))
    assert seen == [0.0, 1.0]


NOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
COUNTS = {"read": 10, "written": 4, "unchanged": 1, "partial": 1, "deleted": 1, "dead": 1, "pending": 2}


def job(state: str, hours: int, **more: Any) -> dict[str, Any]:
    at = (NOW - dt.timedelta(hours=hours)).isoformat()
    return {"alias": "shop", "state": state, "submitted_at": at, **COUNTS, **more}


def test_jobs_as_metrics() -> None:
    jobs = [job("running", 1), job("queued", 2, alias="books"), job("paused", 9), job("completed", 30), job("failed", 40)]
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics_scrape._jobs(jobs, NOW)
        for sample in family.samples
    }
    assert found["triptych_jobs", "running"] == 1
    assert found["triptych_jobs", "failed"] == 1
    assert found["triptych_jobs", "stopped"] == 0
    assert found["triptych_open_job_records", "shop", "pending"] == 4, "of the running and the paused one"
    assert found["triptych_open_job_records", "books", "written"] == 4
    assert found["triptych_oldest_running_job_seconds",] == 2 * 3600, "a paused job waits for nobody's worker"


def test_no_jobs_are_metrics_too() -> None:
    samples = [sample for family in metrics_scrape._jobs([], NOW) for sample in family.samples]
    assert {sample.value for sample in samples} == {0.0}


def test_a_scrape_while_all_is_away_says_so() -> None:
    away = Services(Settings(elasticsearch_url="http://127.0.0.1:9", redis_url="redis://127.0.0.1:9/0"))
    text = scraped(AtScrape(away)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {s.labels["of"]: s.value for s in families["triptych_scrape_ok"].samples} == {"queue": 0.0, "ledger": 0.0}
    assert "triptych_http_request_seconds" in families
    assert "triptych_queue_messages" not in families
