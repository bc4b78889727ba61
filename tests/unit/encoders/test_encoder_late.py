"""Encoders are made when the first of them embeds, all of a profile together, once."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from toys import LETTERS, Letters, profile_of, space_text

from triptych.domain import Modality
from triptych.encoders import late, registry
from triptych.encoders.base import Encoder, Fitted, Preparing, Setup
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]


def read(sha256: str) -> Fitted:
    raise AssertionError(sha256)


def counted(made: list[str], error: Exception | None = None) -> Profile:
    """A profile of two spaces, that writes down which encoders were made."""
    profile = profile_of(space_text() + space_text("more", more="label: more"))

    def factory(setup: Setup) -> Encoder:
        made.append(setup.spec.space)
        if error is not None:
            raise error
        return Letters(setup)

    family = dataclasses.replace(LETTERS, factory=factory)
    return dataclasses.replace(profile, families=dict.fromkeys(profile.families, family))


def test_all_are_made_at_the_first_use_of_one_and_once(settings: Settings) -> None:
    made: list[str] = []
    profile = counted(made)
    encoders = late.encoders_of(profile, settings, fitted={}, read=read)
    assert made == []
    assert {name: e.spec for name, e in encoders.items()} == {
        name: registry.spec_of(profile, name, settings) for name in profile.families
    }
    now = registry.encoders_of(profile_of(space_text()), settings)["text"]
    assert np.array_equal(encoders["text"].embed_documents(["abc"]), now.embed_documents(["abc"]))
    assert np.array_equal(encoders["more"].embed_queries(["b"], Modality.TEXT), now.embed_queries(["b"], Modality.TEXT))
    assert sorted(made) == ["more", "text"]


def test_preparing_makes_none_and_is_passed_on_to_those_that_can(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    encoders = late.encoders_of(counted(made), settings, fitted={}, read=read)
    text = encoders["text"]
    assert isinstance(text, Preparing)
    text.prepare("abc")
    assert made == []
    text.embed_documents(["abc"])
    text.prepare("abc")  # Letters cannot
    seen: list[object] = []
    monkeypatch.setattr(Letters, "prepare", lambda _, value: seen.append(value), raising=False)
    text.prepare("abc")
    assert seen == ["abc"]


def test_what_making_one_raises_embedding_raises(settings: Settings) -> None:
    made: list[str] = []
    error = EncoderError("No such card.", code="encoder.failed")
    encoders = late.encoders_of(counted(made, error), settings, fitted={}, read=read)
    for _ in range(2):
        with pytest.raises(EncoderError) as caught:
            encoders["text"].embed_documents(["abc"])
        assert caught.value is error
    assert len(made) == 2, "what failed is tried again"


def test_what_has_not_learned_is_left_out(settings: Settings) -> None:
    profile = profile_of(space_text() + space_text("more", "learned", more="label: more"))
    assert list(late.encoders_of(profile, settings, fitted={}, read=read)) == ["text"]
    both = late.encoders_of(profile, settings, fitted={"more": "1" * 64}, read=read)
    assert both["more"].spec.fitted == "1" * 64


def test_the_encoders_of_a_process_bring_no_torch_until_one_embeds() -> None:
    """The whole way of a worker: services, a schema of the profile in force, its encoders."""
    script = """
import sys
from triptych.encoders.device import kind_of_device
from triptych.services import build
services = build()
kind_of_device(services.settings.model_copy(update={"device": "cpu"}))
schema = services.schema()
services.check(schema)
encoders = services.encoders(schema)
assert "torch" not in sys.modules and encoders
text = encoders["text"]
assert text.embed_documents(["a"]).shape == (1, text.spec.dims)
assert "torch" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
