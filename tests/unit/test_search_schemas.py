"""Bodies as requests, field by field, and answers as JSON."""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import fields, replace
from typing import Any

import pytest

from search_api.answer import Hit, LegScore, Recognised, SearchResult
from search_api.query import QueryInput, SearchRequest
from search_api.schemas import (
    ExplainBody,
    InputBody,
    InvalidBodyError,
    ReweighBody,
    SearchBody,
    TextOptionsBody,
    parse,
    parse_body,
    to_json,
)
from search_api.views.search import json_response
from search_api.words import TextOptions
from triptych.errors import QueryError

pytestmark = pytest.mark.unit

PICTURE = base64.b64encode(b"picture").decode()

PLAIN: dict[str, Any] = {
    "text": "shoe", "lexical_query": {"match": {"title": "shoe"}},
    "audio_as": "both", "vectors": {"own": [1.0, 0.5]}, "fingerprints": {"own": "mine-v1"},
    "weights": {"lexical": 1.0, "image.image": -0.5},
    "weight_set": "summer", "query_class": "sku", "filters": {"colour": ["red"], "not": {"price": {"gte": 1}}, "sold": None},
    "facets": {"brand": {"size": 3}}, "sort": ("price", {"made": "desc"}), "collapse": "brand", "vote": {"field": "category"},
    "min_relevance": 0.5, "size": 5, "window": 50, "page": "token", "deep": True, "certify": True, "fusion": "rrf",
    "mean": "harmonic", "guard": 3.5, "complete": False, "missing": "zero", "exact": False, "timeout_ms": 250,
    "highlight": True, "with_vectors": True, "explain": True, "session_id": "visit",
}  # fmt: skip
"""Every field that a request takes as it is, none with its default."""

OTHER = {"index", "image", "audio", "products", "inputs", "text_options", "fields"}


def request_of(body: dict[str, Any], model: type[SearchBody] = SearchBody) -> SearchRequest:
    """The request of a body; whether its sort is a list or a tuple does not matter."""
    request = parse(model, body).to_request()
    return replace(request, sort=tuple(request.sort))


def test_nothing_is_forgotten_here() -> None:
    names = {one.name for one in fields(SearchRequest)}
    assert names == set(PLAIN) | OTHER == set(SearchBody.model_fields)
    defaults = SearchRequest()
    assert not [name for name, value in PLAIN.items() if getattr(defaults, name) == value]


@pytest.mark.parametrize("name", PLAIN)
def test_each_field_becomes_one_of_the_request(name: str) -> None:
    given = list(PLAIN[name]) if name == "sort" else PLAIN[name]
    assert request_of({"index": "shop", name: given}) == SearchRequest("shop", **{name: PLAIN[name]})


def test_a_whole_body_becomes_a_request() -> None:
    plain = {name: value for name, value in PLAIN.items() if name != "page"}  # which stands alone
    body = {
        **plain, "sort": [*PLAIN["sort"]], "index": "shop", "products": ["a", "b"],
        "image": {"base64": PICTURE}, "audio": {"base64": PICTURE},
        "inputs": [{"text": "red", "weight": -1}, {"audio": {"base64": PICTURE}, "audio_as": "words"}],
        "text_options": {"fields": ["title.en^3"], "operator": "and", "fuzziness": "AUTO", "language": "en", "phrase_boost": 2,
                         "minimum_should_match": "75%", "analyzer": "x"},
        "fields": ["title", "price"],
    }  # fmt: skip
    assert request_of(body) == SearchRequest(
        index="shop", image=b"picture", audio=b"picture", products=("a", "b"), fields=("title", "price"),
        inputs=(
            QueryInput("text", -1, text="red", where="inputs.0.text"),
            QueryInput("audio", data=b"picture", audio_as="words", where="inputs.1.audio"),
        ),
        text_options=TextOptions(("title.en^3",), "and", "AUTO", "en", 2, "75%", "x"), **plain,
    )  # fmt: skip


def test_an_index_alone_has_the_defaults() -> None:
    assert request_of({"index": "shop"}) == SearchRequest("shop")
    assert TextOptionsBody.model_validate({}).to_options() == TextOptions()


