"""The same vectors on CUDA as on the CPU, for every family of tiny models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_encoders import AUDIO, IMAGE, TEXT, WORDS, Tiny, encoder, pictures, sounds

from triptych.domain import Modality
from triptych.encoders.base import Family
from triptych.encoders.families import AUDIO_TEXT, EMBEDDING_GEMMA, IMAGE_TEXT, TORCHVISION_IMAGE, TRANSFORMERS_TEXT

pytestmark = [pytest.mark.unit, pytest.mark.gpu]

_INPUTS = {TEXT: WORDS, IMAGE: pictures(), AUDIO: sounds()}
_ENCODERS: list[tuple[Family, str, int, tuple[Modality, ...], dict[str, Any]]] = [
    (TRANSFORMERS_TEXT, "bert", 32, (TEXT,), {}),
    (TRANSFORMERS_TEXT, "decoder", 32, (TEXT,), {"pooling": "last"}),
    (IMAGE_TEXT, "clip", 24, (TEXT, IMAGE), {}),
    (IMAGE_TEXT, "siglip", 32, (TEXT, IMAGE), {}),
    (IMAGE_TEXT, "siglip2", 32, (TEXT, IMAGE), {}),
    (IMAGE_TEXT, "chinese_clip", 24, (TEXT, IMAGE), {}),
    (AUDIO_TEXT, "clap", 24, (TEXT, AUDIO), {}),
    (EMBEDDING_GEMMA, "embedding_gemma2", 160, (TEXT, IMAGE, AUDIO), {}),
    (TORCHVISION_IMAGE, "resnet18", 512, (IMAGE,), {"architecture": "resnet18"}),
]


@pytest.fixture(autouse=True)
def _cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA here")


@pytest.mark.parametrize(("family", "model", "dims", "modalities", "options"), _ENCODERS, ids=lambda value: str(value)[:12])
def test_cuda_gives_the_vectors_of_the_cpu(
    tiny: Tiny, family: Family, model: str, dims: int, modalities: tuple[Modality, ...], options: dict[str, Any]
) -> None:
    folder = tiny("classifier", architecture=model) if family is TORCHVISION_IMAGE else tiny(model)
    cpu, cuda = (
        encoder(family, folder, dims, documents=modalities[-1], queries=modalities, device=device, **options)
        for device in ("cpu", "cuda")
    )
    for modality in modalities:
        ours, theirs = (made.embed_queries(_INPUTS[modality], modality) for made in (cuda, cpu))
        assert np.min(np.sum(ours * theirs, axis=1)) > 0.999, modality
