"""Words and pictures in one space: CLIP, SigLIP, SigLIP 2 (of fixed size and NaFlex), Chinese-CLIP.

    picture, RGB -> the model's own image processor -> vision tower  ┐
                                                                     ├-> first dims values -> length 1
    prompt + text -> tokens ------------------------> text tower     ┘

Radford et al. 2021 (arXiv:2103.00020), Zhai et al. 2023 (arXiv:2303.15343), Tschannen et al. 2025 (arXiv:2502.14786), Yang et
al. 2022 (arXiv:2211.01335). Each kind of text tower wants its tokens as in its training:

- CLIP: at most 77, padding masked.
- Chinese-CLIP: at most 52, padding masked.
- SigLIP and SigLIP 2: lower case, cut or padded on the right to exactly 64, and no mask: the text's vector is read at the last
  position, padding or not. The checkpoints of SigLIP 2 of fixed size name a tokenizer that does not lower the case by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from triptych.domain import Modality, Vectors
from triptych.encoders.base import EncoderSpec, Input, Setup, shared
from triptych.encoders.families import ImageTextOptions
from triptych.encoders.inputs import check_modality, pictures, texts
from triptych.encoders.networks import batched, features_of, fitted_to, load, load_network, model_of, none_of, positions_of
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.errors import EncoderError

_BATCH = 16

_TRAINED_TOKENS = {"chinese_clip": 52}
"""Where the model has positions for more tokens than it was trained with (cn_clip.clip.tokenize: context_length=52)."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a text tower wants its tokens: at most `tokens`; `fixed` means lower case, padded to that many, and not masked."""

    tokens: int
    fixed: bool


class ImageTextNetwork:
    """The two towers and their processor, loaded on first use and shared by the encoders over the same model."""

    def __init__(self, folder: Path, runtime: Runtime, *, remote_code: bool) -> None:
        self._folder = folder
        self._runtime = runtime
        self._remote_code = remote_code

    def words(self, inputs: Sequence[str], max_tokens: int | None = None) -> Vectors:
        """At least one text: (n, width), float32, of any length."""
        return np.concatenate([self._words(list(inputs[part]), max_tokens) for part in batched(len(inputs), _BATCH)])

    def pictures(self, images: Sequence[Image.Image]) -> Vectors:
        """At least one picture: (n, width), float32, of any length."""
        return np.concatenate([self._pictures(images[part]) for part in batched(len(images), _BATCH)])

    @torch.inference_mode()
    def _words(self, batch: list[str], max_tokens: int | None) -> Vectors:
        return features_of(self._network.get_text_features(**to_device(self.tokens(batch, max_tokens), self._runtime)))

    @torch.inference_mode()
    def _pictures(self, images: Sequence[Image.Image]) -> Vectors:
        rgb = [image.convert("RGB") for image in images]
        inputs = dict(self._processor.image_processor(images=rgb, return_tensors="pt"))
        return features_of(self._network.get_image_features(**to_device(inputs, self._runtime)))

    def tokens(self, batch: list[str], max_tokens: int | None = None) -> dict[str, torch.Tensor]:
        """What the text tower takes for these texts, on the CPU."""
        form, tokenizer = self.form, self._processor.tokenizer
        most = min(form.tokens, max_tokens or form.tokens)
        if not form.fixed:
            return dict(tokenizer(batch, truncation=True, max_length=most, padding=True, return_tensors="pt"))
        ids = tokenizer([text.lower() for text in batch], truncation=True, max_length=most)["input_ids"]
        padded = [row + [tokenizer.pad_token_id] * (form.tokens - len(row)) for row in ids]
        return {"input_ids": torch.tensor(padded)}

    @functools.cached_property
    def form(self) -> TextForm:
        """How this model's text tower wants its tokens."""
        kind = self._network.config.model_type
        places = positions_of(self._network.text_model) or self._processor.tokenizer.model_max_length
        return TextForm(tokens=min(places, _TRAINED_TOKENS.get(kind, places)), fixed=kind in {"siglip", "siglip2"})

    @property
    def _processor(self) -> Any:
        return self._loaded[0]

    @property
    def _network(self) -> Any:
        return self._loaded[1]

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        network = load_network(AutoModel, self._folder, self._runtime, remote_code=self._remote_code)
        if not hasattr(network, "get_text_features") or not hasattr(network, "get_image_features"):
            raise EncoderError(
                f"The model in {self._folder} ({type(network).__name__}) has not both a text and a vision tower.",
                code="encoder.model",
                remedy="Name a CLIP, SigLIP or Chinese-CLIP model, or another family.",
            )
        return load(AutoProcessor, self._folder, remote_code=self._remote_code), network


@shared
def _shared(folder: Path, runtime: Runtime, remote_code: bool) -> ImageTextNetwork:
    return ImageTextNetwork(folder, runtime, remote_code=remote_code)


class ImageTextEncoder:
    """Words and pictures, searched by words and pictures."""

    def __init__(self, setup: Setup) -> None:
        options: ImageTextOptions = setup.options
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
        if modality is Modality.IMAGE:
            found = self._network.pictures(pictures(inputs))
        else:
            found = self._network.words([prompt + text for text in texts(inputs)], self._options.max_tokens)
        return fitted_to(found, self.spec, matryoshka=self._options.matryoshka)
