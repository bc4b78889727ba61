"""Figures that have a bar, for all benchmarks: what was measured, what it must be, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

MOST, LEAST = "at most", "at least"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that has a bar: its median over the rounds, its range, and what it must be."""

    name: str
    value: float
    least: float
    most: float
    side: str
    bar: float

    @property
    def holds(self) -> bool:
        return self.value <= self.bar if self.side == MOST else self.value >= self.bar


def bar(name: str, values: Sequence[float], side: str, limit: float) -> Bar:
    """A bar over the rounds' values. Pure."""
    return Bar(name, round(median(values), 3), round(min(values), 3), round(max(values), 3), side, limit)


def barred(bars: Sequence[Bar]) -> Table:
    found = Table("figure", "median", "range", "bar", "")
    for one in bars:
        holds = "[green]holds[/green]" if one.holds else "[red]does not hold[/red]"
        found.add_row(one.name, f"{one.value:.3f}", f"{one.least:.3f} to {one.most:.3f}", f"{one.side} {one.bar}", holds)
    return found
