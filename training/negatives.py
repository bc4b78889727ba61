"""Hard negatives: products whose vectors are near a product's words and are no answer to them, of the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from training.vectors import Rows
from triptych.domain import Vectors

_ROWS = 256
_COLUMNS = 8192
_NEAR = 0.95
"""A product whose score reaches this share of the positive's is left alone: it may be an answer that nobody marked
(TopK-PercPos of NV-Retriever, Moreira et al. 2024, arXiv:2407.15831)."""

Alike = Callable[[Rows, Rows], npt.NDArray[np.bool_]]
"""Which products, (m,), answer which of what is asked, (n,): (n, m)."""


def mine(queries: Vectors, asked: Rows, documents: Vectors, held: Rows, alike: Alike, *, most: int) -> Rows:
    """For each query, (n, dims), which is `asked`, (n,), at most `most` products: (n, most); -1 where there are no more.

    `documents` (m, dims) are vectors of the products `held` (m,). All are of length 1. A query without any answer among them
    has none: how near is too near is told by its answer. Computed in blocks: memory holds _ROWS x _COLUMNS scores.
    """
    found = [_block(queries[s], asked[s], documents, held, alike, most) for s in _slices(len(queries), _ROWS)]
    return np.concatenate(found) if found else np.empty((0, most), dtype=np.int64)


def by_turns(found: Sequence[Rows]) -> Rows:
    """Several findings, (n, most) each, as one of the same shape: the best of each, then the second of each; none twice."""
    together = np.stack(found, axis=2).reshape(len(found[0]), -1)
    merged = np.full_like(found[0], -1)
    for row, some in zip(merged, together, strict=True):
        kept = list(dict.fromkeys(some[some >= 0].tolist()))[: len(row)]
        row[: len(kept)] = kept
    return merged


def _block(queries: Vectors, asked: Rows, documents: Vectors, held: Rows, alike: Alike, most: int) -> Rows:
    own = np.full(len(queries), -np.inf, dtype=np.float32)
    best_scores = np.full((len(queries), most), -np.inf, dtype=np.float32)
    best = np.full((len(queries), most), -1, dtype=np.int64)
    for part in _slices(len(documents), _COLUMNS):
        scores, positive = queries @ documents[part].T, alike(asked, held[part])
        own = np.maximum(own, np.where(positive, scores, -np.inf).max(axis=1, initial=-np.inf))
    limit = np.where(np.isfinite(own), own * np.where(own > 0, _NEAR, 1 / _NEAR), -np.inf)[:, None]
    for part in _slices(len(documents), _COLUMNS):
        scores = queries @ documents[part].T
        scores = np.where(alike(asked, held[part]) | (scores >= limit), -np.inf, scores)
        together = np.concatenate([best_scores, scores], axis=1)
        products = np.concatenate([best, np.broadcast_to(held[part], scores.shape)], axis=1)
        order = np.argsort(-together, axis=1, kind="stable")[:, :most]
        best_scores, best = np.take_along_axis(together, order, 1), np.take_along_axis(products, order, 1)
    return np.where(np.isfinite(best_scores), best, -1)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
