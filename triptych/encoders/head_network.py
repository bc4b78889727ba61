"""Heads: small networks that bring the vectors of frozen encoders into one space. Importing this imports torch.

vector of a frozen encoder - its mean over the catalogue -> matrix ------------------------------> + -> length 1
                                                         -> matrix -> GELU -> dropout -> matrix -> +
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn, zeros
from torch.nn import functional

from triptych.encoders.trained import Tower


class Head(nn.Module):
    """One head: (n, width) to (n, dims), rows of length 1. `hidden` 0 leaves the straight matrix alone."""

    mean: Tensor

    def __init__(self, width: int, dims: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", zeros(width))
        self.straight = nn.Linear(width, dims)
        drop = nn.Dropout(dropout)
        self.deep = nn.Sequential(drop, nn.Linear(width, hidden), nn.GELU(), drop, nn.Linear(hidden, dims)) if hidden else None

    def forward(self, rows: Tensor) -> Tensor:
        rows = rows - self.mean
        found = self.straight(rows)
        return functional.normalize(found if self.deep is None else found + self.deep(rows), dim=-1)


class Heads(nn.Module):
    """A head for each modality, or one for all of them (a Siamese network) where their towers name the same."""

    def __init__(
        self, towers: Mapping[str, Tower], dims: int, hidden: int, *, dropout: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.towers = dict(towers)
        drop = dropout or {}
        self.heads = nn.ModuleDict(
            {t.head: Head(t.width, dims, hidden, dropout=drop.get(role, 0.0)) for role, t in towers.items()}
        )

    def forward(self, modality: str, rows: Tensor) -> Tensor:
        found: Tensor = self.heads[self.towers[modality].head](rows)
        return found
