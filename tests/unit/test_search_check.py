"""Requests that no index could answer are refused before anything is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from search_api.query import (
    LARGEST_WINDOW,
    LONGEST_TEXT,
    LONGEST_TIMEOUT_MS,
    MOST_GUARD,
    MOST_INPUTS,
    MOST_PRODUCTS,
    QueryInput,
    SearchRequest,
    check,
    check_method,
    check_page_alone,
)
from triptych.domain import Modality
from triptych.errors import QueryError

pytestmark = pytest.mark.unit

WORDS = QueryInput("text", text="shoe")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "shoe"},
        {"text": "x" * LONGEST_TEXT},
        {"size": 1, "window": 1},
        {"size": 100, "window": 100},
        {"size": LARGEST_WINDOW, "window": LARGEST_WINDOW},
        {"audio": b"a", "audio_as": "words"},
        {"audio": b"a", "audio_as": "both", "image": b"i"},
        {"audio": b"a", "audio_as": "sound", "text": "shoe"},
        {"vectors": {"own": [1.0]}},
        {"min_relevance": 0}, {"min_relevance": 1},
        {"timeout_ms": 1}, {"timeout_ms": LONGEST_TIMEOUT_MS},
        {"inputs": (WORDS,) * MOST_INPUTS},
        {"inputs": (WORDS, QueryInput("text", -0.5, text="red"))},
        {"products": ("p",) * MOST_PRODUCTS},
        {"mean": "geometric", "fusion": "min_max"},
        {"deep": True}, {"certify": True}, {"deep": True, "certify": True},
        {"fusion": "native", "sort": ["price"], "facets": {"colour": {}}},
    ],
    ids=lambda fields: str(fields)[:30],
)  # fmt: skip
def test_within_the_limits(fields: dict[str, Any]) -> None:
    check(SearchRequest("shop", **fields))


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"size": 0}, "query.bad_size", "size"),
        ({"size": -1}, "query.bad_size", "size"),
        ({"size": 101}, "query.bad_size", "size"),
        ({"size": 6, "window": 5}, "query.bad_size", "size"),
        ({"window": 0}, "query.bad_window", "window"),
        ({"window": LARGEST_WINDOW + 1}, "query.bad_window", "window"),
        ({"fusion": "rrrf"}, "query.unknown_fusion", "fusion"),
        ({"fusion": ""}, "query.unknown_fusion", "fusion"),
        ({"mean": "median"}, "query.unknown_option", "mean"),
        ({"missing": "ignore"}, "query.unknown_option", "missing"),
        ({"query_class": "long"}, "query.unknown_option", "query_class"),
        ({"text": ""}, "query.empty", "text"),
        ({"text": " \n\t\u3000"}, "query.empty", "text"),
        ({"text": "x" * (LONGEST_TEXT + 1)}, "query.too_long", "text"),
        ({"audio_as": "words"}, "query.empty", "audio"),
        ({"audio_as": "both", "image": b"i"}, "query.empty", "audio"),
        ({"audio_as": "words", "audio": b"a", "text": "shoe"}, "query.two_texts", "audio_as"),
        ({"audio_as": "both", "audio": b"a", "text": "shoe"}, "query.two_texts", "audio_as"),
        ({"min_relevance": -0.1}, "query.bad_relevance", "min_relevance"),
        ({"min_relevance": 1.1}, "query.bad_relevance", "min_relevance"),
        ({"min_relevance": math.nan}, "query.bad_relevance", "min_relevance"),
        ({"guard": -0.1}, "query.bad_guard", "guard"),
        ({"guard": MOST_GUARD + 0.1}, "query.bad_guard", "guard"),
        ({"guard": math.nan}, "query.bad_guard", "guard"),
        ({"guard": 3.0, "fusion": "rrf"}, "query.bad_guard", "guard"),
        ({"guard": 0.0, "fusion": "native"}, "query.bad_guard", "guard"),
        ({"timeout_ms": 0}, "query.bad_timeout", "timeout_ms"),
        ({"timeout_ms": LONGEST_TIMEOUT_MS + 1}, "query.bad_timeout", "timeout_ms"),
        ({"inputs": (WORDS,) * (MOST_INPUTS + 1)}, "query.too_many_inputs", "inputs"),
        ({"inputs": (WORDS,) * MOST_INPUTS, "text": "x"}, "query.too_many_inputs", "inputs"),
        ({"products": ("p",) * (MOST_PRODUCTS + 1)}, "query.too_many_products", "products"),
        ({"inputs": (QueryInput("text", text=" "),)}, "query.empty", "inputs.0.text"),
        ({"inputs": (WORDS, QueryInput("text", text="x" * (LONGEST_TEXT + 1)))}, "query.too_long", "inputs.1.text"),
        ({"inputs": (QueryInput("text", math.nan, text="x"),)}, "query.bad_weight", "inputs.0.text"),
        ({"inputs": (QueryInput("text", 1e101, text="x"), WORDS)}, "query.bad_weight", "inputs.0.text"),
        ({"inputs": (QueryInput("text", "1", text="x"),)}, "query.bad_weight", "inputs.0.text"),  # type: ignore[arg-type]
        ({"inputs": (QueryInput("text", 10**400, text="x"),)}, "query.bad_weight", "inputs.0.text"),
        ({"text": "half \ud800"}, "query.bad_form", "text"),
        ({"inputs": (QueryInput("image", math.inf, data=b"i"),)}, "query.bad_weight", "inputs.0.image"),
        ({"inputs": (QueryInput("text", -1, text="x"),)}, "query.bad_weight", "inputs"),
        ({"inputs": (QueryInput("text", 0, text="x"), QueryInput("image", -1, data=b"i"))}, "query.bad_weight", "inputs"),
        ({"certify": True, "fusion": "min_max"}, "query.not_certifiable", "certify"),
        ({"certify": True, "mean": "harmonic"}, "query.not_certifiable", "certify"),
        ({"certify": True, "complete": False}, "query.not_certifiable", "certify"),
        ({"certify": True, "collapse": "brand"}, "query.not_certifiable", "collapse"),
        ({"certify": True, "sort": ["price"]}, "query.not_certifiable", "sort"),
        ({"certify": True, "vote": {"field": "brand"}}, "query.not_certifiable", "vote"),
        ({"certify": True, "min_relevance": 0.5}, "query.not_certifiable", "min_relevance"),
        ({"deep": True, "sort": ["price"]}, "query.not_deep", "sort"),
        *[({"deep": True, "fusion": name}, "query.not_deep", "fusion") for name in ("min_max", "rrf", "l2", "tm2c2")],
        *[({"fusion": "native", name: value}, "query.not_native", name) for name, value in [
            ("deep", True), ("certify", True), ("vote", {"field": "x"}), ("collapse", "x"), ("min_relevance", 0.1),
            ("missing", "zero")]],
        ({"mean": "geometric", "fusion": "rrf"}, "query.bad_mean", "mean"),
        ({"mean": "harmonic", "fusion": "z_score"}, "query.bad_mean", "mean"),
        ({"mean": "harmonic", "fusion": "native"}, "query.bad_mean", "mean"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_beyond_the_limits(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(QueryError) as caught:
        check(SearchRequest("shop", **fields))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_mean_of_weights_below_zero_is_refused() -> None:
    check_method("calibrated", "arithmetic", weights=[0.5, -0.5])
    check_method("calibrated", "geometric", weights=[0.5, 0.5, 0.0])
    with pytest.raises(QueryError) as caught:
        check_method("calibrated", "geometric", weights=[0.9, -0.1])
    assert (caught.value.code, caught.value.field) == ("query.bad_mean", "mean")


# The inputs of a request


@pytest.mark.parametrize(
    ("fields", "modalities"),
    [
        ({}, ()),
        ({"audio": b"a", "text": "t"}, (Modality.TEXT, Modality.AUDIO)),
        ({"image": b""}, (Modality.IMAGE,)),  # given, if empty: it is refused later, not ignored
        ({"inputs": (QueryInput("image", data=b"i"),), "vectors": {"own": [1]}, "products": ("p",)}, (Modality.IMAGE,)),
    ],
)
def test_the_modalities_of_a_request(fields: dict[str, Any], modalities: tuple[Modality, ...]) -> None:
    assert SearchRequest("shop", **fields).modalities == modalities


def test_all_inputs_come_by_kind_each_in_the_order_given_and_say_where_they_stood() -> None:
    further = (
        QueryInput("products", -0.5, products=("x",)), QueryInput("text", 2, text="second"),
        QueryInput("image", data=b"2"), QueryInput("text", text="third", where="--not"),
    )  # fmt: skip
    request = SearchRequest(
        "shop", text="first", image=b"1", audio=b"a", audio_as="both", vectors={"own": [1.0]}, products=("p",), inputs=further
    )
    found = request.all_inputs()
    assert [(one.kind, one.where) for one in found] == [
        ("text", "text"), ("text", "inputs.1.text"), ("text", "--not"), ("image", "image"), ("image", "inputs.2.image"),
        ("audio", "audio"), ("vector", "vectors.own"), ("products", "products"), ("products", "inputs.0.products"),
    ]  # fmt: skip
    assert [one.weight for one in found] == [1, 2, 1, 1, 1, 1, 1, 1, -0.5]
    assert (found[5].audio_as, found[6].space, found[7].products) == ("both", "own", ("p",))


def test_a_request_does_not_show_its_media() -> None:
    shown = repr(SearchRequest("shop", image=b"secret", audio=b"secret", inputs=(QueryInput("image", data=b"secret"),)))
    assert "secret" not in shown


def test_a_page_stands_alone_or_beside_its_index() -> None:
    check_page_alone(SearchRequest("shop", page="token", sort=[], filters={}, size=10))


@pytest.mark.parametrize(
    "more", [{"text": "x"}, {"size": 5}, {"complete": False}, {"sort": ["price"]}, {"vectors": {"own": [1.0]}}]
)
def test_what_stands_beside_a_page_is_named(more: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        check_page_alone(SearchRequest("shop", page="token", **more))
    assert (caught.value.code, caught.value.field) == ("page.not_alone", next(iter(more)))
