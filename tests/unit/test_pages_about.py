"""What pages know of an index, as far as no service is needed: fields to count, references, examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_api.pages.about import candidates, paths_of, read_examples, references, sampled
from triptych.elastic.lifecycle import IndexInfo
from triptych.elastic.paths import values_at
from triptych.errors import SettingsError
from triptych.schema import Attachment, IndexSchema

pytestmark = pytest.mark.unit


def test_fields_to_count_are_keywords_and_numbers_that_are_no_other_form_of_a_field() -> None:
    fields = {
        "title": "text", "title.raw": "keyword", "brand": "keyword", "price": "double", "shop": "geo_point", "sold": "boolean",
        "triptych.key": "keyword", "bare": "keyword", "offers": "nested", "offers.seller": "keyword", "attrs.size": "keyword",
    }  # fmt: skip
    info = IndexInfo("shop-1", IndexSchema(), fields, no_doc_values=frozenset({"bare"}))
    assert candidates(info) == (["brand", "sold", "attrs.size"], ["price"])


@pytest.mark.parametrize(
    ("product", "path", "found"),
    [
        ({"a": {"b": [1, 2]}}, "a.b", [1, 2]),
        ({"a.b": 1}, "a.b", [1]),
        ({"a": [{"b.c": 1}, {"b": {"c": 2}}, 3]}, "a.b.c", [1, 2]),
        ({"a": 1}, "a.b", []),
        ({}, "a", []),
    ],
    ids=["list", "dotted", "mixed", "too-deep", "none"],
)
def test_values_are_found_at_a_path(product: dict[str, Any], path: str, found: list[object]) -> None:
    assert list(values_at(product, path.split("."))) == found


def test_references_are_texts_and_objects_each_once_in_their_order() -> None:
    product = {"images": ["a.jpg", {"path": "b.jpg"}, "a.jpg", 7, None, {"role": "front"}, {"url": "https://x.example/c"}]}
    assert references(product, ["images", "none"]) == ["a.jpg", "b.jpg", "https://x.example/c"]


def test_an_attached_index_has_its_own_paths() -> None:
    how = Attachment(text=("name", "text"), image=("photo.front",), audio=())
    assert paths_of(IndexSchema(attachment=how)) == ("name", ("photo.front",), ())
    assert paths_of(IndexSchema()) == ("title", ("images",), ("audio",))


def test_examples_are_short_titles_of_each_language_and_products_that_have_media() -> None:
    products = [
        {"title": {"en": "x" * 41, "zh": "红帽"}, "triptych": {"key": "p-1"}, "images": ["1.jpg"]},
        {"title": {"en": "Red hat"}, "triptych": {"key": "p-2"}, "audio": ["2.ogg"]},
        {"title": "A bare one", "triptych": {"key": "p-3"}, "images": ["3.jpg"]},
        {"title": "without a key", "images": ["4.jpg"]},
        {"title": "One more", "triptych": {"key": "p-5"}, "images": ["5.jpg"]},
    ]
    assert sampled(products, IndexSchema()) == {"words": ["红帽", "Red hat"], "image": ["p-1", "p-3"], "audio": ["p-2"]}


def test_a_file_of_examples(tmp_path: Path) -> None:
    path = tmp_path / "examples.json"
    path.write_text('{"shop": {"words": ["red hat"], "image": ["p-1"]}}', encoding="utf-8")
    assert read_examples(path)["shop"].model_dump() == {"words": ("red hat",), "image": ("p-1",), "audio": ()}
    assert read_examples(None) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"shop": {"word": []}}', '{"shop": {"words": "red"}}', None])
def test_a_file_of_examples_that_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "examples.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_examples(path)
    assert caught.value.field == "TRIPTYCH_PAGES_EXAMPLES"
