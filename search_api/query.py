"""What a user asks, and what is answered: frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from triptych.domain import Modality

DEFAULT_SIZE: Final = 10
DEFAULT_WINDOW: Final = 100
"""Hits each leg returns. 100 to 200 is the known optimum up to ten million documents (../fusion in docs/architecture.md)."""

LARGEST_WINDOW: Final = 1000

AUDIO_WORDS: Final = "audio.words"
"""The name of a query's spoken words among what was recognised."""

AudioAs = Literal["sound", "words", "both"]
"""What a query's sound is: something to find the like of, spoken words, or both."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One query: any mix of words, a picture and a sound.

    `image` and `audio` are the bytes of a file; `audio_as` says what the sound is. `vectors` are query vectors given directly,
    by space. `weights` gives legs their share of the score (see `fusion.share`); `filters`
    maps a field to a value, a list of values (any of them) or a range {"gte": .., "lte": ..}, and all of them must hold.
    `size` hits are returned of those found within `window` per leg.
    """

    index: str
    text: str | None = None
    image: bytes | None = field(default=None, repr=False)
    audio: bytes | None = field(default=None, repr=False)
    audio_as: AudioAs = "sound"
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False)
    weights: Mapping[str, float] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    size: int = DEFAULT_SIZE
    window: int = DEFAULT_WINDOW
    fusion: str = "calibrated"
    explain: bool = False

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs this query has, in a fixed order."""
        given = {Modality.TEXT: self.text, Modality.IMAGE: self.image, Modality.AUDIO: self.audio}
        return tuple(modality for modality, value in given.items() if value is not None)


@dataclass(frozen=True, slots=True)
class Recognised:
    """Spoken words: the text, its language (ISO 639-1) and how sure the recogniser is of it, 0 to 1."""

    text: str
    language: str
    confidence: float


@dataclass(frozen=True, slots=True)
class LegScore:
    """One leg's part in one hit.

    `raw` is Elasticsearch's score, None where the product has nothing of the leg's modality; `normalised` is 0 at the leg's
    floor and 1 at its best score in this query; `contribution` = weight x normalised; `completed` says that the leg did not
    return the product by itself and its exact score was asked for. `status` keeps the cases apart: retrieved, completed,
    no_match (the words do not occur: a true 0), no_modality.
    """

    raw: float | None
    normalised: float
    weight: float
    contribution: float
    completed: bool
    status: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked product. The contributions of its legs add up to `score`."""

    id: str
    score: float
    product: Mapping[str, Any]
    legs: Mapping[str, LegScore]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer. `total_matched` counts the products whose words match plus those only a vector leg found in its window.

    `degraded` names the legs that failed and were left out. `explain` says how each leg was used, if asked for. `recognised`
    holds the words of a spoken query, under `audio.words`.
    """

    query_id: str
    took_ms: float
    total_matched: int
    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()
    recognised: Mapping[str, Recognised] = field(default_factory=dict)
    explain: Mapping[str, Any] | None = None
