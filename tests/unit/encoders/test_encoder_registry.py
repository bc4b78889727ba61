"""From a profile to spaces and encoders: what changes a fingerprint and what does not, and when an index is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from toys import LETTERS, Letters, profile_of, space_text

from triptych.domain import Modality
from triptych.encoders import profiles, registry
from triptych.encoders.base import Family, Fitted, Options
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError
from triptych.schema import IndexSchema, Space
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]

OWN = "  own: {family: precomputed, dims: 3, licence: MIT, documents: text, fingerprint: mine-v1}\n"
FUSED = "  all: {family: fused, dims: 29, licence: MIT, parts: {text: 0.7, own: 0.3}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"weights 1")
    return tmp_path


def spaces(profile: Profile, settings: Settings, **fitted: str) -> dict[str, Space]:
    return {space.name: space for space in registry.spaces_of(profile, settings, fitted=fitted)}


def weighty(folder: Path, more: str = "", dims: int = 26) -> Profile:
    return profile_of(space_text("text", "weighty", dims, f"model: ./weights\n{more}"), folder=folder)


# Fingerprints


def print_of(profile: Profile, settings: Settings) -> str:
    return registry.spec_of(profile, "text", settings).fingerprint


@pytest.mark.parametrize("more", ["options: {shift: 1}", "similarity: dot_product"])
def test_a_fingerprint_changes_with_what_makes_vectors(folder: Path, settings: Settings, more: str) -> None:
    assert print_of(weighty(folder, more), settings) != print_of(weighty(folder), settings)


def test_a_fingerprint_changes_with_the_dims_and_the_weights(folder: Path, settings: Settings) -> None:
    before = print_of(weighty(folder), settings)
    assert print_of(weighty(folder, dims=25), settings) != before
    (folder / "weights" / "model.safetensors").write_bytes(b"other weights")
    assert print_of(weighty(folder), settings) != before


def test_a_fingerprint_changes_with_the_family_and_its_version(folder: Path, settings: Settings) -> None:
    profile = weighty(folder)
    family = profile.families["text"]
    prints = {
        print_of(dataclasses.replace(profile, families={"text": changed}), settings)
        for changed in (family, dataclasses.replace(family, version=2), dataclasses.replace(family, name="other"))
    }
    assert len(prints) == 3


@pytest.mark.parametrize("more", ["description: other words", "label: other", "index: flat", "index: none", "options: {}"])
def test_a_fingerprint_does_not_change_with_what_makes_no_vectors(folder: Path, settings: Settings, more: str) -> None:
    assert print_of(weighty(folder, more), settings) == print_of(weighty(folder), settings)


def test_a_fingerprint_does_not_change_with_licence_file_space_or_place(folder: Path, settings: Settings) -> None:
    before = print_of(weighty(folder), settings)
    other = profile_of(space_text("words", "weighty", more=f"model: {folder}/weights").replace("MIT", "BSD"), name="other.yaml")
    assert registry.spec_of(other, "words", settings).fingerprint == before


class Coded(Options):
    remote_code: bool = False


def test_a_fingerprint_does_not_change_with_the_consent_to_code(settings: Settings) -> None:
    family = Family("coded", "may bring code", Letters, (Modality.TEXT,), (Modality.TEXT,), options=Coded)
    profile = dataclasses.replace(profile_of(space_text()), families={"text": family})
    prints = {
        print_of(dataclasses.replace(profile, options={"text": Coded(remote_code=word)}), settings) for word in (False, True)
    }
    assert len(prints) == 1


def test_an_option_that_is_written_out_as_its_default_changes_nothing(settings: Settings) -> None:
    assert print_of(profile_of(space_text(more="options: {shift: 0}")), settings) == print_of(
        profile_of(space_text()), settings
    )


def test_a_fingerprint_changes_with_the_encoders_it_is_made_over(settings: Settings) -> None:
    over = space_text("carried", "carried", more="over: {words: text}\nlabel: carried")
    one, other = (profile_of(space_text(more=more) + over) for more in ("", "options: {shift: 1}"))
    assert spaces(one, settings)["carried"].fingerprint != spaces(other, settings)["carried"].fingerprint


def test_a_fingerprint_changes_with_what_was_learned(settings: Settings) -> None:
    profile = profile_of(space_text("text", "learned"))
    one, other = (spaces(profile, settings, text=digit * 64)["text"] for digit in "12")
    assert one.fingerprint != other.fingerprint
    assert (one.fitted, other.fitted) == ("1" * 64, "2" * 64)


def test_a_fused_space_changes_with_its_weights_its_parts_and_how_they_are_combined(settings: Settings) -> None:
    texts = [
        space_text() + OWN + FUSED,
        space_text() + OWN + FUSED.replace("0.7", "0.6"),
        space_text() + OWN.replace("mine-v1", "mine-v2") + FUSED,
        space_text(more="options: {shift: 1}") + OWN + FUSED,
        space_text() + OWN.replace("dims: 3", "dims: 26") + FUSED.replace("29", "52"),
        space_text() + OWN.replace("dims: 3", "dims: 26") + FUSED.replace("29", "26").replace("}\n", ", combine: sum}\n"),
    ]
    prints = [spaces(profile_of(text), settings)["all"].fingerprint for text in texts]
    assert len(set(prints)) == len(texts)


def test_a_precomputed_space_changes_with_what_it_declares(settings: Settings) -> None:
    one = spaces(profile_of(OWN), settings)["own"]
    other = spaces(profile_of(OWN.replace("mine-v1", "mine-v2")), settings)["own"]
    assert one.fingerprint != other.fingerprint
    assert (one.kind, one.encoder, one.query_modalities) == ("precomputed", "mine-v1", ())


# Spaces


def test_spaces_stand_in_the_profiles_order_whatever_is_made_of_what(settings: Settings) -> None:
    found = spaces(profile_of(FUSED + OWN + space_text()), settings)
    assert list(found) == ["all", "own", "text"]
    fused = found["all"]
    assert (fused.kind, fused.parts, fused.combine, fused.document_modality) == (
        "fused",
        {"text": 0.7, "own": 0.3},
        "concatenate",
        None,
    )


def test_the_keys_of_a_profile_arrive_in_the_space(settings: Settings) -> None:
    more = "similarity: dot_product\nindex: bbq_flat\nlabel: words"
    space = spaces(profile_of(space_text(dims=64, more=more)), settings)["text"]
    assert (space.dims, space.similarity, space.index_type, space.label) == (64, "dot_product", "bbq_flat", "words")
    assert (space.kind, space.document_modality, space.query_modalities) == ("encoded", Modality.TEXT, (Modality.TEXT,))


def test_what_has_not_learned_is_told_with_the_command_that_lets_it(settings: Settings) -> None:
    with pytest.raises(EncoderError) as caught:
        registry.spaces_of(profile_of(space_text("text", "learned")), settings)
    assert (caught.value.code, caught.value.field) == ("encoder.not_fitted", "fit")
    assert "'text'" in caught.value.message
    assert "--fit" in str(caught.value.remedy)


def test_names_for_people(folder: Path) -> None:
    over = space_text("carried", "carried", more="over: {words: text}\nlabel: carried")
    profile = profile_of(space_text("text", "weighty", more="model: ./weights") + over + OWN + FUSED, folder=folder)
    names = [registry.name_of(profile, name) for name in profile.spaces]
    assert names == ["weights", "carried-weights", "mine-v1", "fused-weights-mine-v1"]


# check


def schema_of(profile: Profile, settings: Settings, **fitted: str) -> IndexSchema:
    return IndexSchema(spaces=tuple(spaces(profile, settings, **fitted).values()), profile=profile.name)


def refused(profile: Profile, schema: IndexSchema, settings: Settings) -> EncoderError:
    with pytest.raises(EncoderError) as caught:
        registry.check(profile, schema, settings)
    return caught.value


def test_an_index_of_the_profiles_own_encoders_may_be_searched(settings: Settings) -> None:
    profile = profile_of(space_text() + OWN + FUSED)
    registry.check(profile, schema_of(profile, settings), settings)
    registry.check(profile, IndexSchema(), settings)


def test_an_index_that_learned_is_checked_with_what_it_learned(settings: Settings) -> None:
    profile = profile_of(space_text("text", "learned"))
    registry.check(profile, schema_of(profile, settings, text="1" * 64), settings)


def test_an_encoder_that_the_index_has_no_space_of_does_no_harm(settings: Settings) -> None:
    index = schema_of(profile_of(space_text()), settings)
    registry.check(profile_of(space_text() + OWN + FUSED), index, settings)


def test_an_encoder_that_has_not_learned_and_that_the_index_has_no_space_of_does_no_harm(settings: Settings) -> None:
    index = schema_of(profile_of(space_text()), settings)
    registry.check(profile_of(space_text() + space_text("more", "learned", more="label: more")), index, settings)


@pytest.mark.parametrize("profile", ["mine.yaml", None])
def test_vectors_of_another_fingerprint_are_refused(settings: Settings, profile: str | None) -> None:
    schema = schema_of(profile_of(space_text()), settings).model_copy(update={"profile": profile})
    error = refused(profile_of(space_text(more="options: {shift: 1}")), schema, settings)
    assert (error.code, error.field) == ("encoder.fingerprint_mismatch", "triptych.text")
    assert schema.spaces[0].fingerprint in error.message
    assert "'text'" in error.message
    assert "TRIPTYCH_PROFILE" in str(error.remedy)
    assert profile is None or f"TRIPTYCH_PROFILE={profile}" in str(error.remedy)
    assert not error.retryable


def test_a_space_that_no_encoder_fills_is_refused(settings: Settings) -> None:
    error = refused(profiles.read("offline"), schema_of(profile_of(space_text("words")), settings), settings)
    assert (error.code, error.field) == ("encoder.unknown", "triptych.words")
    assert "'words'" in error.message
    assert "offline" in error.message
    assert "TRIPTYCH_PROFILE=mine.yaml" in str(error.remedy)


def test_what_learned_something_else_is_refused(settings: Settings) -> None:
    profile = profile_of(space_text("text", "learned"))
    schema = schema_of(profile_of(space_text("text")), settings)
    assert refused(profile, schema, settings).field == "triptych.text"


# Encoders


def test_each_encoder_is_made_once_with_all_it_is_made_of(folder: Path, settings: Settings) -> None:
    over = space_text("carried", "carried", more="over: {words: text}\nlabel: carried")
    profile = profile_of(over + space_text("text", "weighty", more="model: ./weights\noptions: {shift: 2}"), folder=folder)
    made = registry.encoders_of(profile, settings)
    text, carried = made["text"], made["carried"]
    assert isinstance(text, Letters)
    assert isinstance(carried, Letters)
    assert (text.setup.model, text.setup.options.shift, text.setup.fitted) == (folder / "weights", 2, None)
    assert carried.setup.parts == {"words": text}
    assert {name: encoder.spec.space for name, encoder in made.items()} == {"text": "text", "carried": "carried"}


def test_what_was_learned_is_handed_over_and_what_has_not_learned_is_left_out(settings: Settings) -> None:
    profile = profile_of(space_text() + space_text("more", "learned", more="label: more"))
    learned = Fitted({}, {"n": 1})
    assert list(registry.encoders_of(profile, settings)) == ["text"]
    made = registry.encoders_of(profile, settings, fitted={"more": "1" * 64}, read={"1" * 64: learned}.__getitem__)
    assert isinstance(made["more"], Letters)
    assert made["more"].setup.fitted is learned
    assert made["more"].spec.fingerprint == spaces(profile, settings, more="1" * 64)["more"].fingerprint


def test_what_follows_from_the_weights_is_computed_once_on_the_cpu(settings: Settings) -> None:
    computed = []

    def derive(setup: object, folder: Path) -> None:
        computed.append(setup)
        (folder / "table").touch()

    profile = dataclasses.replace(profile_of(space_text()), families={"text": dataclasses.replace(LETTERS, derive=derive)})
    on_gpu = settings.model_copy(update={"device": "cuda", "dtype": "bfloat16"})
    for _ in range(2):
        made = registry.encoders_of(profile, on_gpu)["text"]
        assert isinstance(made, Letters)
        assert made.setup.derived is not None
        assert (made.setup.derived / "table").is_file()
    assert [(s.settings.device, s.settings.dtype) for s in computed] == [("cpu", "float32")]  # type: ignore[attr-defined]
