"""How sure a difference is: bootstrap intervals and paired tests, by scipy. Pure; seeds are fixed.

The unit is a query, or a group of queries that are alike (the same words with other photos, say): groups are drawn as a whole,
or queries that say the same thing would count as independent.

https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.bootstrap.html
https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.permutation_test.html
Randomisation tests for search: Smucker, Allan, Carterette 2007, doi:10.1145/1321440.1321528
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 4999
_AT_ONCE: Final = 500
"""Resamples that are in memory together."""

_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval (at CONFIDENCE unless said otherwise); both ends are None where one value tells nothing."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two ways on the same queries, second minus first: the mean with its interval, and the probability of a difference as
    large if both were the same (None where nothing can be told).

    `wins`, `losses` and `ties` count queries.
    """

    estimate: Estimate
    p: float | None
    wins: int
    losses: int
    ties: int


def _grouped(
    values: Sequence[float], groups: Sequence[Hashable] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The sum and the number of the values of each group."""
    keys = list(range(len(values))) if groups is None else list(groups)
    names = list(dict.fromkeys(keys))
    place = {name: number for number, name in enumerate(names)}
    rows = np.array([place[key] for key in keys], dtype=np.intp)
    sums = np.bincount(rows, weights=np.asarray(values, dtype=float), minlength=len(names)).astype(np.float64)
    return sums, np.bincount(rows, minlength=len(names)).astype(np.float64)


def _ratio(sums: Any, counts: Any, axis: int = -1) -> Any:
    return sums.sum(axis=axis) / counts.sum(axis=axis)


def estimate(values: Sequence[float], groups: Sequence[Hashable] | None = None, *, confidence: float = CONFIDENCE) -> Estimate:
    """The mean with a bootstrap interval (percentiles). Raises ValueError for no value."""
    if not len(values):
        raise ValueError("there is no value")
    mean = float(np.mean(values))
    sums, counts = _grouped(values, groups)
    if len(sums) == 1:
        return Estimate(mean)
    found = stats.bootstrap(
        (sums, counts),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_AT_ONCE,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high))


def difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Difference:
    """What `second` has over `first`, value by value. The test turns the signs of groups at random (all ways, if few)."""
    deltas = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    sums, _ = _grouped(deltas.tolist(), groups)
    p: float | None = None
    if len(sums) > 1:
        p = 1.0
        if np.abs(sums).max() > _SAME:
            p = float(
                stats.permutation_test(
                    (sums,),
                    lambda x, axis=-1: x.sum(axis=axis),
                    permutation_type="samples",
                    vectorized=True,
                    n_resamples=_RESAMPLES,
                    batch=_AT_ONCE,
                    rng=np.random.default_rng(_SEED),
                ).pvalue
            )
    wins, losses = int((deltas > _SAME).sum()), int((deltas < -_SAME).sum())
    return Difference(estimate(deltas.tolist(), groups, confidence=confidence), p, wins, losses, len(deltas) - wins - losses)


_SAME: Final = 1e-9


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The probabilities for several comparisons at once (Holm 1979): the least times their number, and so on, never falling."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        found[place] = least
    return found
