"""The family embedding_gemma on a tiny EmbeddingGemma 2 with all its towers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import AUDIO, IMAGE, TEXT, WORDS, Tiny, check_encoder, encoder, pictures, sounds, unit64

from triptych.domain import Waveform
from triptych.encoders.embedding_gemma import GemmaNetwork
from triptych.encoders.families import EMBEDDING_GEMMA
from triptych.encoders.runtime import runtime_of
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_INPUTS = {TEXT: WORDS, IMAGE: pictures(), AUDIO: sounds()}


@pytest.mark.parametrize("modality", list(_INPUTS))
def test_each_modality_holds_alone_and_in_company(tiny: Tiny, modality: str) -> None:
    made = encoder(EMBEDDING_GEMMA, tiny("embedding_gemma2"), 160, documents=modality, queries=(TEXT, modality))
    check_encoder(lambda: made, _INPUTS[modality], lambda made, inputs: made.embed_documents(inputs))


def test_vectors_are_the_mean_of_the_projected_tokens(tiny: Tiny) -> None:
    import torch
    import transformers

    folder = tiny("embedding_gemma2")
    processor = transformers.AutoProcessor.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    samples = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    picture = pictures()[0]
    prompt = "task: search result | query: "
    for modality, own, given in (
        (TEXT, {"text": [prompt + "red shoe"]}, "red shoe"),
        (IMAGE, {"images": [[picture]], "images_kwargs": {"max_soft_tokens": 280}}, picture),
        (AUDIO, {"audio": [samples], "sampling_rate": 16_000}, Waveform(samples, 16_000)),
    ):
        batch = {name: value for name, value in processor(return_tensors="pt", **own).items() if hasattr(value, "shape")}
        with torch.inference_mode():
            hidden = network(**batch).last_hidden_state[0].numpy().astype(np.float64)
        mask = batch["attention_mask"][0].numpy().astype(bool)
        made = encoder(EMBEDDING_GEMMA, folder, 160, documents=modality, queries=(TEXT, IMAGE, AUDIO))
        np.testing.assert_allclose(made.embed_queries([given], modality)[0], unit64(hidden[mask].mean(axis=0)), atol=2e-6)


def test_queries_and_documents_are_told_apart_by_their_prompts(tiny: Tiny) -> None:
    made = encoder(EMBEDDING_GEMMA, tiny("embedding_gemma2"), 160)
    assert made.embed_queries(["shoe"], TEXT)[0] @ made.embed_documents(["shoe"])[0] < 0.9999


def test_dims_are_cut_to_the_lengths_it_was_trained_for(tiny: Tiny) -> None:
    folder = tiny("embedding_gemma2")
    whole = encoder(EMBEDDING_GEMMA, folder, 160).embed_documents(WORDS)
    np.testing.assert_allclose(encoder(EMBEDDING_GEMMA, folder, 128).embed_documents(WORDS), unit64(whole[:, :128]), atol=1e-6)
    for dims in (100, 256):
        with pytest.raises(EncoderError) as caught:
            encoder(EMBEDDING_GEMMA, folder, dims).embed_documents(["a"])
        assert caught.value.code == "encoder.dims"


def test_only_the_towers_that_are_wanted_are_read(tiny: Tiny) -> None:
    network = GemmaNetwork(tiny("embedding_gemma2"), runtime_of(Settings(device="cpu", dtype="float32")))
    assert (network._network.vision_tower, network._network.audio_tower) == (None, None)
    network.want([IMAGE])
    assert network._network.vision_tower is not None
    assert network._network.audio_tower is None
    assert network._network is network._network


def test_fewer_tokens_a_picture_see_less(tiny: Tiny) -> None:
    few, many = (
        encoder(EMBEDDING_GEMMA, tiny("embedding_gemma2"), 160, documents=IMAGE, picture_tokens=tokens).embed_documents(
            [pictures()[0]]
        )
        for tokens in (70, 280)
    )
    assert few[0] @ many[0] < 0.99999


def test_a_long_text_is_cut_and_a_sound_heard_for_30_seconds(tiny: Tiny) -> None:
    made = encoder(EMBEDDING_GEMMA, tiny("embedding_gemma2"), 160, max_tokens=16, queries=(TEXT, AUDIO))
    np.testing.assert_array_equal(*(made.embed_documents(["shoe " * length]) for length in (50, 90)))
    noise = np.random.default_rng(0).normal(0, 0.1, 8_000 * 32).astype(np.float32)
    np.testing.assert_allclose(*(made.embed_queries([Waveform(noise[: 8_000 * s], 8_000)], AUDIO) for s in (30, 32)), atol=1e-3)


def test_another_model_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    for folder in (tiny("bert"), tmp_path):
        with pytest.raises(EncoderError) as caught:
            encoder(EMBEDDING_GEMMA, folder, 160).embed_documents(["a"])
        assert caught.value.code == "encoder.model"
