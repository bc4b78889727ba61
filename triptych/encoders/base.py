"""What an encoder is: data (EncoderSpec) and three methods (Encoder).

A *space* is one vector field and the encoder that fills it. The mapping, the documents and the query are all derived from the
spec, so they cannot drift apart; its fingerprint is kept in the index's `_meta`; a query vector of another space is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from triptych.domain import Modality, Vectors, Waveform
from triptych.schema import Similarity, Space

Input = str | Image | Waveform
"""What an encoder takes: a text, an RGB picture, a mono sound."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder's data: everything the mapping, the index's `_meta` and a listing need, known before any weight is loaded.

    `space` names the vector field; `document_modality` is what of a product fills it; `query_modalities` are the query inputs
    that search it. `identity` holds whatever changes the vectors (weights' sha256, preprocessing, prompts, pooling); the
    fingerprint is a hash over it.
    """

    name: str
    space: str
    document_modality: Modality
    query_modalities: tuple[Modality, ...]
    dims: int
    licence: str
    description: str
    identity: dict[str, Any] = field(default_factory=dict)
    similarity: Similarity = "cosine"

    @property
    def fingerprint(self) -> str:
        """16 hex digits: vectors of equal fingerprint may be compared."""
        data = {"name": self.name, "dims": self.dims, "similarity": self.similarity, "identity": self.identity}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def to_space(self) -> Space:
        """The space as an index remembers it."""
        return Space(
            name=self.space,
            encoder=self.name,
            fingerprint=self.fingerprint,
            dims=self.dims,
            similarity=self.similarity,
            document_modality=self.document_modality,
            query_modalities=self.query_modalities,
        )


class Encoder(Protocol):
    """Turns inputs into vectors of one space. Implementations load their weights on first use and are used by one thread."""

    @property
    def spec(self) -> EncoderSpec: ...

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        """Embed what products have, of `spec.document_modality`. Returns (n, dims), float32, unit norm; (0, dims) for none."""
        ...

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        """Embed query inputs of one of `spec.query_modalities`. Returns (n, dims), float32, unit norm."""
        ...


def unit(vectors: np.ndarray[Any, Any]) -> Vectors:
    """Scale each row to length 1, as float32. A zero row stays zero (Elasticsearch refuses it for cosine: check before)."""
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)
