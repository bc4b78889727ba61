"""Fields of a search that are no part of a weight set, tried on kept scores: the window, and the guard above the floors. Pure.

The best one is told and not written: who searches sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from evaluation.configurations import Configuration
from evaluation.kept import Asked
from evaluation.metrics import Judgements
from evaluation.results import Names, alike, result_of
from evaluation.statistics import CONFIDENCE, Difference, difference, holm
from search_api.query import DEFAULT_GUARD, DEFAULT_WINDOW

WINDOWS: Final = (10, 20, 50, 100, 200, 500, 1000)
GUARDS: Final = (0.0, 1.0, 1.5, DEFAULT_GUARD, 3.0, 4.0, 6.0)
"""In sigmas."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a field's value reaches, and what it has over the usual one; `p` is corrected for all that were tried."""

    value: float
    mean: float
    gain: Difference
    p: float | None


def windows(asked: Asked, judgements: Judgements, way: Configuration, names: Names, depth: int) -> list[Tried]:
    """All of WINDOWS up to `depth`, which was asked for. The usual one is DEFAULT_WINDOW, or `depth` if less."""
    usual = min(DEFAULT_WINDOW, depth)
    sizes = {usual, *(size for size in WINDOWS if size <= depth)}
    return _tried(asked, judgements, names, usual, sizes, lambda size: replace(way, window=int(size)))


def guards(asked: Asked, judgements: Judgements, way: Configuration, names: Names) -> list[Tried]:
    """All of GUARDS, of a way that has one (calibrated)."""
    method = way.method
    return _tried(
        asked, judgements, names, DEFAULT_GUARD, GUARDS, lambda guard: replace(way, method=replace(method, guard=guard))
    )


def _tried(
    asked: Asked,
    judgements: Judgements,
    names: Names,
    usual: float,
    values: Iterable[float],
    way: Callable[[float], Configuration],
) -> list[Tried]:
    results = {value: result_of(asked, judgements, way(value), names) for value in sorted(values)}
    now = results[usual].column(names.main)
    groups = alike(asked, results[usual])
    gains = {value: difference(now, one.column(names.main), groups) for value, one in results.items()}
    others = [value for value in results if value != usual]
    corrected = dict(zip(others, holm([gains[value].p for value in others]), strict=True))
    return [Tried(value, one.mean(names.main), gains[value], corrected.get(value)) for value, one in results.items()]


def told(tried: Sequence[Tried], field: str, name: str) -> str:
    """What was tried of a field in a sentence: which value is proved to be better than the usual one, if any."""
    means = ", ".join(f"{one.value:g}: {one.mean:.3f}" for one in tried)
    best = max(tried, key=lambda one: one.mean)
    sure = best.p is not None and best.p < 1 - CONFIDENCE and best.gain.estimate.mean > 0
    advice = (
        f"Search with a {field} of {best.value:g}: {best.gain.estimate.mean:+.3f} (p = {best.p:.3f})."
        if sure
        else "None is proved to be better than the usual one."
    )
    return f"{name} by the {field} ({means}). {advice}"
