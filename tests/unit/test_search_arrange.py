"""The order of an answer: sort and collapse, and what is fetched for it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_api.arrange import SortField, collapsed, doc_value_fields, ordered, read_collapse, read_sort
from search_api.facets import Values, count, read
from search_api.filters import clauses
from search_api.votes import Vote, read_vote
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import IndexSchema

pytestmark = pytest.mark.unit

INFO = IndexInfo(
    "shop-1",
    IndexSchema(),
    {
        "colour": "keyword", "title": "text", "price": "double", "weight": "float", "stock": "integer", "views": "long",
        "sold": "boolean", "made": "date", "seen": "date_nanos", "from": "ip", "release": "version", "where": "geo_point",
        "path": "wildcard", "reviews": "nested", "reviews.stars": "integer", "triptych.key": "keyword",
    },
)  # fmt: skip
COLOUR, PRICE = SortField("colour", "keyword"), SortField("price", "double")


# Sort


def test_a_sort_is_names_and_directions() -> None:
    expected = (PRICE, SortField("made", "date", descending=True), SortField("score", "", descending=True))
    assert read_sort(["price", {"made": "desc"}, "score"], INFO) == expected
    assert read_sort("price", INFO) == read_sort([{"price": "asc"}], INFO) == (PRICE,)  # type: ignore[arg-type]
    assert read_sort([{"score": "asc"}], INFO) == (SortField("score", ""),)
    assert read_sort([], INFO) == ()


@pytest.mark.parametrize(
    ("sort", "code", "field", "said"),
    [
        (["prise"], "query.unknown_field", "sort.0", "Did you mean 'price'?"),
        (["price", "triptych.key"], "query.unknown_field", "sort.1", "Fields that can be sorted by"),
        (["title"], "query.bad_sort", "sort.0", "of type text and cannot be sorted by"),
        (["path"], "query.bad_sort", "sort.0", "of type wildcard"),
        (["reviews.stars"], "query.bad_sort", "sort.0", "nested"),
        ([{"price": "up"}], "query.bad_sort", "sort.0", "Give asc or desc"),
        ([{"price": {"order": "asc"}}], "query.bad_sort", "sort.0", "Give asc or desc"),
        ([{"price": "asc", "stock": "asc"}], "query.bad_sort", "sort.0", "does not say what to sort by"),
        ([None], "query.bad_sort", "sort.0", "None does not say"),
        ([{}], "query.bad_sort", "sort.0", "does not say"),
        (["price", "stock", {"price": "desc"}], "query.bad_sort", "sort.2", "'price' is given twice"),
        (["price", "stock", "views", "sold", "made", "from"], "query.bad_sort", "sort", "at most 5"),
    ],
)
def test_a_bad_sort_is_refused_with_its_place(sort: list[Any], code: str, field: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        read_sort(sort, INFO)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert said in str(caught.value)
    assert caught.value.remedy


IDS = ["a", "b", "c", "d"]
VALUES: list[Values] = [
    {"price": [5.0], "colour": ["red"]},
    {"price": [3.0, 9.0]},
    {"price": [], "colour": ["blue"]},
    {"price": [5.0]},
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ((), "bdac"),  # by score, then by id
        ((PRICE,), "bdac"),  # 3, 5 and 5 by score, none
        ((SortField("price", "double", descending=True),), "bdac"),  # 9, 5 and 5 by score, none
        ((COLOUR,), "cabd"),
        ((SortField("colour", "keyword", descending=True),), "acbd"),
        ((PRICE, SortField("score", "")), "badc"),
        ((SortField("score", ""),), "acdb"),
        ((SortField("score", "", descending=True), PRICE), "bdac"),
    ],
)
def test_products_without_a_value_come_last_and_ties_are_broken_by_score(sort: tuple[SortField, ...], expected: str) -> None:
    assert "".join(IDS[place] for place in ordered(IDS, [0.5, 0.9, 0.5, 0.7], sort, VALUES)) == expected


@pytest.mark.parametrize(
    ("kind", "ascending"),
    [
        ("keyword", ["", "B", "a", "b", "ä", "帽", "🎩"]),
        ("integer", [-5, 0, 7, 30]),
        ("long", [2**62, 2**62 + 1]),
        ("boolean", [False, True]),
        ("date", ["-1000", "999", "1577836800000"]),
        ("date_nanos", ["1577836800123", "1577836800123.000001", "1577836800123.456788", "1577836800123.456789"]),
        ("ip", ["::1", "9.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1"]),
        (
            "version",
            [
                "1", "1.2-beta", "1.2", "1.2.0", "1.2.3-1", "1.2.3-2", "1.2.3-10", "1.2.3-alpha", "1.2.3-alpha.1",
                "1.2.3-alpha.b", "1.2.3-beta", "1.2.3", "1.2.3+build", "1.10.0", "2.0.0", "01.2.3", "none",
            ],
        ),
    ],
)  # fmt: skip
def test_values_are_compared_as_their_type_says(kind: str, ascending: list[Any]) -> None:
    shuffled = [ascending[place] for place in np.random.default_rng(3).permutation(len(ascending))]
    ids, scores = [str(n) for n in range(len(shuffled))], [0.0] * len(shuffled)
    for descending, expected in ((False, ascending), (True, ascending[::-1])):
        order = ordered(ids, scores, [SortField("f", kind, descending)], [{"f": [one]} for one in shuffled])
        assert [shuffled[place] for place in order] == expected


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.lists(st.sampled_from("abc"), max_size=2), st.lists(st.integers(0, 3), max_size=2)),
        max_size=12,
    ),
    st.lists(st.tuples(st.sampled_from(["colour", "stock", "score"]), st.booleans()), max_size=3, unique_by=lambda one: one[0]),
)
def test_an_order_is_a_permutation_in_which_no_pair_is_the_wrong_way_round(
    products: list[tuple[float, list[str], list[int]]], fields: list[tuple[str, bool]]
) -> None:
    ids, scores = [f"p{n}" for n in range(len(products))], [one[0] for one in products]
    values: list[Values] = [{"colour": colours, "stock": stocks} for _, colours, stocks in products]
    kinds = {"colour": "keyword", "stock": "integer", "score": ""}
    order = ordered(ids, scores, [SortField(name, kinds[name], descending) for name, descending in fields], values)
    assert sorted(order) == list(range(len(products)))

    def rank(place: int) -> list[Any]:
        keys: list[Any] = []
        for name, descending in fields:
            some = [scores[place]] if name == "score" else values[place][name]
            numbers = [ord(one) if isinstance(one, str) else one for one in some]
            keys.append((not numbers, (-max(numbers) if descending else min(numbers)) if numbers else 0))
        return [*keys, -scores[place], ids[place]]

    assert order == sorted(order, key=rank)


# Collapse


def test_the_best_of_each_value_keeps_the_others_as_variants() -> None:
    values: list[Values] = [{"c": ["x"]}, {"c": ["y", "z"]}, {"c": []}, {"c": ["x"]}, {}, {"c": ["z"]}, {"c": ["y"]}]
    assert collapsed([3, 1, 2, 0, 4, 6, 5], "c", values) == [(3, (0,)), (1, (6,)), (2, ()), (4, ()), (5, ())]
    assert collapsed([], "c", values) == []


@given(st.lists(st.lists(st.integers(0, 3), max_size=2), max_size=15), st.randoms(use_true_random=False))
def test_collapse_loses_and_doubles_no_product_and_keeps_the_order(values: list[list[int]], chance: random.Random) -> None:
    """Values that are numbers too: a product that stands alone must not meet them."""
    order = chance.sample(range(len(values)), len(values))
    groups = collapsed(order, "c", [{"c": some} for some in values])
    assert sorted(place for first, variants in groups for place in (first, *variants)) == sorted(order)
    firsts = [first for first, _ in groups]
    assert firsts == sorted(firsts, key=order.index)
    for first, variants in groups:
        assert [first, *variants] == sorted([first, *variants], key=order.index)
        assert all(values[place][0] == values[first][0] for place in variants)
    heads = [values[first][0] for first in firsts if values[first]]
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize(
    ("field", "code"),
    [("color", "query.unknown_field"), ("triptych.key", "query.unknown_field"), ("price", "query.bad_collapse"),
     ("title", "query.bad_collapse"), ("made", "query.bad_collapse"), ("reviews.stars", "query.bad_collapse")],
)  # fmt: skip
def test_collapse_is_by_names(field: str, code: str) -> None:
    assert [read_collapse(name, INFO) for name in ("colour", "stock", "sold")] == ["colour", "stock", "sold"]
    with pytest.raises(QueryError) as caught:
        read_collapse(field, INFO)
    assert (caught.value.code, caught.value.field) == (code, "collapse")
    assert "colour" in (caught.value.remedy or "")


def test_a_field_without_doc_values_can_only_be_filtered_by() -> None:
    info = IndexInfo("i", IndexSchema(), {"brand": "keyword", "colour": "keyword"}, no_doc_values=frozenset({"brand"}))
    assert clauses({"brand": "x"}, info)
    for use in (
        lambda: read({"brand": {}}, info),
        lambda: read_sort(["brand"], info),
        lambda: read_collapse("brand", info),
        lambda: read_vote({"field": "brand"}, info),
    ):
        with pytest.raises(QueryError, match=r"'brand' is mapped without doc values and cannot be .* can be .*: colour"):
            use()


def test_each_field_is_fetched_once_and_dates_in_one_format() -> None:
    facets, sort = read({"colour": {}, "made": {}}, INFO), read_sort([{"made": "desc"}, "price", "score"], INFO)
    made = {"field": "made", "format": "epoch_millis"}
    assert doc_value_fields(facets, sort, "colour", Vote("sold")) == ["colour", made, "price", "sold"]
    assert doc_value_fields() == []


# Speed


def test_a_thousand_products_are_arranged_in_a_moment() -> None:
    chance = np.random.default_rng(1)
    prices, numbers = chance.random(1000).tolist(), chance.integers(0, 200, 1000).tolist()
    values: list[Values] = [
        {
            "colour": [f"c{number % 50}"], "price": [price], "made": [str(number * 10**9)], "from": [f"10.0.{number}.1"],
            "release": [f"1.{number}.0"], "stock": [number],
        }
        for price, number in zip(prices, numbers, strict=True)
    ]  # fmt: skip
    ids, scores = [f"p{n}" for n in range(1000)], chance.random(1000).tolist()
    sort = read_sort(["release", "from", "made", "price", "stock"], INFO)
    facets = read(
        {"colour": {}, "made": {}, "price": {"ranges": [[n / 100, (n + 1) / 100] for n in range(100)]}, "stock": {}}, INFO
    )
    groups = collapsed(ordered(ids, scores, sort, values), "colour", values)
    counts = count(facets, values, None)
    assert len(groups) == 50
    assert sum(one["count"] for one in counts["price"]["ranges"]) == 1000
