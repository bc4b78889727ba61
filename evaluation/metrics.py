"""Ranking metrics over judgements. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Judgements = Mapping[str, Mapping[str, int]]
"""Query id -> product id -> grade; a grade above 0 is relevant."""


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements in TREC form: query, 0, product, grade, blank-separated. Raises ValueError naming the line."""
    judgements: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            query, _, product, grade = line.split()
            judgements.setdefault(query, {})[product] = int(grade)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not 'query 0 product grade'") from error
    return judgements


def hit_at(k: int, ranked: Sequence[str], grades: Mapping[str, int], *, least: int = 1) -> bool:
    """Whether one of the `k` best of `ranked` has a grade of at least `least`."""
    return any(grades.get(product, 0) >= least for product in ranked[:k])
