"""What an index says of itself."""

from __future__ import annotations

from typing import get_args

import pytest

from triptych.domain import Modality
from triptych.encoders import registry
from triptych.errors import EncoderError
from triptych.schema import FIELD, KEY_FIELD, LEXICAL, IndexSchema, Level, Similarity, Space, vector_properties

pytestmark = pytest.mark.unit

SPACES = tuple(spec.to_space() for spec in registry.SPECS)
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
    assert sorted(schema.legs[1:]) == ["audio.audio", "image.image", "text.image", "text.text"]


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
        "key", "hash", "job", "line", "outcome", "missing", "text", "image", "image_words", "audio",
    }  # fmt: skip
    assert properties["properties"]["key"]["type"] == "keyword"


# check_spaces


def test_vectors_of_the_same_fingerprint_may_be_compared() -> None:
    IndexSchema(spaces=(CLIP,)).check_spaces([*SPACES, CLIP.model_copy(update={"encoder": "another name"})])


def test_vectors_of_another_fingerprint_are_refused() -> None:
    with pytest.raises(EncoderError) as caught:
        IndexSchema(spaces=(CLIP,)).check_spaces([CLIP.model_copy(update={"fingerprint": "f2"})])
    assert (caught.value.code, caught.value.field) == ("encoder.fingerprint_mismatch", "triptych.clip")
    assert not caught.value.retryable
    assert "f1" in str(caught.value)
    assert "f2" in str(caught.value)


def test_a_space_that_no_encoder_fills_is_refused() -> None:
    with pytest.raises(EncoderError) as caught:
        IndexSchema(spaces=(*SPACES, CLIP)).check_spaces(SPACES)
    assert (caught.value.code, caught.value.field) == ("encoder.unknown", "triptych.clip")


def test_an_encoder_that_the_index_has_no_space_of_does_no_harm() -> None:
    IndexSchema(spaces=SPACES).check_spaces([*SPACES, CLIP])


# As JSON


def test_a_schema_survives_json() -> None:
    schema = IndexSchema(
        lexical_fields=("title.*^3", "sku"),
        spaces=(*SPACES, CLIP),
        levels={LEXICAL: Level(floor=0, sigma=0), "text.text": Level(floor=0.9, sigma=0.01, reliability=0.8, sample=256)},
        created_with="triptych 0.1.0",
    )
    assert IndexSchema.model_validate_json(schema.model_dump_json()) == schema
    assert IndexSchema.model_validate(schema.model_dump(mode="json")) == schema


def test_a_schema_of_a_newer_version_can_be_read() -> None:
    assert IndexSchema.model_validate({"lexical_fields": ["title"], "colour": "red"}).lexical_fields == ("title",)


def test_our_field_is_named_once() -> None:
    assert FIELD == "triptych"
