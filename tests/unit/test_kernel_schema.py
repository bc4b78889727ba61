"""What an index says of itself."""

from __future__ import annotations

from typing import get_args

import pytest
from toys import a_fused, a_precomputed, an_encoded, offline_spaces

from triptych.domain import Modality
from triptych.schema import (
    FIELD,
    KEY_FIELD,
    LEXICAL,
    IndexSchema,
    IndexType,
    Level,
    Similarity,
    Space,
    vector_properties,
)

pytestmark = pytest.mark.unit

SPACES = offline_spaces()
CLIP = Space(
    name="clip",
    encoder="clip",
    fingerprint="f1",
    dims=512,
    similarity="dot_product",
    document_modality=Modality.IMAGE,
    query_modalities=(Modality.TEXT, Modality.IMAGE),
)


def test_field_names() -> None:
    assert [space.field for space in SPACES] == [f"triptych.{name}" for name in ("text", "image", "image_words", "audio")]
    assert KEY_FIELD == "triptych.key"


@pytest.mark.parametrize(("modality", "leg"), [(Modality.TEXT, "text.image"), (Modality.IMAGE, "image.image")])
def test_a_leg_is_named_by_what_asks_and_what_is_found(modality: Modality, leg: str) -> None:
    assert CLIP.leg(modality) == leg


def test_the_legs_of_the_offline_profile() -> None:
    schema = IndexSchema(lexical_fields=("title.*",), spaces=SPACES)
    assert schema.legs[0] == LEXICAL
    assert sorted(leg for leg in schema.legs[1:] if not leg.startswith("vector.")) == [
        "audio.audio", "image.image", "text.image", "text.text",
    ]  # fmt: skip
    assert {leg for leg in schema.legs if leg.startswith("vector.")} == {f"vector.{space.name}" for space in SPACES}


def test_without_lexical_fields_there_is_no_lexical_leg() -> None:
    assert LEXICAL not in IndexSchema(spaces=SPACES).legs
    assert IndexSchema().legs == ()


def test_a_space_is_found_by_its_name() -> None:
    schema = IndexSchema(spaces=(*SPACES, CLIP))
    assert schema.space_of("clip") == CLIP
    assert schema.space_of("none") is None


# vector_properties


@pytest.mark.parametrize("similarity", get_args(Similarity))
def test_a_vector_field_has_the_encoders_dims_and_similarity(similarity: Similarity) -> None:
    space = CLIP.model_copy(update={"similarity": similarity})
    field = vector_properties([space])["properties"]["clip"]
    assert field["type"] == "dense_vector"
    assert (field["dims"], field["similarity"], field["index"]) == (512, similarity, True)


def test_each_space_has_a_field_beside_our_bookkeeping() -> None:
    properties = vector_properties(SPACES)
    assert properties["dynamic"] is False
    assert set(properties["properties"]) == {
        "key", "hash", "job", "line", "outcome", "missing", "text", "image", "image_parts", "image_words", "audio",
    }  # fmt: skip
    assert properties["properties"]["key"]["type"] == "keyword"


# Legs of each kind of space


@pytest.mark.parametrize(
    ("space", "legs"),
    [
        (an_encoded("text"), ("text.text", "vector.text")),
        (an_encoded("text", label="words"), ("text.words", "vector.text")),
        (CLIP, ("text.image", "image.image", "vector.clip")),
        (an_encoded("text", index_type="none"), ()),
        (a_precomputed("own"), ("vector.own",)),
        (a_precomputed("own", document_modality=None), ("vector.own",)),
        (a_precomputed("own", index_type="none"), ()),
        (a_fused({"a": 1, "b": 1}, 6), ("all",)),
        (a_fused({"a": 1, "b": 1}, 6, label="whole"), ("whole",)),
        (a_fused({"a": 1, "b": 1}, 6, index_type="none"), ()),
    ],
    ids=["encoded", "label", "two inputs", "part only", "precomputed", "of no modality", "no field", "fused", "named", "none"],
)
def test_the_legs_of_a_space(space: Space, legs: tuple[str, ...]) -> None:
    assert space.legs == legs
    assert IndexSchema(spaces=(space,)).legs == legs


