"""Legs beyond one input and one encoder: spaces made of others, and vectors given directly."""

from __future__ import annotations

from typing import Any

import pytest
from toys import IMAGE, TEXT, a_fused, a_precomputed, an_encoded

from search_api.legs import Planned, wanted
from search_api.query import SearchRequest
from triptych.errors import QueryError
from triptych.schema import LEXICAL, IndexSchema, Space

pytestmark = pytest.mark.unit

WORDS = an_encoded("text", 2)
PICTURES = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(TEXT, IMAGE))
LIKENESS = an_encoded("likeness", 3, document_modality=IMAGE, query_modalities=(IMAGE,), label="likeness")
OWN = a_precomputed("own", 2)
ALL = a_fused({"text": 0.6, "image": 0.4}, 5)
HIDDEN = [space.model_copy(update={"index_type": "none"}) for space in (WORDS, PICTURES)]


def plan(spaces: list[Space], *, lexical: bool = False, **inputs: Any) -> list[Planned]:
    return wanted(SearchRequest("shop", **inputs), IndexSchema(lexical_fields=("title",) if lexical else (), spaces=spaces))


def names(*args: Any, **inputs: Any) -> list[str]:
    return [leg.name for leg in plan(*args, **inputs)]


def refused(spaces: list[Space], **inputs: Any) -> QueryError:
    with pytest.raises(QueryError) as caught:
        plan(spaces, **inputs)
    return caught.value


# Fused


@pytest.mark.parametrize(
    ("inputs", "legs"),
    [
        ({"text": "shoe"}, ["text.text", "text.image", "all"]),
        ({"image": b"i"}, ["image.image", "all"]),
        ({"text": "shoe", "image": b"i"}, ["text.text", "text.image", "image.image", "all"]),
        ({"vectors": {"text": [1, 0]}}, ["all", "vector.text"]),
        ({"vectors": {"own": [1, 0]}}, ["vector.own"]),
    ],
    ids=["text", "image", "both", "vector of a part", "vector of another"],
)
def test_a_fused_space_makes_one_leg_of_all_its_parts_take(inputs: dict[str, Any], legs: list[str]) -> None:
    assert names([WORDS, PICTURES, OWN, ALL], **inputs) == legs


def test_a_fused_leg_has_a_source_of_its_own_and_is_embedded_of_all() -> None:
    (leg,) = [leg for leg in plan([WORDS, PICTURES, ALL], text="shoe", image=b"i") if leg.space is ALL]
    assert (leg.name, leg.source, leg.base, leg.modality, leg.fused) == ("all", "fused", "all", None, True)
    assert [one.kind for one in leg.inputs] == ["text", "image"]


def test_a_fused_leg_has_the_spaces_label() -> None:
    assert names([*HIDDEN, a_fused({"text": 1, "image": 1}, 5, label="whole")], text="shoe") == ["whole"]


def test_parts_without_a_field_make_no_leg_but_serve_the_whole() -> None:
    assert names([*HIDDEN, ALL], text="shoe") == ["all"]
    assert names([*HIDDEN, ALL], lexical=True, text="shoe", image=b"i") == [LEXICAL, "all"]
    assert names([*HIDDEN, ALL], vectors={"image": [1, 0, 0]}) == ["all"]


def test_an_input_that_neither_a_space_nor_a_part_takes_is_refused() -> None:
    assert (refused([*HIDDEN, ALL], audio=b"a").code, refused([*HIDDEN, ALL], audio=b"a").field) == ("query.no_space", "audio")
    assert refused([*HIDDEN, ALL], text="shoe", audio=b"a").field == "audio"
    assert refused([OWN, a_fused({"own": 1, "text": 1}, 4), WORDS], image=b"i").field == "image"


def test_a_part_without_a_whole_cannot_be_searched() -> None:
    assert refused(HIDDEN, text="shoe").code == "query.no_space"
    assert refused(HIDDEN, vectors={"text": [1, 0]}).field == "vectors.text"


def test_a_whole_without_a_field_makes_no_leg() -> None:
    hidden = ALL.model_copy(update={"index_type": "none"})
    assert names([WORDS, PICTURES, hidden], text="shoe") == ["text.text", "text.image"]
    assert refused([*HIDDEN, hidden], text="shoe").code == "query.no_space"


# Precomputed spaces and vectors given directly


def test_no_input_but_a_vector_searches_a_precomputed_space() -> None:
    assert refused([OWN], text="shoe").code == "query.no_space"
    assert names([WORDS, OWN], text="shoe") == ["text.text"]


def test_a_vector_makes_one_leg_in_its_space_beside_the_inputs() -> None:
    given = {"own": [0.5, 1], "image": [1, 0, 0]}
    found = plan([WORDS, PICTURES, OWN], lexical=True, text="shoe", vectors=given)
    assert [leg.name for leg in found] == [LEXICAL, "text.text", "text.image", "vector.own", "vector.image"]
    assert [(leg.source, leg.space, leg.modality) for leg in found[3:]] == [
        ("vector.own", OWN, None), ("vector.image", PICTURES, None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["nosuch", "all", "", "Text"])
def test_a_vector_of_no_space_that_takes_one_is_refused_with_those_there_are(name: str) -> None:
    error = refused([WORDS, PICTURES, OWN, ALL], vectors={name: [1, 0]})
    assert (error.code, error.field) == ("query.unknown_space", f"vectors.{name}")
    assert error.remedy == "Spaces: text, image, own."


@pytest.mark.parametrize("values", [[1.0], [1.0, 0, 0], [], [0.0, 0.0], [0, -0.0]])
def test_a_vector_of_another_length_or_of_zeros_is_refused(values: list[float]) -> None:
    error = refused([OWN], vectors={"own": values})
    assert (error.code, error.field) == ("query.bad_vector", "vectors.own")
    assert ("zeros" in error.message) is (len(values) == 2)
    assert len(values) == 2 or f"{len(values)} numbers, not the 2" in error.message


def test_legs_of_one_name_do_not_arise() -> None:
    spaces = [WORDS, PICTURES, LIKENESS, OWN, ALL]
    found = names(spaces, lexical=True, text="t", image=b"i", vectors={"own": [1, 0], "text": [1, 0]})
    assert len(found) == len(set(found))
    assert set(found) <= set(IndexSchema(lexical_fields=("title",), spaces=spaces).legs)
