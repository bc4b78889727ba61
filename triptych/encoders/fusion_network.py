"""Fusion at the level of a network: any subset of words, picture and sound -> one vector of a product, or of a query.

    vectors there are -> a head each -> tokens of length 1 -> weighed by a gate (softmax over those there are) -> their sum
        -> + a small network of it -> length 1

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from triptych.domain import Vectors
from triptych.encoders import trained
from triptych.encoders.base import Fitted
from triptych.encoders.head_network import Heads
from triptych.encoders.trained import Tower

Given = Mapping[str, tuple[npt.NDArray[np.int64], Vectors]]
"""By modality: the places that have it, and their vectors."""


class Fusion(nn.Module):
    """The network. `towers` by modality."""

    def __init__(self, towers: Mapping[str, Tower], dims: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims = dims
        self.tokens = Heads(towers, dims, hidden, dropout=dict.fromkeys(towers, dropout))
        self.gate = nn.ModuleDict({name: nn.Linear(dims, 1) for name in towers})
        self.deep = nn.Sequential(nn.Linear(dims, dims), nn.GELU(), nn.Linear(dims, dims))

    def forward(self, given: Mapping[str, tuple[Tensor, Tensor]], count: int) -> Tensor:
        """The vectors of `count` things, (count, dims): rows of length 1, or zeros for one of which nothing is given.

        `given` by modality: the places that have it, (n,), and their vectors, (n, width).
        """
        device = next(self.parameters()).device
        total = torch.zeros(count, self.dims, device=device)
        sums = torch.zeros(count, 1, device=device)
        for modality, (places, rows) in given.items():
            if len(places):
                tokens = self.tokens(modality, rows)
                weight = torch.exp(torch.tanh(self.gate[modality](tokens)) * 3)  # bounded: e^3 to e^-3
                total = total.index_add(0, places, weight * tokens)
                sums = sums.index_add(0, places, weight)
        mixed = total / sums.clamp(min=1e-9)
        return functional.normalize(mixed + self.deep(mixed), dim=-1) * (sums > 0)

    @torch.inference_mode()
    def vectors(self, given: Given, count: int) -> Vectors:
        """As `forward`, from and to arrays."""
        device = next(self.parameters()).device
        tensors = {m: (torch.from_numpy(at).to(device), torch.from_numpy(rows).to(device)) for m, (at, rows) in given.items()}
        return np.asarray(self(tensors, count).cpu().numpy(), dtype=np.float32)


def restored(found: Fitted) -> Fusion:
    """The network of a trained fusion, for use and not for training."""
    fusion = Fusion(trained.towers_of(found.facts), found.facts["dims"], found.facts["hidden"])
    fusion.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in found.tensors.items()})
    return fusion.eval()
