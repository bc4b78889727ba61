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
from triptych.encoders.base import EncoderSpec, Input, Setup, shared, unit
from triptych.encoders.calibration import calibration_sounds
from triptych.encoders.inputs import check_modality, sounds
from triptych.encoders.models import WEIGHTS
from triptych.encoders.networks import none_of, samples_of
from triptych.encoders.runtime import Runtime, runtime_of
from triptych.errors import EncoderError

STATISTICS = "statistics.safetensors"
RATE = 16_000
WINDOW_SECONDS = 5  # Whisper's own window is 30 s; its first position embeddings serve, at a sixth of the cost
MAX_WINDOWS = 3
_WINDOW = WINDOW_SECONDS * RATE
_FRAMES = WINDOW_SECONDS * 50  # Whisper's encoder has a frame each 20 ms
_BATCH = 8  # windows
_PREFIX = "model.encoder."
_POSITIONS = "embed_positions.weight"

_Samples = npt.NDArray[np.float32]


class AudioBackbone:
    """The network, loaded on first use."""

    def __init__(self, folder: Path, runtime: Runtime, layers: int) -> None:
        self._folder = folder
        self._runtime = runtime
        self._layers = layers

    def pool(self, inputs: Sequence[Waveform], *, most: int = MAX_WINDOWS) -> Vectors:
        """Mean and deviation over each sound's frames: (n, twice the width), float32, neither standardised nor scaled.

        `most` is how many windows of a sound are heard.
        """
        windows = [windows_of(sound, most=most) for sound in inputs]
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
        config.max_source_positions, config.encoder_layers = _FRAMES, self._layers
        network: nn.Module = WhisperEncoder(config)
        network.layer_norm = nn.Identity()
        with safe_open(self._folder / WEIGHTS, framework="pt") as file:
            state = {name: file.get_tensor(_PREFIX + name) for name in network.state_dict() if name != _POSITIONS}
            state[_POSITIONS] = file.get_slice(_PREFIX + _POSITIONS)[:_FRAMES]
        network.load_state_dict(state)
        return network.eval().to(self._runtime.device, self._runtime.dtype)


def windows_of(sound: Waveform, *, most: int = MAX_WINDOWS) -> _Samples:
    """The sound's first 15 s at 16 kHz, repeated to fill 1 to `most` windows of 5 s: (windows, 80000), float32.

    Raises EncoderError `encoder.input` for a sound without samples.
    """
    samples = samples_of(sound)[: most * WINDOW_SECONDS * sound.rate]
    if sound.rate != RATE:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=RATE)
    count = min(most, math.ceil(len(samples) / _WINDOW))
    return np.resize(np.asarray(samples, dtype=np.float32), (count, _WINDOW))


def _pool(frames: npt.NDArray[np.float32]) -> Vector:
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def write_statistics(setup: Setup, folder: Path) -> None:
    """Mean and deviation of the pooled vectors over the calibration sounds, written into `folder`."""
    pooled = backbone(setup).pool(calibration_sounds(), most=setup.options.windows)
    save_file({"mean": pooled.mean(axis=0), "deviation": pooled.std(axis=0)}, folder / STATISTICS)


@shared
def _backbone(folder: Path, runtime: Runtime, layers: int) -> AudioBackbone:
    return AudioBackbone(folder, runtime, layers)


def backbone(setup: Setup) -> AudioBackbone:
    """This process's network for this setup; loads nothing yet."""
    if setup.model is None:
        raise EncoderError("A Whisper encoder wants a model.", code="encoder.not_prepared")
    return _backbone(setup.model, runtime_of(setup.settings), setup.options.layers)


class WhisperSoundEncoder:
    """Sounds to sounds, by likeness."""

    def __init__(self, setup: Setup) -> None:
        if setup.derived is None:
            raise EncoderError("The statistics of the sounds are not made.", code="encoder.not_prepared")
        self.spec: EncoderSpec = setup.spec
        self._windows: int = setup.options.windows
        self._backbone = backbone(setup)
        self._statistics = load_file(setup.derived / STATISTICS)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        if not inputs:
            return none_of(self.spec)
        pooled = self._backbone.pool(sounds(inputs), most=self._windows)
        if pooled.shape[1] != self.spec.dims:
            raise EncoderError(
                f"{self.spec.name} gives {pooled.shape[1]} dims, not {self.spec.dims}.",
                code="encoder.dims",
                field="dims",
                remedy=f"Write dims: {pooled.shape[1]} in the profile.",
            )
        return unit((pooled - self._statistics["mean"]) / self._statistics["deviation"])

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)
