"""Sounds by statistics over time of their cepstral coefficients (mfcc) or of their bands (log_mel).

    sound -> log-mel frames [-> cosine transform] -> mean and deviation over time, deviation of the changes
          -> standardised over the catalogue -> dims

Davis and Mermelstein 1980 for the coefficients; Tzanetakis and Cook 2002 for their statistics as a description of a sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import librosa
import numpy as np

from triptych.domain import Waveform
from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical.families import LogMelOptions, MfccOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows, Standard, nothing_to_fit, require_fitted, reservoir
from triptych.encoders.classical.mel import audible, decibels, mel_power
from triptych.encoders.inputs import sounds

_RANGE_DB = 40.0
"""What lies deeper below the loudest is the recording's noise, not the sound's. Hit@5 of 12 queries of the demo shop: 80 dB .67
(mfcc) and .75 (log_mel), 60 dB .75 and .75, 40 dB 1.00 and 1.00."""

_BANDS_OF_MFCC = 64

Describe = Callable[[Waveform], Rows | None]


def mfcc(sound: Waveform, rate: int, coefficients: int) -> Rows | None:
    """Mean and deviation of each coefficient, deviations of its first and second change: (4 * coefficients,).

    None for silence.
    """
    samples = audible(sound, rate)
    if samples is None:
        return None
    bands = decibels(mel_power(samples, rate, _BANDS_OF_MFCC), range_db=_RANGE_DB)
    frames = librosa.feature.mfcc(S=bands, n_mfcc=coefficients)
    return np.concatenate([_level(frames), _changes(frames, 1), _changes(frames, 2)])


def log_mel(sound: Waveform, rate: int, bands: int) -> Rows | None:
    """Mean and deviation of each band in decibels, and the deviation of its change: (3 * bands,). None for silence."""
    samples = audible(sound, rate)
    if samples is None:
        return None
    frames = decibels(mel_power(samples, rate, bands), range_db=_RANGE_DB)
    return np.concatenate([_level(frames), _changes(frames, 1)])


def _level(frames: Rows) -> Rows:
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])


def _changes(frames: Rows, order: int) -> Rows:
    """The deviation over time of the local slope (order 1) or curvature (order 2)."""
    found = librosa.feature.delta(frames, order=order, width=9, mode="nearest")
    return np.asarray(found.std(axis=1), dtype=np.float32)


def _fit(setup: Setup, inputs: Iterable[Input], describe: Describe) -> Fitted:
    options: MfccOptions | LogMelOptions = setup.options
    sample = reservoir(inputs, lambda item: describe(sounds([item])[0]), size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "sounds")
    found = Standard.of(np.stack(sample))
    return Fitted({"mean": found.mean, "deviation": found.deviation})


def _encoder(setup: Setup, describe: Describe) -> Encoder:
    fitted = require_fitted(setup)
    standard = Standard(fitted.tensors["mean"], fitted.tensors["deviation"])
    nothing = np.zeros_like(standard.mean)

    def rows(inputs: Sequence[Input]) -> Rows:
        found = [describe(sound) for sound in sounds(inputs)]
        return np.stack([nothing if row is None else standard(row) for row in found])

    return FeatureEncoder(setup.spec, rows)


def fit_mfcc(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """Mean and deviation of each value over the catalogue. Raises EncoderError `encoder.nothing_to_fit`."""
    options: MfccOptions = setup.options
    return _fit(setup, inputs, lambda sound: mfcc(sound, options.rate, options.coefficients))


def mfcc_encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: MfccOptions = setup.options
    return _encoder(setup, lambda sound: mfcc(sound, options.rate, options.coefficients))


def fit_log_mel(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """As `fit_mfcc`."""
    options: LogMelOptions = setup.options
    return _fit(setup, inputs, lambda sound: log_mel(sound, options.rate, options.bands))


def log_mel_encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: LogMelOptions = setup.options
    return _encoder(setup, lambda sound: log_mel(sound, options.rate, options.bands))
