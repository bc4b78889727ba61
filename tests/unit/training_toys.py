"""Embedded catalogues made up for tests of training: each product's modalities show one hidden thing, each in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from training.catalogue import Catalogue, Inputs
from training.vectors import VectorFile, digest_of
from triptych.domain import Modality
from triptych.encoders.base import unit
from triptych.encoders.trained import Tower

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO
WIDTHS = {TEXT: 12, IMAGE: 16, AUDIO: 10}
LATENT = 8


def towers(*modalities: Modality) -> dict[str, Tower]:
    return {str(modality): Tower(WIDTHS[modality], f"print-{modality}", str(modality)) for modality in modalities}


@contextmanager
def a_catalogue(
    folder: Path,
    count: int = 240,
    modalities: Sequence[Modality] = (TEXT, IMAGE),
    *,
    share: float = 1.0,
    labels: int = 4,
    noise: float = 0.2,
    apart: float = 0.7,
) -> Iterator[Catalogue]:
    """`count` products of `labels` kinds, which lie `apart`. Each has a text, a `share` of them an input of the others."""
    random = np.random.default_rng(3)
    kinds = random.normal(size=(labels, LATENT))
    label = np.arange(count) % labels
    hidden = kinds[label] * apart + random.normal(size=(count, LATENT))
    inputs: dict[Modality, Inputs] = {}
    with ExitStack() as stack:
        for modality in modalities:
            width = WIDTHS[modality]
            shown = hidden @ random.normal(size=(LATENT, width)) + noise * random.normal(size=(count, width))
            owners = np.arange(count) if modality is TEXT else np.flatnonzero(random.random(count) < share)
            file = stack.enter_context(VectorFile(folder, str(modality), width))
            file.add({digest_of(f"{modality} {number}"): row for number, row in enumerate(unit(shown))})
            languages = ("en",) * len(owners) if modality is TEXT else ("",) * len(owners)
            inputs[modality] = Inputs(owners, owners.copy(), np.zeros_like(owners), languages, file)
        yield Catalogue(
            name="made up",
            ids=tuple(f"p{number:03}" for number in range(count)),
            group=np.arange(count),
            positive=np.empty((count, 0), dtype=np.int64),
            label=tuple(f"kind {number}" for number in label),
            inputs=dict(sorted(inputs.items())),  # as over.bases_of has them
        )
