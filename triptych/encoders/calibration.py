"""Synthetic sounds, the same everywhere, over which the audio space is standardised at prepare time.

They stand for what sounds differ in: pitch, harmonics, attack and decay, noise colour, rhythm, sweep. No recordings, no
catalogue. Numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from triptych.domain import Waveform

_RATE = 16_000
_SECONDS = 3.0
_Samples = npt.NDArray[np.float64]


def calibration_sounds() -> list[Waveform]:
    """145 sounds of 3 s at 16 kHz, deterministic."""
    random = np.random.default_rng(20_260_101)
    time = np.arange(int(_SECONDS * _RATE)) / _RATE
    tones = [*_stacks(time, random), *_sweeps(time)]
    noises = list(_noises(time, random))
    envelopes = list(_envelopes(time))
    shaped = [tone * envelopes[i % len(envelopes)] for i, tone in enumerate(tones)]
    shaped += [noise * envelope for noise in noises for envelope in envelopes]
    return [Waveform(_loud(samples), _RATE) for samples in shaped]


def _stacks(time: _Samples, random: np.random.Generator) -> Iterator[_Samples]:
    """Harmonic stacks from 55 Hz to 1.8 kHz: pure, falling off as strings and reeds do, odd only, inharmonic as bells."""
    for pitch in 55.0 * 2.0 ** (np.arange(0, 61, 5) / 12):
        orders = np.arange(1, 20, dtype=float)
        for ratios, slope in ((orders[:1], 0.0), (orders, 1.0), (orders, 2.0), (orders[::2], 1.0), (orders**1.35, 0.7)):
            yield _sum(time, pitch * ratios, ratios**-slope, random)


def _sum(time: _Samples, frequencies: _Samples, weights: _Samples, random: np.random.Generator) -> _Samples:
    heard = frequencies < _RATE / 2
    phases = random.uniform(0, 2 * np.pi, len(frequencies))
    waves = np.sin(2 * np.pi * frequencies[heard, None] * time + phases[heard, None])
    return np.asarray(weights[heard] @ waves)


def _sweeps(time: _Samples) -> Iterator[_Samples]:
    """Glides and vibratos, up and down."""
    for low, high in ((100, 1000), (300, 3000), (1000, 6000), (2000, 200), (800, 400)):
        pitch = low * (high / low) ** (time / _SECONDS)
        yield np.sin(2 * np.pi * np.cumsum(pitch) / _RATE)
        vibrato = low * (1 + 0.05 * np.sin(2 * np.pi * 6 * time))
        yield np.sin(2 * np.pi * np.cumsum(vibrato) / _RATE)


def _noises(time: _Samples, random: np.random.Generator) -> Iterator[_Samples]:
    """Noise: white, pink, brown, and four bands."""
    frequencies = np.fft.rfftfreq(len(time), 1 / _RATE)
    flat = np.maximum(frequencies, 20.0)
    bands = [(100, 400), (400, 1500), (1500, 4000), (4000, 8000)]
    shapes = [flat**0.0, flat**-0.5, flat**-1.0, *(((frequencies > a) & (frequencies < b)) * 1.0 for a, b in bands)]
    for shape in shapes:
        yield np.fft.irfft(np.fft.rfft(random.standard_normal(len(time))) * shape, len(time))


def _envelopes(time: _Samples) -> Iterator[_Samples]:
    """Held, swelling, plucked once, struck at several tempi, trembling."""
    yield np.ones_like(time)
    yield np.sin(np.pi * time / _SECONDS) ** 2
    for decay in (0.1, 0.5, 1.5):
        yield np.exp(-time / decay)
    for period, decay in ((0.15, 0.03), (0.3, 0.1), (0.6, 0.25), (1.0, 0.05)):
        yield np.exp(-(time % period) / decay)
    yield 0.5 + 0.5 * np.sin(2 * np.pi * 8 * time)


def _loud(samples: _Samples) -> npt.NDArray[np.float32]:
    """Scaled to a peak of 0.7."""
    return np.asarray(0.7 * samples / np.max(np.abs(samples)), dtype=np.float32)
