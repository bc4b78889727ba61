"""A family of another package, in twenty lines: from a profile's text to vectors, an index's space and a checked contract."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from triptych.domain import Modality
from triptych.encoders import contract, profiles, registry
from triptych.schema import vector_properties
from triptych.settings import Settings

pytestmark = pytest.mark.unit

# What another package would hold, as docs/encoders.md says.
PLUG_IN = """
import numpy as np
from pydantic import Field

from triptych.domain import Modality
from triptych.encoders.base import Family, Options, unit


class LettersOptions(Options):
    grow: float = Field(1.0, gt=0)


class Letters:
    def __init__(self, setup):
        self.spec, self.grow = setup.spec, setup.options.grow

    def embed_documents(self, inputs):
        counts = [np.bincount([ord(c) % self.spec.dims for c in text], minlength=self.spec.dims) for text in inputs]
        return unit(np.array(counts).reshape(len(inputs), self.spec.dims) ** self.grow)

    def embed_queries(self, inputs, modality):
        return self.embed_documents(inputs)


FAMILY = Family("letter_count", "words by their letters", Letters, (Modality.TEXT,), (Modality.TEXT,), LettersOptions)
"""

PROFILE = """
description: words by their letters
spaces:
  letters:
    family: letter_count
    dims: 61
    licence: CC0-1.0
    documents: text
    queries: [text]
    options: {grow: 0.5}
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> profiles.Profile:
    """The profile, with the plug-in installed."""
    (tmp_path / "letter_plug_in.py").write_text(PLUG_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("letter_count", "letter_plug_in:FAMILY", "triptych.encoders")
    monkeypatch.setattr(profiles, "entry_points", lambda *, group: [point] if group == point.group else [])
    monkeypatch.delitem(sys.modules, "letter_plug_in", raising=False)
    (tmp_path / "mine.yaml").write_text(PROFILE, encoding="utf-8")
    return profiles.read(str(tmp_path / "mine.yaml"))


def vectors(profile: profiles.Profile, settings: Settings, inputs: Sequence[str]) -> np.ndarray:
    return registry.encoders_of(profile, settings)["letters"].embed_documents(list(inputs))


def test_it_embeds(profile: profiles.Profile, settings: Settings) -> None:
    rows = vectors(profile, settings, ["aab", "bba", "xyz"])
    # a and b stand (2, 1) and (1, 2) times; by their roots: (sqrt 2, 1) and (1, sqrt 2), whose cosine is 2 sqrt 2 / 3
    assert rows.shape == (3, 61)
    assert rows[0] @ rows[1] == pytest.approx(2 * np.sqrt(2) / 3, abs=1e-6)
    assert rows[0] @ rows[2] == 0


def test_an_index_has_a_field_for_it(profile: profiles.Profile, settings: Settings) -> None:
    (space,) = registry.spaces_of(profile, settings)
    assert (space.encoder, space.dims, space.legs) == ("letter-count", 61, ("text.text", "vector.letters"))
    assert vector_properties([space])["properties"]["letters"]["dims"] == 61


def test_it_keeps_the_contract(profile: profiles.Profile, settings: Settings) -> None:
    findings = contract.check_profile(profile, settings)
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_its_description_is_its_summary(profile: profiles.Profile, settings: Settings) -> None:
    spec = registry.spec_of(profile, "letters", settings)
    assert (spec.description, spec.query_modalities) == ("words by their letters", (Modality.TEXT,))
