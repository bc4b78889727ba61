"""Words and sounds in one space: CLAP (Wu et al. 2023, arXiv:2211.06687; Elizalde et al. 2022, arXiv:2206.04769).

    sound -> at most `windows` windows, evenly spaced -> log-mel -> audio tower -> length 1 -> mean  ┐
                                                                                                     ├-> length 1
    prompt + text -> at most 77 tokens -> text tower                                                 ┘

The extractor cuts a longer sound at random, so it is never given one: windows of its own length (10 s) are cut here. A shorter
sound it repeats. Fused models (`enable_fusion`) get the same windows, each as a sound that is not longer than one.
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
from transformers import AutoModel, AutoProcessor

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders.base import EncoderSpec, Input, Setup, shared, unit
from triptych.encoders.families import AudioTextOptions
from triptych.encoders.inputs import check_modality, sounds, texts
from triptych.encoders.networks import (
    batched,
    features_of,
    fitted_to,
    load,
    load_network,
    model_of,
    none_of,
    positions_of,
    samples_of,
)
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.errors import EncoderError

_WINDOWS = 8
_TEXTS = 32
_TRAINED_TOKENS = 77  # LAION's CLAP cuts and pads texts to 77 (clap_module.hook: max_length=77)

_Samples = npt.NDArray[np.float32]


class AudioTextNetwork:
    """The two towers and their processor, loaded on first use and shared by the encoders over the same model."""

    def __init__(self, folder: Path, runtime: Runtime, *, remote_code: bool) -> None:
        self._folder = folder
        self._runtime = runtime
        self._remote_code = remote_code

    def words(self, inputs: Sequence[str]) -> Vectors:
        """At least one text: (n, width), float32, of any length."""
        return np.concatenate([self._words(list(inputs[part])) for part in batched(len(inputs), _TEXTS)])

    def sounds(self, inputs: Sequence[Waveform], windows: int) -> Vectors:
        """At least one sound: (n, width), float32, the mean of its windows' unit vectors."""
        extractor = self._processor.feature_extractor
        parts = [windows_of(sound, extractor.nb_max_samples, extractor.sampling_rate, windows) for sound in inputs]
        rows = [window for part in parts for window in part]
        found = unit(np.concatenate([self._sounds(rows[part]) for part in batched(len(rows), _WINDOWS)]))
        ends = np.cumsum([len(part) for part in parts])
        return np.stack([own.mean(axis=0) for own in np.split(found, ends[:-1])])

    @torch.inference_mode()
    def _words(self, batch: list[str]) -> Vectors:
        most = min(_TRAINED_TOKENS, positions_of(self._network.text_model) or _TRAINED_TOKENS)
        tokens = self._processor.tokenizer(batch, truncation=True, max_length=most, padding=True, return_tensors="pt")
        inputs = to_device({name: tokens[name] for name in ("input_ids", "attention_mask")}, self._runtime)
        with self._precision():
            return features_of(self._network.get_text_features(**inputs))

    @torch.inference_mode()
    def _sounds(self, windows: list[_Samples]) -> Vectors:
        extractor = self._processor.feature_extractor
        mel = extractor(windows, sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"]
        none_longer = torch.zeros((len(windows), 1), dtype=torch.bool)  # fused extractors call one of them longer, at random
        inputs = to_device({"input_features": mel, "is_longer": none_longer}, self._runtime, torch.float32)
        with self._precision():
            return features_of(self._network.get_audio_features(**inputs))

    def _precision(self) -> torch.autocast:
        """Weights and log-mels stay float32, whose decibels bfloat16 would round to quarters; products need not."""
        dtype = self._runtime.dtype
        return torch.autocast(self._runtime.device.type, dtype=dtype, enabled=dtype != torch.float32)

    @property
    def _processor(self) -> Any:
        return self._loaded[0]

    @property
    def _network(self) -> Any:
        return self._loaded[1]

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        network = load_network(AutoModel, self._folder, self._runtime, remote_code=self._remote_code, dtype=torch.float32)
        if not hasattr(network, "get_text_features") or not hasattr(network, "get_audio_features"):
            raise EncoderError(
                f"The model in {self._folder} ({type(network).__name__}) has not both a text and an audio tower.",
                code="encoder.model",
                remedy="Name a CLAP model, or another family.",
            )
        return load(AutoProcessor, self._folder, remote_code=self._remote_code), network


def windows_of(sound: Waveform, size: int, rate: int, most: int) -> list[_Samples]:
    """A sound's windows, each of at most `size` samples at `rate`: one of a sound that fits into it, else up to `most`.

    They are evenly spaced from the beginning to the end, and overlap where the sound is shorter than they are together.
    Raises EncoderError `encoder.input` for a sound without samples.
    """
    samples = samples_of(sound)
    length = min(len(samples), math.ceil(size * sound.rate / rate))
    count = min(most, math.ceil(len(samples) / length))
    starts = np.linspace(0, len(samples) - length, count).round().astype(int) if count > 1 else [0]
    return [_at_rate(samples[start : start + length], sound.rate, rate)[:size] for start in starts]


def _at_rate(samples: _Samples, rate: int, wanted: int) -> _Samples:
    if rate != wanted:
        samples = librosa.resample(samples, orig_sr=rate, target_sr=wanted)
    return np.asarray(samples, dtype=np.float32)


@shared
def _shared(folder: Path, runtime: Runtime, remote_code: bool) -> AudioTextNetwork:
    return AudioTextNetwork(folder, runtime, remote_code=remote_code)


class AudioTextEncoder:
    """Words and sounds, searched by words and sounds."""

    def __init__(self, setup: Setup) -> None:
        options: AudioTextOptions = setup.options
        self.spec: EncoderSpec = setup.spec
        self._options = options
        self._network = _shared(model_of(setup), runtime_of(setup.settings), options.remote_code)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return self._embed(inputs, self.spec.document_modality, prompt="")

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self._embed(inputs, modality, prompt=self._options.query_prompt)

    def _embed(self, inputs: Sequence[Input], modality: Modality, *, prompt: str) -> Vectors:
        if not inputs:
            return none_of(self.spec)
        if modality is Modality.AUDIO:
            found = self._network.sounds(sounds(inputs), self._options.windows)
        else:
            found = self._network.words([prompt + text for text in texts(inputs)])
        return fitted_to(found, self.spec, matryoshka=self._options.matryoshka)
