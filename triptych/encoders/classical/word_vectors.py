"""Words as the average of their embeddings, learned from the catalogue's own texts or read from a file.

    texts -> co-occurrence within a window -> positive PMI -> SVD -> a vector per word
    text -> weighted mean of its words' vectors -> less the direction that all texts share -> dims

Levy and Goldberg 2014, "Neural word embedding as implicit matrix factorization", with the smoothing and the root of the
singular values of Levy, Goldberg and Dagan 2015; the weighted mean is SIF: Arora, Liang and Ma 2017.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical import vector_file, words
from triptych.encoders.classical.families import WordVectorsOptions
from triptych.encoders.classical.fitting import (
    FeatureEncoder,
    Rows,
    directions,
    nothing_to_fit,
    require_fitted,
    reservoir,
    to_dims,
)
from triptych.encoders.inputs import texts

_SMOOTHING = 0.75  # Levy, Goldberg and Dagan 2015: keeps rare company from deciding
_ENOUGH = 20  # texts; of fewer, the direction they share is most of what they say
_CHUNK = 1_000_000  # pairs counted at once, to bound memory

Ids = npt.NDArray[np.int64]


def cooccurrence(sentences: Sequence[Ids], size: int, window: int) -> Any:
    """How often word j stands within `window` words of word i: a symmetric sparse matrix (size, size)."""
    total = sparse.csr_array((size, size), dtype=np.float64)
    for rows, columns in _chunks(_pairs(sentences, window)):
        total = total + sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size)).tocsr()
    return total + total.T


def _pairs(sentences: Sequence[Ids], window: int) -> Iterable[tuple[Ids, Ids]]:
    for ids in sentences:
        for distance in range(1, min(window, len(ids) - 1) + 1):
            yield ids[:-distance], ids[distance:]


def _chunks(pairs: Iterable[tuple[Ids, Ids]]) -> Iterable[tuple[Ids, Ids]]:
    held: list[tuple[Ids, Ids]] = []
    count = 0
    for pair in pairs:
        held.append(pair)
        count += len(pair[0])
        if count >= _CHUNK:
            yield _joined(held)
            held, count = [], 0
    if held:
        yield _joined(held)


def _joined(pairs: Sequence[tuple[Ids, Ids]]) -> tuple[Ids, Ids]:
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def positive_pmi(counts: Any, smoothing: float = _SMOOTHING) -> Any:
    """max(0, ln P(i, j) / (P(i) P(j))) of a sparse matrix of counts, the company's P(j) smoothed by a power."""
    table = counts.tocoo()
    of_word = np.asarray(counts.sum(axis=1)).ravel()
    of_company = np.asarray(counts.sum(axis=0)).ravel() ** smoothing
    joint = table.data / of_word.sum()
    alone = of_word[table.row] / of_word.sum() * of_company[table.col] / of_company.sum()
    values = np.maximum(0.0, np.log(joint / alone))
    found = sparse.coo_array((values, (table.row, table.col)), shape=table.shape).tocsr()
    found.eliminate_zeros()
    return found


def learn(sentences: Sequence[Ids], size: int, *, dims: int, window: int, seed: int) -> Rows:
    """A vector per word: (size, at most dims), float32; zeros for a word without company."""
    matrix = positive_pmi(cooccurrence(sentences, size, window))
    if not matrix.nnz:
        # Words that never meet: each is its own direction.
        return to_dims(np.eye(size, min(size, 4096), dtype=np.float32), min(dims, size))
    left, strengths, _ = randomized_svd(matrix, min(dims, size), n_iter=5, random_state=seed)
    return np.asarray(left * np.sqrt(strengths), dtype=np.float32)


class Averager:
    """Texts to rows (n, dims of the words' vectors); zeros where no word is known."""

    def __init__(self, vectors: Rows, places: Mapping[str, int], weights: Rows, common: Rows) -> None:
        self._vectors = vectors
        self._places = places
        self._weights = weights
        self._common = common

    def plain(self, sentences: Sequence[Sequence[str]]) -> Rows:
        """The weighted means, with what all texts share still in them."""
        rows = np.zeros((len(sentences), self._vectors.shape[1]), dtype=np.float32)
        for number, sentence in enumerate(sentences):
            ids = [self._places[word] for word in sentence if word in self._places]
            if ids:
                rows[number] = self._weights[ids] @ self._vectors[ids] / len(ids)
        return rows

    def __call__(self, sentences: Sequence[Sequence[str]]) -> Rows:
        rows = self.plain(sentences)
        return np.asarray(rows - rows @ self._common.T @ self._common, dtype=np.float32)


def fit(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """The words, their shares, the direction all texts share and, where no model is given, the words' vectors.

    Raises EncoderError `encoder.nothing_to_fit`, and `encoder.model` for a file that cannot be read.
    """
    options: WordVectorsOptions = setup.options
    sentences = reservoir(inputs, _kept, size=options.sample, seed=options.seed)
    if not sentences:
        raise nothing_to_fit(setup, "texts")
    counted = collections.Counter(itertools.chain.from_iterable(sentences))
    known = [word for word, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[: options.vocabulary]]
    shares = np.array([counted[word] for word in known], dtype=np.float64) / counted.total()
    facts = {"words": known}
    tensors: dict[str, npt.NDArray[Any]] = {"shares": shares.astype(np.float32)}
    if setup.model is None:
        places = {word: number for number, word in enumerate(known)}
        ids = [np.array([places[word] for word in sentence if word in places], dtype=np.int64) for sentence in sentences]
        dims = setup.spec.dims
        tensors["vectors"] = learn(ids, len(known), dims=dims, window=options.window, seed=options.seed)
    rows = _averager(setup, Fitted(tensors, facts)).plain(sentences)
    some = rows[rows.any(axis=1)]
    if len(some) >= _ENOUGH and not np.allclose(some, some[0]):
        tensors["common"] = directions(some, 1, options.seed)
    return Fitted(tensors, facts)


def encoder(setup: Setup) -> Encoder:
    """The model's file, where there is one, is read on first use. Raises EncoderError `encoder.not_fitted`."""
    fitted = require_fitted(setup)
    made: list[Averager] = []

    def describe(inputs: Sequence[Input]) -> Rows:
        if not made:
            made.append(_averager(setup, fitted))
        return made[0]([words.terms(text) for text in texts(inputs)])

    return FeatureEncoder(setup.spec, describe)


def _averager(setup: Setup, fitted: Fitted) -> Averager:
    options: WordVectorsOptions = setup.options
    shares = dict(zip(fitted.facts["words"], fitted.tensors["shares"].tolist(), strict=True))
    if setup.model is None:
        known, vectors = fitted.facts["words"], np.asarray(fitted.tensors["vectors"], dtype=np.float32)
    else:
        known, vectors = vector_file.read(setup.model, options.vocabulary)
    weights = [options.rarity / (options.rarity + shares.get(word, 0.0)) for word in known]
    common = fitted.tensors.get("common", np.zeros((1, vectors.shape[1]), dtype=np.float32))
    places = {word: number for number, word in enumerate(known)}
    return Averager(vectors, places, np.array(weights, dtype=np.float32), np.asarray(common, dtype=np.float32))


def _kept(item: Input) -> list[str] | None:
    return words.terms(texts([item])[0]) or None
