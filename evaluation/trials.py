"""Many weights tried on one query at once: nDCG@k of 10,000 trials in hundredths of a second. Pure.

Scores are normalised once; a trial is then a product of a matrix (n products, L legs) and the weights (L, T trials). Products
that cannot be among the k best whatever the weights are left out first: those that k others reach or surpass in every leg. The
quick way and the search's own way give the same rankings (a test holds them together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from evaluation.kept import Scored
from search_api.candidates import NO_MODALITY, Floats
from search_api.fusion import Method, fuse, renormalised, reweighed

_AT_ONCE: Final = 512
"""Trials in one product of matrices: the scores then fit the processor's cache."""

_LEAST: Final = 1e-12


class Trials:
    """nDCG@k of one query under many weights, all of them 0 or above, by the arithmetic mean of calibrated scores (or another
    method's). Linear gains, as `measures` has them.
    """

    def __init__(self, one: Scored, grades: Mapping[str, int], *, k: int, method: Method, judged_only: bool = False) -> None:
        allowed = np.array([product not in one.query.exclude for product in one.candidates.ids], dtype=bool)
        if judged_only:
            allowed &= np.array([product in grades for product in one.candidates.ids], dtype=bool)
        even = reweighed(one.legs, {leg.name: 1 / len(one.legs) for leg in one.legs})
        fused = fuse(one.candidates, even, method)
        lacking = (one.candidates.status == NO_MODALITY)[allowed]
        values = fused.normalised[allowed]
        if method.missing == "renormalise":
            values = np.where(lacking, fused.scales.lack, values)
        gains = np.array([max(0, grades.get(product, 0)) for product in one.candidates.ids], dtype=float)[allowed]
        self.k, self.names = k, tuple(leg.name for leg in one.legs)
        self._best = _discounted(np.sort(np.maximum(0, np.array([*grades.values(), 0], dtype=float)))[::-1][None, :k])[0]
        spread = method.missing == "renormalise"
        self._sources = [leg.source for leg in one.legs]
        self._parts = _parts(values, gains, lacking if spread else np.zeros_like(lacking), k)

    def __call__(self, weights: Floats) -> Floats:
        """The measure of each trial, (T,). `weights` (T, L) are 0 or above."""
        found = np.zeros(len(weights))
        if not self._best or not self._parts:
            return found
        for at in range(0, len(weights), _AT_ONCE):
            found[at : at + _AT_ONCE] = self._some(weights[at : at + _AT_ONCE])
        return found

    def _some(self, weights: Floats) -> Floats:
        scores, gains, places = [], [], []
        for values, mine, place, lacking in self._parts:
            spread = weights
            if lacking.any():
                spread = renormalised(weights, np.broadcast_to(lacking, weights.shape), self._sources)
            scores.append(spread @ values.T)
            gains.append(mine)
            places.append(place)
        place = np.concatenate(places)
        order = np.argsort(place)
        score = np.concatenate(scores, axis=1)[:, order]
        gain = np.concatenate(gains)[order]
        top = _top(score, self.k)
        return np.asarray(_discounted(gain[top]) / self._best)


Part = tuple[Floats, Floats, npt.NDArray[np.intp], npt.NDArray[np.bool_]]
"""Products that lack the same legs: their scores (n, L), gains (n,), rows among the candidates (n,), and the legs (L,)."""


def _parts(values: Floats, gains: Floats, lacking: npt.NDArray[np.bool_], k: int) -> list[Part]:
    """The products in parts by what they lack, without those that cannot be among the k best."""
    if not len(values):
        return []
    patterns, which = np.unique(lacking, axis=0, return_inverse=True)
    parts = []
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(which.reshape(-1) == number)
        rows = rows[hopeful(values[rows], k)]
        parts.append((values[rows], gains[rows], rows, pattern))
    return parts


def hopeful(values: Floats, k: int) -> npt.NDArray[np.intp]:
    """Rows that fewer than k others stand before under all weights: those that are as good in every leg and come first, or
    better in every leg. Equal scores stay in order.
    """
    count = np.zeros(len(values), dtype=np.int64)
    for row, mine in enumerate(values):
        better = (values > mine).all(axis=1)
        better[:row] |= (values[:row] >= mine).all(axis=1)
        count[row] = int(better.sum())
    return np.flatnonzero(count < k)


def _top(score: Floats, k: int) -> npt.NDArray[np.intp]:
    """The columns of the k best of each row, best first; equal scores as they stand."""
    if score.shape[1] > 2 * k:
        kept = np.sort(np.argpartition(-score, k - 1, axis=1)[:, :k], axis=1)
        edge = np.take_along_axis(score, kept, axis=1).min(axis=1, keepdims=True)
        tied = ((score >= edge).sum(axis=1) > k).nonzero()[0]
        if len(tied):
            kept[tied] = np.sort(np.argsort(-score[tied], axis=1, kind="stable")[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(score, kept, axis=1), axis=1, kind="stable")
        return np.take_along_axis(kept, order, axis=1)
    return np.argsort(-score, axis=1, kind="stable")[:, :k]


def _discounted(gains: Floats) -> Floats:
    """Discounted gains of rows, (T, k) -> (T,)."""
    return np.asarray((gains / np.log2(np.arange(2, gains.shape[1] + 2))).sum(axis=1))


def drawn(legs: Sequence[str], number: int, *, seed: int = 1) -> Floats:
    """Weights to try, (about `number`, L): all legs alike, each alone, and draws from Dirichlet distributions, half of them
    flat and half preferring few legs, which corners of the simplex need.
    """
    dice = np.random.default_rng(seed)
    count = len(legs)
    fixed = np.concatenate([np.full((1, count), 1 / count), np.eye(count)])
    flat = dice.dirichlet(np.ones(count), size=number // 2)
    few = dice.dirichlet(np.full(count, 0.4), size=max(0, number - number // 2 - len(fixed)))
    return np.asarray(np.concatenate([fixed, flat, few])[: max(number, len(fixed))])


def of_legs(weights: Floats, legs: Sequence[str], wanted: Sequence[str]) -> Floats:
    """The columns of a query's legs, scaled to add up to 1; even where they are all 0. (T, L) -> (T, l)"""
    some = weights[:, [legs.index(name) for name in wanted]]
    total = some.sum(axis=1, keepdims=True)
    there = total > _LEAST
    return np.where(there, some / np.where(there, total, 1.0), 1 / len(wanted))