def test_a_page_needs_no_index_but_everything_else_does() -> None:
    assert parse_body({"page": "token"}).to_request().page == "token"
    beside = {"page": "token", "index": "shop", "text": None}  # nothing is given by null
    assert request_of(beside) == SearchRequest("shop", page="token")


@pytest.mark.parametrize(
    "more",
    [{"text": "x"}, {"size": 10}, {"explain": False}, {"weights": {}}, {"timeout_ms": 50}, {"image": {"base64": "AAAA"}}],
)
def test_a_page_is_asked_for_alone(more: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        parse_body({"page": "token", **more}).to_request()
    assert (caught.value.code, caught.value.field) == ("page.not_alone", next(iter(more)))


def test_a_page_is_asked_for_without_files() -> None:
    with pytest.raises(QueryError) as caught:
        parse_body({"page": "token"}).to_request(audio=b"sound")
    assert (caught.value.code, caught.value.field) == ("page.not_alone", "audio")
    for body in ({}, {"index": ""}, {"text": "shoe"}):
        with pytest.raises(InvalidBodyError) as caught:
            parse_body(body).to_request()
        assert caught.value.field == "index"


def test_uploaded_files_take_the_place_of_base64() -> None:
    request = parse_body({"index": "shop", "image": {"base64": PICTURE}}).to_request(audio=b"sound")
    assert (request.image, request.audio) == (b"picture", b"sound")
    with pytest.raises(InvalidBodyError) as caught:
        parse_body({"index": "shop", "image": {"base64": PICTURE}}).to_request(image=b"")
    assert caught.value.field == "image"


# Inputs

MEDIA = {"base64": PICTURE}
ONE: dict[str, Any] = {"text": "x", "image": MEDIA, "audio": MEDIA, "products": ["p"]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"text": "x"}, QueryInput("text", text="x")),
        ({"text": ""}, QueryInput("text", text="")),  # given, if empty: it is refused later, not ignored
        ({"image": MEDIA, "weight": 0.5}, QueryInput("image", 0.5, data=b"picture")),
        ({"audio": MEDIA, "audio_as": "both"}, QueryInput("audio", data=b"picture", audio_as="both")),
        ({"vector": [1, 0.5], "space": "own", "weight": -2}, QueryInput("vector", -2, space="own", vector=[1, 0.5])),
        ({"products": ["a", "b"]}, QueryInput("products", products=("a", "b"))),
    ],
)
def test_an_input_is_read(body: dict[str, Any], expected: QueryInput) -> None:
    read = parse(InputBody, body).to_input("inputs.7")
    assert read.where == f"inputs.7.{expected.kind}"
    for one in fields(QueryInput):
        if one.name != "where":
            assert getattr(read, one.name) == getattr(expected, one.name)


WITH_SPACE = [{"space": "own", name: some} for name, some in ONE.items()]
PAIRS = [{first: ONE[first], second: ONE[second]} for first in ONE for second in ONE if first < second]


@pytest.mark.parametrize(
    "body",
    [{}, {"weight": 1}, {"space": "own"}, {"vector": [1]}, *PAIRS, *WITH_SPACE,
     {"vector": [1], "space": "own", "text": "x"}, ONE],
    ids="+".join,
)  # fmt: skip
def test_an_input_is_exactly_one_thing(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidBodyError) as caught:
        parse(InputBody, body).to_input("inputs.3")
    assert caught.value.field == "inputs.3"


def test_base64_of_an_input_is_named_with_its_place() -> None:
    with pytest.raises(InvalidBodyError) as caught:
        parse(InputBody, {"image": {"base64": "!"}}).to_input("inputs.3")
    assert (caught.value.code, caught.value.field) == ("request.not_base64", "inputs.3.image.base64")


# Other bodies


def test_what_is_to_be_explained_is_a_query_and_a_product() -> None:
    body = {"index": "shop", "text": "shoe", "product": "p1", "size": 5}
    assert parse(ExplainBody, body).product == "p1"
    assert request_of(body, ExplainBody) == SearchRequest("shop", text="shoe", size=5)


