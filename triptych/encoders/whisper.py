"""The first layers of Whisper base: sounds into the space "audio", by likeness (Radford et al. 2022, arXiv:2212.04356).

    sound -> 16 kHz -> repeated to fill 1 to 3 windows of 5 s -> 2 encoder layers -> mean and deviation of all frames
          -> standardised -> unit norm

Chosen on the demo shop's 12 sound queries and 58 cropped, noisy copies (docs/encoders.md): the last layers know speech, the
early ones sound; a repeated sound leaves no silence for the network to attend to; and cosines of plain pooled frames are all
close to 1, so they are standardised by statistics over synthetic sounds, fixed at prepare time.
"""

from __future__ import annotations

import functools
import math
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

from triptych.domain import Modality, Vector, Vectors, Waveform
from triptych.encoders import specs, store
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.encoders.calibration import calibration_sounds
from triptych.encoders.inputs import check_modality, sounds
from triptych.encoders.runtime import Runtime, runtime_of
from triptych.errors import EncoderError
from triptych.settings import Settings

WEIGHTS = "model.safetensors"
STATISTICS = "statistics.safetensors"
RATE = 16_000
WINDOW_SECONDS = 5  # Whisper's own window is 30 s; its first position embeddings serve, at a sixth of the cost
MAX_WINDOWS = 3
_LAYERS = 2
_WINDOW = WINDOW_SECONDS * RATE
_FRAMES = WINDOW_SECONDS * 50  # Whisper's encoder has a frame each 20 ms
_BATCH = 8  # windows
_PREFIX = "model.encoder."
_POSITIONS = "embed_positions.weight"

_Samples = npt.NDArray[np.float32]


class AudioBackbone:
    """The network, loaded on first use."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime

    def pool(self, inputs: Sequence[Waveform]) -> Vectors:
        """Mean and deviation over each sound's frames: (n, 1024), float32, neither standardised nor scaled."""
        if not inputs:
            return np.empty((0, specs.AUDIO.dims), dtype=np.float32)
        windows = [windows_of(sound) for sound in inputs]
        rows = np.concatenate(windows)
        frames = np.concatenate([self._forward(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)])
        ends = np.cumsum([len(w) for w in windows])
        return np.stack([_pool(part.reshape(-1, part.shape[-1])) for part in np.split(frames, ends[:-1])])

    @torch.inference_mode()
    def _forward(self, rows: _Samples) -> npt.NDArray[np.float32]:
        """Windows (n, 80000) to frames (n, 250, 512), float32."""
        mel = self._extractor(list(rows), sampling_rate=RATE, max_length=_WINDOW, return_tensors="pt")["input_features"]
        hidden = self._network(mel.to(self._runtime.device, self._runtime.dtype)).last_hidden_state
        return np.asarray(hidden.float().cpu().numpy(), dtype=np.float32)

    @functools.cached_property
    def _extractor(self) -> Any:
        return WhisperFeatureExtractor.from_pretrained(self._folder, local_files_only=True)

    @functools.cached_property
    def _network(self) -> nn.Module:
        """The encoder's first layers, without the norm that belongs to the last, and the first window's positions."""
        config = WhisperConfig.from_pretrained(self._folder, local_files_only=True)
        config.max_source_positions, config.encoder_layers = _FRAMES, _LAYERS
        network: nn.Module = WhisperEncoder(config)
        network.layer_norm = nn.Identity()
        with safe_open(self._folder / WEIGHTS, framework="pt") as file:
            state = {name: file.get_tensor(_PREFIX + name) for name in network.state_dict() if name != _POSITIONS}
            state[_POSITIONS] = file.get_slice(_PREFIX + _POSITIONS)[:_FRAMES]
        network.load_state_dict(state)
        return network.eval().to(self._runtime.device, self._runtime.dtype)


def windows_of(sound: Waveform) -> _Samples:
    """The sound's first 15 s at 16 kHz, repeated to fill 1 to 3 windows: (windows, 80000), float32.

    Raises EncoderError `encoder.input` for a sound without samples.
    """
    samples = sound.samples[: MAX_WINDOWS * WINDOW_SECONDS * sound.rate]
    if not len(samples):
        raise EncoderError("The sound is empty.", code="encoder.input")
    if sound.rate != RATE:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=RATE)
    count = min(MAX_WINDOWS, math.ceil(len(samples) / _WINDOW))
    return np.resize(np.asarray(samples, dtype=np.float32), (count, _WINDOW))


def _pool(frames: npt.NDArray[np.float32]) -> Vector:
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


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
        pooled = self._backbone.pool(sounds(inputs))
        return unit((pooled - self._statistics["mean"]) / self._statistics["deviation"])

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)

    @functools.cached_property
    def _statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        return load_file(self._folder / STATISTICS)
