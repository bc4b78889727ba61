"""Bring the scores of the legs to one scale. Pure; arrays of shape (n products, L legs).

calibrated   (raw - floor) / (top - floor): the floor is measured on the catalogue (`schema.Level`), the top is the leg's best
             score in this query, but never less than the guard (two sigma unless a query says otherwise) above the floor: a leg
             of which nothing stands out must not have its noise stretched to 1. Neither moves with page or window.
min_max      (raw - min) / (max - min) over the scores known: what most engines do; 1 for all where all are equal
z_score      (raw - mean) / sigma; 0 where all are equal
dbsf         (raw - (mean - 3 sigma)) / (6 sigma), Qdrant's distribution-based score fusion; 0.5 where all are equal
l2           raw / length of the leg's scores as a vector, OpenSearch's l2
tm2c2        raw / top, with the theoretical least score, 0, as floor (Bruch et al. 2023, doi:10.1145/3596512)
rrf          1 / (60 + rank) (Cormack et al. 2009, doi:10.1145/1571941.1572114); equal scores share the best of their ranks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from search_api.candidates import NO_MATCH, Candidates, Floats
from search_api.query import DEFAULT_GUARD, FusionMethod
from triptych.schema import Level

_BELOW: Final = 2.0
"""Sigmas below the floor at which a product counts that cannot answer an input at all."""

UNMEASURED = Level(floor=0.5, sigma=0.25)
"""For a vector leg nobody measured yet (fewer than ten products): the cosine itself, 0 at a right angle."""

RANK_CONSTANT: Final = 60

_SAME: Final = 1e-6
"""Share by which scores may differ and be equal: Elasticsearch sums the float32 of copies of a product in different orders."""

_NARROWEST = 0.01
"""Least width of a vector leg's scale: a catalogue of equal products has a sigma of 0, and no leg may drown the others."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The scale of each leg in one query, shape (L,): where 0 and 1 lie; `background` is what a match that means nothing
    gets, `lack` what stands for the score of a product that cannot answer an input at all.
    """

    floor: Floats
    top: Floats
    background: Floats
    lack: Floats


def calibrated_scale(level: Level | None, top: float, *, lexical: bool, guard: float = DEFAULT_GUARD) -> tuple[float, float]:
    """Floor and top of a leg. `top` is the leg's best score in this query, NaN where it found nothing; `guard` in sigmas."""
    known = level or (Level(floor=0.0, sigma=0.0) if lexical else UNMEASURED)
    least = known.floor + max(guard * known.sigma, 1e-6 if lexical else _NARROWEST)
    return known.floor, max(top, least) if top == top else least  # noqa: PLR0124  NaN


def normalise(
    candidates: Candidates,
    method: FusionMethod,
    levels: Sequence[Level | None],
    lexical: Sequence[bool],
    *,
    guard: float = DEFAULT_GUARD,
) -> tuple[Floats, Scales]:
    """The scores on one scale, (n, L), NaN where none is known, and the scales."""
    raw = candidates.raw
    count, own = len(candidates.legs), candidates.own
    floor, top, nothing = np.zeros(count), np.ones(count), np.zeros(count)
    if method == "rrf":
        return _reciprocal_ranks(candidates), Scales(floor, np.full(count, 1 / (RANK_CONSTANT + 1)), nothing, nothing)
    for column, best in enumerate(candidates.tops.tolist()):
        if method == "calibrated":
            floor[column], top[column] = calibrated_scale(levels[column], best, lexical=lexical[column], guard=guard)
            continue
        known = raw[own, column]
        known = known[~np.isnan(known)]
        if len(known):
            floor[column], top[column] = _of_list(known, method)
    width = top - floor
    scaled = np.divide(raw - floor, width, out=raw * 0 + _LEVEL[method], where=width > 0)
    meaningless = np.array([(level or UNMEASURED).floor for level in levels])
    meaningless[np.asarray(lexical, dtype=bool)] = 0.0
    background = np.divide(meaningless - floor, width, out=np.zeros(count), where=width > 0)
    lack = _lack(levels, lexical, width) if method == "calibrated" else np.fmin.reduce(scaled[own], axis=0, initial=0.0)
    return scaled, Scales(floor, top, background, lack)


def _lack(levels: Sequence[Level | None], lexical: Sequence[bool], width: Floats) -> Floats:
    """_BELOW sigmas below the floor: nearly all products that have the modality stand above it, whatever the list. The other
    methods take the list's least score, if that is below 0: under z_score 0 is the mean, and half of the list stands below it.
    """
    sigma = np.array([0.0 if words else (level or UNMEASURED).sigma for level, words in zip(levels, lexical, strict=True)])
    return np.asarray(-_BELOW * sigma / width)


_LEVEL: Final = {"calibrated": 0.0, "min_max": 1.0, "z_score": 0.0, "dbsf": 0.5, "l2": 0.0, "tm2c2": 0.0}
"""What each score becomes where all are equal (or all 0), so that there is no width to divide by."""


def _of_list(known: Floats, method: FusionMethod) -> tuple[float, float]:
    """Floor and top that a list of scores gives itself."""
    if method == "min_max":
        return float(known.min()), float(known.max())
    if method == "l2":
        return 0.0, float(np.sqrt((known**2).sum()))
    if method == "tm2c2":
        return 0.0, float(known.max())
    mean, sigma = float(known.mean()), float(known.std())
    if sigma <= 1e-12 * max(1.0, abs(mean)):  # noise of rounding
        return mean, mean
    return (mean, mean + sigma) if method == "z_score" else (mean - 3 * sigma, mean + 3 * sigma)


def _reciprocal_ranks(candidates: Candidates) -> Floats:
    """1 / (60 + rank) by all scores known, (n, L); equal scores share the best of their ranks. What does not match has none."""
    found = np.full(candidates.raw.shape, np.nan)
    matches, own = ~np.isnan(candidates.raw) & (candidates.status != NO_MATCH), candidates.own
    for column in range(len(candidates.legs)):
        rows = matches[:, column]
        found[rows, column] = 1 / (RANK_CONSTANT + _ranks(candidates.raw[rows, column], candidates.raw[rows & own, column]))
    return found


def _ranks(scores: Floats, among: Floats) -> npt.NDArray[np.intp]:
    """The rank, from 1, that scores have in a list; those as good as equal to each other share the best."""
    if not len(among):
        return np.ones(len(scores), dtype=np.intp)
    falling = np.sort(among)[::-1]
    further = np.append(True, falling[:-1] > falling[1:] * (1 + _SAME))
    first = np.maximum.accumulate(np.where(further, np.arange(len(falling)), 0))
    above = np.searchsorted(-falling, -scores * (1 + _SAME))
    return np.append(first, len(falling))[above] + 1


def relevance(raw: float | npt.NDArray[np.float64], level: Level) -> Floats:
    """Share of queries about nothing in particular whose best score among the sampled products lies below `raw`, 0 to 1."""
    steps = len(level.noise) - 1
    return np.asarray(np.interp(raw, level.noise, [step / steps for step in range(steps + 1)]))
