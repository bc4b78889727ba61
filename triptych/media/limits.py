"""What a decoder may spend on one file. `triptych.settings.Settings` fits; so does what a child process was told by its parent.

Nothing here or below reads settings: the process that decodes gets its limits with each request and needs no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Limits(Protocol):
    """The limits of one decoding."""

    @property
    def media_pixels(self) -> int:
        """Most pixels of a picture, by its header."""

    @property
    def media_seconds(self) -> float:
        """Longest sound accepted."""

    @property
    def decode_seconds(self) -> float:
        """Time that decoding may take. Functions in this process can hold ffmpeg to it, the `Decoder` everything."""

    @property
    def ffmpeg(self) -> Path | None:
        """The ffmpeg program; None: the one on PATH."""


@dataclass(frozen=True, slots=True)
class GivenLimits:
    """Limits as plain values."""

    media_pixels: int
    media_seconds: float
    decode_seconds: float
    ffmpeg: Path | None

    @classmethod
    def of(cls, limits: Limits) -> GivenLimits:
        return cls(limits.media_pixels, limits.media_seconds, limits.decode_seconds, limits.ffmpeg)

    def to_json(self) -> dict[str, Any]:
        return {
            "media_pixels": self.media_pixels,
            "media_seconds": self.media_seconds,
            "decode_seconds": self.decode_seconds,
            "ffmpeg": None if self.ffmpeg is None else str(self.ffmpeg),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> GivenLimits:
        ffmpeg = raw["ffmpeg"]
        return cls(
            int(raw["media_pixels"]),
            float(raw["media_seconds"]),
            float(raw["decode_seconds"]),
            None if ffmpeg is None else Path(ffmpeg),
        )
