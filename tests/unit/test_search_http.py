"""The HTTP contract's errors, as far as no service is needed: status, problem+json, code, field."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from search_api import problems
from search_api.schemas import MOST_SEARCHES, InvalidBodyError, parse_body
from search_api.searcher import Searcher
from search_api.views import search as view
from triptych import errors
from triptych.errors import TriptychError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

PICTURE = base64.b64encode(b"picture").decode()


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The search view and the errors; services are made on first use, and nothing here comes so far."""
    app = Flask("test")
    problems.register(app)
    app.register_blueprint(view.blueprint(Searcher(Services(settings)), settings))

    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("a secret detail")

    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def _problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem of a response, which must have this status and the form every problem has."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body = json.loads(response.data)
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:triptych:problem:{body['code']}"
    assert body["title"]
    return body  # type: ignore[no-any-return]


def _post(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/v1/search", json={"index": "shop", "text": "shoe", **body})


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type(client: FlaskClient, kind: str) -> None:
    problem = _problem(client.post("/v1/search", data=b"{}", content_type=kind), 400)
    assert (problem["code"], problem["field"]) == ("request.content_type", "Content-Type")
    assert "application/json" in problem["remedy"]


def test_json_with_a_charset_is_json(client: FlaskClient) -> None:
    response = client.post("/v1/search", data=b"{}", content_type="application/json; charset=utf-8")
    assert _problem(response, 400)["code"] == "request.invalid"


@pytest.mark.parametrize("data", [b"", b"{", b"hello", b"\xff\xfe", b"{'index': 'shop'}", b'{"size": NaN}'])
def test_a_body_that_is_not_json(client: FlaskClient, data: bytes) -> None:
    problem = _problem(client.post("/v1/search", data=data, content_type="application/json"), 400)
    assert (problem["code"], problem["field"]) == ("request.not_json", "body")


@pytest.mark.parametrize("data", [b"[]", b"5", b"null", b'"shop"'])
def test_json_that_is_no_object(client: FlaskClient, data: bytes) -> None:
    problem = _problem(client.post("/v1/search", data=data, content_type="application/json"), 400)
    assert (problem["code"], problem["field"]) == ("request.invalid", "body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"index": ""}, "index"),
        ({"index": None}, "index"),
        ({"text": 5}, "text"),
        ({"colour": "red"}, "colour"),
        ({"size": "10"}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": True}, "size"),
        ({"explain": "yes"}, "explain"),
        ({"weights": {"lexical": "much"}}, "weights.lexical"),
        ({"weights": [0.5]}, "weights"),
        ({"image": PICTURE}, "image"),
        ({"image": {}}, "image.base64"),
        ({"image": {"base64": ""}}, "image.base64"),
        ({"image": {"base64": PICTURE, "url": "x"}}, "image.url"),
        ({"audio": {"url": "http://x/y.wav"}}, "audio.base64"),
        ({"filters": "colour"}, "filters"),
        ({"facets": ["colour"]}, "facets"),
        ({"sort": "price"}, "sort"),
        ({"sort": [5]}, "sort.0"),
        ({"sort": [{"price": 1}]}, "sort.0"),
        ({"fusion": "rrrf"}, "fusion"),
        ({"mean": "median"}, "mean"),
        ({"missing": "ignore"}, "missing"),
        ({"query_class": "long"}, "query_class"),
        ({"timeout_ms": 0.5}, "timeout_ms"),
        ({"fields": []}, "fields"),
        ({"products": "p1"}, "products"),
        ({"text_options": {"operator": "xor"}}, "text_options.operator"),
        ({"text_options": {"fuzziness": 1}}, "text_options.fuzziness"),
        ({"inputs": [{}]}, "inputs.0"),
        ({"inputs": [{"text": "x"}, {"text": "x", "image": {"base64": PICTURE}}]}, "inputs.1"),
        ({"inputs": [{"text": "x", "weight": "1"}]}, "inputs.0.weight"),
        ({"inputs": [{"vector": [1]}]}, "inputs.0"),
        ({"inputs": [{"text": "x", "space": "own"}]}, "inputs.0"),
        ({"inputs": [{"products": []}]}, "inputs.0.products"),
        ({"audio_as": "music"}, "audio_as"),
        ({"audio_as": None}, "audio_as"),
        ({"vectors": [0.5]}, "vectors"),
        ({"vectors": {"own": 0.5}}, "vectors.own"),
        ({"vectors": {"own": []}}, "vectors.own"),
        ({"vectors": {"own": [0.5] * 4097}}, "vectors.own"),
        ({"vectors": {"own": [0.5, "1"]}}, "vectors.own.1"),
        ({"vectors": {"own": [0.5, True]}}, "vectors.own.1"),
        ({"vectors": {"own": {"values": [0.5]}}}, "vectors.own"),
        ({"vectors": {"own": ""}}, "vectors.own"),
        ({"vectors": {"own": "A" * 40_000}}, "vectors.own"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:40],
)
def test_a_field_at_fault_is_named(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    problem = _problem(_post(client, **body), 400)
    assert (problem["code"], problem["field"]) == ("request.invalid", field)


def test_every_fault_is_listed(client: FlaskClient) -> None:
    problem = _problem(_post(client, size="ten", windw=3, text=[]), 400)
    assert {error["field"] for error in problem["errors"]} == {"size", "windw", "text"}
    assert all(error["message"] for error in problem["errors"])


def test_a_problem_does_not_repeat_the_picture(client: FlaskClient) -> None:
    response = _post(client, image={"base64": [PICTURE * 1000]})
    assert _problem(response, 400)["field"] == "image.base64"
    assert PICTURE not in response.text


@pytest.mark.parametrize("data", ["!", "AAA", "data:image/png;base64,AAAA", PICTURE + "\n", "ä"])
@pytest.mark.parametrize("name", ["image", "audio"])
def test_bad_base64(client: FlaskClient, name: str, data: str) -> None:
    problem = _problem(_post(client, **{name: {"base64": data}}), 400)
    assert (problem["code"], problem["field"]) == ("request.not_base64", f"{name}.base64")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"size": 0}, "query.bad_size", "size"),
        ({"size": 101}, "query.bad_size", "size"),
        ({"window": 0}, "query.bad_window", "window"),
        ({"window": 1001}, "query.bad_window", "window"),
        ({"timeout_ms": 0}, "query.bad_timeout", "timeout_ms"),
        ({"min_relevance": 2}, "query.bad_relevance", "min_relevance"),
        ({"deep": True, "fusion": "rrf"}, "query.not_deep", "fusion"),
        ({"inputs": [{"text": " "}]}, "query.empty", "inputs.0.text"),
        ({"text": " "}, "query.empty", "text"),
        ({"text": "x" * 10_001}, "query.too_long", "text"),
        ({"audio_as": "words"}, "query.empty", "audio"),
        ({"audio_as": "both", "audio": {"base64": PICTURE}}, "query.two_texts", "audio_as"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_request_no_index_could_answer(client: FlaskClient, body: dict[str, Any], code: str, field: str) -> None:
    problem = _problem(_post(client, **body), 400)
    assert (problem["code"], problem["field"]) == (code, field)


# A multipart form


def _form(client: FlaskClient, **parts: Any) -> TestResponse:
    return client.post("/v1/search", data=parts, content_type="multipart/form-data")


QUERY = json.dumps({"index": "shop"})


def test_a_form_without_a_query(client: FlaskClient) -> None:
    problem = _problem(_form(client, image=(io.BytesIO(b"picture"), "a.jpg")), 400)
    assert (problem["code"], problem["field"]) == ("request.not_json", "query")


def test_a_form_whose_query_is_not_json(client: FlaskClient) -> None:
    problem = _problem(_form(client, query="shoe"), 400)
    assert (problem["code"], problem["field"]) == ("request.not_json", "query")


def test_a_form_with_an_unknown_part(client: FlaskClient) -> None:
    for parts in ({"picture": (io.BytesIO(b"x"), "a.jpg")}, {"size": "5"}):
        problem = _problem(_form(client, query=QUERY, **parts), 400)
        assert (problem["code"], problem["field"]) == ("request.invalid", next(iter(parts)))


@pytest.mark.parametrize("name", ["image", "audio"])
def test_a_medium_given_twice(client: FlaskClient, name: str) -> None:
    query = json.dumps({"index": "shop", name: {"base64": PICTURE}})
    problem = _problem(_form(client, query=query, **{name: (io.BytesIO(b"x"), "a")}), 400)
    assert (problem["code"], problem["field"]) == ("request.invalid", name)


@pytest.mark.parametrize("query", [QUERY, (io.BytesIO(QUERY.encode()), "query.json")], ids=["text", "file"])
def test_a_form_is_read(app: Flask, settings: Settings, query: Any) -> None:
    parts = {"query": query, "image": (io.BytesIO(b"picture"), "a.jpg"), "audio": (io.BytesIO(b"sound"), "a.wav")}
    with app.test_request_context("/v1/search", method="POST", data=parts, content_type="multipart/form-data") as context:
        data, files = view.read(context.request, settings)
    request = parse_body(data).to_request(**files)
    assert (request.index, request.image, request.audio) == ("shop", b"picture", b"sound")


def test_no_more_of_a_file_is_read_than_shows_that_it_is_too_large(app: Flask, settings: Settings) -> None:
    few = settings.model_copy(update={"media_bytes": 10})
    parts = {"query": QUERY, "image": (io.BytesIO(b"x" * 1000), "a.jpg")}
    with app.test_request_context("/v1/search", method="POST", data=parts, content_type="multipart/form-data") as context:
        assert len(view.read(context.request, few)[1]["image"]) == 11


# Other endpoints


@pytest.mark.parametrize("name", ["search", "msearch", "explain", "reweigh"])
def test_every_body_is_read_with_the_same_care(client: FlaskClient, name: str) -> None:
    assert _problem(client.post(f"/v1/{name}", data=b"{}", content_type="text/plain"), 400)["code"] == "request.content_type"
    assert _problem(client.post(f"/v1/{name}", data=b"{", content_type="application/json"), 400)["code"] == "request.not_json"
    problem = _problem(client.post(f"/v1/{name}", json={"colour": "red"}), 400)
    assert "colour" in {error["field"] for error in problem["errors"]}


def test_each_query_of_several_has_a_problem_of_its_own(client: FlaskClient) -> None:
    bodies = [{"index": "shop", "text": " "}, {"index": "shop", "size": "5"}, {"text": "shoe"}]
    response = client.post("/v1/msearch", json={"searches": bodies})
    assert (response.status_code, response.content_type) == (200, "application/json")
    problems_ = [answer["problem"] for answer in json.loads(response.data)["answers"]]
    assert [(one["status"], one["code"], one["field"]) for one in problems_] == [
        (400, "query.empty", "text"), (400, "request.invalid", "size"), (400, "request.invalid", "index"),
    ]  # fmt: skip


@pytest.mark.parametrize("no_object", [5, None, "shoe", [], True])
def test_a_query_of_several_that_is_no_object_is_at_fault_alone(client: FlaskClient, no_object: Any) -> None:
    response = client.post("/v1/msearch", json={"searches": [{"index": "shop", "text": " "}, no_object]})
    assert response.status_code == 200, response.text
    problems_ = [answer["problem"] for answer in json.loads(response.data)["answers"]]
    assert [(one["code"], one["field"]) for one in problems_] == [("query.empty", "text"), ("request.invalid", "body")]


@pytest.mark.parametrize("searches", [[], [{"index": "shop"}] * (MOST_SEARCHES + 1), "shoe", {}])
def test_several_queries_are_one_to_twenty(client: FlaskClient, searches: Any) -> None:
    problem = _problem(client.post("/v1/msearch", json={"searches": searches}), 400)
    assert (problem["field"] or "").startswith("searches")


def test_what_is_explained_must_be_named(client: FlaskClient) -> None:
    for body in ({"index": "shop", "text": "shoe"}, {"index": "shop", "text": "shoe", "product": ""}):
        assert _problem(client.post("/v1/explain", json=body), 400)["field"] == "product"


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "query_id"), ({"query_id": ""}, "query_id"), ({"query_id": "q", "size": 0}, "size"),
     ({"query_id": "q", "size": 1001}, "size"), ({"query_id": "q", "fusion": "x"}, "fusion"),
     ({"query_id": "q", "weights": {"lexical": None}}, "weights.lexical"), ({"query_id": "q", "text": "x"}, "text")],
)  # fmt: skip
def test_a_body_of_reweigh_is_checked(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    assert _problem(client.post("/v1/reweigh", json=body), 400)["field"] == field


# Other routes


def test_an_unknown_route(client: FlaskClient) -> None:
    assert _problem(client.get("/v2/search"), 404)["code"] == "http.not_found"


def test_a_wrong_method_says_which_are_allowed(client: FlaskClient) -> None:
    response = client.get("/v1/search")
    assert _problem(response, 405)["code"] == "http.method_not_allowed"
    assert "POST" in response.headers["Allow"]


def test_a_body_that_is_too_large(app: Flask) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10
    assert _problem(_post(app.test_client()), 413)["code"] == "http.too_large"


def test_a_product_needs_an_index(client: FlaskClient) -> None:
    problem = _problem(client.get("/v1/products/p1"), 400)
    assert (problem["code"], problem["field"]) == ("request.no_index", "index")
    problem = _problem(client.get("/v1/products?index=shop"), 400)
    assert (problem["code"], problem["field"]) == ("request.no_id", "id")


def test_an_unexpected_error_tells_nothing_of_its_inside(client: FlaskClient) -> None:
    response = client.get("/broken")
    assert _problem(response, 500)["code"] == "internal"
    assert "secret" not in response.text


# Status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.QueryError("x"), 400),
        (errors.MediaError("x", code="media.truncated"), 400),
        (errors.MediaError("x", code="media.too_many_bytes"), 413),
        (InvalidBodyError("x"), 400),
        (errors.NotFoundError("x"), 404),
        (errors.EncoderError("x", code="encoder.fingerprint_mismatch"), 409),
        (errors.EncoderError("x", code="encoder.not_prepared"), 503),
        (errors.ElasticsearchError("x", retryable=True), 503),
        (errors.ElasticsearchError("x"), 502),
        (errors.QueueError("x"), 503),
        (errors.SettingsError("x"), 500),
        (TriptychError("x"), 500),
    ],
)
def test_the_status_of_an_error(error: TriptychError, status: int) -> None:
    assert problems.status_of(error) == status


def test_empty_members_are_left_out() -> None:
    body = json.loads(problems.problem(400, "some.code", "It broke.", field=None, remedy="", detail="It did.").data)
    assert set(body) == {"type", "title", "status", "code", "detail"}
