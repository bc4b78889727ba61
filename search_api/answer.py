"""What is answered: frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Recognised:
    """Spoken words: the text, its language (ISO 639-1) and how sure the recogniser is of it, 0 to 1."""

    text: str
    language: str
    confidence: float


@dataclass(frozen=True, slots=True)
class MatchedMedia:
    """Which of a product's media a leg's score is of: its reference, and for a part of a sound where it starts, in seconds."""

    reference: str
    start: float | None = None


@dataclass(slots=True)
class LegScore:
    """One leg's part in one hit. Not frozen, because an answer has forty of them: frozen they take three times as long to make.

    `raw` is Elasticsearch's score, None where the product has nothing of the leg's modality; `normalised` is the score on the
    fusion's scale, for calibrated 0 at `floor` and 1 at `top`; `contribution` = weight x normalised; `rank` is the place in the
    leg's own list, None where the leg did not return the product. `completed` says that its exact score was asked for then.
    `status` keeps the cases apart: retrieved, completed, no_match (the words do not occur: a true 0), no_modality,
    not_retrieved (only without completion). `matched_media` names the best of several pictures or parts of a sound.
    """

    raw: float | None
    normalised: float
    weight: float
    contribution: float
    completed: bool
    status: str
    floor: float = 0.0
    top: float = 1.0
    rank: int | None = None
    matched_media: MatchedMedia | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """A product left out because a better one has the same value of the field that is collapsed by."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked product. Under the arithmetic mean the contributions of its legs and `boost`, what a vote added, make `score`.

    `relevance`, 0 to 1, says how far it stands above what noise reaches in this catalogue; None where nothing was measured.
    """

    id: str
    score: float
    product: Mapping[str, Any] | None
    legs: Mapping[str, LegScore]
    relevance: float | None = None
    variants: tuple[Variant, ...] = ()
    highlight: Mapping[str, Sequence[str]] = field(default_factory=dict)
    boost: float = 0.0


@dataclass(frozen=True, slots=True)
class Degraded:
    """What was left out of an answer: a leg or a service, and why."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the neighbours of all legs, or classifiers, say the query is: the value of a field and how sure they are, 0 to 1.

    `shares` are of the votes, or probabilities. `modalities` is what each modality's classifier said alone.
    """

    field: str
    value: Any
    confidence: float
    shares: Mapping[str, float]
    by: str = "neighbours"
    modalities: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer. `total_matched` counts the products whose words match plus those only a vector leg found in its window.

    `index` is the alias that was asked; the first hit has position `offset` + 1 among all pages, which events name.
    `reachable` is how many products the pages of this answer hold, `next` the token of the page after this one. `degraded` says
    what failed and was left out. `explain` says how each leg was used, if asked for. `recognised` holds the words of a spoken
    query, under `audio.words`. `certified` says within which window it was proved that no other product can enter the answer.
    `index_version` is the version of the index that answered, with all of the answer's pages.
    """

    query_id: str
    took_ms: float
    total_matched: int
    hits: tuple[Hit, ...]
    reachable: int = 0
    next: str | None = None
    degraded: tuple[Degraded, ...] = ()
    recognised: Mapping[str, Recognised] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)
    predicted: Predicted | None = None
    certified: Mapping[str, Any] | None = None
    deep: Mapping[str, Any] | None = None
    explain: Mapping[str, Any] | None = None
    index_version: str = ""
    index: str = ""
    offset: int = 0
