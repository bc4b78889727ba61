"""Words by any text encoder of transformers: e5, bge, MiniLM, gte, Qwen3-Embedding and their like.

    prompt + text -> tokens, at most max_tokens -> network -> one vector by pooling -> dense layers, where the model has some
                  -> first dims values -> length 1

Pooling "mean" is over the tokens that are no padding (Reimers and Gurevych 2019, arXiv:1908.10084), "cls" takes the first token
and "last" the last one, as decoders are trained. Texts are padded on the right whatever the tokenizer would do: padding is
masked, the last token is looked up, and every text's positions start at 0 as they do when it stands alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer

from triptych.domain import Modality, Vectors
from triptych.encoders.base import EncoderSpec, Input, Setup, shared, unit
from triptych.encoders.families import TextOptions
from triptych.encoders.inputs import check_modality, texts
from triptych.encoders.networks import batched, fitted_to, in_order, load, load_network, model_of, none_of, positions_of
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.encoders.sentence_folder import Pooling, dense_of, pooling_of

_BATCH = 32
_TOKENS = 16_384  # a batch of long texts is smaller: attention's memory grows with its tokens


class TextNetwork:
    """The network and its tokenizer, loaded on first use and shared by the encoders that embed words with it."""

    def __init__(self, folder: Path, runtime: Runtime, options: TextOptions) -> None:
        self._folder = folder
        self._runtime = runtime
        self._options = options
        self._last: tuple[tuple[str, ...], Vectors] | None = None

    def embed(self, prompt: str, inputs: Sequence[str]) -> Vectors:
        """Embed at least one text under a prompt: (n, width), float32, length 1; zeros for a text without a single token.

        The last batch is kept, because the words of one query may be embedded for two spaces. Texts are run sorted by length,
        so that a batch has little padding; what is padded is masked and changes no vector.
        """
        prompted = tuple(prompt + text for text in inputs)
        last = self._last
        if last is not None and last[0] == prompted:
            return last[1].copy()
        tokens = self._tokenizer(list(prompted), truncation=True, max_length=self.limit)["input_ids"]
        order = [row for row in in_order([len(ids) for ids in tokens]) if tokens[row]]
        size = max(1, min(_BATCH, _TOKENS // len(tokens[order[-1]]))) if order else 1
        found = [self._forward([tokens[row] for row in order[part]]) for part in batched(len(order), size)]
        vectors = np.zeros((len(prompted), found[0].shape[1] if found else self.width), dtype=np.float32)
        if found:
            vectors[order] = unit(np.concatenate(found))
        self._last = (prompted, vectors)
        return vectors.copy()

    @torch.inference_mode()
    def _forward(self, batch: list[list[int]]) -> Vectors:
        """One vector per list of token ids, not yet scaled: (n, width)."""
        inputs = to_device(self._padded(batch), self._runtime)
        hidden = self._network(**inputs).last_hidden_state.float()
        pooled = self._dense(pool(hidden, inputs["attention_mask"], self._pooling))
        return np.asarray(pooled.cpu().numpy(), dtype=np.float32)

    def _padded(self, batch: list[list[int]]) -> dict[str, torch.Tensor]:
        shape = (len(batch), max(len(ids) for ids in batch))
        ids = torch.full(shape, self._tokenizer.pad_token_id or 0)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def width(self) -> int:
        """The length of the network's own vectors."""
        return int(self._network.config.get_text_config().hidden_size)

    @functools.cached_property
    def limit(self) -> int:
        """Most tokens of a text: as asked, and no more than the network has positions for."""
        asked = self._options.max_tokens
        return min(asked, positions_of(self._network) or asked)

    @functools.cached_property
    def _pooling(self) -> Pooling:
        return pooling_of(self._folder) if self._options.pooling == "auto" else self._options.pooling

    @functools.cached_property
    def _dense(self) -> nn.Module:
        return dense_of(self._folder).to(self._runtime.device)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return load(AutoTokenizer, self._folder, remote_code=self._options.remote_code)

    @functools.cached_property
    def _network(self) -> Any:
        config = load(AutoConfig, self._folder, remote_code=self._options.remote_code)
        options = {"add_pooling_layer": False} if _takes_pooling_layer(config) else {}
        network = load_network(AutoModel, self._folder, self._runtime, remote_code=self._options.remote_code, **options)
        return network.get_encoder() if config.is_encoder_decoder else network


def _takes_pooling_layer(config: Any) -> bool:
    """Whether the network's class can be built without the pooling layer, which embedders are saved without."""
    kind = MODEL_MAPPING.get(type(config), None)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return any(k is not None and "add_pooling_layer" in inspect.signature(k.__init__).parameters for k in kinds)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector per row from its tokens' vectors (n, tokens, width), padded on either side; `mask` (n, tokens) is 1 or 0."""
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    index = mask.argmax(dim=1) if pooling == "cls" else mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), index]


@shared
def _shared(folder: Path, runtime: Runtime, options: TextOptions) -> TextNetwork:
    return TextNetwork(folder, runtime, options)


class TransformersTextEncoder:
    """Words to words."""

    def __init__(self, setup: Setup) -> None:
        options: TextOptions = setup.options
        self.spec: EncoderSpec = setup.spec
        self._options = options
        forward = options.model_copy(update={"query_prompt": "", "document_prompt": "", "matryoshka": False})
        self._texts = _shared(model_of(setup), runtime_of(setup.settings), forward)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return self._embed(self._options.document_prompt, inputs)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self._embed(self._options.query_prompt, inputs)

    def _embed(self, prompt: str, inputs: Sequence[Input]) -> Vectors:
        words = texts(inputs)
        if not words:
            return none_of(self.spec)
        return fitted_to(self._texts.embed(prompt, words), self.spec, matryoshka=self._options.matryoshka)
