"""Changed copies of pictures and sounds, embedded beside the things themselves: what a photo or recording does to them.

    picture -> turned a little -> a part of it, as large as before -> mirrored or not -> other light
    sound   -> a part of it -> louder or quieter -> muffled or thin -> noise of 10 to 30 dB below it

The frozen encoders see the copies once, before training, so they cost what as many more media cost. A copy is a function of the
thing and the seed alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import signal  # type: ignore[import-untyped]
from torchvision.transforms import v2

from triptych.domain import Waveform
from triptych.encoders.base import Input
from triptych.encoders.classical.contrast import seeded

_VERSION = 1
"""Raise it when the copies are made in another way: their vectors are kept by it."""

_SIDE = 256
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Augment:
    """`copies` changed copies of each picture and sound."""

    copies: int
    seed: int = 0

    def named(self, number: int) -> str:
        """What tells a copy from the thing itself and from other copies."""
        return f"copy {number} of seed {self.seed} by {_VERSION}"

    def __call__(self, value: Input, *, seed: bytes) -> Input:
        """A changed copy; texts stay as they are."""
        number = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big") >> 1
        if isinstance(value, Image.Image):
            with seeded(number):
                return picture(value)
        return sound(value, np.random.default_rng(number)) if isinstance(value, Waveform) else value


def picture(image: Image.Image) -> Image.Image:
    """By torch's random numbers."""
    found = _PICTURES(image.convert("RGB"))
    assert isinstance(found, Image.Image)  # noqa: S101  a picture stays one
    return found


_PICTURES: Any = v2.Compose(
    [
        v2.RandomRotation(12, interpolation=v2.InterpolationMode.BILINEAR, expand=True, fill=_WHITE),
        v2.RandomResizedCrop(_SIDE, scale=(0.6, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.03),
    ]
)


def sound(given: Waveform, random: np.random.Generator) -> Waveform:
    """By numpy's random numbers. Silence stays silent but for nothing to be louder than."""
    samples = given.samples
    length = max(1, int(len(samples) * random.uniform(0.6, 1.0)))
    start = int(random.integers(0, len(samples) - length + 1))
    part = samples[start : start + length].astype(np.float64)
    part = _filtered(part, given.rate, random) * 10 ** (random.uniform(-6, 6) / 20)
    power = float(np.mean(part**2))
    part = part + random.normal(0, np.sqrt(power * 10 ** (-random.uniform(10, 30) / 10)), len(part))
    return Waveform(np.clip(part, -1, 1).astype(np.float32), given.rate)


def _filtered(samples: Any, rate: int, random: np.random.Generator) -> Any:
    """Without its highest or its lowest part, as through a wall or a small loudspeaker."""
    kind, low, high = ("lowpass", 0.15, 0.45) if random.random() < 0.5 else ("highpass", 0.005, 0.05)  # noqa: PLR2004  half
    cut = random.uniform(low, high) * rate
    sections = signal.butter(2, cut, kind, fs=rate, output="sos")
    return signal.sosfilt(sections, samples)
