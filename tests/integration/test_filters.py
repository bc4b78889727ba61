"""Filters, facets and sort against a real node: each condition finds what it says, and doc values agree with aggregations.

The node has no `version`, `wildcard`, `constant_keyword` and `unsigned_long` fields; the unit tests alone cover those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from search_api.arrange import doc_value_fields, ordered, read_sort
from search_api.facets import aggregations, count, read
from search_api.filters import LONGEST_PREFIX, LONGEST_TEXT, WHOLE, clauses
from triptych.elastic.bulk import bulk_index
from triptych.elastic.lifecycle import IndexInfo, describe
from triptych.errors import QueryError
from triptych.schema import IndexSchema
from triptych.services import Services

pytestmark = pytest.mark.integration

PROPERTIES: dict[str, Any] = {
    "key": {"type": "keyword"}, "colour": {"type": "keyword"}, "title": {"type": "text"}, "views": {"type": "long"},
    "stock": {"type": "integer"}, "size": {"type": "short"}, "grade": {"type": "byte"}, "price": {"type": "double"},
    "weight": {"type": "float"}, "tiny": {"type": "half_float"}, "made": {"type": "date"}, "seen": {"type": "date_nanos"},
    "sold": {"type": "boolean"}, "from": {"type": "ip"}, "where": {"type": "geo_point"},
    "day": {"type": "date", "format": "yyyy/MM/dd"},
    "reviews": {"type": "nested", "properties": {"stars": {"type": "integer"}}},
}  # fmt: skip
COUNT = 120
BERLIN = {"lat": 52.5, "lon": 13.4}


def make_products() -> list[dict[str, Any]]:
    """Products with no, one and two values of every field, among them many that lie on the limits the tests ask for."""
    chance = np.random.default_rng(5)
    products = []
    for number in range(COUNT):
        several, tenths = number % 3, int(chance.integers(0, 20))
        product: dict[str, Any] = {
            "colour": ["red", "blue", "Grün", "帽", "🎩"][number % 5 : number % 5 + several],
            "views": [2**53 + int(chance.integers(0, 4))] * several, "stock": [int(chance.integers(-3, 4))], "size": number,
            "grade": [number % 7, number % 5][:several], "price": [tenths / 10, number / 7][:several], "weight": tenths / 10,
            "tiny": tenths / 10, "made": [f"20{number % 30 + 10}-01-01", 1577836800000 + number][:several],
            "seen": [f"2020-01-01T00:00:00.00{number % 10}{number:06}Z"][: number % 2], "day": f"2020/01/{number % 28 + 1:02}",
            "sold": [[], [True], [False], [True, False]][number % 4],
            "from": [f"10.0.{number}.{tenths}", f"2001:db8::{number}" if number % 2 else "::1"][:several],
            "where": {"lat": BERLIN["lat"] + number / 100, "lon": BERLIN["lon"]}, "reviews": [{"stars": number % 5}],
        }  # fmt: skip
        if number % 2:
            product["title"] = f"product {number}"
        products.append({**product, "key": f"p{number:03}"})
    return products


PRODUCTS = make_products()


@pytest.fixture(scope="module")
def info(services: Services, run_id: str) -> Iterator[IndexInfo]:
    """An index of PRODUCTS on two shards."""
    index, client = f"arrange-{run_id}", services.elasticsearch
    mappings = {"properties": PROPERTIES, "_meta": {"triptych": IndexSchema().model_dump(mode="json")}}
    client.indices.create(index=index, mappings=mappings, settings={"number_of_shards": 2, "number_of_replicas": 0})
    written = bulk_index(client, index, {product["key"]: product for product in PRODUCTS})
    assert all(one.reason is None for one in written.values())
    client.indices.refresh(index=index)
    yield describe(client, index)
    client.indices.delete(index=index)


def ids(services: Services, info: IndexInfo, filters: Mapping[str, Any], **body: Any) -> list[str]:
    query = {"bool": {"filter": clauses(filters, info)}}
    found = services.elasticsearch.search(index=info.version, query=query, size=COUNT, source=False, **body)
    assert found["_shards"]["failed"] == 0
    return [hit["_id"] for hit in found["hits"]["hits"]]


def any_of(name: str, holds: Callable[[Any], bool]) -> Callable[[dict[str, Any]], bool]:
    """Whether a value of a product's field holds."""

    def check(product: dict[str, Any]) -> bool:
        values = product.get(name, [])
        return any(holds(value) for value in (values if isinstance(values, list) else [values]))

    return check


