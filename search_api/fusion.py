"""From the legs' scores to one score. Pure; arrays of shape (n products, L legs).

    score(product) = sum over legs of weight x normalised,    sum of |weight| = 1     (arithmetic mean)

A leg whose modality the product has not (`missing`):
    renormalise   its weight goes to the other legs of the same input, and sign, that the product has: a product without a
                  picture is judged by its words. What cannot answer an input at all (a photo, where the product has no
                  picture) counts below the floor there, under calibrated, else as under zero: a lack is never a reward
    zero          it counts 0, or the leg's least score where that is below 0, other than under calibrated
    background    it counts as a match that means nothing; under calibrated the same as zero
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from search_api.candidates import NO_MODALITY, Candidates, Floats
from search_api.normalise import Scales, normalise
from search_api.query import DEFAULT_GUARD, FusionMethod, Mean
from triptych.schema import LEXICAL, Level, Missing

_LEAST: Final = 0.01
"""What geometric and harmonic mean take for a score below it: one leg that gives 0 must not wipe out all others."""


@dataclass(frozen=True, slots=True)
class FusedLeg:
    """What fusing must know of a leg: its weight, the input it belongs to, the name its level is kept under, and the level.

    What a leg that `pushes` away finds is no candidate, and where scores are completed only its best hit was asked for.
    """

    name: str
    source: str
    base: str
    weight: float
    level: Level | None = None
    pushes: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """How scores are fused."""

    fusion: FusionMethod = "calibrated"
    mean: Mean = "arithmetic"
    missing: Missing = "renormalise"
    guard: float = DEFAULT_GUARD


@dataclass(frozen=True, slots=True)
class Fused:
    """All candidates' scores (n,), and what they are made of: normalised and weight (n, L), and what a vote added to it (n,).

    `order` lists rows, best first.
    """

    score: Floats
    normalised: Floats
    weight: Floats
    scales: Scales
    order: list[int]
    boost: Floats | None = None


def fuse(candidates: Candidates, legs: Sequence[FusedLeg], method: Method) -> Fused:
    """Fuse. `legs` are in the order of `candidates.legs`.

    Earlier rounds stand before later ones, then by score, then by id.
    """
    lexical = [leg.base == LEXICAL for leg in legs]
    levels = [leg.level for leg in legs]
    normalised, scales = normalise(candidates, method.fusion, levels, lexical, guard=method.guard)
    weights = np.broadcast_to(np.array([leg.weight for leg in legs]), normalised.shape)
    lacking = candidates.status == NO_MODALITY
    if method.missing == "renormalise" and lacking.any():
        weights = renormalised(weights, lacking, [group_of(leg) for leg in legs])
    if lacking.any():
        below = np.where(weights > 0, scales.lack, 0.0)
        zero = np.zeros(()) if method.fusion == "calibrated" else below
        fills = {"renormalise": below, "zero": zero, "background": scales.background}
        normalised = np.where(lacking, fills[method.missing], normalised)
    normalised = np.where(np.isnan(normalised), 0.0, normalised)
    score = averaged(normalised, weights, method.mean)
    return Fused(score, normalised, weights, scales, ranked(candidates, score))


def group_of(leg: FusedLeg) -> str:
    """The legs that may stand in for each other: of one input, and all for a product or all against it."""
    return f"{leg.source} {'+' if leg.weight >= 0 else '-'}"


def renormalised(weights: Floats, lacking: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], groups: Sequence[str]) -> Floats:
    """The weights (n, L) where what a product lacks is given to its other legs of the same group.

    A product that lacks all legs of a group keeps their weights.
    """
    names = list(dict.fromkeys(groups))
    belongs = np.array([[group == name for name in names] for group in groups], dtype=float)
    whole = np.abs(weights) @ belongs
    there = np.where(lacking, 0.0, weights)
    left = np.abs(there) @ belongs
    factor = np.divide(whole, left, out=np.zeros_like(whole), where=left > 0)
    return np.where((left > 0) @ belongs.T > 0, there * (factor @ belongs.T), weights)


def averaged(normalised: Floats, weights: Floats, mean: Mean) -> Floats:
    """The mean of each row, (n,). Geometric and harmonic mean take scores below 0.01 for that, and no weight below 0."""
    if mean == "arithmetic":
        return np.asarray((weights * normalised).sum(axis=1))
    total = weights.sum(axis=1)
    positive = np.maximum(normalised, _LEAST)
    parts = weights * np.log(positive) if mean == "geometric" else weights / positive
    sums = parts.sum(axis=1)
    there = total > 0
    safe = np.where(there, total, 1.0)
    if mean == "geometric":
        return np.asarray(np.where(there, np.exp(sums / safe), 0.0))
    return np.asarray(np.where(there, safe / np.where(there, sums, 1.0), 0.0))


def ranked(candidates: Candidates, score: Floats) -> list[int]:
    """Rows, best first. Equal scores stay as they are, and within a round candidates are sorted by id."""
    order: list[int] = np.lexsort((-score, candidates.round)).tolist()
    return order


def reweighed(legs: Sequence[FusedLeg], weights: Mapping[str, float]) -> list[FusedLeg]:
    """The same legs with other weights."""
    return [replace(leg, weight=weights[leg.name]) for leg in legs]
