"""The family audio_text on tiny CLAP models, plain and fused; its windows on samples that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_encoders import AUDIO, TEXT, WORDS, Tiny, check_encoder, encoder, sounds, unit64

from triptych.domain import Waveform
from triptych.encoders.audio_text import windows_of
from triptych.encoders.families import AUDIO_TEXT
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

_fusion = pytest.mark.parametrize("fused", [False, True])


@_fusion
def test_words_hold_alone_and_in_company(tiny: Tiny, fused: bool) -> None:
    made = encoder(AUDIO_TEXT, tiny("clap", fused=fused), 24, documents=AUDIO, query_prompt="this is a sound of ")
    check_encoder(lambda: made, WORDS, lambda made, inputs: made.embed_queries(inputs, TEXT))


@_fusion
def test_sounds_hold_alone_and_in_company_and_nothing_is_left_to_chance(tiny: Tiny, fused: bool) -> None:
    made = encoder(AUDIO_TEXT, tiny("clap", fused=fused), 24, documents=AUDIO, queries=(AUDIO,))
    found = check_encoder(lambda: made, sounds(), lambda made, inputs: made.embed_documents(inputs))
    np.testing.assert_array_equal(made.embed_queries(sounds(), AUDIO), found)


def test_vectors_are_those_of_the_whole_model(tiny: Tiny) -> None:
    import torch
    import transformers

    folder = tiny("clap", fused=False)
    random = np.random.default_rng(3)
    noise = [random.normal(0, 0.1, 16_000).astype(np.float32) for _ in range(2)]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    batch = processor(text=["a dog barks", "shoe"], audio=noise, sampling_rate=16_000, return_tensors="pt", padding=True)
    with torch.inference_mode():
        whole = transformers.AutoModel.from_pretrained(folder).eval()(**batch)
    made = encoder(AUDIO_TEXT, folder, 24, documents=AUDIO)
    np.testing.assert_allclose(made.embed_queries(["a dog barks", "shoe"], TEXT), unit64(whole.text_embeds.numpy()), atol=2e-6)
    heard = made.embed_documents([Waveform(samples, 16_000) for samples in noise])
    np.testing.assert_allclose(heard, unit64(whole.audio_embeds.numpy()), atol=2e-6)


def test_a_long_sound_is_the_mean_of_its_windows(tiny: Tiny) -> None:
    made = encoder(AUDIO_TEXT, tiny("clap", fused=False), 24, documents=AUDIO, windows=2)
    samples = np.random.default_rng(4).normal(0, 0.1, 40_000).astype(np.float32)
    ends = [Waveform(samples[:16_000], 16_000), Waveform(samples[-16_000:], 16_000)]
    expected = unit64(made.embed_documents(ends).astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(made.embed_documents([Waveform(samples, 16_000)])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "most", "starts"),
    [(6, 3, [0]), (10, 3, [0]), (12, 3, [0, 2]), (35, 3, [0, 12, 25]), (35, 9, [0, 8, 17, 25]), (100, 1, [0])],
)
def test_windows_are_spaced_evenly_from_beginning_to_end(length: int, most: int, starts: list[int]) -> None:
    sound = Waveform(np.arange(length, dtype=np.float32), 100)
    windows = windows_of(sound, 10, 100, most)
    assert [int(window[0]) for window in windows] == starts
    assert {len(window) for window in windows} == {min(length, 10)}


def test_windows_are_resampled_and_never_longer_than_asked() -> None:
    for rate in (8_000, 11_025, 44_100, 48_000):
        sound = Waveform(np.ones(rate * 3, np.float32), rate)
        assert [len(window) for window in windows_of(sound, 16_000, 16_000, 3)] == [16_000] * 3


def test_a_sound_without_samples_is_refused(tiny: Tiny) -> None:
    with pytest.raises(EncoderError) as caught:
        encoder(AUDIO_TEXT, tiny("clap", fused=False), 24, documents=AUDIO).embed_documents(
            [Waveform(np.empty(0, np.float32), 16_000)]
        )
    assert caught.value.code == "encoder.input"
