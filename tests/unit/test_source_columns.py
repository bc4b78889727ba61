"""Columns that carry types (Parquet, an index) and JSON lines that are renamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from source_reading import Read, bodies, codes

from indexer.records import id_of
from indexer.sources.columns import Columns, of_document

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


def test_of_json_lines_only_the_names_of_outermost_fields_change(read: Read) -> None:
    line = {
        "sku": "A1", "_op": "update", "price": None, "a.b": 1, "category": "Mac|PC", " x": 1, "images": ["a|b.png"],
        "id ": 2, "title": None, "": 3, "photo": "c|d.png",
    }  # fmt: skip
    found = read(json.dumps(line).encode(), "a.jsonl", columns="sku=id,photo=images,gone=")
    kept = {name: value for name, value in line.items() if name not in ("sku", "photo", "images")}
    assert bodies(found) == [{**kept, "id": "A1", "images": ["a|b.png", "c|d.png"]}]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ({"sku": "A1", "id": "17", "price": 1}, ("'sku'", "'id'")),
        ({"sku": "A1", "id": None}, ("'sku'", "'id'")),
        ({"name": "Hat", "title": {"en": "Cap", "de": "Hut"}}, ("'name'", "'title'")),
        ({"id": "1", "name": "Hat", "label": "Cap"}, ("'name'", "'label'")),
        ({"id": "1", "wide": 3, "size": 4}, ("'wide'", "'size'")),
        ({"id": "1", "wide": 3, "size": {"w": 4}}, ("'wide'", "'size'")),
    ],
)
def test_two_fields_of_a_json_line_that_are_to_be_one_are_a_dead_letter(
    read: Read, line: dict[str, Any], names: tuple[str, str]
) -> None:
    for turned in (line, dict(reversed(line.items()))):
        data = json.dumps(turned).encode() + b'\n{"id": "17"}\n'
        found = read(data, "a.jsonl", columns="sku=id,name=title.en,label=title.en,wide=size.w")
        assert codes(found) == [(1, "record.bad_row"), (2, "")]
        assert all(name in found[0]["message"] for name in (*names, "--columns"))
        assert id_of(found[0]) is None, "it takes no id from another line"


def test_two_fields_that_say_the_same_or_different_parts_are_one_field(read: Read) -> None:
    data = {"sku": 7, "id": "7", "name": "Hat", "title": "H", "wide": 3, "size": {"h": 4}}
    for turned in (data, dict(reversed(data.items()))):
        found = read(json.dumps(turned).encode(), "a.jsonl", columns="sku=id,name=title.en,wide=size.w")
        assert bodies(found) == [{"id": "7", "title": {"en": "Hat", "und": "H"}, "size": {"w": 3, "h": 4}}]


def test_fields_of_an_index_s_documents_keep_their_null() -> None:
    columns = Columns({"sku": "ean", "id": "old"})
    data = {"price": None, "title.en": "Hat", "image_path": "a.jpg|b.jpg", "images": None, "sku": 1, "ean": 1, "id": 3}
    found = of_document(4, data, columns, 1000, key="k")
    wanted = {"price": None, "title": {"en": "Hat"}, "images": ["a.jpg", "b.jpg"], "ean": 1, "old": 3, "id": "k"}
    assert (found["line"], bodies([found])) == (4, [wanted])
    assert of_document(4, {**data, "ean": 2}, columns, 1000, key="k")["code"] == "record.bad_row"


def test_json_lines_keep_their_codes(read: Read) -> None:
    data = b'{"id": "' + b"x" * 90 + b'"}\n\xff\n\n{"id": "1"}\n'
    for options in ({}, {"columns": "sku=id"}):
        assert codes(read(data, "a.jsonl", most=50, **options)) == [(1, "record.too_long"), (2, "record.not_utf8"), (4, "")]
