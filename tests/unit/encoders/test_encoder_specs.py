"""What encoders are, as data: known without torch, and fingerprinted so that unlike vectors are never compared."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from triptych.domain import Modality
from triptych.encoders import registry
from triptych.encoders.base import EncoderSpec
from triptych.encoders.cli import row_of
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def test_the_offline_profile_names_its_spaces_in_order() -> None:
    assert registry.OFFLINE_SPACES == ("text", "image", "image_words", "audio")


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
    spec = registry.spec_of(space)
    assert (spec.document_modality, spec.query_modalities, spec.dims) == (document, queries, dims)
    assert spec.licence
    assert spec.description


def test_fingerprints_are_stable_and_differ_between_encoders() -> None:
    prints = [spec.fingerprint for spec in registry.SPECS]
    assert prints == [spec.fingerprint for spec in registry.SPECS]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 16 for p in prints)


@pytest.mark.parametrize("spec", registry.SPECS, ids=lambda spec: str(spec.space))
def test_a_fingerprint_changes_with_the_identity_but_not_with_its_description(spec: EncoderSpec) -> None:
    other = dataclasses.replace(spec, identity={**spec.identity, "version": 99})
    assert other.fingerprint != spec.fingerprint
    assert dataclasses.replace(spec, description="other words").fingerprint == spec.fingerprint


@pytest.mark.parametrize("spec", registry.SPECS, ids=lambda spec: str(spec.space))
def test_an_identity_names_its_weights_by_sha256(spec: EncoderSpec) -> None:
    text = json.dumps(spec.identity)
    assert any(len(word) == 64 for word in text.replace('"', " ").split())


def test_an_unknown_space_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(EncoderError, match="image_words") as caught:
        registry.spec_of("smell")
    assert caught.value.code == "encoder.unknown"


def test_a_spec_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    theirs = dataclasses.replace(registry.spec_of("text"), identity={"weights": "others"})
    with pytest.raises(EncoderError) as caught:
        registry.load([theirs], Settings(data_dir=tmp_path))
    assert caught.value.code == "encoder.fingerprint_mismatch"


def test_what_is_not_prepared_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(EncoderError) as caught:
        registry.load(["text"], Settings(data_dir=tmp_path))
    assert caught.value.code == "encoder.not_prepared"
    assert "triptych encoders prepare" in str(caught.value.remedy)


def test_a_listing_row_is_plain_data(tmp_path: Path) -> None:
    row = row_of(registry.spec_of("image_words"), Settings(data_dir=tmp_path))
    assert json.loads(json.dumps(row)) == row
    assert row["prepared"] is False
    assert row["queries"] == ["text"]


def test_listing_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from triptych.encoders.cli import encoders\n"
        "encoders(['list', '--json'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'torchvision', 'librosa'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["space"] for row in json.loads(done.stdout)] == list(registry.OFFLINE_SPACES)
