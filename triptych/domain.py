"""The values everything else speaks of. Frozen, standard library and numpy only; no I/O."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""One embedding, shape (dims,), float32."""

Vectors = npt.NDArray[np.float32]
"""Several embeddings, shape (n, dims), float32."""


LONGEST_NAME = 4096
"""Characters of a reference that is no `data:` URI."""


class Modality(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Outcome(StrEnum):
    """How a record ended. Each record ends in exactly one."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    PARTIAL = "partial"
    DELETED = "deleted"
    DEAD = "dead"


class Operation(StrEnum):
    """What a record asks for: the whole product to be there, some of its fields changed, or the product gone."""

    PUT = "put"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Media:
    """A media reference: where to get one picture or sound.

    `reference` is a path relative to the catalogue's folder, a URL, or a `data:` URI that is the medium itself.
    """

    modality: Modality
    reference: str

    @property
    def name(self) -> str:
        """The reference as people and documents are told it: of a `data:` URI its beginning and the digest of the whole."""
        if len(self.reference) <= LONGEST_NAME:
            return self.reference
        return f"{self.reference[:40]}...#{hashlib.sha256(self.reference.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class GivenVector:
    """A vector that came with a record: embedded elsewhere. `fingerprint` says by what, None where the record does not.

    `values` are kept as an array of doubles: a thousand records' tuples are much to look through for the garbage collector.
    """

    values: Sequence[float]
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", array("d", self.values))


@dataclass(frozen=True, slots=True)
class Product:
    """A validated thing to find.

    `texts` maps a field ("title", "description") to its text per language; `fields` is the record as it was given, which is
    what Elasticsearch stores beside our own fields; `media` lists its pictures and sounds in the record's order;
    `category` is its path, from wide to narrow; `vectors` came with the record, by space. Of an update
    `fields` are those that change; of a delete there are none.
    """

    id: str
    texts: Mapping[str, Mapping[str, str]]
    fields: Mapping[str, Any]
    media: tuple[Media, ...] = ()
    category: tuple[str, ...] = ()
    vectors: Mapping[str, GivenVector] = field(default_factory=dict)
    operation: Operation = Operation.PUT

    def of(self, modality: Modality) -> tuple[Media, ...]:
        return tuple(m for m in self.media if m.modality is modality)


@dataclass(frozen=True, slots=True)
class Waveform:
    """A mono sound. `samples` has shape (n,), float32 in [-1, 1]; `rate` is in hertz."""

    samples: npt.NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record, or one modality of it, that was given up: what, where in the flow, why.

    `line` counts from 1 in the catalogue's file. `product_id` is None where the record has no readable id, `modality` and
    `reference` are None where the whole record is dead.
    """

    code: str
    message: str
    stage: str
    line: int
    product_id: str | None = None
    modality: Modality | None = None
    reference: str | None = None
    record: str | None = field(default=None, repr=False)
