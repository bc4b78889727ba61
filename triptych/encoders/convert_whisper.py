"""whisper-base from its CTranslate2 file (two packages, joined), as a transformers folder.

Format: version, the spec's name, revision, then named arrays (rank, shape, type, bytes), then aliases. CTranslate2 joins the
query, key and value projections into one matrix ("linear_0"); Whisper's key projection has no bias.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from triptych.encoders.convert_reader import Reader
from triptych.encoders.runtime import quieten

_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_WIDTH, _LAYERS, _HEADS, _WIDE, _MELS = 512, 6, 8, 2048, 80  # whisper-base
_State = dict[str, torch.Tensor]


def convert(parts: tuple[Path, Path], extras: dict[str, Path], folder: Path) -> None:
    """Write model (float16 safetensors), config and feature extractor into `folder`, and copy `extras` (name -> file)."""
    quieten()
    weights = _Weights(b"".join(part.read_bytes() for part in parts))
    config = WhisperConfig(
        vocab_size=weights["decoder/embeddings/weight"].shape[0],
        d_model=_WIDTH,
        encoder_layers=_LAYERS,
        decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS,
        decoder_attention_heads=_HEADS,
        encoder_ffn_dim=_WIDE,
        decoder_ffn_dim=_WIDE,
        num_mel_bins=_MELS,
    )
    model = WhisperForConditionalGeneration(config)
    state = {**_side(weights, "encoder"), **_side(weights, "decoder")}
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    WhisperFeatureExtractor().save_pretrained(folder)  # type: ignore[no-untyped-call]
    for name, path in extras.items():
        shutil.copyfile(path, folder / name)


class _Weights:
    """The named arrays of a CTranslate2 model file."""

    def __init__(self, data: bytes) -> None:
        self._reader = Reader(data)
        self._reader.skip(4)  # format version
        self._text()
        self._reader.skip(4)  # revision of the spec
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        for _ in range(self._reader.one("<I")):
            name = self._text()
            rank = self._reader.one("<B")
            shape = self._reader.many(f"<{rank}I")
            dtype = np.dtype(_TYPES[self._reader.one("<B")])
            size = self._reader.one("<I")
            self._arrays[name] = self._reader.array(dtype.str, size // dtype.itemsize).reshape(shape)
        for _ in range(self._reader.one("<I")):
            alias = self._text()
            self._arrays[alias] = self._arrays[self._text()]

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(self._arrays[name])).float()

    def _text(self) -> str:
        return self._reader.bytes(self._reader.one("<H")).rstrip(b"\0").decode()


def _side(weights: _Weights, side: str) -> _State:
    """The tensors of the encoder or the decoder under transformers' names."""
    target = f"model.{side}."
    state: _State = {
        f"{target}embed_positions.weight": weights[f"{side}/position_encodings/encodings"],
        f"{target}layer_norm.weight": weights[f"{side}/layer_norm/gamma"],
        f"{target}layer_norm.bias": weights[f"{side}/layer_norm/beta"],
    }
    if side == "encoder":
        for conv in ("conv1", "conv2"):
            for kind in ("weight", "bias"):
                state[f"{target}{conv}.{kind}"] = weights[f"encoder/{conv}/{kind}"]
    else:
        state[f"{target}embed_tokens.weight"] = weights["decoder/embeddings/weight"]
    for layer in range(_LAYERS):
        source = f"{side}/layer_{layer}/"
        layer_state = _self_attention(weights, source + "self_attention/") | _feed_forward(weights, source + "ffn/")
        if side == "decoder":
            layer_state |= _cross_attention(weights, source + "attention/")
        state |= {f"{target}layers.{layer}.{name}": tensor for name, tensor in layer_state.items()}
    return state


def _norm(weights: _Weights, source: str, name: str) -> _State:
    return {f"{name}.weight": weights[f"{source}layer_norm/gamma"], f"{name}.bias": weights[f"{source}layer_norm/beta"]}


def _linear(weights: _Weights, source: str, name: str) -> _State:
    return {f"{name}.weight": weights[f"{source}/weight"], f"{name}.bias": weights[f"{source}/bias"]}


def _self_attention(weights: _Weights, source: str) -> _State:
    query, key, value = weights[f"{source}linear_0/weight"].chunk(3)
    query_bias, _, value_bias = weights[f"{source}linear_0/bias"].chunk(3)
    return {
        "self_attn.q_proj.weight": query,
        "self_attn.q_proj.bias": query_bias,
        "self_attn.k_proj.weight": key,
        "self_attn.v_proj.weight": value,
        "self_attn.v_proj.bias": value_bias,
        **_linear(weights, f"{source}linear_1", "self_attn.out_proj"),
        **_norm(weights, source, "self_attn_layer_norm"),
    }


def _cross_attention(weights: _Weights, source: str) -> _State:
    key, value = weights[f"{source}linear_1/weight"].chunk(2)
    _, value_bias = weights[f"{source}linear_1/bias"].chunk(2)
    return {
        **_linear(weights, f"{source}linear_0", "encoder_attn.q_proj"),
        "encoder_attn.k_proj.weight": key,
        "encoder_attn.v_proj.weight": value,
        "encoder_attn.v_proj.bias": value_bias,
        **_linear(weights, f"{source}linear_2", "encoder_attn.out_proj"),
        **_norm(weights, source, "encoder_attn_layer_norm"),
    }


def _feed_forward(weights: _Weights, source: str) -> _State:
    return {
        **_linear(weights, f"{source}linear_0", "fc1"),
        **_linear(weights, f"{source}linear_1", "fc2"),
        **_norm(weights, source, "final_layer_norm"),
    }
