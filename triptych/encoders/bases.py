"""Frozen encoders that something trained stands on: what they give for an input of a modality. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.domain import Modality, Vectors
from triptych.encoders.base import Encoder, EncoderSpec, Input
from triptych.errors import EncoderError


def takes(spec: EncoderSpec, modality: Modality) -> bool:
    """Whether an encoder embeds inputs of this modality at all."""
    return modality == spec.document_modality or modality in spec.query_modalities


def as_query(base: Encoder, inputs: Sequence[Input], modality: Modality) -> Vectors:
    """What a query gives: (n, dims). As documents where the encoder takes no such queries."""
    if modality in base.spec.query_modalities:
        return base.embed_queries(inputs, modality)
    return _documents(base, inputs, modality)


def as_document(base: Encoder, inputs: Sequence[Input], modality: Modality) -> Vectors:
    """What a product has: (n, dims). As queries where the encoder's documents are of another modality."""
    if modality == base.spec.document_modality:
        return base.embed_documents(inputs)
    return base.embed_queries(inputs, modality)


def _documents(base: Encoder, inputs: Sequence[Input], modality: Modality) -> Vectors:
    if modality != base.spec.document_modality:
        raise EncoderError(f"The encoder of the space {base.spec.space} takes no {modality}.", code="encoder.modality")
    return base.embed_documents(inputs)
