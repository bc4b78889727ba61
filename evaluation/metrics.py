"""Ranking metrics over judgements. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Judgements = Mapping[str, Mapping[str, int]]
"""Query id -> product id -> grade; a grade above 0 is relevant."""


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements in TREC form: query, 0, product, grade, blank-separated.

    Raises ValueError naming the line, also where a line before it has another grade of the same pair.
    """
    judgements: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            query, _, product, text = line.split()
            grade = int(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not 'query 0 product grade'") from error
        old = judgements.setdefault(query, {}).setdefault(product, grade)
        if old != grade:
            raise ValueError(f"{path}, line {number}: {query} {product} has the grade {old} in a line before")
    return judgements


def hit_at(k: int, ranked: Sequence[str], grades: Mapping[str, int], *, least: int = 1) -> bool:
    """Whether one of the `k` best of `ranked` has a grade of at least `least`."""
    return any(grades.get(product, 0) >= least for product in ranked[:k])
