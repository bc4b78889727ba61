"""Bring the scores of a leg to one scale: 0 is a match that means nothing, 1 the best of this query. Pure.

    normalised = (raw - floor) / (top - floor)

`floor` is measured on the catalogue (`schema.Level`), not taken from the result list, so it does not move with page or window.
`top` is the leg's best score in this query, but never less than two sigma above the floor: a leg of which nothing stands out
must not have its noise stretched to 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triptych.schema import LEXICAL, Level

GUARD = 2.0
"""Sigmas above the floor that a best score must reach to count as 1."""

UNMEASURED = Level(floor=0.5, sigma=0.25)
"""For a vector leg nobody measured yet (fewer than ten products): the cosine itself, 0 at a right angle."""

_NARROWEST = 0.01
"""Least width of a vector leg's scale: a catalogue of equal products has a sigma of 0, and no leg may drown the others."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A leg's scale in one query; `measured` says whether its floor was measured on the catalogue."""

    floor: float
    top: float
    measured: bool

    def __call__(self, raw: float) -> float:
        return (raw - self.floor) / (self.top - self.floor)


def calibrated(leg: str, raw: Iterable[float], level: Level | None) -> Scale:
    """The scale of a leg from its level and the raw scores of this query's candidates.

    One hit, equal scores and no hit at all are no special cases: `top` always lies above `floor`.
    """
    known = level or (Level(floor=0.0, sigma=0.0) if leg == LEXICAL else UNMEASURED)
    least = max(GUARD * known.sigma, 1e-6 if leg == LEXICAL else _NARROWEST)
    top = max([*raw, known.floor + least])
    return Scale(known.floor, top, measured=level is not None or leg == LEXICAL)
