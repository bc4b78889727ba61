"""What an encoder is: data (EncoderSpec) and three methods (Encoder); and what makes one: a Family.

A *space* is one vector field and the encoder that fills it. The mapping, the documents and the query are all derived from the
spec, so they cannot drift apart; its fingerprint is kept in the index's `_meta`; a query vector of another space is refused.

A *family* is one kind of encoder (any CLIP, any text model of transformers ...). It is data too, found by the entry point group
`triptych.encoders`; a profile names the family, the model and the options of each space.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL.Image import Image
from pydantic import BaseModel, ConfigDict

from triptych.domain import Modality, Vector, Vectors, Waveform
from triptych.schema import IndexType, Similarity, Space
from triptych.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

Input = str | Image | Waveform
"""What an encoder takes: a text, an RGB picture, a mono sound."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder's data: everything the mapping, the index's `_meta` and a listing need, known before any weight is loaded.

    `space` names the vector field; `document_modality` is what of a product fills it; `query_modalities` are the query inputs
    that search it; `label` is the second half of its legs' names (`text.image`). `identity` holds whatever changes the vectors
    (weights' sha256, preprocessing, prompts, pooling); the fingerprint is a hash over it. `fitted` is the sha256 of what the
    encoder learned from the catalogue, None where it learns nothing. `parts` is empty but for the families that are made of
    other spaces.
    """

    name: str
    space: str
    document_modality: Modality
    query_modalities: tuple[Modality, ...]
    dims: int
    licence: str
    description: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    similarity: Similarity = "cosine"
    index_type: IndexType = "int8_hnsw"
    label: str = ""
    fitted: str | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits: vectors of equal fingerprint may be compared."""
        return fingerprint_of(self.identity, dims=self.dims, similarity=self.similarity, fitted=self.fitted)

    def to_space(self) -> Space:
        """The space as an index remembers it."""
        return Space(
            name=self.space,
            encoder=self.name,
            fingerprint=self.fingerprint,
            dims=self.dims,
            similarity=self.similarity,
            index_type=self.index_type,
            document_modality=self.document_modality,
            query_modalities=self.query_modalities,
            label=self.label,
            fitted=self.fitted,
        )


def fingerprint_of(identity: Mapping[str, Any], *, dims: int, similarity: str, fitted: str | None = None) -> str:
    """16 hex digits over what makes vectors what they are."""
    data = {"identity": identity, "dims": dims, "similarity": similarity, "fitted": fitted}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


class Encoder(Protocol):
    """Turns inputs into vectors of one space. Implementations load their weights on first use and are used by one thread."""

    @property
    def spec(self) -> EncoderSpec: ...

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        """Embed what products have, of `spec.document_modality`. Returns (n, dims), float32; (0, dims) for none.

        A row has length 1, or is all zeros where the encoder finds nothing in the input (an empty text, silence).
        """
        ...

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        """Embed query inputs of one of `spec.query_modalities`. As `embed_documents`."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """An encoder that can do a part of its work on an input before that is embedded, while it embeds others."""

    def prepare(self, value: Input) -> None:
        """Do what needs no network. Called in any thread; what it raises may be left to embedding, which raises it again."""
        ...


class Options(BaseModel):
    """The options of a family that a profile may set. A family's own are a subclass; each has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What an encoder learned from a catalogue: arrays, and facts as JSON. Kept as one safetensors file beside the index."""

    tensors: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that an encoder is made of.

    `options` is an instance of the family's Options. `model` is the folder (or the file) of its weights, for families that want
    one; `fitted` is what it learned from the catalogue, for families with `fit`; `derived` is the folder that its `derive`
    filled; `parts` are the encoders of the spaces it is made over, by the role the profile gives them.
    """

    spec: EncoderSpec
    options: Any
    settings: Settings
    model: Path | None = None
    fitted: Fitted | None = None
    derived: Path | None = None
    parts: Mapping[str, Encoder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of encoder, as data. The three functions may be given as "module:name", so that declaring imports nothing heavy.

    `documents` and `queries` are the modalities that an encoder of the family can embed at all; a profile's space chooses among
    them. `version` is raised whenever the same weights and options give other vectors. `wants_model` says that a profile must
    name a model. `fit` learns from the document inputs of a catalogue, read once. `derive` computes, once per machine, files
    from the weights alone. `parts` names the roles of the spaces that an encoder of the family is made over; with
    `over_modalities` they are the modalities that it embeds, each over a space that takes them.
    """

    name: str
    summary: str
    factory: str | Callable[[Setup], Encoder]
    documents: tuple[Modality, ...]
    queries: tuple[Modality, ...]
    options: type[Options] = Options
    version: int = 1
    wants_model: bool = False
    fit: str | Callable[[Setup, Iterable[Input]], Fitted] | None = None
    derive: str | Callable[[Setup, Path], None] | None = None
    parts: tuple[str, ...] = ()
    over_modalities: bool = False
    extra: str | None = None

    def make(self, setup: Setup) -> Encoder:
        """An encoder; its weights are read on first use."""
        made: Encoder = called(self.factory)(setup)
        return made


IMPORTING: Final = threading.RLock()
"""Held while parts of torch and transformers are imported, which the latter does as they are used. Where two threads do so
at once, one may see half of what the other has begun ("operator transformers::... does not exist").
"""


def called(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """A function that may be given as "module:name"."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    with IMPORTING:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def shared(make: Callable[P, T]) -> Callable[P, T]:
    """`make` once for the same arguments (hashable, by position), as long as anybody holds what it made.

    Encoders over one model share its network. A process that serves one profile after the other holds the networks of those
    in use, not of all it ever saw.
    """
    held: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()
    making = threading.Lock()

    @functools.wraps(make)
    def find(*args: P.args, **kwargs: P.kwargs) -> T:
        with making:
            found: T | None = held.get(args)
            if found is None:
                found = held[args] = make(*args, **kwargs)
            return found

    return find


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Scale each row to length 1, as float32. A zero row stays zero (Elasticsearch refuses it for cosine: check before)."""
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)


_LEAST_SQUARED: Final = 1e-200
"""Squares between this and its inverse are far from what float64 cannot hold."""


def direction(values: Sequence[float] | Vector) -> Vector | None:
    """Numbers that somebody gave as a vector of length 1, however large or small they are.

    None for zeros, and where one is no number.
    """
    wide = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        squared = float(wide.dot(wide))
    if _LEAST_SQUARED < squared < 1 / _LEAST_SQUARED:
        return np.asarray(wide / math.sqrt(squared), dtype=np.float32)
    peak = np.abs(wide).max(initial=0.0)
    return unit(wide / peak) if 0 < peak < math.inf else None


def shortened(vectors: npt.NDArray[Any], dims: int) -> Vectors:
    """The first `dims` values of each row, of length 1 again: for encoders trained so that the first values say most.

    Matryoshka representation learning, Kusupati et al. 2022, arXiv:2205.13147.
    """
    return unit(np.asarray(vectors)[:, :dims])