def test_reweighing_changes_what_is_given() -> None:
    body = parse(ReweighBody, {"query_id": "q", "weights": {"lexical": 1}, "mean": "geometric"})
    assert (body.query_id, body.weights, body.size, body.hydrate) == ("q", {"lexical": 1}, 10, False)
    changes = body.model_dump(include={"fusion", "mean", "guard", "missing", "min_relevance"})
    assert changes == {"fusion": None, "mean": "geometric", "guard": None, "missing": None, "min_relevance": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [("weights", "lexical"), ("vectors", "own"), ("min_relevance",), ("inputs",)])
def test_numbers_are_finite(value: float, where: tuple[str, ...]) -> None:
    """JSON has no such numbers, but Python's decoders have."""
    body: dict[str, Any] = {
        "weights": {"lexical": value}, "vectors": {"own": [value]}, "min_relevance": value,
        "inputs": [{"text": "x", "weight": value}],
    }  # fmt: skip
    with pytest.raises(InvalidBodyError) as caught:
        parse_body({"index": "shop", where[0]: body[where[0]]})
    assert (caught.value.field or "").startswith(".".join(where))


# Answers


def test_an_answer_as_json() -> None:
    leg = LegScore(raw=None, normalised=0.0, weight=0.5, contribution=0.0, completed=False, status="no_modality")
    result = SearchResult("q", 1.5, 7, (Hit("p1", 0.5, {"title": "Shoe"}, {"image.image": leg}),), reachable=1)
    data = json.loads(json_response(to_json(result)).data)
    assert data["hits"][0] == {
        "id": "p1", "score": 0.5, "product": {"title": "Shoe"}, "relevance": None, "variants": [], "highlight": {},
        "boost": 0.0,
        "legs": {"image.image": {
            "raw": None, "normalised": 0.0, "weight": 0.5, "contribution": 0.0, "completed": False, "status": "no_modality",
            "floor": 0.0, "top": 1.0, "rank": None, "matched_media": None,
        }},
    }  # fmt: skip
    assert {name: value for name, value in data.items() if name != "hits"} == {
        "query_id": "q", "took_ms": 1.5, "total_matched": 7, "reachable": 1, "degraded": [], "index": "", "offset": 0,
    }  # fmt: skip


def test_what_was_recognised_is_sent_only_where_something_was() -> None:
    assert "recognised" not in to_json(SearchResult("q", 1.5, 0, ()))
    spoken = SearchResult("q", 1.5, 0, (), recognised={"audio.words": Recognised("a red shoe", "en", 0.9)})
    data = json.loads(json_response(to_json(spoken)).data)
    assert data["recognised"] == {"audio.words": {"text": "a red shoe", "language": "en", "confidence": 0.9}}


# Vectors as base64


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f">{len(numbers)}f", *numbers)).decode()


def test_a_vector_may_be_base64_of_big_endian_floats() -> None:
    body = {"index": "shop", "vectors": {"own": packed(1.5, -2.0, 0.25)}, "inputs": [{"vector": packed(3.0), "space": "b"}]}
    request = parse_body(body).to_request()
    assert list(request.vectors["own"]) == [1.5, -2.0, 0.25]
    assert [list(one.vector) for one in request.all_inputs()] == [[1.5, -2.0, 0.25], [3.0]]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("%%%", "request.not_base64"),
        (base64.b64encode(b"12345").decode(), "request.bad_vector"),
        (packed(1.0, math.nan), "request.bad_vector"),
        (packed(math.inf), "request.bad_vector"),
    ],
)
def test_base64_that_is_no_vector_is_refused(given: str, code: str) -> None:
    for body, field in (
        ({"index": "shop", "vectors": {"own": given}}, "vectors.own"),
        ({"index": "shop", "inputs": [{"vector": given, "space": "own"}]}, "inputs.0.vector"),
    ):
        with pytest.raises(InvalidBodyError) as caught:
            parse_body(body).to_request()
        assert (caught.value.code, caught.value.field) == (code, field)