RED, CHEAP = any_of("colour", lambda c: c == "red"), any_of("price", lambda p: p < 0.7)


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({}, bool),
        ({"colour": "red"}, RED),
        ({"colour": ["red", "🎩"]}, any_of("colour", lambda c: c in {"red", "🎩"})),
        ({"colour": {"prefix": "Gr"}}, any_of("colour", lambda c: c == "Grün")),
        ({"colour": {"gte": "red"}}, any_of("colour", lambda c: c >= "red")),
        ({"colour": {"exists": True}}, lambda p: bool(p["colour"])),
        ({"colour": {"exists": False}}, lambda p: not p["colour"]),
        ({"title": {"exists": True}}, lambda p: "title" in p),
        ({"where": {"exists": False}}, lambda p: "where" not in p),
        ({"price": {"lt": 0.7}}, CHEAP),
        ({"price": {"gte": "0.7", "lte": 1}}, any_of("price", lambda x: 0.7 <= x <= 1)),
        ({"weight": 0.7}, lambda p: p["weight"] == 0.7),
        ({"views": 2**53 + 1}, any_of("views", lambda v: v == 2**53 + 1)),
        ({"views": {"gt": 2**53 + 1}}, any_of("views", lambda v: v > 2**53 + 1)),
        ({"stock": {"lt": 0.5}}, lambda p: p["stock"][0] < 0.5),
        ({"stock": ["1", 2.0]}, lambda p: p["stock"][0] in {1, 2}),
        ({"sold": True}, any_of("sold", lambda s: s)),
        ({"sold": ["false"]}, any_of("sold", lambda s: not s)),
        ({"day": {"gte": "2020/01/20"}}, lambda p: p["day"] >= "2020/01/20"),
        ({"made": {"gte": 1577836800000, "lt": 1577836800100}},
         any_of("made", lambda m: m == "2020-01-01" if isinstance(m, str) else m < 1577836800100)),
        ({"seen": {"gte": "1970-01-01"}}, lambda p: bool(p["seen"])),
        ({"from": "10.0.0.0/8"}, any_of("from", lambda a: a.startswith("10."))),
        ({"from": {"lt": "9.0.0.0"}}, any_of("from", lambda a: a == "::1")),
        ({"from": "2001:DB8:0::5"}, any_of("from", lambda a: a == "2001:db8::5")),
        ({"where": {"within": "5km", **BERLIN}}, lambda p: p["where"]["lat"] < BERLIN["lat"] + 0.0449),
        ({"where": {"not": {"within": "3.1 mi", **BERLIN}}}, lambda p: p["where"]["lat"] > BERLIN["lat"] + 0.0449),
        ({"colour": {"not": "red"}}, lambda p: not RED(p)),
        ({"colour": {"not": {"not": {"not": ["red"]}}}}, lambda p: not RED(p)),
        ({"colour": "red", "price": {"lt": 0.7}}, lambda p: RED(p) and CHEAP(p)),
        ({"or": [{"colour": "red"}, {"price": {"lt": 0.7}}]}, lambda p: RED(p) or CHEAP(p)),
        ({"not": {"colour": "red", "price": {"lt": 0.7}}}, lambda p: not (RED(p) and CHEAP(p))),
        ({"and": [{"or": [{"colour": "red", "sold": True}, {"not": {"colour": "red"}}]}, {"price": {"not": {"lt": 0.7}}}]},
         lambda p: ((RED(p) and True in p["sold"]) or not RED(p)) and not CHEAP(p)),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "alike",
)  # fmt: skip
def test_a_filter_finds_what_it_says(
    filters: dict[str, Any], holds: Callable[[dict[str, Any]], bool], services: Services, info: IndexInfo
) -> None:
    assert sorted(ids(services, info, filters)) == [product["key"] for product in PRODUCTS if holds(product)]


def test_what_is_accepted_at_the_limits_is_no_error_of_elasticsearch(services: Services, info: IndexInfo) -> None:
    for name, limits in ((name, WHOLE[kind]) for name, kind in info.fields.items() if kind in WHOLE and "." not in name):
        assert ids(services, info, {name: {"gte": limits[0]}}), name
        assert ids(services, info, {name: {"lte": limits[1]}}), name
        assert not ids(services, info, {"or": [{name: {"gt": limits[1]}}, {name: {"lt": limits[0]}}]}), name
    for name, greatest in (("price", 1.7976931348623157e308), ("weight", 3.4028234663852886e38), ("tiny", 65504)):
        assert ids(services, info, {name: {"gte": -greatest, "lte": str(greatest)}}), name
    long = "x" * LONGEST_TEXT
    for condition in (long, [long], {"prefix": "x" * LONGEST_PREFIX}, {"prefix": "🎩" * 500}, {"gte": long}, {"not": long}, ""):
        ids(services, info, {"colour": condition})
    for unit in ("mm", "cm", "m", "km", "in", "ft", "yd", "mi", "nmi"):
        ids(services, info, {"where": {"within": f"123456789.5{unit}", "lat": -90, "lon": 180}})
    deep: dict[str, Any] = {"colour": "red"}
    for _ in range(9):
        deep = {"or": [deep] * 2}
    assert ids(services, info, deep) == ids(services, info, {"colour": "red"})
    assert len(ids(services, info, {"or": [{"stock": 0, "size": number} for number in range(512)]})) > 1