@pytest.mark.parametrize("index_type", get_args(IndexType))
def test_a_quantised_space_is_one_whose_index_shortens_vectors(index_type: IndexType) -> None:
    space = an_encoded(index_type=index_type)
    assert space.quantised is index_type.startswith(("int8", "int4", "bbq"))
    assert space.searched is (index_type != "none")


@pytest.mark.parametrize("index_type", get_args(IndexType))
def test_a_space_has_a_field_of_its_index_type_unless_it_is_only_a_part(index_type: IndexType) -> None:
    fields = vector_properties([an_encoded("tried", index_type=index_type), an_encoded("other")])["properties"]
    if index_type == "none":
        assert "tried" not in fields
    else:
        assert fields["tried"]["index_options"] == {"type": index_type}
    assert "other" in fields


# Several media


@pytest.mark.parametrize("index_type", [t for t in get_args(IndexType) if t != "none"])
@pytest.mark.parametrize("similarity", get_args(Similarity))
def test_a_space_in_which_the_best_part_counts_has_a_nested_field_of_the_same_vectors(
    index_type: IndexType, similarity: Similarity
) -> None:
    space = an_encoded("image", several="best", index_type=index_type, similarity=similarity)
    assert (space.parts_field, space.parts_vector) == ("triptych.image_parts", "triptych.image_parts.vector")
    fields = vector_properties([space])["properties"]
    assert fields["image_parts"]["type"] == "nested"
    assert set(fields["image_parts"]["properties"]) == {"vector", "reference", "start"}
    whole = {"type": "flat" if index_type.endswith("flat") else "hnsw"}  # never quantised: docs/adr/0009
    assert fields["image_parts"]["properties"]["vector"] == {**fields["image"], "index_options": whole}
    assert (fields["image"]["similarity"], fields["image"]["index_options"]) == (similarity, {"type": index_type})


@pytest.mark.parametrize("changes", [{}, {"several": "mean"}, {"several": "best", "index_type": "none"}], ids=str)
def test_any_other_space_has_no_field_of_parts(changes: dict[str, str]) -> None:
    space = an_encoded("image").model_copy(update=changes)
    assert not space.has_parts
    assert "image_parts" not in vector_properties([space])["properties"]


# As JSON


def test_a_schema_survives_json() -> None:
    schema = IndexSchema(
        lexical_fields=("title.*^3", "sku"),
        spaces=(
            *SPACES,
            CLIP,
            CLIP.model_copy(update={"name": "b", "several": "best", "segment_seconds": 2.5}),
            a_precomputed(),
            a_fused({"text": 0.6, "image": 0.4}, 1664, combine="sum"),
        ),
        levels={
            LEXICAL: Level(floor=0, sigma=0),
            "text.text": Level(floor=0.9, sigma=0.01, reliability=0.8, sample=256, noise=(0.5,) * 11),
        },
        created_with="triptych 0.1.0",
        profile="offline",
    )
    assert IndexSchema.model_validate_json(schema.model_dump_json()) == schema
    assert IndexSchema.model_validate(schema.model_dump(mode="json")) == schema


def test_a_schema_of_a_newer_version_can_be_read() -> None:
    assert IndexSchema.model_validate({"lexical_fields": ["title"], "colour": "red"}).lexical_fields == ("title",)


def test_an_index_made_before_there_were_parts_and_noise_is_read_as_one_of_means() -> None:
    old = IndexSchema(spaces=(CLIP,), levels={"image.image": Level(floor=0.5, sigma=0.1)}).model_dump(mode="json")
    for space in old["spaces"]:
        del space["several"], space["segment_seconds"]
    del old["levels"]["image.image"]["noise"]
    schema = IndexSchema.model_validate(old)
    assert schema.spaces == (CLIP,)
    assert (schema.spaces[0].several, schema.levels["image.image"].noise) == ("mean", ())


def test_our_field_is_named_once() -> None:
    assert FIELD == "triptych"
