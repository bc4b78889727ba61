"""What encoders are, as data: known without torch, and fingerprinted so that unlike vectors are never compared."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from toys import NOWHERE, offline_spaces

from triptych.domain import Modality
from triptych.encoders import profiles, registry
from triptych.encoders.base import EncoderSpec, Family, called, shortened, unit
from triptych.encoders.cli import rows_of
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

OFFLINE = profiles.read("offline")
SPECS = [registry.spec_of(OFFLINE, name, NOWHERE) for name in OFFLINE.spaces]


@pytest.mark.parametrize(
    ("space", "document", "queries", "dims"),
    [
        ("text", Modality.TEXT, (Modality.TEXT,), 384),
        ("image", Modality.IMAGE, (Modality.IMAGE,), 1280),
        ("image_words", Modality.IMAGE, (Modality.TEXT,), 384),
        ("audio", Modality.AUDIO, (Modality.AUDIO,), 1024),
    ],
)
def test_each_space_says_what_fills_and_what_searches_it(
    space: str, document: Modality, queries: tuple[Modality, ...], dims: int
) -> None:
    spec = registry.spec_of(OFFLINE, space, NOWHERE)
    assert (spec.document_modality, spec.query_modalities, spec.dims) == (document, queries, dims)
    assert spec.licence
    assert spec.description


def test_fingerprints_are_stable_and_differ_between_encoders() -> None:
    prints = [spec.fingerprint for spec in SPECS]
    assert prints == [registry.spec_of(OFFLINE, name, NOWHERE).fingerprint for name in OFFLINE.spaces]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 16 for p in prints)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.space))
def test_a_fingerprint_changes_with_what_makes_the_vectors_but_not_with_the_description(spec: EncoderSpec) -> None:
    changes = [{"identity": {**spec.identity, "version": 99}}, {"dims": 7}, {"similarity": "l2_norm"}, {"fitted": "0" * 64}]
    prints = [dataclasses.replace(spec, **change).fingerprint for change in changes]  # type: ignore[arg-type]
    assert len({spec.fingerprint, *prints}) == len(changes) + 1
    other = dataclasses.replace(
        spec, description="other words", licence="other", label="other", index_type="flat", name="other"
    )
    assert other.fingerprint == spec.fingerprint


@pytest.mark.parametrize("spec", [s for s in SPECS if s.space != "image_words"], ids=lambda spec: str(spec.space))
def test_an_identity_names_its_weights_by_sha256(spec: EncoderSpec) -> None:
    assert len(spec.identity["weights"]) == 64


def test_an_encoder_over_others_names_them_by_their_fingerprints() -> None:
    spec = registry.spec_of(OFFLINE, "image_words", NOWHERE)
    prints = {spec.space: spec.fingerprint for spec in SPECS}
    assert spec.identity["over"] == {"words": prints["text"], "pictures": prints["image"]}


def test_the_spaces_of_an_index_are_those_of_the_specs() -> None:
    as_of_specs = tuple(space.model_copy(update={"several": "mean"}) for space in offline_spaces())
    assert as_of_specs == tuple(spec.to_space() for spec in SPECS)
    assert [space.name for space in offline_spaces() if space.several == "best"] == ["image"]  # the profile's to say
    assert [space.name for space in offline_spaces()] == ["text", "image", "image_words", "audio"]


def test_what_is_not_prepared_is_refused_with_the_command_to_run(settings: Settings) -> None:
    with pytest.raises(EncoderError) as caught:
        registry.encoders_of(OFFLINE, settings)
    assert caught.value.code == "encoder.not_prepared"
    assert "triptych encoders prepare" in str(caught.value.remedy)


def test_listing_rows_are_plain_data(settings: Settings) -> None:
    rows = rows_of(OFFLINE, settings)
    assert json.loads(json.dumps(rows)) == rows
    assert [row["space"] for row in rows] == list(OFFLINE.spaces)
    assert [row["prepared"] for row in rows] == [False] * 4
    assert [row["fingerprint"] for row in rows] == [None] * 4
    assert rows[2]["queries"] == ["text"]


def test_listing_and_reading_profiles_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from triptych.encoders import profiles, registry\n"
        "from triptych.encoders.cli import encoders\n"
        "for name in profiles.built_in():\n"
        "    profiles.read(name)\n"
        "encoders(['list', '--json', '--profile', 'offline'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'torchvision', 'librosa', 'cv2', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["space"] for row in json.loads(done.stdout)] == list(OFFLINE.spaces)


# Small helpers of every encoder


def test_rows_are_scaled_to_length_one_and_zeros_stay() -> None:
    rows = unit([[3.0, 4.0], [0.0, 0.0]])  # type: ignore[arg-type]
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert rows.dtype == "float32"


def test_a_shortened_row_is_its_first_values_of_length_one_again() -> None:
    rows = shortened([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], 2)  # type: ignore[arg-type]
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]


def test_a_function_may_be_named_so_that_declaring_imports_nothing() -> None:
    assert called("math:sqrt")(9) == 3
    assert called(len)("abc") == 3
    family = Family("f", "s", "no_such_module:nothing", (Modality.TEXT,), (Modality.TEXT,))
    with pytest.raises(ModuleNotFoundError):
        called(family.factory)
