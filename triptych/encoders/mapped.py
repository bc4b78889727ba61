"""Weights that stay in their file, mapped into memory: the processes of a machine share them, and only what is used is read.

A network that was read by transformers is a copy of its file, and where the file is of half precision and a CPU computes in
single, twice as large. Most of a multilingual encoder is its table of words, of which a text touches a few rows: looked up in
the file as it lies, and converted afterwards, they are the very rows of a table that was converted once.
(docs/adr/0027-weights-shared-by-processes.md)
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional

MIN_BYTES = 4 * 2**20
"""What is smaller is not worth a look."""


class Table(nn.Module):
    """Stands for an `nn.Embedding`: rows of `rows` (n, width), as they lie in a file, in the precision `dtype`.

    The rows are no parameter: the precision of a network is asked of its parameters, and is that of the others.
    """

    def __init__(self, rows: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._rows = rows
        self._dtype = dtype

    @property
    def weight(self) -> torch.Tensor:
        """All rows: a copy of the table, for a network that wants more than to look words up."""
        return self._rows.to(self._dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids, self._rows).to(self._dtype)


def mapped(network: nn.Module, folder: Path) -> nn.Module:
    """`network`, a CPU's, with its weights replaced by those of the safetensors files in `folder` where these are the same.

    Same is what has the same numbers, whatever its name: a table of words in any precision of floating point, other weights in
    the network's own. What two parts of a network share, its positions, what is small and what is in no file stay as they are.
    """
    found = _Files(folder)
    uses = Counter(id(weight) for _, weight in network.named_parameters(remove_duplicate=False))
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if type(module) is nn.Embedding and uses[id(module.weight)] == 1 and "position" not in name:
                rows = found.like(module.weight)
                if rows is not None:
                    setattr(parent, name, Table(rows, module.weight.dtype))
    for weight in network.parameters():
        same = found.like(weight, dtype=weight.dtype)
        if same is not None:
            weight.data = same
    return network


class _Files:
    """The large tensors of a folder's safetensors files, mapped."""

    def __init__(self, folder: Path) -> None:
        self._tensors: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else [folder]:
            with safe_open(path, framework="pt") as file:
                names: Any = file.keys()
                for name in names:
                    tensor = file.get_tensor(name)
                    if tensor.nbytes >= MIN_BYTES and tensor.is_floating_point():
                        self._tensors.setdefault(tuple(tensor.shape), []).append(tensor)

    def like(self, weight: torch.Tensor, *, dtype: torch.dtype | None = None) -> torch.Tensor | None:
        """The tensor of the files with the numbers of `weight`, None where there is none (of that `dtype`)."""
        for tensor in self._tensors.get(tuple(weight.shape), ()):
            if dtype in {None, tensor.dtype} and torch.equal(tensor.to(weight.dtype), weight):
                return tensor
        return None
