"""What is embedded, hashed and stored of a product."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from contents import content_hash
from hypothesis import given
from hypothesis import strategies as st

from indexer import documents
from triptych.domain import Media, Modality, Outcome, Product
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.schema import FIELD, Space

pytestmark = pytest.mark.unit

OLD, NEW = Server("8.19.3", "n", "c"), Server("9.5.0", "n", "c")
TEXT = Space(
    name="text", encoder="e", fingerprint="f1", dims=3, document_modality=Modality.TEXT, query_modalities=(Modality.TEXT,)
)


def _product(**changes: Any) -> Product:
    fields = {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": 40, "us": 7}, "tags": ["a", "b"]}
    given = {"id": "p1", "texts": {"title": {"en": "Shoe"}, "description": {}}, "fields": fields}
    return Product(**{**given, **changes})


# passage


@pytest.mark.parametrize(
    ("texts", "category", "words"),
    [
        (
            {"title": {"en": "Red shoe", "zh": "红鞋"}, "description": {"en": "Soft.", "zh": "软"}},
            ("Shoes", "Red"),
            "Red shoe 红鞋. Shoes > Red. Soft. 软",
        ),
        ({"title": {"en": " Shoe "}, "description": {}}, (), "Shoe"),
        ({"title": {}, "description": {"en": "Soft"}}, (), "Soft"),
        ({"title": {"en": "  "}, "description": {"en": ""}}, ("Shoes",), "Shoes"),
        ({"title": {}, "description": {}}, (), ""),
        ({"title": {"en": " \n"}, "description": {"en": "\t"}}, (), ""),
        ({"title": {}, "description": {}}, (" ",), ""),
        ({"title": {}, "description": {}}, ("",), ""),
        ({}, (), ""),
        ({"title": {"en": "Shoe"}}, (), "Shoe"),
        ({"description": {"en": "Soft"}, "title": {"en": "Shoe"}}, ("Shoes",), "Shoe. Shoes. Soft"),
        ({"description": {"en": "Soft"}}, ("Shoes",), "Shoes. Soft"),
    ],
    ids=[
        "all", "title", "description", "category", "empty", "blank", "blank category", "empty category", "no texts",
        "no description", "other order", "no title",
    ],
)  # fmt: skip
def test_the_passage_is_titles_then_category_then_descriptions(
    texts: dict[str, dict[str, str]], category: tuple[str, ...], words: str
) -> None:
    assert documents.passage(Product("p1", texts, {"id": "p1"}, category=category)) == words


# content_hash


def test_the_hash_is_sixty_four_hex_digits() -> None:
    digest = content_hash(_product(), {}, [TEXT])
    assert len(digest) == 64
    assert int(digest, 16) >= 0


def test_equal_content_has_an_equal_hash() -> None:
    media = {"a.jpg": "0" * 64}
    assert content_hash(_product(), media, [TEXT]) == content_hash(_product(), dict(media), (TEXT,))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "p1", "title": {"en": "Shoes"}, "size": {"eu": 40, "us": 7}, "tags": ["a", "b"]},
        {"id": "p1", "title": {"de": "Shoe"}, "size": {"eu": 40, "us": 7}, "tags": ["a", "b"]},
        {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": 41, "us": 7}, "tags": ["a", "b"]},
        {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": "40", "us": 7}, "tags": ["a", "b"]},
        {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": 40, "us": 7}, "tags": ["b", "a"]},
        {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": 40, "us": 7}},
        {"id": "p1", "title": {"en": "Shoe"}, "size": {"eu": 40, "us": 7}, "tags": ["a", "b"], "stock": None},
    ],
)
def test_the_hash_changes_with_a_field(fields: dict[str, Any]) -> None:
    assert content_hash(_product(fields=fields), {}, [TEXT]) != content_hash(_product(), {}, [TEXT])


@pytest.mark.parametrize("media", [{}, {"a.jpg": "1" * 64}, {"b.jpg": "0" * 64}, {"a.jpg": "media.not_found"}])
def test_the_hash_changes_with_a_medium(media: dict[str, str]) -> None:
    product = _product()
    assert content_hash(product, media, [TEXT]) != content_hash(product, {"a.jpg": "0" * 64}, [TEXT])


@pytest.mark.parametrize(
    "spaces",
    [[], [TEXT.model_copy(update={"fingerprint": "f2"})], [TEXT, TEXT.model_copy(update={"name": "other"})]],
    ids=["fewer", "fingerprint", "more"],
)
def test_the_hash_changes_with_an_encoder(spaces: list[Space]) -> None:
    assert content_hash(_product(), {}, spaces) != content_hash(_product(), {}, [TEXT])


def test_the_hash_does_not_change_with_the_order_of_keys() -> None:
    turned = {"tags": ["a", "b"], "size": {"us": 7, "eu": 40}, "title": {"en": "Shoe"}, "id": "p1"}
    other = TEXT.model_copy(update={"name": "other"})
    first = content_hash(_product(), {"a": "1", "b": "2"}, [TEXT, other])
    assert content_hash(_product(fields=turned), {"b": "2", "a": "1"}, [other, TEXT]) == first


@given(st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5), max_size=5))
def test_any_order_of_keys_has_the_same_hash(fields: dict[str, Any]) -> None:
    turned = dict(reversed(fields.items()))
    assert content_hash(_product(fields=fields), {}, []) == content_hash(_product(fields=turned), {}, [])


# build


@pytest.mark.parametrize("server", [OLD, NEW], ids=["8.19", "9.5"])
def test_a_document_is_the_record_with_ours_under_one_field(server: Server) -> None:
    vector = np.array([0.5, -0.25, 1], dtype=np.float32)
    document = documents.build(_product(), {"text": vector}, own={"hash": "h", "line": 3}, server=server)
    ours = document.pop(FIELD)
    assert document == _product().fields
    assert ours == {"key": "p1", "hash": "h", "line": 3, "text": pack(vector, server)}


def test_a_space_without_a_vector_has_no_field() -> None:
    assert documents.build(_product(), {}, own={}, server=NEW)[FIELD] == {"key": "p1"}


def test_building_leaves_the_product_as_it_was() -> None:
    product = _product(media=(Media(Modality.IMAGE, "a.jpg"),))
    before = copy.deepcopy(product)
    own = {"hash": "h"}
    documents.build(product, {"text": np.ones(3, dtype=np.float32)}, own=own, server=NEW)
    content_hash(product, {"a.jpg": "0" * 64}, [TEXT])
    documents.passage(product)
    assert product == before
    assert own == {"hash": "h"}


# bookkeeping


@pytest.mark.parametrize(
    ("failed", "outcome", "missing"),
    [
        ([], Outcome.WRITTEN, []),
        ([Modality.IMAGE], Outcome.PARTIAL, ["image"]),
        ([Modality.IMAGE, Modality.AUDIO, Modality.IMAGE], Outcome.PARTIAL, ["audio", "image"]),
    ],
)
def test_bookkeeping_says_how_it_ended(failed: list[Modality], outcome: Outcome, missing: list[str]) -> None:
    own = documents.bookkeeping(digest="h", job="j", line=3, failed=iter(failed))
    assert own == {"hash": "h", "job": "j", "line": 3, "outcome": outcome, "missing": missing}
