"""MFCC and log-mel statistics, on tones and noises whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from triptych.domain import Modality, Waveform
from triptych.encoders.base import Encoder, EncoderSpec, Family, Fitted, Setup, called
from triptych.encoders.classical import mel, sound_statistics
from triptych.encoders.classical.families import LOG_MEL, MFCC
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_BOTH = pytest.mark.parametrize("family", [MFCC, LOG_MEL], ids=lambda family: family.name)
_RATE = 22_050


def setup_of(family: Family, dims: int, fitted: Fitted | None = None) -> Setup:
    audio = Modality.AUDIO
    spec = EncoderSpec(
        name=family.name, space="audio", document_modality=audio, query_modalities=(audio,), dims=dims, licence="none"
    )
    return Setup(spec=spec, options=family.options(), settings=Settings(device="cpu", dtype="float32"), fitted=fitted)


def fitted_encoder(family: Family, sounds: list[Waveform], dims: int = 80) -> Encoder:
    return family.make(setup_of(family, dims, called(family.fit or "")(setup_of(family, dims), iter(sounds))))


def instrument(number: int, pitch: float = 220.0, seed: int = 0, rate: int = _RATE) -> Waveform:
    """A second of a timbre: how fast its harmonics fall off, how fast it fades, how much of it is noise."""
    random = np.random.default_rng(seed)
    time = np.arange(rate) / rate
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time) * (0.3 + 0.3 * (number % 3)) ** k for k in range(1, 12))
    noise = random.standard_normal(rate) * (1.0 if number >= 3 else 0.01)
    return Waveform(((harmonics + noise) * np.exp(-time * (1 + 8 * (number % 2))) * 0.2).astype(np.float32), rate)


SOUNDS = [instrument(number) for number in range(6)]


def test_standardisation_by_hand() -> None:
    rows = [sound_statistics.mfcc(sound, _RATE, 20) for sound in SOUNDS]
    table = np.stack([row for row in rows if row is not None])
    assert table.shape == (6, 80)
    fitted = called(MFCC.fit or "")(setup_of(MFCC, 80), iter(SOUNDS))
    np.testing.assert_allclose(fitted.tensors["mean"], table.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fitted.tensors["deviation"], table.std(axis=0), rtol=1e-3, atol=1e-4)
    expected = (table - table.mean(axis=0)) / table.std(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = MFCC.make(setup_of(MFCC, 80, fitted)).embed_documents(SOUNDS)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_tone_is_loudest_in_its_own_band() -> None:
    time = np.arange(_RATE) / _RATE
    loudest = []
    for pitch in (200, 1000, 5000):
        row = sound_statistics.log_mel(Waveform(np.sin(2 * np.pi * pitch * time).astype(np.float32), _RATE), _RATE, 64)
        assert row is not None
        assert row.shape == (192,)
        loudest.append(int(row[:64].argmax()))
        assert row[loudest[-1]] > -3  # decibels below the loudest
    assert loudest == sorted(set(loudest))


def test_a_steady_tone_deviates_less_than_a_beat() -> None:
    time = np.arange(2 * _RATE) / _RATE
    tone = np.sin(2 * np.pi * 500 * time)
    steady, beating = (
        sound_statistics.log_mel(Waveform((tone * envelope).astype(np.float32), _RATE), _RATE, 64)
        for envelope in (np.ones_like(time), (time % 0.25 < 0.1) * 1.0)
    )
    assert steady is not None
    assert beating is not None
    band = int(steady[:64].argmax())
    assert beating[64 + band] > steady[64 + band] + 5
    assert beating[128 + band] > steady[128 + band]


@_BOTH
def test_another_note_of_the_same_timbre_is_nearest(family: Family) -> None:
    encoder = fitted_encoder(family, SOUNDS)
    others = [instrument(number, pitch=240.0, seed=1, rate=44_100) for number in range(6)]
    best = (encoder.embed_queries(others, Modality.AUDIO) @ encoder.embed_documents(SOUNDS).T).argmax(axis=1)
    assert best.tolist() == list(range(6))


@_BOTH
def test_loudness_and_silence_around_a_sound_do_not_matter(family: Family) -> None:
    encoder = fitted_encoder(family, SOUNDS)
    gap = np.zeros(_RATE // 2, np.float32)
    quiet = [Waveform(np.concatenate([gap, sound.samples * 0.1, gap]), _RATE) for sound in SOUNDS]
    best = (encoder.embed_queries(quiet, Modality.AUDIO) @ encoder.embed_documents(SOUNDS).T).argmax(axis=1)
    assert best.tolist() == list(range(6))


def test_silence_around_a_sound_is_cut_off_and_its_peak_is_one() -> None:
    gap = np.zeros(_RATE, np.float32)
    found = mel.audible(Waveform(np.concatenate([gap, SOUNDS[0].samples * 0.1, gap]), _RATE), _RATE)
    assert found is not None
    assert 0.99 * _RATE < len(found) <= _RATE
    assert np.abs(found).max() == pytest.approx(1)


@_BOTH
@pytest.mark.parametrize(("count", "rate"), [(1, 8000), (2, 8000), (0, 8000), (100, 50), (3, 192_000), (40_000, 192_000)])
def test_any_length_and_rate_has_a_row(family: Family, count: int, rate: int) -> None:
    encoder = fitted_encoder(family, SOUNDS, 32)
    for samples in (np.random.default_rng(0).uniform(-1, 1, count), np.zeros(count), np.full(count, 0.5)):
        found = encoder.embed_documents([Waveform(samples.astype(np.float32), rate)])
        assert found.shape == (1, 32)
        assert found.dtype == np.float32
        assert np.linalg.norm(found) == pytest.approx(1, rel=1e-5) or not found.any()


@_BOTH
def test_silence_has_no_vector_and_no_sounds_have_no_rows(family: Family) -> None:
    encoder = fitted_encoder(family, SOUNDS, 32)
    for samples in (np.zeros(5000), np.full(5000, 0.7), np.array([0.5]), np.random.default_rng(0).normal(0, 1e-6, 5000)):
        assert not encoder.embed_documents([Waveform(samples.astype(np.float32), 8000)]).any()
    assert encoder.embed_documents([]).shape == (0, 32)


@_BOTH
def test_one_product_alone_has_a_vector(family: Family) -> None:
    found = fitted_encoder(family, SOUNDS[:1], 300).embed_documents(SOUNDS[:1])
    assert found.shape == (1, 300)
    np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-5)


@_BOTH
def test_a_sound_does_not_depend_on_its_neighbours(family: Family) -> None:
    encoder = fitted_encoder(family, SOUNDS)
    alone = np.concatenate([encoder.embed_documents([sound]) for sound in SOUNDS])
    np.testing.assert_allclose(encoder.embed_documents(SOUNDS), alone, atol=1e-6)


@_BOTH
def test_the_same_sounds_give_the_same_bytes_and_they_survive_a_file(family: Family) -> None:
    first, second = (called(family.fit or "")(setup_of(family, 80), iter(SOUNDS)) for _ in range(2))
    data = save(dict(first.tensors))
    assert data == save(dict(second.tensors))
    before, after = (
        family.make(setup_of(family, 80, fitted)).embed_documents(SOUNDS) for fitted in (first, Fitted(load(data), first.facts))
    )
    np.testing.assert_array_equal(before, after)
