"""Encoders over tiny models, and what must hold for the vectors of every encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders.base import Encoder, EncoderSpec, Family, Input, Setup
from triptych.settings import Settings

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO

Tiny = Callable[..., Path]
"""tiny(name, **options): the folder of a tiny model, made once a session."""

WORDS: list[Input] = [
    "a red shoe",
    "",
    "wasserdichte Schuhe für Damen, Größe 43, mit Schnürsenkeln " * 2,
    "一只小兔子",
    "<|image|>",
]


def pictures() -> list[Input]:
    """Wide, tall, tiny and with few colours."""
    random = np.random.default_rng(0)
    shapes = [(60, 80), (400, 30), (1, 1), (3, 3)]
    return [Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes] + [
        Image.new("RGB", (50, 50), "white")
    ]


def sounds() -> list[Input]:
    """Shorter than a window, several windows, of another rate, a few samples, silence."""
    random = np.random.default_rng(0)
    lengths = [(8_000, 16_000), (56_000, 16_000), (30_000, 22_050), (5, 16_000)]
    noises = [Waveform(random.normal(0, 0.1, length).astype(np.float32), rate) for length, rate in lengths]
    return [*noises, Waveform(np.zeros(16_000, np.float32), 16_000)]


def encoder(
    family: Family,
    folder: Path | None,
    dims: int,
    *,
    documents: Modality = TEXT,
    queries: tuple[Modality, ...] = (TEXT,),
    device: str = "cpu",
    dtype: str = "float32",
    **options: Any,
) -> Encoder:
    """An encoder made by hand."""
    spec = EncoderSpec(
        name="tiny", space="tried", document_modality=documents, query_modalities=queries, dims=dims, licence="none"
    )
    settings = Settings(device=device, dtype=dtype)
    return family.make(Setup(spec=spec, options=family.options(**options), settings=settings, model=folder))


def check_vectors(vectors: Vectors, count: int, dims: int) -> None:
    """Shape, type, length 1 (or all zeros), no NaN."""
    assert vectors.shape == (count, dims)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths), lengths


def check_encoder(
    make: Callable[[], Encoder], inputs: list[Input], embed: Callable[[Encoder, list[Input]], Vectors]
) -> Vectors:
    """What holds for every encoder and modality; returns the vectors."""
    first = make()
    found = embed(first, inputs)
    check_vectors(found, len(inputs), first.spec.dims)
    check_vectors(embed(first, []), 0, first.spec.dims)
    np.testing.assert_array_equal(embed(first, inputs), found)
    for item, row in zip(inputs, found, strict=True):
        alone = embed(first, [item])[0]
        assert alone @ row > 0.9999 or not row.any(), (item, alone @ row)
    backwards = embed(first, inputs[::-1])[::-1]
    assert np.min(np.sum(backwards * found, axis=1)[found.any(axis=1)]) > 0.9999
    return found


def unit64(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """An independent float64 reference of scaling to length 1."""
    wide = np.asarray(rows, dtype=np.float64)
    return wide / np.sqrt((wide**2).sum(axis=-1, keepdims=True))
