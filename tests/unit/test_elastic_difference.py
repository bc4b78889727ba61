"""An index beside its file: what counts as a difference and what Elasticsearch only says in another way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from triptych.elastic.difference import differences

pytestmark = pytest.mark.unit

FILE: dict[str, Any] = {
    "settings": {
        "number_of_shards": 2,
        "index": {"refresh_interval": "5s"},
        "analysis": {"filter": {"f": {"words": ["a", 1]}}},
    },
    "mappings": {
        "_meta": {"owner": "shop", "triptych": {"lexical_fields": ["title.*"]}},
        "dynamic_templates": [{"words": {"path_match": "title.*", "mapping": {"type": "text", "analyzer": "standard"}}}],
        "properties": {
            "id": {"type": "keyword"},
            "title": {"properties": {"en": {"type": "text", "analyzer": "english"}}},
            "brand": {"type": "keyword", "fields": {"text": {"type": "text"}}},
            "images": {"type": "object", "enabled": False},
            "v": {"type": "dense_vector", "dims": 4, "index": True, "index_options": {"type": "hnsw"}},
        },
    },
}


def index() -> dict[str, Any]:
    """What Elasticsearch shows of an index that was made of the file and has documents."""
    mappings = copy.deepcopy(FILE["mappings"])
    mappings["properties"]["title"]["properties"]["it"] = {"type": "text", "analyzer": "standard"}
    mappings["properties"]["weight"] = {"type": "float"}
    mappings["properties"]["v"]["similarity"] = "cosine"
    mappings["properties"]["v"]["index_options"] |= {"m": 16, "ef_construction": 100}
    settings = {
        "index.number_of_shards": "2",
        "index.number_of_replicas": "1",
        "index.refresh_interval": "5s",
        "index.analysis.filter.f.words": ["a", "1"],
        "index.uuid": "x",
        "index.creation_date": "1",
        "index.version.created": "9",
        "index.provided_name": "shop-1",
        "index.routing.allocation.include._tier_preference": "data_content",
    }
    return {"settings": settings, "mappings": mappings}


def test_what_elasticsearch_adds_is_no_difference() -> None:
    assert differences(FILE, index()) == []


def changed(change: Callable[[dict[str, Any]], Any]) -> list[tuple[str, str, str]]:
    found = index()
    change(found)
    return [(one.part, one.path, one.kind) for one in differences(FILE, found)]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda i: i["settings"].update({"index.number_of_shards": "3"}), ("settings", "index.number_of_shards", "different")),
        (lambda i: i["settings"].pop("index.refresh_interval"), ("settings", "index.refresh_interval", "missing")),
        (lambda i: i["settings"].update({"index.blocks.write": "true"}), ("settings", "index.blocks.write", "extra")),
        (lambda i: i["settings"].update({"index.number_of_replicas": "0"}), ("settings", "index.number_of_replicas", "extra")),
        (lambda i: i["mappings"]["properties"].pop("id"), ("mapping", "id", "missing")),
        (lambda i: i["mappings"]["properties"].update(sku={"type": "keyword"}), ("mapping", "sku", "extra")),
        (
            lambda i: i["mappings"]["properties"]["title"]["properties"]["en"].update(analyzer="german"),
            ("mapping", "title.en: analyzer", "different"),
        ),
        (lambda i: i["mappings"]["properties"]["title"]["properties"].update(de={"type": "text", "analyzer": "german"}),
         ("mapping", "title.de", "extra")),
        (lambda i: i["mappings"]["properties"]["id"].update(ignore_above=9), ("mapping", "id: ignore_above", "extra")),
        (lambda i: i["mappings"]["properties"]["brand"].pop("fields"), ("mapping", "brand.text", "missing")),
        (lambda i: i["mappings"]["properties"]["images"].pop("enabled"), ("mapping", "images: enabled", "missing")),
        (lambda i: i["mappings"]["properties"]["v"].update(dims=8), ("mapping", "v: dims", "different")),
        (
            lambda i: i["mappings"]["properties"]["v"]["index_options"].update(type="int8_hnsw"),
            ("mapping", "v: index_options.type", "different"),
        ),
        (lambda i: i["mappings"].update(dynamic="strict"), ("mapping", "dynamic", "extra")),
        (lambda i: i["mappings"]["_meta"].update(owner="me"), ("_meta", "owner", "different")),
        (
            lambda i: i["mappings"]["_meta"]["triptych"].update(lexical_fields=["sku"]),
            ("_meta", "triptych.lexical_fields", "different"),
        ),
        (lambda i: i["mappings"]["_meta"]["triptych"].update(missing="zero"), ("_meta", "triptych.missing", "different")),
    ],
    ids=lambda value: f"{value[1]} {value[2]}" if isinstance(value, tuple) else "",
)  # fmt: skip
def test_each_change_is_seen_and_nothing_else(change: Callable[[dict[str, Any]], Any], seen: tuple[str, str, str]) -> None:
    assert changed(change) == [seen]


def test_measured_levels_and_weight_sets_are_no_difference() -> None:
    more = {"levels": {"lexical": {"floor": 0, "sigma": 1}}, "weight_sets": {"gifts": {"lexical": 1}}, "created_with": "x"}
    assert changed(lambda i: i["mappings"]["_meta"]["triptych"].update(more)) == []


def test_where_the_cluster_says_how_many_replicas_their_number_is_no_difference() -> None:
    file = {**FILE, "settings": {**FILE["settings"], "auto_expand_replicas": "0-1"}}
    found = index()
    found["settings"] |= {"index.auto_expand_replicas": "0-1", "index.number_of_replicas": "0"}
    assert differences(file, found) == []


def test_in_a_strict_mapping_a_field_that_only_the_index_has_was_put_there() -> None:
    file = copy.deepcopy(FILE)
    file["mappings"]["dynamic"] = "strict"
    found = index()
    found["mappings"]["dynamic"] = "strict"
    assert [(one.path, one.kind) for one in differences(file, found)] == [("title.it", "extra"), ("weight", "extra")]
