"""What a user asks, and what is answered: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from triptych.domain import Modality

DEFAULT_SIZE: Final = 10
DEFAULT_WINDOW: Final = 100
"""Hits each leg returns. 100 to 200 is the known optimum up to ten million documents (../fusion in docs/architecture.md)."""

LARGEST_WINDOW: Final = 1000


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One query: any mix of words, a picture and a sound.

    `image` and `audio` are the bytes of a file. `weights` gives legs their share of the score (see `fusion.share`); `filters`
    maps a field to a value, a list of values (any of them) or a range {"gte": .., "lte": ..}, and all of them must hold.
    `size` hits are returned of those found within `window` per leg.
    """

    index: str
    text: str | None = None
    image: bytes | None = field(default=None, repr=False)
    audio: bytes | None = field(default=None, repr=False)
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

    `degraded` names the legs that failed and were left out. `explain` says how each leg was used, if asked for.
    """

    query_id: str
    took_ms: float
    total_matched: int
    hits: tuple[Hit, ...]
    degraded: tuple[str, ...] = ()
    explain: Mapping[str, Any] | None = None
