"""Filters: what each condition asks of Elasticsearch, and what is refused with its place and remedy."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_api.filters import (
    DEEPEST,
    FILTER,
    LONGEST_LIST,
    LONGEST_TEXT,
    MOST_CONDITIONS,
    WHOLE,
    clauses,
    kind_of,
    number_of,
)
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import IndexSchema

pytestmark = pytest.mark.unit

INFO = IndexInfo(
    "shop-1",
    IndexSchema(),
    {
        "colour": "keyword", "colour.text": "text", "shop": "constant_keyword", "path": "wildcard", "price": "double",
        "weight": "float", "tiny": "half_float", "cents": "scaled_float", "stock": "integer", "views": "long",
        "hash": "unsigned_long", "grade": "byte", "sold": "boolean", "made": "date", "seen": "date_nanos", "from": "ip",
        "release": "version", "title.en": "text", "where": "geo_point", "images": "object", "reviews": "nested",
        "reviews.stars": "integer", "reviews.by.name": "keyword", "triptych.key": "keyword", "triptych.image": "dense_vector",
    },
)  # fmt: skip
RED, CHEAP = {"term": {"colour": "red"}}, {"range": {"price": {"lt": 5}}}


def no(clause: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"must_not": [clause]}}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, []),
        ({"colour": "red"}, [RED]),
        ({"colour": ""}, [{"term": {"colour": ""}}]),
        ({"sold": False}, [{"term": {"sold": False}}]),
        ({"sold": "true"}, [{"term": {"sold": "true"}}]),
        ({"stock": 0}, [{"term": {"stock": 0}}]),
        ({"stock": "5.0"}, [{"term": {"stock": "5.0"}}]),
        ({"colour": ["red", "blue"]}, [{"terms": {"colour": ["red", "blue"]}}]),
        ({"price": {"gte": 5, "lt": 9.5}}, [{"range": {"price": {"gte": 5, "lt": 9.5}}}]),
        ({"stock": {"lt": 1.5}}, [{"range": {"stock": {"lt": 1.5}}}]),
        ({"price": {"gt": "1", "lte": "5e2"}}, [{"range": {"price": {"gt": "1", "lte": "5e2"}}}]),
        ({"price": 10**30}, [{"term": {"price": 1e30}}]),
        ({"made": {"gt": "2020-01-01"}}, [{"range": {"made": {"gt": "2020-01-01"}}}]),
        ({"made": 1577836800000}, [{"term": {"made": 1577836800000}}]),
        ({"from": "10.0.0.0/8"}, [{"term": {"from": "10.0.0.0/8"}}]),
        ({"release": {"gte": "1.2"}}, [{"range": {"release": {"gte": "1.2"}}}]),
        ({"hash": 2**64 - 1}, [{"term": {"hash": 2**64 - 1}}]),
        ({"price": {"lt": 5}, "colour": "red"}, [CHEAP, RED]),
        ({"colour": {"exists": True}}, [{"exists": {"field": "colour"}}]),
        ({"title.en": {"exists": False}}, [no({"exists": {"field": "title.en"}})]),
        ({"colour": {"prefix": "re"}}, [{"prefix": {"colour": "re"}}]),
        (
            {"where": {"within": "5km", "lat": 52.5, "lon": -13}},
            [{"geo_distance": {"distance": "5km", "where": {"lat": 52.5, "lon": -13}}}],
        ),
        ({"colour": {"not": "red"}}, [no(RED)]),
        ({"colour": {"not": ["red", "blue"]}}, [no({"terms": {"colour": ["red", "blue"]}})]),
        ({"price": {"not": {"not": {"lt": 5}}}}, [no(no(CHEAP))]),
        ({"and": [{"colour": "red"}, {"price": {"lt": 5}}]}, [RED, CHEAP]),
        ({"or": [{"colour": "red"}]}, [{"bool": {"should": [RED], "minimum_should_match": 1}}]),
        (
            {"or": [{"colour": "red", "price": {"lt": 5}}, {"not": {"colour": "red"}}]},
            [{"bool": {"should": [{"bool": {"filter": [RED, CHEAP]}}, no(RED)], "minimum_should_match": 1}}],
        ),
        ({"not": {"colour": "red", "price": {"lt": 5}}}, [no({"bool": {"filter": [RED, CHEAP]}})]),
    ],
    ids=repr,
)
def test_each_condition_makes_its_clause(filters: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert clauses(filters, INFO) == expected


def refused(filters: Any) -> QueryError:
    with pytest.raises(QueryError) as caught:
        clauses(filters, INFO)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("filters", "field", "said"),
    [
        ({"price": "cheap"}, "price", "'cheap' is not a number, but the field 'price' is of type double"),
        ({"price": True}, "price", "not a number"),
        ({"price": None}, "price", "None is not a number"),
        ({"price": float("nan")}, "price", "not a number"),
        ({"price": float("inf")}, "price", "not a number"),
        ({"price": "nan"}, "price", "not a number"),
        ({"price": "1_000"}, "price", "not a number"),
        ({"price": " 5"}, "price", "not a number"),
        ({"price": "٥"}, "price", "not a number"),
        ({"price": "1e999"}, "price", "not a number"),
        ({"price": "9" * 101}, "price", "not a number"),
        ({"price": 10**400}, "price", "a number of more than 100 digits is not a number"),
        ({"price": 10**5000}, "price", "a number of more than 100 digits is not a number"),
        ({"price": {"gte": "cheap"}}, "price", "not a number"),
        ({"price": [5, "cheap"]}, "price", "not a number"),
        ({"price": [[5]]}, "price", "not a number"),
        ({"weight": 1e39}, "weight", "a number from -3.40282e+38"),
        ({"tiny": -65505}, "tiny", "a number from -65504"),
        ({"stock": 1.5}, "stock", "not a whole number"),
        ({"stock": 2**31}, "stock", "a number from -2147483648 to 2147483647"),
        ({"stock": {"lt": 1e12}}, "stock", "a number from"),
        ({"views": 2**63}, "views", "a number from"),
        ({"views": 9.223372036854775807e18}, "views", "a number from"),
        ({"hash": -1}, "hash", "a number from 0"),
        ({"grade": "200"}, "grade", "a number from -128 to 127"),
        ({"sold": 1}, "sold", "1 is not true or false"),
        ({"sold": "yes"}, "sold", "not true or false"),
        ({"sold": []}, "sold", "has 0 values"),
        ({"made": True}, "made", "not a date"),
        ({"made": 2**63}, "made", "not a date"),
        ({"colour": 5}, "colour", "5 is not a text, but the field 'colour' is of type keyword"),
        ({"colour": "\ud800"}, "colour", "valid characters"),
        ({"colour": "é" * (LONGEST_TEXT // 2 + 1)}, "colour", "at most 32766 bytes"),
        ({"from": 5}, "from", "not a text"),
        ({"colour": ["x"] * (LONGEST_LIST + 1)}, "colour", "has 1025 values"),
        ({"price": {}}, "price", "is empty"),
        ({"price": {"min": 5}}, "price", "has 'min'"),
        ({"price": {"gte": 5, "max": 9}}, "price", "has 'max'"),
        ({"price": {"gte": 5, "exists": True}}, "price", "cannot have exists, gte and no more"),
        ({"price": {"gte": 5, "gt": 5}}, "price", "both gt and gte"),
        ({"colour": {"exists": "yes"}}, "colour", "exists of 'colour' is 'yes'"),
        ({"colour": {"prefix": 5}}, "colour", "not a text"),
        ({"colour": {"prefix": "\ud800"}}, "colour", "valid characters"),
        ({"colour": {"prefix": "x" * 1001}}, "colour", "has 1001 characters"),
        ({"colour": {"prefix": "🎩" * 501}}, "colour", "has 501 characters"),
        ({"where": {"within": "5km", "lat": 52}}, "where", "cannot have lat, within"),
        ({"where": {"within": 5, "lat": 52, "lon": 13}}, "where", "no distance"),
        ({"where": {"within": "0km", "lat": 52, "lon": 13}}, "where", "no distance"),
        ({"where": {"within": "5 parsecs", "lat": 52, "lon": 13}}, "where", "no distance"),
        ({"where": {"within": "5km", "lat": 91, "lon": 13}}, "where", "lat of 'where' is 91"),
        ({"where": {"within": "5km", "lat": 52, "lon": "13"}}, "where", "lon of 'where' is '13'"),
        ({"and": []}, "and", "not a list of filters"),
        ({"or": {"colour": "red"}}, "or", "not a list of filters"),
        ({"or": [{}]}, "or.0", "empty"),
        ({"not": {}}, "not", "empty"),
        ({"not": "red"}, "not", "not an object of filters"),
        ({"and": [{"colour": "red"}, {"or": [{"price": "cheap"}]}]}, "and.1.or.0.price", "not a number"),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, dict) or "price" not in value else "price",
)
def test_what_does_not_fit_is_refused_with_its_place(filters: dict[str, Any], field: str, said: str) -> None:
    error = refused(filters)
    assert (error.code, error.field) == ("query.bad_filter", f"filters.{field}")
    assert said in error.message


@pytest.mark.parametrize(("kind", "limits"), WHOLE.items())
def test_whole_numbers_are_taken_up_to_their_types_limits(kind: str, limits: tuple[int, int]) -> None:
    info = IndexInfo("i", IndexSchema(), {"n": kind})
    assert clauses({"n": list(limits)}, info) == [{"terms": {"n": list(limits)}}]
    for beyond in (limits[0] - 1, limits[1] + 1, str(limits[1] + 1)):
        with pytest.raises(QueryError):
            clauses({"n": {"lt": beyond}}, info)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"title.en": "x"}, "'title.en' is of type text and cannot be filtered by."),
        ({"title.en": {"prefix": "x"}}, "of type text"),
        ({"images": {"exists": True}}, "of type object"),
        ({"where": "x"}, "of type geo_point"),
        ({"where": {"gt": 5}}, "of type geo_point"),
        ({"colour": {"within": "5km", "lat": 1, "lon": 1}}, "of type keyword and cannot be filtered by such a condition"),
        ({"price": {"prefix": "1"}}, "of type double and cannot be filtered by such a condition"),
        ({"reviews": {"exists": True}}, "of type nested"),
        ({"reviews.stars": 5}, "lies in 'reviews', which is nested"),
        ({"reviews.by.name": {"not": "Ann"}}, "lies in 'reviews', which is nested"),
    ],
)
def test_a_field_of_another_type_cannot_be_filtered_by(filters: dict[str, Any], said: str) -> None:
    error = refused(filters)
    assert (error.code, error.field) == ("query.not_filterable", f"filters.{next(iter(filters))}")
    assert said in error.message
    assert "reviews" not in (error.remedy or "")
    assert "triptych" not in (error.remedy or "")


@pytest.mark.parametrize(("name", "meant"), [("color", "colour"), ("prise", "price"), ("Stock", "stock")])
def test_an_unknown_field_is_told_with_the_one_meant(name: str, meant: str) -> None:
    error = refused({"or": [{"sold": True}, {name: {"not": "x"}}]})
    assert (error.code, error.field) == ("query.unknown_field", f"filters.or.1.{name}")
    assert f"Did you mean '{meant}'?" in str(error)


@pytest.mark.parametrize("name", ["triptych.image", "triptych.key", "triptych", "zzzzzz", "", "reviews.text"])
def test_an_unknown_field_like_none_lists_those_there_are(name: str) -> None:
    error = refused({name: "x"})
    assert error.code == "query.unknown_field"
    assert "colour" in (error.remedy or "") or "Did you mean" in (error.remedy or "")
    for hidden in ("triptych.", "title", "images"):
        assert hidden not in (error.remedy or "")


def test_an_error_does_not_list_hundreds_of_fields() -> None:
    info = IndexInfo("i", IndexSchema(), {f"attribute_{n:04}": "keyword" for n in range(3000)})
    with pytest.raises(QueryError) as caught:
        clauses({"zzz": "x"}, info)
    assert len(str(caught.value)) < 600


def nested(depth: int) -> dict[str, Any]:
    return {"not": nested(depth - 1)} if depth else {"colour": "red"}


def test_depth_is_bounded() -> None:
    assert clauses(nested(DEEPEST), INFO)
    assert "stand inside each other" in refused(nested(DEEPEST + 1)).message
    inner: object = "red"
    for _ in range(900):
        inner = {"not": inner}
    assert "stand inside each other" in refused({"colour": inner}).message


def test_conditions_are_counted_wherever_they_stand() -> None:
    assert len(clauses({"and": [{"colour": "red"}] * MOST_CONDITIONS}, INFO)) == MOST_CONDITIONS
    error = refused({"or": [{"colour": "red", "price": 5}] * (MOST_CONDITIONS // 2), "sold": True})
    assert (error.code, error.field) == ("query.bad_filter", "filters")
    assert "1024" in error.message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
CONDITIONS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*INFO.fields, "and", "or", "not", "gt", "lte", "exists", "prefix", "within", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*INFO.fields, "and", "or", "not", "nothing"]), CONDITIONS))
def test_whatever_is_given_is_read_or_refused_at_a_place(filters: dict[str, Any]) -> None:
    """And what is read can be sent: orjson refuses whole numbers beyond 64 bits and halves of characters."""
    refusals, found = [], []
    try:
        found = clauses(filters, INFO)
    except QueryError as error:
        refusals.append(error)
    assert "NaN" not in json.dumps(found)
    orjson.dumps(found)
    for error in refusals:
        assert error.code in {"query.bad_filter", "query.unknown_field", "query.not_filterable"}
        assert (error.field or "").split(".")[0] == "filters"
        assert error.remedy


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**90), 10**90))
def test_a_number_written_as_text_is_the_same_number(number: float) -> None:
    assert number_of(str(number)) == number


def test_what_lies_in_a_flattened_field_is_a_keyword() -> None:
    info = IndexInfo("v", IndexSchema(), {"attrs": "flattened", "brand": "keyword"})
    assert clauses({"attrs.volts": "230"}, info) == [{"term": {"attrs.volts": "230"}}]
    assert kind_of("attrs.a.b", info, FILTER, where="facets.x") == "keyword"
    for wrong in ({"attrs": "x"}, {"attrs.volts": 230}, {"attr.volts": "x"}, {"brand.x": "y"}):
        with pytest.raises(QueryError):
            clauses(wrong, info)
