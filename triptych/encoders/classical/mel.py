"""Sounds as mel bands: one rate, one loudness, silence at the ends left out. librosa does the work."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from triptych.domain import Waveform

RATE = 16_000
"""Lower than most recordings' rates: what lies above 8 kHz would tell how a sound was kept, not what it is."""

FRAME, HOP = 1024, 512  # samples: 64 ms, each 32 ms
SECONDS = 15.0
_SILENT = 1e-4  # -80 dB of full scale
_QUIET_DB = 40.0  # below the loudest: the ends
_SLOWEST = 100  # hertz; a sound of fewer samples a second has nothing to hear, and soxr refuses such ratios

Samples = npt.NDArray[np.float32]


def audible(sound: Waveform) -> Samples | None:
    """The sound's first 15 s at 16 kHz, its peak at 1, without quiet ends, at least one frame; None for silence.

    A constant is silence, and so is one sample alone.
    """
    samples = np.asarray(sound.samples[: int(SECONDS * sound.rate)], dtype=np.float32)
    if sound.rate < _SLOWEST or not len(samples):
        return None
    samples = samples - samples.mean()
    if not np.abs(samples).max() > _SILENT:
        return None
    if sound.rate != RATE:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=RATE)
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    peak = np.abs(samples).max()
    if not peak > _SILENT:
        return None  # all of it above what 16 kHz can carry
    trimmed, _ = librosa.effects.trim(samples / peak, top_db=_QUIET_DB, frame_length=FRAME, hop_length=HOP)
    return np.pad(np.asarray(trimmed, dtype=np.float32), (0, max(0, FRAME - len(trimmed))))


def mel_power(samples: Samples, bands: int) -> npt.NDArray[Any]:
    """The power in each band: (bands, frames), float32. Stevens, Volkmann and Newman 1937 for the scale."""
    return np.asarray(
        librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=FRAME, hop_length=HOP, n_mels=bands), dtype=np.float32
    )


def decibels(power: npt.NDArray[Any], *, range_db: float) -> npt.NDArray[np.float32]:
    """Decibels below the loudest, at least -range_db."""
    return np.asarray(librosa.power_to_db(power, ref=np.max, top_db=range_db), dtype=np.float32)
