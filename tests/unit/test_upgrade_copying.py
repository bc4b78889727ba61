"""Which vectors one version of an index takes from another, and what then is left to be embedded and fetched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from indexer.upgrade.copying import alike, copy, holds, made_anew, needs
from indexer.work import Work
from triptych.domain import Modality, Product
from triptych.schema import IndexSchema, Space

pytestmark = pytest.mark.unit


def space(name: str, fingerprint: str, modality: Modality = Modality.IMAGE, **more: Any) -> Space:
    return Space(name=name, encoder=name, fingerprint=fingerprint, dims=2, document_modality=modality, **more)


OLD = IndexSchema(spaces=(space("image", "aa"), space("text", "bb", Modality.TEXT), space("parts", "pp", several="best")))


def test_spaces_are_alike_by_what_fills_them_not_by_their_names() -> None:
    new = IndexSchema(
        spaces=(
            space("image", "cc"),
            space("looks", "aa"),
            space("text", "bb", Modality.TEXT),
            space("parts", "pp"),
            space("sounds", "aa", Modality.AUDIO),
            space("whole", "ee", kind="fused", parts={"hidden": 1.0}),
            space("hidden", "bb", Modality.TEXT, index_type="none"),
        )
    )
    assert {name: one.name for name, one in alike(OLD, new).items()} == {"looks": "image", "text": "text"}
    assert made_anew(OLD, new) == {Modality.IMAGE, Modality.TEXT, Modality.AUDIO}
    assert made_anew(OLD, OLD) == frozenset()


def test_the_space_of_the_same_name_is_taken_first() -> None:
    twins = IndexSchema(spaces=(space("one", "aa"), space("two", "aa")))
    assert {name: one.name for name, one in alike(twins, twins).items()} == {"one": "one", "two": "two"}


def taken(own: dict[str, Any], schema: IndexSchema = OLD) -> Work:
    item = Work(1, Product("a", {}, {}))
    copy(item, own, alike(OLD, schema), schema)
    return item


def test_vectors_and_parts_are_copied() -> None:
    parts = [{"vector": [0.0, 1.0], "reference": "x", "start": 5.0}, {"vector": [1.0, 0.0], "reference": "x"}]
    item = taken({"outcome": "written", "image": [1.0, 0.0], "parts_parts": parts})
    assert item.copied == {"image", "text", "parts"}  # the product has no words: there is nothing to embed
    assert item.vectors["image"].tolist() == [1, 0]
    assert [(one.vector.tolist(), one.reference, one.start) for one in item.nested["parts"]] == [
        ([0, 1], "x", 5.0),
        ([1, 0], "x", None),
    ]
    assert np.linalg.norm(item.vectors["parts"]) == pytest.approx(1)
    assert "text" not in item.vectors
    assert not any(needs(item, modality, OLD) for modality in Modality)


def test_one_part_alone_comes_back_without_a_list() -> None:
    item = taken({"outcome": "written", "parts_parts": {"vector": [0.0, 1.0], "reference": "x"}})
    assert len(item.nested["parts"]) == 1


@pytest.mark.parametrize("own", [{"outcome": "partial", "image": [1.0, 0.0]}, {}], ids=["partial", "a stranger's"])
def test_of_a_product_that_lacked_something_nothing_is_taken(own: dict[str, Any]) -> None:
    item = taken(own)
    assert (item.copied, item.vectors) == (set(), {})
    assert needs(item, Modality.IMAGE, OLD)


def test_a_part_without_a_field_is_not_made_where_the_whole_is_copied() -> None:
    fused = IndexSchema(
        spaces=(
            space("hidden", "bb", Modality.TEXT, index_type="none"),
            space("whole", "ee", kind="fused", parts={"hidden": 1.0}),
        )
    )
    item = Work(1, Product("a", {}, {}))
    copy(item, {"outcome": "written", "whole": [1.0, 0.0]}, alike(fused, fused), fused)
    assert item.copied == {"hidden", "whole"}


def test_records_say_what_must_be_embedded() -> None:
    source = {"images": [{"path": "a.jpg"}], "audio": []}
    assert holds(source, frozenset(Modality)) == {"title": "...", "images": ["..."]}
    assert holds(source, frozenset()) == {}
