"""Codes of the HTTP API that other tests do not come to, each reached on real services."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_shop
import pytest
from bad_line import BadLine, bad_line
from flask.testing import FlaskClient
from made_shop import vector

from search_api.app import create_app
from search_api.views.jobs import MOST_STREAMS
from triptych.services import Services

pytestmark = pytest.mark.integration

THINGS = made_shop.things(20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codes")


@pytest.fixture(scope="module")
def mine(services: Services, folder: Path, run_id: str) -> Services:
    """With a ledger and a queue of its own, which no worker serves."""
    return made_shop.services_of(services, folder, queue=f"codes-{run_id}", system_prefix=f"codes-{run_id}-")


@pytest.fixture(scope="module")
def client(mine: Services) -> FlaskClient:
    return create_app(mine).test_client()


@pytest.fixture
def new(mine: Services) -> Iterator[Callable[[], tuple[str, str]]]:
    """`new()`: the name and the version of an index with products in it."""
    versions: list[str] = []

    def make() -> tuple[str, str]:
        name = f"codes-{uuid.uuid4().hex[:8]}"
        versions.append(made_shop.create(mine, name, THINGS))
        return name, versions[-1]

    yield make
    mine.elasticsearch.indices.delete(index=versions, ignore_unavailable=True)


def check(answer: Any, status: int, code: str, field: str | None = None) -> None:
    found = answer.get_json(force=True)
    assert (answer.status_code, found.get("code"), found.get("field")) == (status, code, field), found
    assert answer.content_type == "application/problem+json"
    assert ("Retry-After" in answer.headers) is (status == 503)


def test_an_alias_of_several_indices(mine: Services, client: FlaskClient, new: Callable[[], tuple[str, str]]) -> None:
    name = f"both-{uuid.uuid4().hex[:8]}"
    for version in (new()[1], new()[1]):
        mine.elasticsearch.indices.put_alias(index=version, name=name)
    check(client.post("/v1/search", json={"index": name, "text": "red"}), 400, "index.ambiguous", "index")
    check(client.get(f"/v1/products/p000?index={name}"), 400, "index.ambiguous", "index")


def test_an_index_that_says_nonsense_of_itself(mine: Services, client: FlaskClient, new: Callable[[], tuple[str, str]]) -> None:
    name, version = new()
    mine.elasticsearch.indices.put_mapping(index=version, meta={"triptych": {"spaces": [{"dims": "many"}]}})
    check(client.post("/v1/search", json={"index": name, "text": "red"}), 502, "index.damaged")
    answers = client.post("/v1/msearch", json={"searches": [{"index": name, "text": "red"}]}).get_json()["answers"]
    assert (answers[0]["problem"]["status"], answers[0]["problem"]["code"]) == (502, "index.damaged")


def test_a_product_whose_index_went_away(mine: Services, client: FlaskClient, new: Callable[[], tuple[str, str]]) -> None:
    """Its mapping was known a moment ago."""
    name, version = new()
    path = f"/v1/products/p000?index={name}"
    assert client.get(path).get_json()["id"] == "p000"
    mine.elasticsearch.indices.close(index=version)
    check(client.get(path), 503, "elasticsearch.read_failed")
    mine.elasticsearch.indices.delete(index=version)
    check(client.get(path), 502, "elasticsearch.read_failed")


@pytest.fixture
def line(mine: Services) -> Iterator[BadLine]:
    with bad_line(mine.settings.elasticsearch_address) as made:
        yield made


def test_an_elasticsearch_that_is_too_slow(
    services: Services, folder: Path, line: BadLine, new: Callable[[], tuple[str, str]]
) -> None:
    name, _ = new()
    slow = create_app(made_shop.services_of(services, folder, elasticsearch_url=line.url)).test_client()
    body = {"index": name, "text": "red", "vectors": {"words": vector("words", 1)}, "timeout_ms": 100}
    assert slow.post("/v1/search", json={**body, "timeout_ms": 60_000}).status_code == 200
    line.delay = 3.0
    for fusion in ("calibrated", "native"):
        check(slow.post("/v1/search", json={**body, "fusion": fusion}), 503, "elasticsearch.too_slow", "timeout_ms")


@pytest.fixture
def job(client: FlaskClient, new: Callable[[], tuple[str, str]]) -> str:
    """A job that nobody works on."""
    form = {"job": json.dumps({"index": new()[0]}), "catalogue": (io.BytesIO(b'{"id": "a", "title": "Hat"}\n'), "a.jsonl")}
    answer = client.post("/v1/jobs", data=form, content_type="multipart/form-data")
    assert answer.status_code == 202, answer.get_data()
    return str(answer.get_json()["id"])


def test_a_job_that_is_stopped_or_has_nothing_to_try_again(client: FlaskClient, job: str) -> None:
    check(client.post(f"/v1/jobs/{job}/redrive"), 400, "job.nothing_to_redrive", "job")
    assert client.post(f"/v1/jobs/{job}/stop").status_code == 202
    check(client.post(f"/v1/jobs/{job}/pause"), 400, "job.stopped", "job")


def test_more_clients_than_may_follow_jobs(client: FlaskClient, job: str) -> None:
    path = f"/v1/jobs/{job}/events"
    streams = [client.get(path) for _ in range(MOST_STREAMS)]
    try:
        assert [one.status_code for one in streams] == [200] * MOST_STREAMS
        check(client.get(path), 503, "job.too_many_streams")
        streams.pop().close()
        streams.append(client.get(path))
        assert streams[-1].status_code == 200
    finally:
        for one in streams:
            one.close()
