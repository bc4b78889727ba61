"""How a profile names trained heads: over a space for each modality, of the encoders that they were trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toys import profile_of, space_text

from triptych.encoders import registry, trained
from triptych.encoders.models import CARD, WEIGHTS
from triptych.errors import EncoderError, ProfileError
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]

HEADS = "model: ./heads\nover: {OVER}\n"


def spaces(over: str, queries: str = "[text]", dims: int = 8) -> str:
    """The toy space `text`, and heads over it."""
    heads = space_text("aligned", "trained_head", dims, HEADS.replace("{OVER}", over) + "label: aligned")
    return space_text() + heads.replace("queries: [text]", f"queries: {queries}")


@pytest.mark.parametrize(
    ("over", "queries", "said"),
    [
        ("{}", "[text]", "is made over text"),
        ("{text: text, image: text}", "[text]", "is made over text"),
        ("{text: text}", "[text, image]", "is made over image, text"),
        ("{text: text, image: text}", "[text, image]", "takes no image"),
        ("{text: nothing}", "[text]", "'nothing' is no space"),
    ],
)
def test_a_space_of_heads_names_a_space_for_each_modality(over: str, queries: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        profile_of(spaces(over, queries))


def write(folder: Path, base: str, dims: int = 8) -> None:
    """Heads over a base of 26 dims."""
    random = np.random.default_rng(0)
    tensors = {
        "heads.text.mean": np.zeros(26, dtype=np.float32),
        "heads.text.straight.weight": random.normal(size=(dims, 26)).astype(np.float32),
        "heads.text.straight.bias": np.zeros(dims, dtype=np.float32),
    }
    towers = {"text": {"width": 26, "base": base, "head": "text"}}
    facts = {"kind": "heads", "dims": dims, "hidden": 0, "towers": towers}
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(trained.to_bytes(tensors, facts, "float32"))


def test_heads_embed_by_the_encoders_below_and_refuse_others(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    profile = profile_of(spaces("{text: text}"), folder=tmp_path)
    write(tmp_path / "heads", registry.spec_of(profile, "text", settings).fingerprint)
    heads = registry.encoders_of(profile, settings)["aligned"]
    found = heads.embed_documents(["a hat", "", "bag"])
    assert found.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1], atol=1e-6)
    assert heads.embed_documents([]).shape == (0, 8)
    write(tmp_path / "heads", "another")
    with pytest.raises(EncoderError, match="trained on another") as caught:
        registry.encoders_of(profile, settings)
    assert caught.value.code == "encoder.trained"


def test_heads_of_other_dims_and_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    profile = profile_of(spaces("{text: text}", dims=9), folder=tmp_path)
    write(tmp_path / "heads", registry.spec_of(profile, "text", settings).fingerprint)
    with pytest.raises(EncoderError, match="give 8 dims"):
        registry.encoders_of(profile, settings)
    with pytest.raises(EncoderError, match="holds heads 1, not fusion 1"):
        trained.read(tmp_path / "heads", "fusion")


def test_the_card_is_no_part_of_the_fingerprint_and_the_file_names_the_same_heads_as_its_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    write(tmp_path / "heads", "any")
    by_folder = profile_of(spaces("{text: text}"), folder=tmp_path)
    by_file = profile_of(spaces("{text: text}").replace("./heads", f"./heads/{WEIGHTS}"), folder=tmp_path)
    first = registry.spec_of(by_folder, "aligned", settings).fingerprint
    (tmp_path / "heads" / CARD).write_text('{"date": "today"}', encoding="utf-8")
    assert registry.spec_of(by_folder, "aligned", settings).fingerprint == first
    assert registry.spec_of(by_file, "aligned", settings).fingerprint == first
