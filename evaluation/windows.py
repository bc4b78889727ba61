"""How many hits of each leg a search should look at, by kept scores: every window up to the one that was asked for. Pure.

A window is a field of a search and no part of a weight set, so the best one is told and not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from evaluation.configurations import Configuration
from evaluation.kept import Asked
from evaluation.metrics import Judgements
from evaluation.results import Names, alike, result_of
from evaluation.statistics import CONFIDENCE, Difference, difference, holm
from search_api.query import DEFAULT_WINDOW

TRIED: Final = (10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Windowed:
    """What a window reaches, and what it has over the usual one; `p` is corrected for all windows."""

    window: int
    mean: float
    gain: Difference
    p: float | None


def windows(asked: Asked, judgements: Judgements, way: Configuration, names: Names, depth: int) -> list[Windowed]:
    """All windows of TRIED up to `depth`, which was asked for. The usual one is DEFAULT_WINDOW, or `depth` if less."""
    usual = min(DEFAULT_WINDOW, depth)
    sizes = sorted({usual, *(size for size in TRIED if size <= depth)})
    results = {size: result_of(asked, judgements, replace(way, window=size), names) for size in sizes}
    now = results[usual].column(names.main)
    groups = alike(asked, results[usual])
    gains = {size: difference(now, one.column(names.main), groups) for size, one in results.items()}
    others = [size for size in sizes if size != usual]
    corrected = dict(zip(others, holm([gains[size].p for size in others]), strict=True))
    return [Windowed(size, one.mean(names.main), gains[size], corrected.get(size)) for size, one in results.items()]


def told(tried: Sequence[Windowed], name: str) -> str:
    """The windows in a sentence: which one is proved to be better than the usual one, if any."""
    means = ", ".join(f"{one.window}: {one.mean:.3f}" for one in tried)
    best = max(tried, key=lambda one: one.mean)
    sure = best.p is not None and best.p < 1 - CONFIDENCE and best.gain.estimate.mean > 0
    advice = (
        f"Search with a window of {best.window}: {best.gain.estimate.mean:+.3f} (p = {best.p:.3f})."
        if sure
        else "None is proved to be better than the usual one."
    )
    return f"{name} by the window ({means}). {advice}"
