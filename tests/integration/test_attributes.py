"""Attributes of thousands of names: one field of the index, which can be filtered by, counted and sorted by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT, spaces_here

from indexer import pipeline
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.lifecycle import create_version, read_mapping_file, spaces_schema
from triptych.errors import QueryError
from triptych.services import Services

pytestmark = pytest.mark.integration

PRODUCTS = 20
NAMES = 150


def product(n: int) -> dict[str, Any]:
    many = {f"name {n}-{one}": f"value {one}" for one in range(NAMES)}
    own = {
        "volts": 230 if n % 2 else 12,
        "colour": ["red", "blue"] if n % 2 else "red",
        "size": {"width": n},
        "place": f"{n:02}",
    }
    return {"id": f"p{n}", "title": {"en": f"lamp {n}"}, "attrs": {**many, **own, "long": "x" * 40_000, "none": None}}


@pytest.fixture(scope="module", params=["services", "oldest_services"])
def searched(request: pytest.FixtureRequest, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Searcher, str]:
    here: Services = request.getfixturevalue(request.param)
    schema = spaces_schema(spaces_here(here), "0")
    mapping = read_mapping_file(ROOT / "mappings" / "products.json")
    name = f"attributes-{run_id}"
    version = create_version(here.elasticsearch, name, mapping, schema)
    records = [*map(product, range(PRODUCTS)), {"id": "wrong", "title": "lamp", "attrs": "red"}]
    raw = [{"line": n, "text": json.dumps(record)} for n, record in enumerate(records, start=1)]
    result = pipeline.run(raw, pipeline.Target(version, schema, Path(tmp_path_factory.mktemp("root")), "1"), here)
    assert [one for one in result.outcomes if one != Outcome.WRITTEN] == [Outcome.DEAD]
    here.elasticsearch.indices.refresh(index=version)
    attrs = here.elasticsearch.indices.get_mapping(index=version)[version]["mappings"]["properties"]["attrs"]
    assert attrs == {"type": "flattened", "ignore_above": 1024}, "no field was added"
    return Searcher(here), name


def found(searched: tuple[Searcher, str], **more: Any) -> Any:
    searcher, name = searched
    result = searcher.search(SearchRequest(name, **{"text": "lamp", "size": PRODUCTS, "weights": {"lexical": 1}, **more}))
    assert result.degraded == ()
    return result


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"attrs.volts": "230"}, set(range(1, PRODUCTS, 2))),
        ({"attrs.colour": "blue"}, set(range(1, PRODUCTS, 2))),
        ({"attrs.size.width": ["3", "4"]}, {3, 4}),
        ({"attrs.name 7-149": {"exists": True}}, {7}),
        ({"attrs.place": {"gte": "05", "lt": "08"}}, {5, 6, 7}),
        ({"attrs.place": {"prefix": "1"}}, set(range(10, PRODUCTS))),
        ({"attrs.nobodys": "x"}, set()),
        ({"attrs.volts": {"not": "230"}}, set(range(0, PRODUCTS, 2))),
    ],
)
def test_filters(searched: tuple[Searcher, str], filters: dict[str, Any], expected: set[int]) -> None:
    assert {hit.id for hit in found(searched, filters=filters).hits} == {f"p{n}" for n in expected}


def test_facets_and_order(searched: tuple[Searcher, str]) -> None:
    result = found(searched, facets={"attrs.colour": {}}, sort=[{"attrs.place": "desc"}])
    assert [hit.id for hit in result.hits] == [f"p{n}" for n in reversed(range(PRODUCTS))]
    values = {one["value"]: one["count"] for one in result.facets["attrs.colour"]["values"]}
    assert values == {"red": PRODUCTS, "blue": PRODUCTS // 2}


def test_the_whole_object_is_no_field_to_filter_by(searched: tuple[Searcher, str]) -> None:
    with pytest.raises(QueryError, match="flattened"):
        found(searched, filters={"attrs": "red"})
