"""Queries with scores of made-up legs, for tests of evaluation: no index is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.kept import Asked, Scored
from evaluation.runs import Query
from search_api.candidates import LegHits, complete, gather
from search_api.fusion import FusedLeg
from triptych.schema import IndexSchema, Level

LEGS = (
    FusedLeg("lexical", "text", "lexical", 0.0, Level(floor=0.0, sigma=0.0, reliability=0.9, sample=99)),
    FusedLeg("text.text", "text", "text.text", 0.0, Level(floor=0.4, sigma=0.05, reliability=0.8, sample=99)),
    FusedLeg("image.image", "image", "image.image", 0.0, Level(floor=0.45, sigma=0.05)),
)
SCHEMA = IndexSchema(
    lexical_fields=("title.en",),
    levels={leg.base: leg.level for leg in LEGS if leg.level},
    weight_sets={"mine": {"lexical": 1.0}},
)


def a_scored(
    name: str,
    scores: Mapping[str, Mapping[str, float]],
    *,
    window: int = 100,
    words: str = "red shoe",
    legs: Sequence[FusedLeg] = LEGS,
    exclude: tuple[str, ...] = (),
) -> Scored:
    """A query with these scores by leg and product; each leg returned its `window` best, the rest was completed."""
    best = {leg.name: sorted(scores[leg.name], key=lambda key, of=leg.name: (-scores[of][key], key)) for leg in legs}  # type: ignore[misc]
    first = {leg: _hits(scores[leg], keys[:window]) for leg, keys in best.items()}
    late = {leg: _hits(scores[leg], keys[window:]) for leg, keys in best.items()}
    names = [leg.name for leg in legs]
    found = complete(gather(names, first, sources=names, full=window), late, words=["lexical"])
    return Scored(Query(name, text=words or None, exclude=exclude), found, tuple(legs), words)


def _hits(scores: Mapping[str, float], keys: Sequence[str]) -> LegHits:
    return LegHits(tuple(keys), tuple(scores[key] for key in keys))


def a_random(name: str, *, seed: int, size: int = 60, words: str | None = None, exclude: tuple[str, ...] = ()) -> Scored:
    """A query whose legs agree in nothing; a quarter of the products has no picture. Many scores are equal."""
    dice = np.random.default_rng(seed)
    ids = [f"p{number:03}" for number in range(size)]
    scores = {leg.name: dict(zip(ids, dice.random(size).round(2).tolist(), strict=True)) for leg in LEGS}
    scores["image.image"] = {key: value for key, value in scores["image.image"].items() if int(key[1:]) % 4}
    return a_scored(name, scores, window=25, words=name if words is None else words, exclude=exclude)


def an_asked(scored: Sequence[Scored], refused: Mapping[str, str] | None = None, *, words: str | None = None) -> Asked:
    """Queries that were asked; `words` are those of the refused ones."""
    lost = tuple(Query(name, text=words) for name in refused or {})
    return Asked("shop", "shop-1", SCHEMA, tuple(scored), refused or {}, unanswered=lost)
