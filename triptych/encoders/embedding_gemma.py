"""EmbeddingGemma 2: words, pictures and sounds in one space (Google DeepMind 2026, google/embeddinggemma-2).

    prompt + text ┐
    picture       ├-> processor -> <bos> tokens <eos> -> network -> mean over all tokens -> first dims values -> length 1
    sound, 16 kHz ┘

What is relied on: the network projects each token to 768 values by itself (transformers' `embedding_projection`), and the
model's folder says Transformer, Pooling (mean), Normalize, without dense layers; so the mean over the tokens that are no
padding, scaled to length 1, is the whole of it. Prompts stand before words only, as in the makers' own runs for pictures
(mteb, XM3600T2IRetrieval). A sound's first 30 s are heard, the most the extractor takes. The vision and audio towers are read
only where a space wants them: 270 M parameters for words alone, 740 M for all. It must not run in float16.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders.base import EncoderSpec, Input, Setup, shared, unit
from triptych.encoders.families import GemmaOptions
from triptych.encoders.inputs import check_modality, pictures, sounds, texts
from triptych.encoders.networks import batched, fitted_to, in_order, load, load_network, model_of, none_of, samples_of
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.encoders.transformers_text import pool
from triptych.errors import EncoderError

MATRYOSHKA = (512, 256, 128)
"""The lengths that the model was trained to be cut to, below its own."""

_BATCH = {Modality.TEXT: 32, Modality.IMAGE: 8, Modality.AUDIO: 4}
_SECONDS = 30
_LEAST_SECONDS = 0.1  # a shorter sound has no whole frame for the audio tower
_TOWERS = {Modality.IMAGE: "vision_config", Modality.AUDIO: "audio_config"}


class GemmaNetwork:
    """The network and its processor, loaded on first use and shared by the encoders over the same model."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime
        self._wanted: frozenset[Modality] = frozenset({Modality.TEXT})
        self._loaded: tuple[frozenset[Modality], Any] | None = None

    def want(self, modalities: Iterable[Modality]) -> None:
        """Say before the first use what will be embedded, so that the towers for it are read, all at once."""
        self._wanted |= frozenset(modalities)

    def embed(self, batches: Iterable[dict[str, torch.Tensor]]) -> Vectors:
        """The processor's batches, at least one: (n, width), float32."""
        return np.concatenate([self._forward(batch) for batch in batches])

    @torch.inference_mode()
    def _forward(self, batch: dict[str, torch.Tensor]) -> Vectors:
        inputs = to_device(batch, self._runtime)
        hidden = self._network(**inputs).last_hidden_state.float()
        return np.asarray(pool(hidden, inputs["attention_mask"], "mean").cpu().numpy(), dtype=np.float32)

    @functools.cached_property
    def processor(self) -> Any:
        self._check()
        return load(AutoProcessor, self._folder)

    @property
    def _network(self) -> Any:
        """The network with the towers wanted so far; read again when more are wanted than it was read with."""
        if self._loaded is None or not self._wanted <= self._loaded[0]:
            self._loaded = (self._wanted, self._read(self._wanted))
        return self._loaded[1]

    def _check(self) -> Any:
        """The configuration, of the right kind of model."""
        config = load(AutoConfig, self._folder)
        if config.model_type != "embedding_gemma2":
            raise EncoderError(
                f"The model in {self._folder} is no EmbeddingGemma 2 but {config.model_type}.",
                code="encoder.model",
                remedy="Name google/embeddinggemma-2, or the family that fits the model.",
            )
        return config

    def _read(self, modalities: frozenset[Modality]) -> Any:
        config = self._check()
        for modality, tower in _TOWERS.items():
            if modality not in modalities:
                setattr(config, tower, None)
            elif getattr(config, tower) is None:
                raise EncoderError(
                    f"The model in {self._folder} came without its part for {modality}.",
                    code="encoder.model",
                    remedy="Name the whole model, google/embeddinggemma-2.",
                )
        return load_network(AutoModel, self._folder, self._runtime, config=config)


@shared
def _shared(folder: Path, runtime: Runtime) -> GemmaNetwork:
    return GemmaNetwork(folder, runtime)


class EmbeddingGemmaEncoder:
    """Words, pictures and sounds, searched by any of them."""

    def __init__(self, setup: Setup) -> None:
        options: GemmaOptions = setup.options
        self.spec: EncoderSpec = setup.spec
        self._options = options
        self._network = _shared(model_of(setup), runtime_of(setup.settings))
        self._network.want([setup.spec.document_modality, *setup.spec.query_modalities])

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return self._embed(inputs, self.spec.document_modality, self._options.document_prompt)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self._embed(inputs, modality, self._options.query_prompt)

    def _embed(self, inputs: Sequence[Input], modality: Modality, prompt: str) -> Vectors:
        if not inputs:
            return none_of(self.spec)
        if modality is Modality.IMAGE:
            found = self._pictures(inputs)
        elif modality is Modality.AUDIO:
            found = self._sounds(inputs)
        else:
            found = self._words(prompt, inputs)
        return fitted_to(unit(found), self.spec, matryoshka=self.spec.dims in MATRYOSHKA)

    def _words(self, prompt: str, inputs: Sequence[Input]) -> Vectors:
        prompted = [prompt + text for text in texts(inputs)]
        order = in_order([len(text) for text in prompted])
        kept = {"truncation": True, "max_length": self._options.max_tokens, "padding": True, "return_tensors": "pt"}
        tokenizer = self._network.processor.tokenizer
        parts = ([prompted[row] for row in order[part]] for part in batched(len(order), _BATCH[Modality.TEXT]))
        found = self._network.embed(_tensors(tokenizer(part, **kept)) for part in parts)
        vectors = np.empty_like(found)
        vectors[order] = found
        return vectors

    def _pictures(self, inputs: Sequence[Input]) -> Vectors:
        images = [[image.convert("RGB")] for image in pictures(inputs)]
        processor, most = self._network.processor, self._options.picture_tokens
        parts = (images[part] for part in batched(len(images), _BATCH[Modality.IMAGE]))
        return self._network.embed(
            _tensors(processor(images=part, images_kwargs={"max_soft_tokens": most}, return_tensors="pt")) for part in parts
        )

    def _sounds(self, inputs: Sequence[Input]) -> Vectors:
        processor = self._network.processor
        rate = processor.feature_extractor.sampling_rate
        waves = [_beginning(sound, rate) for sound in sounds(inputs)]
        parts = (waves[part] for part in batched(len(waves), _BATCH[Modality.AUDIO]))
        return self._network.embed(_tensors(processor(audio=part, sampling_rate=rate, return_tensors="pt")) for part in parts)


def _beginning(sound: Waveform, rate: int) -> npt.NDArray[np.float32]:
    """The sound's first 30 s at `rate`, a very short one with silence after it."""
    samples = samples_of(sound)[: _SECONDS * sound.rate]
    if sound.rate != rate:
        samples = librosa.resample(samples, orig_sr=sound.rate, target_sr=rate)[: _SECONDS * rate]
    least = round(_LEAST_SECONDS * rate)
    return np.asarray(np.pad(samples, (0, max(0, least - len(samples)))), dtype=np.float32)


def _tensors(batch: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
