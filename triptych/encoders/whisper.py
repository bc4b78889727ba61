"""The encoder half of Whisper base: sounds into the space "audio", by likeness (Radford et al. 2022, arXiv:2212.04356).

Whisper wants 30 seconds; a short window (its first position embeddings only) costs a sixth and suits sounds of products. The
mean and the deviation of the frames are standardised by statistics fixed at prepare time, because their plain cosines are all
close to 1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders import specs, store
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.encoders.calibration import calibration_sounds
from triptych.encoders.inputs import check_modality, sounds
from triptych.encoders.runtime import Runtime, runtime_of
from triptych.settings import Settings

WEIGHTS = "model.safetensors"
STATISTICS = "statistics.safetensors"
RATE = 16_000
WINDOW_SECONDS = 5
_SAMPLES_PER_FRAME = 320  # two mel frames of 10 ms
_FRAMES = WINDOW_SECONDS * RATE // _SAMPLES_PER_FRAME
_BATCH = 8
_PREFIX = "model.encoder."


class AudioBackbone:
    """The network, loaded on first use."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime

    def pool(self, inputs: Sequence[Waveform]) -> Vectors:
        """Mean and deviation over each sound's frames: (n, 1024), float32, neither standardised nor scaled."""
        clips = [clip_of(sound) for sound in inputs]
        parts = [self._forward(clips[start : start + _BATCH]) for start in range(0, len(clips), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, specs.AUDIO.dims), dtype=np.float32)

    @torch.inference_mode()
    def _forward(self, clips: list[npt.NDArray[np.float32]]) -> Vectors:
        mel = self._extractor(
            clips,
            sampling_rate=RATE,
            max_length=WINDOW_SECONDS * RATE,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )["input_features"]
        hidden = self._network(mel.to(self._runtime.device, self._runtime.dtype)).last_hidden_state.float()
        rows = []
        for frames, clip in zip(hidden, clips, strict=True):
            real = frames[: max(1, min(_FRAMES, len(clip) // _SAMPLES_PER_FRAME + 1))]
            rows.append(torch.cat([real.mean(dim=0), real.std(dim=0, correction=0)]))
        return np.asarray(torch.stack(rows).cpu().numpy(), dtype=np.float32)

    @functools.cached_property
    def _extractor(self) -> Any:
        return WhisperFeatureExtractor.from_pretrained(self._folder, local_files_only=True)

    @functools.cached_property
    def _network(self) -> Any:
        """The encoder alone, with the position embeddings of its first window."""
        config = WhisperConfig.from_pretrained(self._folder, local_files_only=True)
        config.max_source_positions = _FRAMES
        with safe_open(self._folder / WEIGHTS, framework="pt") as file:
            state = {name.removeprefix(_PREFIX): file.get_tensor(name) for name in file.keys() if name.startswith(_PREFIX)}
        state["embed_positions.weight"] = state["embed_positions.weight"][:_FRAMES].clone()
        network: nn.Module = WhisperEncoder(config)
        network.load_state_dict(state)
        return network.eval().to(self._runtime.device, self._runtime.dtype)


def clip_of(sound: Waveform) -> npt.NDArray[np.float32]:
    """The sound's first window at 16 kHz, (n,), float32."""
    samples = sound.samples[: WINDOW_SECONDS * sound.rate]
    if sound.rate != RATE:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=RATE)
    return np.asarray(samples, dtype=np.float32)


def write_statistics(folder: Path, runtime: Runtime) -> None:
    """Mean and deviation of the pooled vectors over the calibration sounds, written into `folder`."""
    pooled = AudioBackbone(folder, runtime).pool(calibration_sounds())
    save_file({"mean": pooled.mean(axis=0), "deviation": pooled.std(axis=0)}, folder / STATISTICS)


@functools.cache
def _backbone(folder: Path, runtime: Runtime) -> AudioBackbone:
    return AudioBackbone(folder, runtime)


class WhisperSoundEncoder:
    """Sounds to sounds, by likeness."""

    def __init__(self, settings: Settings) -> None:
        self._folder = store.require(settings.encoders_dir / specs.WHISPER_FOLDER, specs.recipe_of(specs.WHISPER_FOLDER))
        self._backbone = _backbone(self._folder, runtime_of(settings))

    @property
    def spec(self) -> EncoderSpec:
        return specs.AUDIO

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return unit((self._backbone.pool(sounds(inputs)) - self._statistics["mean"]) / self._statistics["deviation"])

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)

    @functools.cached_property
    def _statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        return load_file(self._folder / STATISTICS)
