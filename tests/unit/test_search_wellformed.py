"""Texts that nothing can write, and one text where a list is meant, are told by their field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from search_api.query import QueryInput, SearchRequest
from search_api.similar import SimilarRequest
from search_api.wellformed import check_form, check_text, finite
from search_api.words import TextOptions
from triptych.errors import QueryError

pytestmark = pytest.mark.unit

HALF = "red \ud83d"

BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"text": HALF}, "text"),
    ({"text": "red \udcff"}, "text"),  # as a command has bytes that are no UTF-8
    ({"index": HALF}, "index"),
    ({"products": ("p1", HALF)}, "products.1"),
    ({"products": [HALF]}, "products.0"),
    ({"inputs": (QueryInput("text", text="x"), QueryInput("text", text=HALF))}, "inputs.1.text"),
    ({"inputs": (QueryInput("products", products=(HALF,)),)}, "inputs.0.products.0"),
    ({"weights": {HALF: 1.0}}, "weights"),
    ({"filters": {"or": [{"colour": ["red", HALF]}]}}, "filters.or.0.colour.1"),
    ({"filters": {"colour": {HALF: 1}}}, "filters.colour"),
    ({"lexical_query": {"match": {"title": {"query": HALF}}}}, "lexical_query.match.title.query"),
    ({"vectors": {HALF: [1.0]}}, "vectors"),
    ({"fields": ("title", HALF)}, "fields.1"),
    ({"session_id": HALF}, "session_id"),
    ({"text_options": TextOptions(analyzer=HALF)}, "text_options.analyzer"),
    ({"text_options": TextOptions(fields=(HALF,))}, "text_options.fields.0"),
    ({"sort": [{"price": HALF}]}, "sort.0.price"),
    ({"fields": "id"}, "fields"),
    ({"products": "p1"}, "products"),
    ({"text_options": TextOptions(fields="title")}, "text_options.fields"),  # type: ignore[arg-type]
    ({"inputs": (QueryInput("products", products="p1"),)}, "inputs.0.products"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("fields", "where"), BROKEN, ids=[f"{number} {where}" for number, (_, where) in enumerate(BROKEN)])
def test_what_no_json_can_hold_is_told_by_its_field(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(QueryError) as caught:
        check_form(SearchRequest(**{"index": "shop", **fields}))
    assert (caught.value.code, caught.value.field) == ("query.bad_form", where)
    str(caught.value).encode()


@pytest.mark.parametrize("fields", [{"product": HALF}, {"product": "p", "spaces": "image"}, {"product": "p", "fields": "id"}])
def test_what_is_asked_of_products_too(fields: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        check_form(SimilarRequest("shop", **fields))
    assert (caught.value.code, caught.value.field) == ("query.bad_form", list(fields)[-1])


def test_all_else_is_let_pass() -> None:
    check_text("red 😀 红", "text")
    vectors = {"own": [0.5, 1.0], "packed": np.ones(4, np.float32)}
    inputs = (QueryInput("vector", space="own", vector=np.zeros(2, np.float32)), QueryInput("image", data=b"\xff"))
    check_form(SearchRequest("shop", text="帽子 😀", vectors=vectors, inputs=inputs, sort="price", fields=("title",)))


def test_however_deep_it_lies() -> None:
    deep: Any = HALF
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(QueryError, match="lone surrogate"):
        check_form(SearchRequest("shop", filters={"or": deep}))


@pytest.mark.parametrize("number", [0, -1.5, 1e308, np.float32(2)])
def test_a_number(number: Any) -> None:
    assert finite(number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, "1", None, [1]])
def test_no_number(number: Any) -> None:
    assert not finite(number)
