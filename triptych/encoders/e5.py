"""multilingual-e5-small: words into the space "text" (Wang et al. 2024, arXiv:2402.05672)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from triptych.domain import Modality, Vectors
from triptych.encoders import specs, store
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.encoders.inputs import check_modality, texts
from triptych.encoders.runtime import Runtime, runtime_of
from triptych.settings import Settings

QUERY, PASSAGE = "query: ", "passage: "
"""What the model was trained to find before a query and before a document."""

_BATCH = 32
_MAX_TOKENS = 512


class TextBackbone:
    """The network and its tokenizer, loaded on first use and shared by the encoders that embed words."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._runtime = runtime
        self._last: tuple[tuple[str, ...], Vectors] | None = None

    def embed(self, prompt: str, inputs: Sequence[str]) -> Vectors:
        """Embed texts under a prompt: (n, 384), float32, unit norm.

        The last batch is kept, because the words of one query are embedded for two spaces. Texts are run sorted by length, so
        that a batch has little padding; what is padded is masked and changes no vector.
        """
        prompted = tuple(prompt + text for text in inputs)
        last = self._last
        if last is not None and last[0] == prompted:
            return last[1].copy()
        order = sorted(range(len(prompted)), key=lambda i: len(prompted[i]))
        vectors = np.empty((len(prompted), specs.TEXT.dims), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._forward([prompted[i] for i in rows])
        vectors = unit(vectors)
        self._last = (prompted, vectors)
        return vectors.copy()

    @torch.inference_mode()
    def _forward(self, batch: list[str]) -> Vectors:
        """The mean over each text's tokens, not yet scaled: (n, 384)."""
        tokens = self._tokenizer(batch, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        tokens = {name: tokens[name].to(self._runtime.device) for name in ("input_ids", "attention_mask")}
        hidden = self._network(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return np.asarray(mean.cpu().numpy(), dtype=np.float32)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    @functools.cached_property
    def _network(self) -> Any:
        model = AutoModel.from_pretrained(
            self._folder, dtype=self._runtime.dtype, local_files_only=True, add_pooling_layer=False
        )
        return model.eval().to(self._runtime.device)


@functools.cache
def _backbone(folder: Path, runtime: Runtime) -> TextBackbone:
    return TextBackbone(folder, runtime)


def backbone(settings: Settings) -> TextBackbone:
    """This process's network for these settings; loads nothing yet. Raises EncoderError when it is not prepared."""
    folder = store.require(settings.encoders_dir / specs.E5_FOLDER, specs.recipe_of(specs.E5_FOLDER))
    return _backbone(folder, runtime_of(settings))


class E5Encoder:
    """Words to words, across languages."""

    def __init__(self, settings: Settings) -> None:
        self._backbone = backbone(settings)

    @property
    def spec(self) -> EncoderSpec:
        return specs.TEXT

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return self._backbone.embed(PASSAGE, texts(inputs))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self._backbone.embed(QUERY, texts(inputs))
