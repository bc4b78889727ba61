"""How likely a position is examined at all: its propensity. Pure.

Estimated from answers as they are, by *intervention harvesting* (Agarwal, Zaitsev, Wang, Li, Najork and Joachims 2019,
"Estimating Position Bias without Intrusive Interventions", doi:10.1145/3289600.3291017): wherever the same product stood at two
places in answers to the same words, because products, prices or weights changed meanwhile, the difference of its clicks is that
of the places. All pairs of places are used together (the AllPairs estimator); that good products stand first misleads none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

from triptych.errors import InputError

Floats = npt.NDArray[np.float64]

_Curve = Callable[[Floats], tuple[Floats, Floats]]

POSITIONS: Final = 20
"""Positions whose propensities are estimated one by one; those behind follow the power law fitted to them."""

LEAST_CLICKS: Final = 100
"""Clicks on products that stood at several places, below which an estimate would be noise."""

MANY_CLICKS: Final = 2000
"""Such clicks from which on each position is estimated by itself; with fewer only the power law is."""

_LOGS: Final = np.log(np.arange(1, POSITIONS + 1))


@dataclass(frozen=True, slots=True)
class Propensities:
    """The probability that a position is examined, relative to the first. `measured` are those of positions 1, 2 ...; where one
    is None, and behind them, it is position ** -eta.
    """

    eta: float
    measured: tuple[float | None, ...] = ()

    def at(self, position: int) -> float:
        known = self.measured[position - 1] if position <= len(self.measured) else None
        return float(position**-self.eta) if known is None else known


@dataclass(frozen=True, slots=True)
class Seen:
    """One product in one answer: what it is an answer to, where it stood, and whether it was acted on."""

    words: str
    product: str
    position: int
    clicked: bool


def harvested(seen: Sequence[Seen]) -> Propensities:
    """The propensities that explain best what was seen: a power law, and where there are many clicks each position by itself.

    Raises InputError `evaluation.too_few_clicks` where too few products stood at several places.
    """
    clicks, others, number = _pairs(seen)
    if number < LEAST_CLICKS:
        raise InputError(
            f"Only {number} clicks are on products that stood at several places; {LEAST_CLICKS} are needed to tell what a"
            " place is worth.",
            code="evaluation.too_few_clicks",
            field="eta",
            remedy="Give the power law of the places, such as --eta 1, or wait for more clicks.",
        )
    (eta,) = _all_pairs(clicks, others, _law, np.array([1.0]), bounds=(0.0, 5.0))
    if number < MANY_CLICKS:
        return Propensities(float(eta))
    linked = _linked(clicks + others)
    free = expit(_all_pairs(clicks, others, _each, -eta * _LOGS, bounds=(-12.0, 12.0)))
    return Propensities(float(eta), tuple(float(p / free[0]) if k in linked else None for k, p in enumerate(free)))


def _pairs(seen: Sequence[Seen]) -> tuple[Floats, Floats, int]:
    """For each two positions k, l of which a product stood at both: the sums of its rates of being clicked, and of not, at k;
    both (POSITIONS, POSITIONS). And the clicks that these are made of.
    """
    counted: dict[tuple[str, str], dict[int, list[int]]] = {}
    for one in seen:
        if one.position <= POSITIONS:
            shown = counted.setdefault((one.words, one.product), {}).setdefault(one.position - 1, [0, 0])
            shown[0] += 1
            shown[1] += one.clicked
    clicks, others = np.zeros((POSITIONS, POSITIONS)), np.zeros((POSITIONS, POSITIONS))
    number = 0
    for places in counted.values():
        if len(places) > 1:
            number += sum(clicked for _, clicked in places.values())
            for k, (times, clicked) in places.items():
                for other in places:
                    if other != k:
                        clicks[k, other] += clicked / times
                        others[k, other] += 1 - clicked / times
    return clicks, others, number


def _linked(weights: Floats) -> set[int]:
    """The positions that pairs link to the first, themselves or by others: only these can be compared with it."""
    found, todo = {0}, [0]
    while todo:
        beside = set(np.flatnonzero(weights[todo.pop()]).tolist()) - found
        found |= beside
        todo += beside
    return found


def _law(parameters: Floats) -> tuple[Floats, Floats]:
    """log p of all positions (POSITIONS,) by eta, and its slope (POSITIONS, 1)."""
    return -parameters[0] * _LOGS, -_LOGS[:, None]


def _each(parameters: Floats) -> tuple[Floats, Floats]:
    """log p of all positions by a parameter each (a logit), and its slope (POSITIONS, POSITIONS)."""
    p = expit(parameters)
    return np.log(p), np.diag(1 - p)


def _all_pairs(
    clicks: Floats,
    others: Floats,
    curve: Callable[[Floats], tuple[Floats, Floats]],
    start: Floats,
    *,
    bounds: tuple[float, float],
) -> Floats:
    """The parameters of `curve`, the logarithms of the propensities p, of the greatest likelihood under p[k] * r[k, l].

    r is the mean relevance of what stood at k and l: the same seen from both places.
    """
    upper = np.triu_indices(POSITIONS, 1)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        log_p, slope_p = curve(parameters[: len(start)])
        mean = expit(parameters[len(start) :])
        r = np.zeros_like(clicks)
        r[upper] = mean
        r += r.T
        both = np.clip(np.exp(log_p)[:, None] * r, 1e-12, 1 - 1e-12)
        value = -(clicks * np.log(both) + others * np.log1p(-both)).sum()
        slope = clicks - others * both / (1 - both)  # of the logarithm of p[k] and of r[k, l]
        return float(value), -np.concatenate([slope.sum(axis=1) @ slope_p, (slope + slope.T)[upper] * (1 - mean)])

    first = np.concatenate([start, np.full(len(upper[0]), -2.0)])
    limits = [bounds] * len(start) + [(-12.0, 12.0)] * len(upper[0])
    found: Any = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 2000})
    return np.asarray(found.x[: len(start)], dtype=np.float64)
