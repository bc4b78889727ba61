"""What scores among sampled products say of a leg: background, reliability, noise. Pure; calibrate.py draws the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from triptych.domain import Vectors
from triptych.encoders.base import unit
from triptych.schema import Level, Similarity

ENOUGH = 10
"""Products or queries of which fewer tell nothing."""

SAME = 1e-6
"""By so much two scores of one pair may differ."""

ALIKE = 0.999
"""The cosine from which two products are variants of one."""

_DECILES = np.linspace(0, 1, 11)


def level_of(
    queries: Vectors,
    documents: Sequence[Vectors] | Vectors,
    similarity: Similarity,
    *,
    owners: Sequence[int] | None = None,
    same: npt.NDArray[np.bool_] | None = None,
) -> Level:
    """The level of (q, dims) queries against n documents, each (dims,) or (parts, dims). Pure.

    `owners` names the document each query was made of. None: the queries are the documents themselves, which tells the
    background but not whether one finds itself. `same` (n, n) says which documents are variants of which.
    """
    rows_of = [np.atleast_2d(document) for document in documents]
    first = np.cumsum([0, *(len(rows) for rows in rows_of[:-1])])
    stacked = np.concatenate(rows_of)
    scores = np.asarray(np.maximum.reduceat(to_score(queries, stacked, similarity), first, axis=1))
    own = np.arange(len(scores)) if owners is None else np.asarray(owners)
    rows = np.arange(len(scores))
    mine = scores[rows, own]
    background = np.ones(scores.shape, dtype=bool)
    background[rows, own] = False
    others = scores[background]
    found_first = (scores > mine[:, None] + SAME).sum(axis=1) == 0
    alike = np.maximum.reduceat(unit(stacked[first]) @ unit(stacked).T, first, axis=1) >= ALIKE
    strangers = background & ~(alike if same is None else alike | same)[own]
    return Level(
        floor=float(others.mean()),
        sigma=float(others.std()),
        reliability=None if owners is None else float(found_first.mean()),
        sample=len(rows_of),
        noise=deciles(np.where(strangers, scores, -np.inf).max(axis=1)),
        top=None if owners is None else float(np.median(mine)),
    )


def deciles(best: npt.NDArray[np.floating[Any]]) -> tuple[float, ...]:
    """The 11 deciles of the best scores of strangers, one per query; of queries that have no stranger there is none (-inf)."""
    there = best[np.isfinite(best)]
    return tuple(round(float(x), 6) for x in np.quantile(there, _DECILES)) if len(there) >= ENOUGH else ()


def to_score(queries: Vectors, documents: Vectors, similarity: Similarity) -> npt.NDArray[np.float32]:
    """Elasticsearch's score of every pair, shape (queries, documents).

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector#dense-vector-similarity
    """
    if similarity == "cosine":
        queries, documents = unit(queries), unit(documents)
    dots = queries @ documents.T
    if similarity == "l2_norm":
        squared = (queries**2).sum(1)[:, None] + (documents**2).sum(1)[None, :] - 2 * dots
        return np.asarray(1 / (1 + np.maximum(squared, 0)), dtype=np.float32)
    return np.asarray((1 + dots) / 2, dtype=np.float32)
