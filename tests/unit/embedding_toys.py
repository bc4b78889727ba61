"""What an embedder of queries takes from Services, in this process: for tests of what is embedded and recognised when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from toys import AUDIO, IMAGE, TEXT, a_precomputed, an_encoded

from search_api.breakers import Breakers
from search_api.deadline import Deadline
from search_api.embed import Embedding, QueryEmbedder
from search_api.legs import Leg, wanted
from search_api.query import SearchRequest
from triptych.domain import Modality, Vector, Vectors, Waveform
from triptych.elastic.lifecycle import IndexInfo
from triptych.encoders import fused
from triptych.encoders.base import Input
from triptych.errors import MediaError
from triptych.schema import IndexSchema
from triptych.services import Services
from triptych.settings import Settings

WORDS = an_encoded("text", 2)
PICTURES = an_encoded("image", 3, document_modality=IMAGE, query_modalities=(TEXT, IMAGE))
OWN = a_precomputed("own", 2)
SOUNDS = an_encoded("audio", 3, document_modality=AUDIO, query_modalities=(AUDIO,))
FAR = a_precomputed("far", 2, similarity="l2_norm")
FIELDS = {"title.en": "text", "title.zh": "text", "title.en.raw": "keyword", "title.und": "text", "subtitle.fr": "text"}
SCHEMA = IndexSchema(lexical_fields=("title",), spaces=(WORDS, PICTURES, OWN, SOUNDS, FAR))


def info_of(schema: IndexSchema) -> IndexInfo:
    """An index whose mapping has all fields of a schema."""
    return IndexInfo("shop-1", schema, {**FIELDS, **{space.field: "dense_vector" for space in schema.spaces}})


INFO = info_of(SCHEMA)


@dataclass
class Encoder:
    """Gives `row` for any query, and notes what it was asked."""

    row: Sequence[float]
    asked: list[tuple[Input, Modality]] = field(default_factory=list)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        self.asked += [(value, modality) for value in inputs]
        return np.array([self.row] * len(inputs), dtype=np.float32)


@dataclass
class Memory:
    """A cache as VectorCache is, of this process."""

    held: dict[tuple[str, str, str], Vector] = field(default_factory=dict)

    def get(self, fingerprint: str, role: str, digests: Sequence[str]) -> dict[str, Vector]:
        return {d: self.held[fingerprint, role, d] for d in digests if (fingerprint, role, d) in self.held}

    def put(self, fingerprint: str, role: str, vectors: Mapping[str, Vector]) -> None:
        self.held |= {(fingerprint, role, digest): vector for digest, vector in vectors.items()}


@dataclass
class Heard:
    text: str
    language: str = "en"
    confidence: float = 0.987654


@dataclass
class Transcriber:
    text: str
    asked: list[Waveform] = field(default_factory=list)
    error: Exception | None = None

    def transcribe(self, sound: Waveform, *, languages: Collection[str]) -> Heard:
        self.asked.append(sound)
        if self.error is not None:
            raise self.error
        assert languages == {"en", "zh"}
        return Heard(self.text)


@dataclass
class Parts:
    """What an embedder takes from Services."""

    settings: Settings
    transcriber: Transcriber | None = None
    cache: Memory = field(default_factory=Memory)
    decoded: list[tuple[bytes, Modality]] = field(default_factory=list)
    rows: dict[str, Encoder] = field(
        default_factory=lambda: {"text": Encoder([1, 0]), "image": Encoder([0, 1, 0]), "audio": Encoder([0, 0, 1])}
    )

    @property
    def decoder(self) -> Parts:
        return self

    @property
    def profile(self) -> Any:
        return type("Profile", (), {"name": "mine"})

    def decode(self, data: bytes, modality: Modality) -> Input:
        self.decoded.append((data, modality))
        if data == b"broken":
            raise MediaError("It cannot be read.", code="media.truncated", field=modality)
        return Image.new("RGB", (2, 2)) if modality is IMAGE else Waveform(np.zeros(10, np.float32), 16_000)

    def encoders(self, schema: IndexSchema) -> dict[str, Encoder]:
        return {s.name: self.rows[s.name] for s in schema.spaces if s.kind == "encoded"}

    def joins(self, schema: IndexSchema) -> dict[str, fused.Join]:
        return fused.joins_of(schema, network=lambda space: pytest.fail(space.name))


def embedder(parts: Parts, breakers: Breakers | None = None) -> QueryEmbedder:
    return QueryEmbedder(cast("Services", parts), breakers)


def asking(schema: IndexSchema = SCHEMA, **inputs: Any) -> Embedding:
    return Embedding(info_of(schema), SearchRequest("shop", **inputs), Deadline())


def legs(parts: Parts, schema: IndexSchema = SCHEMA, **inputs: Any) -> dict[str, Leg]:
    asked = asking(schema, **inputs)
    return {leg.name: leg for leg in embedder(parts).legs(asked, wanted(asked.request, schema))}


def row(leg: Leg) -> list[float]:
    assert leg.vector is not None
    assert leg.vector.dtype == np.float32
    return [float(value) for value in leg.vector]
