"""Weights that stay in their file: the same vectors, and a table of words in the precision of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_encoders import WORDS, Tiny

from triptych.encoders import mapped
from triptych.encoders.runtime import Runtime
from triptych.encoders.transformers_text import TextNetwork, TextOptions

pytestmark = pytest.mark.unit

_PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
_FILES = pytest.mark.parametrize("written", [torch.float32, torch.float16, torch.bfloat16])


def _in(folder: Path, written: torch.dtype, tmp_path: Path) -> Path:
    """A model's folder again, with its weights in another precision."""
    network = transformers.AutoModel.from_pretrained(folder, dtype=written)
    network.save_pretrained(tmp_path)
    for file in folder.iterdir():
        if file.name not in {"model.safetensors", "config.json"}:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def _network(folder: Path, dtype: torch.dtype) -> TextNetwork:
    return TextNetwork(folder, Runtime(torch.device("cpu"), dtype), TextOptions(pooling="mean"))


@_FILES
@_PRECISIONS
@pytest.mark.parametrize("model", ["bert", "xlm_roberta", "t5"])
def test_vectors_are_the_same_to_the_bit(
    tiny: Tiny, model: str, written: torch.dtype, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _in(tiny(model), written, tmp_path)
    lean = _network(folder, dtype)
    found = lean.embed("", WORDS)
    monkeypatch.setattr(mapped, "MIN_BYTES", 2**40)
    copied = _network(folder, dtype)
    np.testing.assert_array_equal(found, copied.embed("", WORDS))
    assert lean.limit == copied.limit


@_FILES
@_PRECISIONS
def test_words_are_looked_up_in_the_file(tiny: Tiny, written: torch.dtype, dtype: torch.dtype, tmp_path: Path) -> None:
    network = _loaded(_in(tiny("bert"), written, tmp_path), dtype)
    table = network.embeddings.word_embeddings
    assert isinstance(table, mapped.Table)
    assert table._rows.dtype == written
    assert table.weight.dtype == dtype
    assert {weight.dtype for weight in network.parameters()} == {dtype}
    assert isinstance(network.embeddings.position_embeddings, torch.nn.Embedding)


def _loaded(folder: Path, dtype: torch.dtype) -> Any:
    return _network(folder, dtype)._network


def test_weights_of_the_networks_own_precision_are_not_copied(tiny: Tiny, tmp_path: Path) -> None:
    """A write to the file is seen by the network: they are the same memory."""
    folder = _in(tiny("bert"), torch.float32, tmp_path)
    network = _loaded(folder, torch.float32)
    before = [weight.detach().clone() for weight in network.parameters()]
    path = folder / "model.safetensors"
    size = int.from_bytes(path.read_bytes()[:8], "little") + 8
    with path.open("r+b") as file:
        file.seek(size)
        file.write(bytes(path.stat().st_size - size))
    changed = [not torch.equal(weight, old) for weight, old in zip(network.parameters(), before, strict=True) if old.any()]
    assert changed
    assert all(changed)


def test_what_two_parts_share_stays_shared(tmp_path: Path) -> None:
    """A table of words that is the last layer too."""
    from safetensors.torch import save_file

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(8, 4)
            self.last = torch.nn.Linear(4, 8, bias=False)
            self.last.weight = self.words.weight

    network = Tied()
    save_file({"words": network.words.weight.detach().clone()}, tmp_path / "model.safetensors")
    assert mapped.mapped(network, tmp_path) is network
    assert network.last.weight is network.words.weight


def test_other_numbers_of_the_same_shape_are_not_taken(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = torch.nn.Sequential(torch.nn.Embedding(8, 4), torch.nn.Linear(4, 4))
    before = [weight.detach().clone() for weight in network.parameters()]
    save_file({name: weight.detach() + 1 for name, weight in network.named_parameters()}, tmp_path / "model.safetensors")
    mapped.mapped(network, tmp_path)
    assert type(network[0]) is torch.nn.Embedding
    assert all(torch.equal(weight, old) for weight, old in zip(network.parameters(), before, strict=True))
