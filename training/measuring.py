"""How well inputs of one modality find the products that have another: recall and mean reciprocal rank. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from triptych.domain import Vectors

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Found:
    """The place of the first answer of each query among `of` products, from 1, (n,); and the share it would have by chance."""

    places: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]
    of: int

    def measures(self) -> dict[str, float]:
        """Success at 1 and 10 (the share of queries with an answer among so many: R@1, R@10), MRR, and R@10 by chance."""
        return {
            "queries": len(self.places),
            "products": self.of,
            "R@1": _mean(self.places <= 1),
            "R@10": _mean(self.places <= 10),  # noqa: PLR2004  as its name says
            "MRR": _mean(1 / self.places),
            "chance R@10": _mean(1 - _missed(self.of, self.answers, 10)),
        }


Answers = Callable[[slice], npt.NDArray[np.bool_]]
"""Which documents answer some of the queries: bool (queries of the slice, m). Of an array it is its `__getitem__`."""


def first_places(queries: Vectors, documents: Vectors, answers: Answers, passed: Answers | None = None) -> Found:
    """Rank all documents, (m, dims), for each query, (n, dims). Queries without any answer are left out.

    `passed` are no answers, and not in the way of any: what the query was made of.
    Equal scores count against the answer: an encoder that gives all the same vector finds nothing. Memory holds the scores and
    the answers of _BLOCK queries.
    """
    places, counts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        right = answers(block)
        usable = right.any(axis=1)
        scores, right = queries[block][usable] @ documents.T, right[usable]
        if passed is not None:
            scores[passed(block)[usable]] = -np.inf
        best = np.where(right, scores, -np.inf).max(axis=1, initial=-np.inf)
        places.append(1 + ((scores >= best[:, None]) & ~right).sum(axis=1))
        counts.append(right.sum(axis=1))
    return Found(np.concatenate(places), np.concatenate(counts), len(documents))


def _missed(total: int, right: npt.NDArray[np.int64], drawn: int) -> npt.NDArray[np.float64]:
    """The chance that none of `right` among `total` is drawn."""
    steps = np.arange(min(drawn, total))
    left = (total - right[:, None] - steps[None]) / (total - steps[None])
    return np.asarray(np.prod(np.clip(left, 0, 1), axis=1))


def _mean(values: npt.NDArray[Any]) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def mean_of(measures: Mapping[str, Mapping[str, float]], name: str) -> float:
    """One measure's mean over all directions that have queries, NaN where none has."""
    values = [some[name] for some in measures.values() if some["queries"]]
    return float(np.mean(values)) if values else float("nan")
