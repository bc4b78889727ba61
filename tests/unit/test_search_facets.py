"""Facets: what is asked for, what Elasticsearch is asked, and how the two counts of an answer are brought together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_api.facets import Facet, Values, aggregations, count, millis_of, read
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import IndexSchema

pytestmark = pytest.mark.unit

INFO = IndexInfo(
    "shop-1",
    IndexSchema(),
    {
        "colour": "keyword", "title": "text", "price": "double", "weight": "float", "stock": "integer", "views": "long",
        "sold": "boolean", "made": "date", "seen": "date_nanos", "from": "ip", "where": "geo_point", "reviews": "nested",
        "reviews.stars": "integer", "triptych.key": "keyword", "odd[1]>x": "keyword",
    },
)  # fmt: skip
JAN, FEB = 1577836800000, 1580515200000  # 2020


@pytest.mark.parametrize(
    ("facets", "code", "field", "said"),
    [
        ({"color": {}}, "query.unknown_field", "color", "Did you mean 'colour'?"),
        ({"triptych.key": {}}, "query.unknown_field", "triptych.key", "Fields that can be counted"),
        ({"title": {}}, "query.bad_facet", "title", "of type text and cannot be counted"),
        ({"where": {}}, "query.bad_facet", "where", "of type geo_point"),
        ({"reviews.stars": {}}, "query.bad_facet", "reviews.stars", "nested"),
        ({"colour": None}, "query.bad_facet", "colour", "It can have size"),
        ({"colour": {"ranges": [[1, 2]]}}, "query.bad_facet", "colour", "It can have size"),
        ({"price": {"size": 5}}, "query.bad_facet", "price", "It can have ranges"),
        ({"colour": {"size": 0}}, "query.bad_facet", "colour", "Give 1 to 1000"),
        ({"colour": {"size": 1001}}, "query.bad_facet", "colour", "Give 1 to 1000"),
        ({"colour": {"size": True}}, "query.bad_facet", "colour", "Give 1 to 1000"),
        ({"colour": {"size": 5.0}}, "query.bad_facet", "colour", "Give 1 to 1000"),
        ({"price": {"ranges": 5}}, "query.bad_facet", "price", "[[null, 50], [50, 100]]"),
        ({"price": {"ranges": [[n, n + 1] for n in range(101)]}}, "query.bad_facet", "price", "at most 100"),
        ({"price": {"ranges": [[1]]}}, "query.bad_facet", "price", "no pair"),
        ({"price": {"ranges": ["12"]}}, "query.bad_facet", "price", "no pair"),
        ({"price": {"ranges": [[None, None]]}}, "query.bad_facet", "price", "no limit"),
        ({"price": {"ranges": [[5, 5]]}}, "query.bad_facet", "price", "is empty"),
        ({"price": {"ranges": [[9, 5]]}}, "query.bad_facet", "price", "is empty"),
        ({"price": {"ranges": [["5", 9]]}}, "query.bad_facet", "price", "'5' is not a number"),
        ({"price": {"ranges": [[True, 9]]}}, "query.bad_facet", "price", "True is not a number"),
        ({"price": {"ranges": [[float("nan"), 9]]}}, "query.bad_facet", "price", "nan is not a number"),
        ({"stock": {"ranges": [[None, 10**12]]}}, "query.bad_facet", "stock", "-2147483648 to 2147483647"),
        ({"weight": {"ranges": [[None, 1e39]]}}, "query.bad_facet", "weight", "3.40282e+38"),
        ({"made": {"ranges": [["soon", None]]}}, "query.bad_facet", "made", "Give ISO 8601"),
        ({"made": {"ranges": [["now-1d", None]]}}, "query.bad_facet", "made", "Give ISO 8601"),
        ({"made": {"ranges": [[1.5, None]]}}, "query.bad_facet", "made", "Give ISO 8601"),
        ({"made": {"ranges": [[10**15, None]]}}, "query.bad_facet", "made", "no date"),
        ({"seen": {"ranges": [["1969-12-31", None]]}}, "query.bad_facet", "seen", "no date"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_facet_is_refused_with_its_field(facets: dict[str, Any], code: str, field: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        read(facets, INFO)
    assert (caught.value.code, caught.value.field) == (code, f"facets.{field}")
    assert said in str(caught.value)
    assert caught.value.remedy


def test_facets_are_bounded() -> None:
    info = IndexInfo("i", IndexSchema(), {f"f{n}": "keyword" for n in range(21)})
    assert len(read({f"f{n}": {} for n in range(20)}, info)) == 20
    with pytest.raises(QueryError) as caught:
        read({f"f{n}": {} for n in range(21)}, info)
    assert (caught.value.code, caught.value.field) == ("query.bad_facet", "facets")


@pytest.mark.parametrize(
    ("given", "millis"),
    [
        ("1970", 0), ("1970-02", 31 * 86_400_000), ("2020-01-01", JAN), ("2020-01-01T00:00:00Z", JAN),
        ("2020-01-01T02:00:00.123456+02:00", JAN + 123), ("1969-12-31T23:59:59.999", -1), (JAN, JAN), (True, None), (1.5, None),
        ("tomorrow", None), ("2020-13-01", None), ("0000", None), ("\ud800", None), ("", None), (None, None),
        ("0001-01-01T00:00:00+23:59", -62_135_596_800_000 - (23 * 60 + 59) * 60_000),
    ],
)  # fmt: skip
def test_dates_are_iso_or_milliseconds(given: object, millis: int | None) -> None:
    assert millis_of(given) == millis


@given(st.text(alphabet="0123456789-:TZ+.W ", max_size=26))
def test_no_text_breaks_the_reading_of_dates(text: str) -> None:
    assert millis_of(text) is None or re.match("[0-9]{4}", text)


def test_the_aggregations_have_names_and_sizes_of_their_own() -> None:
    facets = read(
        {"odd[1]>x": {"size": 3}, "price": {"ranges": [[None, 50], [50, None]]}, "made": {"ranges": [["2020", None]]}}, INFO
    )
    asked = aggregations(facets)
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in asked)
    values, price, made = asked.values()
    assert values == {"terms": {"field": "odd[1]>x", "size": 30, "order": [{"_count": "desc"}, {"_key": "asc"}]}}
    ranges = price["aggs"]["ranges"]["filters"]["filters"]
    assert ranges == [{"range": {"price": {"lt": 50.0}}}, {"range": {"price": {"gte": 50.0}}}]
    assert made["aggs"]["ranges"]["filters"]["filters"] == [{"range": {"made": {"gte": JAN, "format": "epoch_millis"}}}]
    assert "ranges" not in aggregations(read({"price": {}}, INFO))["facet_0"]["aggs"]
    assert aggregations(read({"colour": {"size": 1000}}, INFO))["facet_0"]["terms"]["size"] == 1000
    assert aggregations(()) == {}


def terms(buckets: dict[Any, int], other: int = 0) -> dict[str, Any]:
    return {"buckets": [{"key": key, "doc_count": n} for key, n in buckets.items()], "sum_other_doc_count": other}


def row(value: Any, count: int, matched: int | None) -> dict[str, Any]:
    return {"value": value, "count": count, "matched": matched}


REDS: list[Values] = [{"colour": ["blue", "red"]}, {"colour": ["red"]}, {"colour": []}, {}, {"colour": ["green"]}]


@pytest.mark.parametrize(
    ("size", "found", "rows", "other"),
    [
        (10, None, [row("red", 2, None), row("blue", 1, None), row("green", 1, None)], 0),
        (2, None, [row("red", 2, None), row("blue", 1, None)], 1),
        (3, terms({"pink": 90, "green": 9, "red": 5, "blue": 2}), [row("red", 2, 5), row("green", 1, 9), row("blue", 1, 2)], 0),
        (9, terms({"pink": 90, "red": 5}, other=7),
         [row("red", 2, 5), row("blue", 1, None), row("green", 1, None), row("pink", 0, 90)], 0),
        (9, terms({"red": 5}), [row("red", 2, 5), row("blue", 1, 0), row("green", 1, 0)], 0),
    ],
)  # fmt: skip
def test_values_are_counted_in_the_answer_and_in_all_that_matches(
    size: int, found: dict[str, Any] | None, rows: list[dict[str, Any]], other: int
) -> None:
    counted = count([Facet("colour", "keyword", size)], REDS, None if found is None else {"facet_0": found})
    assert counted == {"colour": {"values": rows, "other": other}}


def test_a_boolean_is_one_however_it_is_written() -> None:
    found = {
        "buckets": [{"key": 1, "key_as_string": "true", "doc_count": 4}, {"key": 0, "doc_count": 2}],
        "sum_other_doc_count": 0,
    }
    counted = count([Facet("sold", "boolean")], [{"sold": [False]}, {"sold": [True, False]}], {"facet_0": found})
    assert counted["sold"]["values"] == [row(False, 2, 2), row(True, 1, 4)]
    assert [type(one["value"]) for one in counted["sold"]["values"]] == [bool, bool]


def test_a_product_counts_once_in_a_range() -> None:
    facets = read({"price": {"ranges": [[None, 50], [50, 100], [100, None]]}}, INFO)
    found = {"doc_count": 9, "min": {"value": 1.0}, "max": {"value": 500.0}}
    found["ranges"] = {"buckets": [{"doc_count": 4}, {"doc_count": 3}, {"doc_count": 2}]}
    values: list[Values] = [{"price": [5.0, 49.99, 50.0]}, {"price": [99.99]}, {"price": [100.0]}, {}]
    counted = count(facets, values, {"facet_0": found})["price"]
    assert (counted["count"], counted["min"], counted["max"]) == (3, 5.0, 100.0)
    assert counted["matched"] == {"count": 9, "min": 1.0, "max": 500.0}
    assert counted["ranges"] == [
        {"from": None, "to": 50, "count": 1, "matched": 4},
        {"from": 50, "to": 100, "count": 2, "matched": 3},
        {"from": 100, "to": None, "count": 1, "matched": 2},
    ]
    unknown = count(facets, values, None)["price"]
    assert unknown["matched"] is None
    assert [one["matched"] for one in unknown["ranges"]] == [None, None, None]


def test_dates_are_answered_as_iso_8601_and_compared_to_the_nanosecond() -> None:
    facets = read({"seen": {"ranges": [["2020-01-01T00:00:00.001Z", "2020-02"]]}}, INFO)
    values: list[Values] = [
        {"seen": [f"{JAN}.999999"]},
        {"seen": [f"{JAN + 1}"]},
        {"seen": [f"{FEB - 1}.999999"]},
        {"seen": [str(FEB)]},
    ]
    found = {"doc_count": 0, "min": {"value": None}, "max": {"value": None}, "ranges": {"buckets": [{"doc_count": 0}]}}
    counted = count(facets, values, {"facet_0": found})["seen"]
    assert (counted["min"], counted["max"]) == ("2020-01-01T00:00:00.000Z", "2020-02-01T00:00:00.000Z")
    assert counted["matched"] == {"count": 0, "min": None, "max": None}
    assert counted["ranges"] == [{"from": "2020-01-01T00:00:00.001Z", "to": "2020-02", "count": 2, "matched": 0}]


def test_numbers_are_answered_as_their_type_has_them() -> None:
    """Elasticsearch gives a float as the double nearest to it, and every minimum as a double."""
    found = {"doc_count": 1, "min": {"value": 0.699999988079071}, "max": {"value": 0.699999988079071}}
    facets = read({"weight": {"ranges": [[0.7, None]]}}, INFO)
    weighed = count(
        facets, [{"weight": [0.699999988079071]}], {"facet_0": {**found, "ranges": {"buckets": [{"doc_count": 1}]}}}
    )
    assert (weighed["weight"]["min"], weighed["weight"]["matched"]["max"]) == (0.7, 0.7)
    assert weighed["weight"]["ranges"][0]["count"] == 1
    counted = count([Facet("views", "long")], [{"views": [2**62 + 1]}], {"facet_0": {**found, "min": {"value": 3.0}}})["views"]
    assert (counted["min"], counted["matched"]["min"]) == (2**62 + 1, 3)
    assert isinstance(counted["matched"]["min"], int)
    assert count([Facet("views", "long")], [], None) == {"views": {"count": 0, "min": None, "max": None, "matched": None}}


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcde")), st.lists(st.integers(-5, 5))), max_size=10),
    st.dictionaries(st.sampled_from("abxyz"), st.integers(1, 9)),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(-6, 0), st.integers(1, 6)), max_size=3),
)
def test_counts_are_those_of_counting_one_by_one(
    products: Sequence[tuple[list[str], list[int]]], matched: dict[str, int], size: int, limits: list[tuple[int, int]]
) -> None:
    facets = (Facet("c", "keyword", size), *read({"n": {"ranges": limits}}, IndexInfo("i", IndexSchema(), {"n": "integer"})))
    counted = count(facets, [{"c": c, "n": n} for c, n in products], {"facet_0": terms(matched)})
    rows, other = counted["c"]["values"], counted["c"]["other"]
    naive = {value: sum(value in c for c, _ in products) for value in "abcdexyz"}
    assert all(one["count"] == naive[one["value"]] for one in rows)
    assert all(one["matched"] == matched.get(one["value"], 0) for one in rows)
    assert sum(one["count"] for one in rows) + other == sum(naive.values())
    assert len({one["value"] for one in rows}) == len(rows) <= size
    listed = {one["value"] for one in rows}
    assert all(naive[value] <= min((one["count"] for one in rows), default=0) for value in naive.keys() - listed)
    for (low, high), one in zip(limits, counted["n"].get("ranges", ()), strict=True):
        assert one["count"] == sum(any(low <= value < high for value in n) for _, n in products)
    assert counted["n"]["count"] == sum(bool(n) for _, n in products)
