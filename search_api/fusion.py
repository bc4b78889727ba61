"""Weights, and the score they make. Pure.

    score(product) = sum over legs of weight x normalised,    sum of |weight| = 1

The share of the score is given to the query's inputs first (words, picture, sound; equal parts), then within an input to its
legs by their measured reliability: two legs of words that agree must not outvote the one leg of the picture, and a leg that
knows nothing of this catalogue weighs next to nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_api.completion import LegScores
from search_api.normalise import Scale
from search_api.query import LegScore
from triptych.errors import QueryError
from triptych.schema import Level

FUSIONS = ("calibrated",)
"""The fusions there are."""

SHARPNESS = 2
"""How much less a leg weighs that finds less: the square, as independent noisy measurements are weighted by the square of their
signal to noise. On the demo shop words against pictures (ConSE) find a quarter of the products first and get .03 of the words'
share; there every weight up to .06 keeps Chinese words at hit@5 1.00 (docs/adr/0003)."""


def default_weights(legs: Sequence[tuple[str, str]], levels: Mapping[str, Level]) -> dict[str, float]:
    """Weights nobody gave, for legs (name, what of the query makes it); they add up to 1."""
    inputs = list(dict.fromkeys(source for _, source in legs))
    weights: dict[str, float] = {}
    for source in inputs:
        mine = _trusts([name for name, owner in legs if owner == source], levels)
        total = sum(mine.values())
        for name, value in mine.items():
            weights[name] = (value / total if total else 1 / len(mine)) / len(inputs)
    return weights


def _trusts(names: Sequence[str], levels: Mapping[str, Level]) -> dict[str, float]:
    """The trust of an input's legs. Where some were measured, one that was not (too few products have its vector) gets 0."""
    any_measured = any(name in levels for name in names)
    return {name: trust(levels.get(name)) if name in levels or not any_measured else 0.0 for name in names}


def trust(level: Level | None) -> float:
    """A leg's reliability beyond chance, 0 to 1, to the power SHARPNESS; 1 where it was not measured."""
    if level is None or level.reliability is None:
        return 1.0
    if level.sample <= 1:
        return 1.0
    chance = 1 / level.sample
    return float(max(0.0, (level.reliability - chance) / (1 - chance)) ** SHARPNESS)


def share(given: Mapping[str, float], defaults: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    """The weights of a query's legs: what the user gave is a leg's share of the score, the others divide what is left.

    {"image.image": 0.5} means: half of the score is the picture's. Given weights that add up to 1 or more leave nothing to the
    legs not named, and are scaled to add up to 1. A weight for a leg of the index that this query does not have is ignored.
    Raises QueryError for a leg the index has not (`known`), a negative weight, or no weight above zero.
    """
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Legs of this index: {', '.join(known)}."
            raise QueryError(f"There is no leg {name!r}.", code="query.unknown_leg", field=f"weights.{name}", remedy=hint)
        if not 0 <= value < float("inf"):
            raise QueryError(
                f"The weight of {name!r} is {value}.",
                code="query.bad_weight",
                field=f"weights.{name}",
                remedy="Give a number from 0 up.",
            )
    largest = max([1.0, *given.values()])  # weights beyond 1 are scaled first: their sum must not overflow
    used = {name: float(given[name]) / largest for name in defaults if name in given}
    left = max(0.0, 1.0 - sum(used.values()))
    rest = {name: weight for name, weight in defaults.items() if name not in used}
    spread = sum(rest.values())
    weights = {name: used[name] if name in used else left * (rest[name] / spread if spread else 0.0) for name in defaults}
    total = sum(weights.values())
    if total <= 0:
        raise QueryError(
            "All legs of this query weigh 0.", code="query.bad_weight", field="weights", remedy="Give one a weight above 0."
        )
    return {name: weight / total for name, weight in weights.items()}


def without(weights: Mapping[str, float], dropped: Sequence[str]) -> dict[str, float]:
    """The weights when legs fell out: the others keep their proportions and add up to 1 again."""
    left = {name: weight for name, weight in weights.items() if name not in dropped}
    total = sum(left.values())
    return {name: weight / total if total else 1 / len(left) for name, weight in left.items()}


@dataclass(frozen=True, slots=True)
class Fused:
    """One candidate's score and what it is made of."""

    id: str
    score: float
    legs: Mapping[str, LegScore]


def fuse(scores: Mapping[str, LegScores], scales: Mapping[str, Scale], weights: Mapping[str, float]) -> list[Fused]:
    """All candidates, best first, ties by id. Every candidate must have a score in every leg (see `completion`)."""
    candidates = {key for leg in scores.values() for key in leg}
    fused = [_fused(key, scores, scales, weights) for key in candidates]
    return sorted(fused, key=lambda f: (-f.score, f.id))


def _fused(key: str, scores: Mapping[str, LegScores], scales: Mapping[str, Scale], weights: Mapping[str, float]) -> Fused:
    legs: dict[str, LegScore] = {}
    for name, leg in scores.items():
        score = leg[key]
        normalised = 0.0 if score.raw is None else scales[name](score.raw)
        weight = weights[name]
        legs[name] = LegScore(score.raw, normalised, weight, weight * normalised, score.status == "completed", score.status)
    return Fused(key, sum(leg.contribution for leg in legs.values()), legs)
