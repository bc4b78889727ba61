"""Around every request, without a service: limits where Redis is away, CORS, headers, proxies, audit lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request
from flask.testing import FlaskClient
from logged import lines_of
from pydantic import ValidationError

from search_api import access, access_audit, access_http, problems
from search_api.access_http import client_of
from triptych.settings import Settings

pytestmark = pytest.mark.unit

NOWHERE = "redis://127.0.0.1:9/0"


def small(**changes: Any) -> FlaskClient:
    """An application with all that stands around requests, and no keys."""
    settings = Settings(redis_url=NOWHERE, **changes)
    app = Flask("test")
    problems.register(app)
    access_audit.register(app)
    access.register(app, None, settings.origins)
    access_http.register(app, settings)
    jobs, search, health = (Blueprint(name, __name__) for name in ("jobs", "search", "health"))
    jobs.add_url_rule("/v1/jobs", "submit", lambda: Response("{}", 202, {"Location": "/v1/jobs/20260131-a"}), methods=["POST"])
    jobs.add_url_rule("/v1/jobs/<job_id>", "job", lambda job_id: job_id, methods=["GET", "DELETE"])
    search.add_url_rule("/v1/search", "search", lambda: request.remote_addr or "", methods=["POST", "GET"])
    health.add_url_rule("/v1/health/live", "live", lambda: "live")
    for views in (jobs, search, health):
        app.register_blueprint(views)

    @app.get("/page")
    def page() -> Response:
        return Response("<p>", headers={"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"})

    return app.test_client()


# Limits. Redis is away in all of these, so they also show that the API answers all the same.


def test_without_the_setting_nobody_counts() -> None:
    client = small()
    assert {client.get("/v1/search").status_code for _ in range(200)} == {200}


def test_too_many_requests_are_a_problem_that_says_when_to_come_again(caplog: pytest.LogCaptureFixture) -> None:
    client = small(rate_limit="3/minute;1000/day")
    answers = [client.get("/v1/search") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].content_type == "application/problem+json"
    assert answers[-1].json is not None
    assert answers[-1].json["code"] == "access.too_many"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/v1/search", environ_base={"REMOTE_ADDR": "10.1.2.3"}).status_code == 200, "another client"
    assert "unreachable" in caplog.text


def test_health_is_never_too_much() -> None:
    client = small(rate_limit="1/minute")
    assert {client.get("/v1/health/live").status_code for _ in range(10)} == {200}


def test_a_header_of_the_clients_own_makes_nobody_of_it() -> None:
    client = small(rate_limit="2/minute")
    answers = [client.get("/v1/search", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("", "unknown"),
        (None, "unknown"),
        ("10.1.2.3, 10.1.2.4", "unknown"),
    ],
)
def test_whom_an_address_is_counted_as(address: str | None, counted: str) -> None:
    assert client_of(address) == counted


@pytest.mark.parametrize(
    "value", ["50", "fifty/second", "0/second", "5/second, 6/minute", "5/fortnight", "-1/day", "5/second;"]
)
def test_a_limit_that_is_none(value: str) -> None:
    with pytest.raises(ValidationError, match="50/second;2000/minute"):
        Settings(rate_limit=value)


# Proxies


@pytest.mark.parametrize(("proxies", "seen"), [(0, "127.0.0.1"), (1, "10.0.0.2"), (2, "10.0.0.1"), (3, "127.0.0.1")])
def test_as_many_addresses_are_believed_as_there_are_proxies(proxies: int, seen: str) -> None:
    answer = small(proxies=proxies).get("/v1/search", headers={"X-Forwarded-For": "10.0.0.1, 10.0.0.2"})
    assert answer.text == seen


# CORS

ORIGIN = {"Origin": "https://shop.example"}


def test_without_the_setting_no_page_of_another_site_can_read_an_answer() -> None:
    client = small()
    for answer in (client.get("/v1/search", headers=ORIGIN), client.options("/v1/search", headers=ORIGIN)):
        assert [name for name in answer.headers.keys() if name.startswith("Access-Control-")] == []  # noqa: SIM118
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_pages_of_the_named_origins_can() -> None:
    client = small(cors_origins="https://shop.example,https://two.example:8443")
    answer = client.post("/v1/search", headers=ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    before = client.options(
        "/v1/search",
        headers={**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"},
    )
    assert before.headers["Access-Control-Allow-Headers"] == "X-API-Key"
    for other in ("https://evil.example", "https://shop.example.evil.example", "https://shopXexample", "null"):
        assert "Access-Control-Allow-Origin" not in client.get("/v1/search", headers={"Origin": other}).headers


def test_any_page_reads_nothing_where_no_key_is_asked_for() -> None:
    evil = {"Origin": "https://evil.example"}
    for cors, origin in (("*", None), ("*,https://shop.example", "https://shop.example")):
        client = small(cors_origins=cors)
        assert "Access-Control-Allow-Origin" not in client.get("/v1/search", headers=evil).headers
        assert client.get("/v1/search", headers=ORIGIN).headers.get("Access-Control-Allow-Origin") == origin
    with_keys = small(cors_origins="*", api_keys=True)
    assert with_keys.get("/v1/search", headers=evil).headers["Access-Control-Allow-Origin"] == "https://evil.example"


@pytest.mark.parametrize("value", ["shop.example", "https://shop.example/", "https://*.example", "ftp://a", "https://a b"])
def test_an_origin_that_is_none(value: str) -> None:
    with pytest.raises(ValidationError, match="no origin"):
        Settings(cors_origins=value)


# Headers


def test_every_answer_keeps_browsers_careful() -> None:
    client = small()
    for answer in (client.get("/v1/search"), client.get("/nowhere"), client.get("/v1/jobs")):
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Cache-Control"] == "no-store"


def test_a_view_may_have_a_policy_of_its_own() -> None:
    headers = small().get("/page").headers
    assert headers.getlist("Content-Security-Policy") == ["default-src 'self'"]
    assert headers.getlist("Cache-Control") == ["max-age=60"]


# The audit log


@pytest.fixture
def lines() -> Iterator[Any]:
    """The lines of the audit log as JSON, as a function that gives them."""
    with lines_of(access_audit.audit) as found:
        yield found


def test_what_changes_something_has_a_line(lines: Any) -> None:
    small().post("/v1/jobs?secret=1", data=b"body")
    (line,) = lines()
    assert line.pop("time")
    assert line == {
        "level": "INFO", "logger": "triptych.audit", "message": "changed", "address": "127.0.0.1", "method": "POST",
        "path": "/v1/jobs", "status": 202, "job": "20260131-a",
    }  # fmt: skip


def test_the_job_in_the_path_is_named_and_a_refusal_has_a_line_too(lines: Any) -> None:
    client = small()
    client.delete("/v1/jobs/20260131-b")
    client.delete("/v1/jobs/20260131-c", headers={"Origin": "https://evil.example"})
    assert [(line["message"], line["status"], line["job"]) for line in lines()] == [
        ("changed", 200, "20260131-b"),
        ("refused", 403, "20260131-c"),
    ]


def test_what_only_reads_has_none(lines: Any) -> None:
    client = small()
    client.post("/v1/search")
    client.get("/v1/jobs/20260131-b")
    client.options("/v1/jobs")
    client.post("/nowhere")
    assert lines() == []
