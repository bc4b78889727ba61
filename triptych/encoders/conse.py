"""ConSE: pictures into the space of words "image_words" without any training (Norouzi et al. 2014, arXiv:1312.5650).

A picture becomes the mean of the e5 embeddings of the ImageNet classes it most looks like, weighted by their probability;
a query is the e5 embedding of its words. Both are centred by means fixed at prepare time, because e5's cosines are squeezed
towards 1 and the direction they share says nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from triptych.domain import Modality, Vector, Vectors
from triptych.encoders import e5, efficientnet, specs, store
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.encoders.inputs import check_modality, pictures, texts
from triptych.encoders.sources import check, sha256_of_text
from triptych.settings import Settings

TABLE = "classes.safetensors"
_TOP = 10  # classes a picture is described by, as in the paper


def class_names() -> list[str]:
    """The 1000 ImageNet class names in the order of the logits. Raises EncoderError `encoder.checksum` for a changed list."""
    lines = resources.files("triptych.encoders").joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if not line.startswith("#")]
    check(sha256_of_text("\n".join(names)), specs.IMAGENET_CLASSES_SHA256, what="the list of ImageNet classes")
    return names


def write_table(text: e5.TextBackbone, folder: Path) -> None:
    """Embed the class names and the query mean, and write them into `folder`.

    A class is the mean of its name as a query and as a passage, each centred: the names are too short to be either.
    """
    names = class_names()
    queries, passages = text.embed(e5.QUERY, names), text.embed(e5.PASSAGE, names)
    table = {"classes": unit(centred(queries) + centred(passages)), "query_mean": queries.mean(axis=0)}
    save_file(table, folder / TABLE)


def centred(vectors: Vectors) -> Vectors:
    """Without the mean, unit norm."""
    return unit(vectors - vectors.mean(axis=0))


def describe(logits: Vectors, classes: Vectors, *, top: int = _TOP) -> Vectors:
    """The pictures as words: logits (n, c) and class embeddings (c, d) give (n, d), float32, unit norm."""
    rows = np.arange(len(logits))[:, None]
    best = np.argsort(-logits, axis=1)[:, :top]
    scores = logits[rows, best]
    weights = np.exp(scores - scores[:, :1])  # the softmax's common factor falls away with the norm
    return unit(np.einsum("nk,nkd->nd", weights, classes[best]))


@functools.cache
def _table(path: Path) -> tuple[Vectors, Vector]:
    table = load_file(path)
    return table["classes"], table["query_mean"]


class ConseEncoder:
    """Words to pictures."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.encoders_dir / specs.CONSE_FOLDER
        self._path = store.require(folder, specs.recipe_of(specs.CONSE_FOLDER)) / TABLE
        self._text = e5.backbone(settings)
        self._images = efficientnet.backbone(settings)

    @property
    def spec(self) -> EncoderSpec:
        return specs.IMAGE_WORDS

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        classes, _ = _table(self._path)
        return describe(self._images.look(pictures(inputs)).logits, classes)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        _, mean = _table(self._path)
        return unit(self._text.embed(e5.QUERY, texts(inputs)) - mean)
