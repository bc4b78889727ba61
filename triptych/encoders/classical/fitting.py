"""What the classical families share: a sample of the catalogue, an encoder around one function, dims, standardising, SVD."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]

from triptych.domain import Modality, Vectors
from triptych.encoders.base import EncoderSpec, Fitted, Input, Setup, unit
from triptych.encoders.inputs import check_modality
from triptych.errors import EncoderError

Rows = npt.NDArray[np.float32]
T = TypeVar("T")

_NOTHING = 1e-6
"""A feature vector no longer than this says nothing: it is rounding."""

_WEAK = 1e-5
"""Directions of less than this share of the strongest one are rounding too."""


class FeatureEncoder:
    """An encoder around one function from n inputs to n rows of features, of whatever length.

    The rows are brought to `spec.dims` and to length 1; a row of zeros stays one.
    """

    def __init__(self, spec: EncoderSpec, describe: Callable[[Sequence[Input]], Rows]) -> None:
        self._spec = spec
        self._describe = describe

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        if not inputs:
            return np.empty((0, self._spec.dims), dtype=np.float32)
        rows = to_dims(self._describe(inputs), self._spec.dims)
        return unit(np.where(np.linalg.norm(rows, axis=1, keepdims=True) > _NOTHING, rows, 0.0))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self._spec, modality)
        return self.embed_documents(inputs)


def require_fitted(setup: Setup) -> Fitted:
    """What the encoder learned. Raises EncoderError `encoder.not_fitted` where it was made without."""
    if setup.fitted is None:
        raise EncoderError(
            f"The encoder {setup.spec.name} of the space {setup.spec.space} is not fitted to a catalogue.",
            code="encoder.not_fitted",
            field=setup.spec.space,
            remedy="Create the index with: triptych index create NAME --fit CATALOGUE",
        )
    return setup.fitted


def nothing_to_fit(setup: Setup, what: str) -> EncoderError:
    """The error of a catalogue in which there is nothing to learn from."""
    return EncoderError(
        f"The catalogue has no {what} that the encoder {setup.spec.name} could be fitted to.",
        code="encoder.nothing_to_fit",
        field=setup.spec.space,
        remedy=f"Give a catalogue with {what}, or a profile without the space {setup.spec.space}.",
    )


def reservoir(inputs: Iterable[Input], keep: Callable[[Input], T | None], *, size: int, seed: int) -> list[T]:
    """A uniform sample of at most `size` inputs, each as the small thing that `keep` makes of it, in one reading.

    `keep` is called only for inputs that are chosen, and gives None for one that is of no use; the same inputs and seed give
    the same sample. Algorithm R, Vitter 1985, "Random sampling with a reservoir".
    """
    random = np.random.default_rng(seed)
    kept: list[T] = []
    seen = 0
    for item in inputs:
        place = seen if seen < size else int(random.integers(seen + 1))
        if place < size:
            made = keep(item)
            if made is None:
                continue
            kept[place : place + 1] = [made]
        seen += 1
    return kept


def to_dims(rows: npt.NDArray[Any], dims: int) -> Rows:
    """Rows (n, any) as (n, dims): padded with zeros, or projected at random, which nearly keeps their angles.

    The projection is the same everywhere: signs of a raw PCG64 stream, which numpy promises to keep.
    Achlioptas 2003, "Database-friendly random projections".
    """
    have = rows.shape[1]
    if have > dims:
        return np.asarray(rows @ _signs(have, dims), dtype=np.float32)
    return np.pad(np.asarray(rows, dtype=np.float32), ((0, 0), (0, dims - have)))


@functools.lru_cache(maxsize=8)
def _signs(have: int, dims: int) -> Rows:
    bits = np.random.PCG64(1).random_raw(have * dims) >> np.uint64(63)
    return np.where(bits.reshape(have, dims) == 1, 1.0, -1.0).astype(np.float32) / np.float32(np.sqrt(dims))


def directions(rows: Any, dims: int, seed: int) -> Rows:
    """The strongest directions of rows (n, features), dense or sparse: (k, features), k <= dims; weak ones are left out.

    Halko, Martinsson and Tropp 2011, arXiv:0909.4061, by scikit-learn.
    """
    count = min(dims, *rows.shape)
    _, strengths, found = randomized_svd(rows, count, n_iter=5, random_state=seed)
    return np.asarray(found[strengths > _WEAK * strengths[0]], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and deviation of each feature over the catalogue, both of shape (features,)."""

    mean: Rows
    deviation: Rows

    @classmethod
    def of(cls, rows: npt.NDArray[Any]) -> Standard:
        """Of rows (n, features). A feature that never differs is not scaled; where none does, nothing is centred either.

        Centring rows that are all alike would leave nothing of them, so a catalogue of one product keeps its vector.
        """
        mean, deviation = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        differs = deviation > _WEAK * np.maximum(1.0, np.abs(mean))
        if not differs.any():
            mean = np.zeros_like(mean)
        return cls(mean.astype(np.float32), np.where(differs, deviation, 1.0).astype(np.float32))

    def __call__(self, rows: npt.NDArray[Any]) -> Rows:
        """Rows (n, features), each feature with mean 0 and deviation 1 over the catalogue."""
        return np.asarray((rows - self.mean) / self.deviation, dtype=np.float32)
