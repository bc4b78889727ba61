"""Judgements over the real API: kept, changed, taken back, exported, and read by `triptych evaluate`."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import made_shop
import pytest
from flask.testing import FlaskClient
from processes import Command
from said import check_said

from evaluation.metrics import read_qrels
from evaluation.runs import read_queries
from search_api.app import create_app
from triptych.elastic.judgements import JudgementStore
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shop_services(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Services with a prefix of their own: no other test's judgements are among these."""
    own = f"ju-{uuid.uuid4().hex[:8]}"
    return made_shop.services_of(services, tmp_path_factory.mktemp("judgements"), system_prefix=f"{own}-", queue=own)


@pytest.fixture(scope="module")
def made(shop_services: Services, run_id: str) -> str:
    """The alias of a shop of 300 products."""
    name = f"made-{run_id}-{uuid.uuid4().hex[:6]}"
    made_shop.create(shop_services, name, made_shop.things())
    return name


@pytest.fixture(scope="module")
def client(shop_services: Services) -> FlaskClient:
    return create_app(shop_services).test_client()


def sent(client: FlaskClient, index: str, *judgements: tuple[dict[str, Any], dict[str, int | None]]) -> Any:
    body = {"index": index, "judgements": [{"query": query, "grades": grades} for query, grades in judgements]}
    answer = client.post("/v1/judgements", json=body)
    assert answer.status_code == 200, answer.json
    check_said("JudgementsAnswer", answer.json)
    return answer.json


def qrels(client: FlaskClient, index: str) -> str:
    answer = client.get("/v1/judgements", query_string={"index": index})
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    return answer.text


def test_grades_are_kept_replaced_and_taken_back(client: FlaskClient, made: str) -> None:
    assert qrels(client, made) == ""
    words, photo = {"qid": "red-horn", "text": "red horn", "lang": "en"}, {"qid": "photo-1", "image": "photo-1.jpg"}
    assert sent(client, made, (words, {"p1": 3, "p2": 0}), (photo, {"p/3": 1})) == {"queries": 2, "grades": 3}
    assert qrels(client, made) == "photo-1 0 p/3 1\nred-horn 0 p1 3\nred-horn 0 p2 0\n"
    sent(client, made, ({**words, "tags": ["head"]}, {"p1": 2, "p2": None, "p9": 1}), (photo, {"p/3": None, "p4": None}))
    assert qrels(client, made) == "red-horn 0 p1 2\nred-horn 0 p9 1\n"
    answer = client.get("/v1/judgements/queries", query_string={"index": made})
    assert [json.loads(line) for line in answer.text.splitlines()] == [{**words, "tags": ["head"]}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"index": ""}, "index"),
        ({"judgements": []}, "judgements"),
        ({"judgements": [{"query": {"qid": "two words", "text": "x"}, "grades": {"p": 1}}]}, "judgements.0.query.qid"),
        ({"judgements": [{"query": {"qid": "q"}, "grades": {"p": 1}}]}, "judgements.0.query"),
        ({"judgements": [{"query": {"qid": "q", "text": " "}, "grades": {"p": 1}}]}, "judgements.0.query"),
        ({"judgements": [{"query": {"qid": "q", "text": "x"}, "grades": {"p": -1}}]}, "judgements.0.grades.p"),
        ({"judgements": [{"query": {"qid": "q", "text": "x"}, "grades": {"p q": 1}}]}, "judgements.0.grades.p q.[key]"),
        ({"judgements": [{"query": {"qid": "q", "txt": "x"}, "grades": {"p": 1}}]}, "judgements.0.query.txt"),
    ],
)
def test_a_bad_body_is_refused_by_its_field(client: FlaskClient, made: str, change: dict[str, Any], field: str) -> None:
    body = {"index": made, "judgements": [{"query": {"qid": "q", "text": "x"}, "grades": {"p": 1}}], **change}
    answer = client.post("/v1/judgements", json=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "request.invalid", field)


def test_an_index_that_is_not_there_or_not_named(client: FlaskClient) -> None:
    body = {"index": "no-such-shop", "judgements": [{"query": {"qid": "q", "text": "x"}, "grades": {"p": 1}}]}
    assert client.post("/v1/judgements", json=body).json["code"] == "index.not_found"
    assert client.get("/v1/judgements?index=no-such-shop").json["code"] == "index.not_found"
    assert client.get("/v1/judgements/queries").json["field"] == "index"


def test_evaluate_reads_them(
    shop_services: Services, client: FlaskClient, command: Command, own_id: str, tmp_path: Path
) -> None:
    name = f"made-{own_id}-{uuid.uuid4().hex[:6]}"
    made_shop.create(shop_services, name, made_shop.things())
    sent(client, name, ({"qid": "q1", "text": "blue drum"}, {"p1": 2}), ({"qid": "q2", "audio": "q2.wav"}, {"p2": 1, "p3": 0}))
    settings = shop_services.settings
    prefix = {"TRIPTYCH_SYSTEM_PREFIX": settings.system_prefix}
    told = command.json("evaluate", "collect", "--index", name, "--out", str(tmp_path), **prefix)
    assert told == {"queries": 2, "judgements": 3, "media": ["q2.wav"]}
    assert read_qrels(tmp_path / "qrels.txt") == {"q1": {"p1": 2}, "q2": {"p2": 1, "p3": 0}}
    assert [query.text for query in read_queries(tmp_path / "queries.jsonl")] == ["blue drum", None]
    store = JudgementStore(shop_services.elasticsearch, settings)
    assert [one.qid for one in store.read(name)] == ["q1", "q2"]
