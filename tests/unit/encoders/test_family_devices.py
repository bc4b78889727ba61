"""The same vectors, nearly, in bfloat16 and on CUDA as on the CPU in float32, for every family of tiny models."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_encoders import AUDIO, IMAGE, TEXT, WORDS, Tiny, encoder, pictures, sounds

from triptych.domain import Modality
from triptych.encoders.base import Family
from triptych.encoders.families import AUDIO_TEXT, EMBEDDING_GEMMA, IMAGE_TEXT, TORCHVISION_IMAGE, TRANSFORMERS_TEXT

pytestmark = pytest.mark.unit

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


_OTHERS = [
    pytest.param({"dtype": "bfloat16"}, 0.99, id="bfloat16"),
    pytest.param({"device": "cuda"}, 0.999, id="cuda", marks=pytest.mark.gpu),
    pytest.param({"device": "cuda", "dtype": "bfloat16"}, 0.99, id="cuda-bfloat16", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize(("other", "least"), _OTHERS)
@pytest.mark.parametrize(("family", "model", "dims", "modalities", "options"), _ENCODERS, ids=[row[1] for row in _ENCODERS])
def test_vectors_are_those_of_the_cpu_in_float32(
    *,
    tiny: Tiny,
    family: Family,
    model: str,
    dims: int,
    modalities: tuple[Modality, ...],
    options: dict[str, Any],
    other: dict[str, str],
    least: float,
) -> None:
    import torch

    if other.get("device") == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    folder = tiny("classifier", architecture=model) if family is TORCHVISION_IMAGE else tiny(model)
    ours, theirs = (
        encoder(family, folder, dims, documents=modalities[-1], queries=modalities, **options, **settings)
        for settings in (other, {})
    )
    for modality in modalities:
        pairs = (made.embed_queries(_INPUTS[modality], modality) for made in (ours, theirs))
        found, expected = (vectors.astype("float64") for vectors in pairs)
        assert (found * expected).sum(axis=1).min() > least, modality
