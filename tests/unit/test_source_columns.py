"""Columns that carry types (Parquet, an index) and JSON lines that are renamed."""

from __future__ import annotations

from typing import Any

import pytest
from source_reading import Read, bodies, codes

from indexer.sources.columns import Columns

pytestmark = pytest.mark.unit


def record(given: dict[str, str], **values: Any) -> dict[str, Any]:
    columns = Columns(given)
    return columns.record((columns.field_of(name.replace("__", ".")), value) for name, value in values.items())


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"id": 7}, {"id": "7"}),
        ({"id": True}, {"id": True}),
        ({"title": {"en": "Hat"}, "title__de": "Hut"}, {"title": {"en": "Hat", "de": "Hut"}}),
        ({"title__de": "Hut", "title": {"en": "Hat"}}, {"title": {"de": "Hut", "en": "Hat"}}),
        ({"title__de": "Hut", "title": "Hat"}, {"title": {"de": "Hut", "und": "Hat"}}),
        ({"images": [{"path": "a.jpg", "role": "front"}]}, {"images": [{"path": "a.jpg", "role": "front"}]}),
        ({"image_path": {"path": "a.jpg"}}, {"images": [{"path": "a.jpg"}]}),
        ({"images": "a.jpg|b.jpg", "image": ["c.jpg"]}, {"images": ["a.jpg", "b.jpg", "c.jpg"]}),
        ({"images": None, "price": None}, {}),
        ({"images": " | "}, {}),
        ({"stock": 3, "sizes": [1, 2]}, {"stock": 3, "sizes": [1, 2]}),
    ],
)
def test_typed_values(values: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert record({}, **values) == wanted


def test_a_number_that_is_to_be_text_becomes_one() -> None:
    assert record({"ean": "ean:text"}, ean=400) == {"ean": "400"}


def test_json_lines_are_renamed_only_where_that_is_asked(read: Read) -> None:
    data = b'{"sku": 7, "name": "Hat", "image_path": "a.jpg"}\nno json\n[1]\n'
    assert [raw["text"] for raw in read(data, "a.jsonl")] == data.decode().splitlines()
    found = read(data, "a.jsonl", columns="sku=id,name=title.en")
    assert [raw["text"] for raw in found[1:]] == ["no json", "[1]"]
    assert bodies(found[:1]) == [{"id": "7", "title": {"en": "Hat"}, "image_path": "a.jpg"}]


def test_json_lines_keep_their_codes(read: Read) -> None:
    data = b'{"id": "' + b"x" * 90 + b'"}\n\xff\n\n{"id": "1"}\n'
    for options in ({}, {"columns": "sku=id"}):
        assert codes(read(data, "a.jsonl", most=50, **options)) == [(1, "record.too_long"), (2, "record.not_utf8"), (4, "")]
