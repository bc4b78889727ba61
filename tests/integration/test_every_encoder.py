"""The contract of encoders over every family: real weights where they exist, tiny models of the same classes elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from triptych.encoders import contract, prepare, profiles
from triptych.encoders.profile_entries import FUSED, PRECOMPUTED
from triptych.settings import Settings

pytestmark = pytest.mark.integration

SETTINGS = Settings(device="cpu", dtype="float32")
LEARNING = """
  word_vectors: {family: word_vectors, documents: text, queries: [text], dims: 16, label: a, licence: none}
  text_cnn: {family: text_cnn, documents: text, queries: [text], dims: 16, label: b, licence: none, options: {epochs: 1}}
  hog: {family: hog, documents: image, queries: [image], dims: 1764, label: a, licence: none}
  sift: {family: sift, documents: image, queries: [image], dims: 16, label: b, licence: none}
  image_cnn: {family: image_cnn, documents: image, queries: [image], dims: 16, label: c, licence: none, options: {epochs: 1}}
  log_mel: {family: log_mel, documents: audio, queries: [audio], dims: 192, label: a, licence: none}
  audio_cnn: {family: audio_cnn, documents: audio, queries: [audio], dims: 16, label: b, licence: none, options: {epochs: 1}}
"""
ELSEWHERE = {"trained_head"}
"""Checked by test_training.py, which trains heads first."""

TINY: dict[str, tuple[Callable[..., None], str]] = {
    "image_text": (tiny_models.clip, "{documents: image, queries: [text, image], dims: 24}"),
    "audio_text": (tiny_models.clap, "{documents: audio, queries: [text, audio], dims: 24}"),
    "embedding_gemma": (tiny_models.embedding_gemma2, "{documents: image, queries: [text, image, audio], dims: 160}"),
    "torchvision_image": (tiny_models.classifier, "{documents: image, queries: [image], dims: 512}"),
}


def broken(profile: profiles.Profile) -> list[contract.Finding]:
    findings = contract.check_profile(profile, SETTINGS)
    assert {finding.space for finding in findings} == set(profile.families)
    assert len(findings) >= 10 * len(profile.families)
    return [finding for finding in findings if not finding.ok]


@pytest.mark.parametrize("name", ["offline", "classical"])
def test_profiles_that_need_no_hub_keep_the_contract(name: str) -> None:
    profile = profiles.read(name)
    prepare.prepare(profile, SETTINGS)
    assert broken(profile) == []


def test_families_that_learn_keep_the_contract() -> None:
    assert broken(profiles.parse(f"description: learning\nspaces:{LEARNING}", name="learning")) == []


@pytest.mark.parametrize("family", TINY)
def test_families_of_the_hub_keep_the_contract_with_tiny_models(family: str, tmp_path: Path) -> None:
    build, rest = TINY[family]
    options = {"architecture": "resnet18"} if family == "torchvision_image" else {}
    folder = tiny_models.made(build, tmp_path / family, **options)
    more = f", options: {options}" if options else ""
    entry = f"{{family: {family}, model: {folder}, licence: none{more}, {rest.strip('{}')}}}".replace("'", '"')
    assert broken(profiles.parse(f"description: tiny\nspaces:\n  tiny: {entry}\n", name="tiny")) == []


def test_every_family_is_among_those_checked() -> None:
    checked = {entry.family for name in ("offline", "classical") for entry in profiles.read(name).spaces.values()}
    checked |= {entry.family for entry in profiles.parse(f"description: x\nspaces:{LEARNING}", name="x").spaces.values()}
    ours = {name for name, family in profiles.families().items() if _is_ours(family.factory)}
    assert ours - checked - {FUSED, PRECOMPUTED, *ELSEWHERE} == set(TINY)


def _is_ours(factory: object) -> bool:
    return isinstance(factory, str) and factory.startswith("triptych.")
