"""Sounds as mel bands: one rate, one loudness, silence at the ends left out. librosa does the work."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from triptych.domain import Waveform

FRAME, HOP = 1024, 512  # samples; of 22 050 Hz, 46 ms, each 23 ms
SECONDS = 15.0
_SILENT = 1e-4  # -80 dB of full scale
_QUIET = 0.01  # of the peak, -40 dB: the ends
_SLOWEST = 100  # hertz; a sound of fewer samples a second has nothing to hear, and soxr refuses such ratios

Samples = npt.NDArray[np.float32]


def audible(sound: Waveform, rate: int) -> Samples | None:
    """The sound's first 15 s at `rate` hertz, its peak at 1, without quiet ends, at least one frame; None for silence.

    A constant is silence, and so is one sample alone.
    """
    samples = np.asarray(sound.samples[: int(SECONDS * sound.rate)], dtype=np.float32)
    if sound.rate < _SLOWEST or not len(samples):
        return None
    samples = samples - samples.mean()
    if not np.abs(samples).max() > _SILENT:
        return None
    if sound.rate != rate:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=rate)
    peak = np.abs(samples).max(initial=0.0)
    if not peak > _SILENT:
        return None  # all of it above what the rate can carry
    # To the sample, not to the frame: half a frame of silence would be the largest change in a steady sound.
    loud = np.flatnonzero(np.abs(samples) > _QUIET * peak)
    trimmed = samples[loud[0] : loud[-1] + 1] / peak
    return np.pad(np.asarray(trimmed, dtype=np.float32), (0, max(0, FRAME - len(trimmed))))


def mel_power(samples: Samples, rate: int, bands: int) -> npt.NDArray[Any]:
    """The power in each band: (bands, frames), float32. Stevens, Volkmann and Newman 1937 for the scale."""
    found = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=FRAME, hop_length=HOP, n_mels=bands, center=False)
    return np.asarray(found, dtype=np.float32)


def decibels(power: npt.NDArray[Any], *, range_db: float) -> npt.NDArray[np.float32]:
    """Decibels below the loudest, at least -range_db."""
    return np.asarray(librosa.power_to_db(power, ref=np.max, top_db=range_db), dtype=np.float32)