def test_the_mapping_shows_what_is_nested(info: IndexInfo) -> None:
    with pytest.raises(QueryError) as caught:
        clauses({"reviews.stars": 5}, info)
    assert caught.value.code == "query.not_filterable"


LIMITS = [None, *(n / 10 for n in range(-5, 25)), None]
FACETS: dict[str, dict[str, Any]] = {
    "colour": {}, "sold": {}, "from": {"size": 100},
    "views": {"ranges": [[None, 2**53 + 1], [2**53 + 1, 2**53 + 2], [2**53 + 2, None]]},
    **{name: {"ranges": [list(pair) for pair in itertools.pairwise(LIMITS)]} for name in ("price", "weight", "tiny")},
    "stock": {"ranges": [[-3, 0], [0, 0.5], [0.5, 9]]}, "grade": {},
    "day": {"ranges": [["2020-01-05", "2020-01-20T00:00:00+00:00"]]},
    "made": {"ranges": [[None, "2015"], ["2015", "2020-01"], ["2020-01", 1577836800050], [1577836800050, None]]},
    "seen": {"ranges": [["2020-01-01T00:00:00.003Z", "2020-01-01T00:00:00.007Z"], ["1970", None], [None, "2260-01-01"]]},
}  # fmt: skip


@pytest.mark.parametrize("filters", [{}, {"price": {"gte": 0.7}}, {"colour": "no such colour"}], ids=["all", "some", "none"])
def test_doc_values_and_aggregations_count_the_same(filters: dict[str, Any], services: Services, info: IndexInfo) -> None:
    """With all that matches as the answer, the two counts of a facet must be equal, whatever the type."""
    facets = read(FACETS, info)
    body = {"docvalue_fields": doc_value_fields(facets), "aggregations": aggregations(facets), "size": COUNT, "source": False}
    answer = services.elasticsearch.search(index=info.version, query={"bool": {"filter": clauses(filters, info)}}, **body)
    values = [hit.get("fields", {}) for hit in answer["hits"]["hits"]]
    counted = count(facets, values, answer["aggregations"])
    alone = count(facets, values, None)
    for facet in facets:
        one = counted[facet.field]
        for row in one.get("values", one.get("ranges", [])):
            assert row["count"] == row["matched"], (facet.field, row)
        if facet.of_values:
            assert one["other"] == 0 or len(one["values"]) == facet.size
            assert [row["value"] for row in one["values"]] == [row["value"] for row in alone[facet.field]["values"]]
        else:
            assert one["matched"] == {"count": one["count"], "min": one["min"], "max": one["max"]} or facet.field == "views"
    if not filters:
        assert {row["value"] for row in counted["sold"]["values"]} == {True, False}
        assert counted["from"]["values"][0] == {"value": "::1", "count": COUNT / 6, "matched": COUNT / 6}
        assert (counted["day"]["min"], counted["day"]["max"]) == ("2020-01-01T00:00:00.000Z", "2020-01-28T00:00:00.000Z")
        assert counted["tiny"]["max"] == counted["weight"]["max"] == 1.9
        assert sum(row["count"] for row in counted["weight"]["ranges"]) == COUNT
        assert counted["seen"]["ranges"][1]["count"] == COUNT / 2


SORTED = ["colour", "views", "stock", "size", "grade", "price", "weight", "tiny", "made", "day", "seen", "sold", "from"]


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("name", SORTED)
def test_products_are_sorted_as_elasticsearch_would(name: str, direction: str, services: Services, info: IndexInfo) -> None:
    sort = read_sort([{name: direction}], info)
    fields = doc_value_fields(sort=sort)
    answer = services.elasticsearch.search(index=info.version, docvalue_fields=fields, size=COUNT, source=False)
    hits = {hit["_id"]: hit.get("fields", {}) for hit in answer["hits"]["hits"]}
    order = ordered(list(hits), [0.0] * len(hits), sort, list(hits.values()))
    theirs = ids(services, info, {}, sort=[{name: {"order": direction, "missing": "_last"}}, {"key": "asc"}])
    assert [list(hits)[place] for place in order] == theirs


def test_the_first_doc_value_is_the_least(services: Services, info: IndexInfo) -> None:
    """What collapse takes for a product's value."""
    answer = services.elasticsearch.search(index=info.version, docvalue_fields=["colour", "grade"], size=COUNT, source=False)
    for hit in answer["hits"]["hits"]:
        for values in hit.get("fields", {}).values():
            assert values == sorted(values)
