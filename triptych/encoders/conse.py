"""ConSE: pictures into the space of words "image_words" without any training (Norouzi et al. 2014, arXiv:1312.5650).

A picture becomes the mean of the e5 embeddings of the ImageNet classes it most looks like, weighted by their probability;
a query is the e5 embedding of its words. Both are centred by means fixed at prepare time, because e5's cosines are squeezed
towards 1 and the direction they share says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from safetensors.numpy import load_file, save_file

from triptych.domain import Modality, Vectors
from triptych.encoders.base import Encoder, EncoderSpec, Input, Preparing, Setup, unit
from triptych.encoders.inputs import check_modality, pictures
from triptych.encoders.pictures import Classifier
from triptych.errors import EncoderError

TABLE = "classes.safetensors"


def write_table(setup: Setup, folder: Path) -> None:
    """Embed the class names and the query mean, and write them into `folder`.

    A class is the mean of its name as a query and as a passage, each centred: the names are too short to be either.
    """
    words = setup.parts["words"]
    names = _classifier(setup).class_names()
    queries, passages = words.embed_queries(names, Modality.TEXT), words.embed_documents(names)
    table = {"classes": unit(centred(queries) + centred(passages)), "query_mean": queries.mean(axis=0)}
    save_file(table, folder / TABLE)


def centred(vectors: Vectors) -> Vectors:
    """Without the mean, unit norm."""
    return unit(vectors - vectors.mean(axis=0))


def describe(logits: Vectors, classes: Vectors, *, top: int = 10) -> Vectors:
    """The pictures as words: logits (n, c) and class embeddings (c, d) give (n, d), float32, unit norm.

    `top` is how many classes a picture is described by; ten, as in the paper.
    """
    rows = np.arange(len(logits))[:, None]
    best = np.argsort(-logits, axis=1)[:, :top]
    scores = logits[rows, best]
    weights = np.exp(scores - scores[:, :1])  # the softmax's common factor falls away with the norm
    return unit(np.einsum("nk,nkd->nd", weights, classes[best]))


def _classifier(setup: Setup) -> Classifier:
    encoder = setup.parts["pictures"]
    if not hasattr(encoder, "look") or not hasattr(encoder, "class_names"):
        raise EncoderError(
            f"ConSE wants pictures' classes with names, which {encoder.spec.name} has not.",
            code="encoder.no_classes",
            field="over.pictures",
            remedy="Make it over a space of the family efficientnet_lite or torchvision_image.",
        )
    return cast("Classifier", encoder)


class ConseEncoder:
    """Words to pictures."""

    def __init__(self, setup: Setup) -> None:
        self.spec: EncoderSpec = setup.spec
        self._top: int = setup.options.top
        self._words: Encoder = setup.parts["words"]
        self._pictures = _classifier(setup)
        if setup.spec.dims != self._words.spec.dims:
            raise EncoderError(
                f"ConSE gives the dims of the words it is made over, {self._words.spec.dims}, not {setup.spec.dims}.",
                code="encoder.dims",
                field="dims",
                remedy=f"Write dims: {self._words.spec.dims} in the profile.",
            )
        if setup.derived is None:
            raise EncoderError("The table of ConSE's classes is not made.", code="encoder.not_prepared")
        self._table = load_file(setup.derived / TABLE)

    def prepare(self, value: Input) -> None:
        if isinstance(self._pictures, Preparing):
            self._pictures.prepare(value)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return describe(self._pictures.look(pictures(inputs)).logits, self._table["classes"], top=self._top)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        queries = self._words.embed_queries(inputs, modality)
        return unit(queries - self._table["query_mean"])
