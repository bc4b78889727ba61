"""The contract of encoders, as checks for anyone's own: `triptych encoders check`, or `check(encoder)` in a test.

An encoder that keeps it can fill a space: its vectors have the promised shape and type, are of length 1 (or zeros), are the
same each time and in any company, and its fingerprint stands still.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders import registry
from triptych.encoders.base import Encoder, Fitted, Input, called
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError
from triptych.settings import Settings

ALIKE = 0.999
"""Least cosine between vectors of one input alone and in company: padding and batching may move the last digits only."""

_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Finding:
    """One clause of the contract, and whether an encoder keeps it; `seen` says what was seen where it does not."""

    space: str
    clause: str
    ok: bool
    seen: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_profile(profile: Profile, settings: Settings, *, only: str | None = None) -> list[Finding]:
    """The findings of all encoders of a profile (or of the space `only`). What learns, learns from the samples here."""
    if only is not None and only not in profile.families:
        raise EncoderError(
            f"The profile {profile.name} has no space {only!r} with an encoder.",
            code="encoder.unknown",
            field="space",
            remedy=f"There are: {', '.join(profile.families) or 'none'}.",
        )
    learned: dict[str, Fitted] = {}
    for name, family in profile.families.items():
        if family.fit is not None and only in {None, name}:
            setup = registry.setup_of(profile, name, settings, parts={})
            learned[name] = called(family.fit)(setup, samples(setup.spec.document_modality) * 4)
    encoders = registry.encoders_of(profile, settings, fitted={name: name for name in learned}, read=lambda name: learned[name])
    return [finding for name, encoder in encoders.items() if only in {None, name} for finding in check(encoder)]


def check(encoder: Encoder) -> list[Finding]:
    """All findings of one encoder. A clause that raises is broken, with the error as what was seen."""
    before = encoder.spec.fingerprint
    findings = [finding for embed, given, how in _uses(encoder) for finding in _use(encoder, embed, given, how)]
    again = dataclasses.replace(encoder.spec).fingerprint
    findings.append(_finding(encoder, "the fingerprint stands still", before == encoder.spec.fingerprint == again, before))
    other = dataclasses.replace(encoder.spec, dims=encoder.spec.dims + 1).fingerprint
    findings.append(_finding(encoder, "other dims have another fingerprint", other != before, other))
    return findings


_Embed = Callable[[Sequence[Input]], Vectors]


def _uses(encoder: Encoder) -> Iterator[tuple[_Embed, Modality, str]]:
    spec = encoder.spec
    yield encoder.embed_documents, spec.document_modality, f"documents ({spec.document_modality})"
    for modality in spec.query_modalities:
        yield lambda inputs, m=modality: encoder.embed_queries(inputs, m), modality, f"queries ({modality})"  # type: ignore[misc]


def _use(encoder: Encoder, embed: _Embed, modality: Modality, how: str) -> Iterator[Finding]:
    inputs = samples(modality)
    clauses: dict[str, Callable[[], str]] = {
        "one float32 row of the promised dims per input": lambda: _shape(embed(inputs), len(inputs), encoder.spec.dims),
        # what has learned from a few texts may not know a word of another
        "rows of length 1": lambda: _lengths(embed(inputs), zeros=encoder.spec.fitted is not None),
        "the same each time": lambda: _same(embed(inputs), embed(inputs), 1 - 1e-6),
        "the same alone and in company": lambda: _same(embed(inputs), np.concatenate([embed([i]) for i in inputs]), ALIKE),
        "the order of inputs is kept": lambda: _same(embed(inputs)[::-1], embed(inputs[::-1]), ALIKE),
        "no input, no row": lambda: _shape(embed([]), 0, encoder.spec.dims),
        "inputs that say nothing give rows of length 1 or zeros": lambda: _lengths(embed(empties(modality)), zeros=True),
        "different inputs have different vectors": lambda: _different(embed(inputs)),
    }
    for clause, fault in clauses.items():
        try:
            seen = fault()
        except Exception as error:  # noqa: BLE001  whatever a stranger's encoder raises breaks the clause
            seen = f"{type(error).__name__}: {error}"
        yield _finding(encoder, f"{how}: {clause}", not seen, seen)


def _finding(encoder: Encoder, clause: str, ok: bool, seen: str) -> Finding:
    return Finding(encoder.spec.space, clause, bool(ok), "" if ok else seen)


def _shape(vectors: Vectors, rows: int, dims: int) -> str:
    wanted = (rows, dims)
    found = getattr(vectors, "shape", None), getattr(vectors, "dtype", None)  # a stranger's encoder may return a list
    return "" if found == (wanted, np.float32) else f"{type(vectors).__name__} {found}, wanted {wanted} float32"


def _lengths(vectors: Vectors, *, zeros: bool) -> str:
    lengths = np.linalg.norm(vectors, axis=1)
    good = np.abs(lengths - 1) < _TOLERANCE
    if zeros:
        good |= lengths == 0
    return "" if good.all() else f"lengths {lengths.round(4).tolist()}"


def _same(one: Vectors, other: Vectors, least: float) -> str:
    cosines = (one * other).sum(axis=1) + (~one.any(axis=1) & ~other.any(axis=1))  # zeros are like zeros
    return "" if (cosines >= least).all() else f"cosines {cosines.round(5).tolist()}"


def _different(vectors: Vectors) -> str:
    cosines = vectors @ vectors.T - np.eye(len(vectors))
    return "" if cosines.max() < 1 - 1e-6 else "two inputs have the same vector"


def samples(modality: Modality) -> list[Input]:
    """Inputs of one modality that differ, of several lengths and sizes; the same each time."""
    random = np.random.default_rng(7)
    if modality is Modality.TEXT:
        return [
            "red woollen hat",
            "保暖的帽子，红色",
            "a guitar with six strings, " + "spruce top and rosewood back, " * 12,
            "Kopfhörer",
            "the blue kettle and the green cup",
        ]
    if modality is Modality.IMAGE:
        return [_picture(random, size) for size in ((64, 64), (300, 120), (33, 210), (500, 480), (97, 101))]
    return [_sound(random, seconds, rate) for seconds, rate in ((1.0, 16_000), (0.3, 44_100), (7.0, 8_000), (2.5, 48_000))]


def empties(modality: Modality) -> list[Input]:
    """Inputs that say nothing: no words, a picture of one pixel and a white one, one sample and silence."""
    if modality is Modality.TEXT:
        return ["", " ", "."]
    if modality is Modality.IMAGE:
        return [Image.new("RGB", (1, 1), "white"), Image.new("RGB", (80, 60), "white")]
    return [Waveform(np.zeros(1, np.float32), 16_000), Waveform(np.zeros(16_000, np.float32), 16_000)]


def _picture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A coloured shape on white, and some texture."""
    picture = Image.new("RGB", size, "white")
    colour = tuple(int(value) for value in random.integers(0, 255, 3))
    left, top = size[0] // 5, size[1] // 5
    picture.paste(colour, (left, top, size[0] - left, size[1] - top))
    noise = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(size)
    return Image.blend(picture, noise, 0.3)


def _sound(random: np.random.Generator, seconds: float, rate: int) -> Waveform:
    """A chord that dies away, with some noise."""
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in random.uniform(120, 2_000, 3))
    samples_ = tones / 4 * np.exp(-time) + random.normal(0, 0.02, len(time))
    return Waveform(np.asarray(samples_.clip(-1, 1), dtype=np.float32), rate)
