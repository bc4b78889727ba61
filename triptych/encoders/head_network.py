"""Heads: small networks that bring the vectors of frozen encoders into one space. Importing this imports torch.

vector of a frozen encoder - its mean over the catalogue -> matrix ------------------------------> + -> length 1
                                                         -> matrix -> GELU -> dropout -> matrix -> +

Several sets of heads give a vector each, and their vectors end to end, of length 1 together, are the vector.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, cat, nn, zeros
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
    """A head for each modality, or one for all of them (a Siamese network) where their towers name the same; `sets` of them.

    `dims` are those of all sets together, `hidden` those of each head.
    """

    def __init__(
        self, towers: Mapping[str, Tower], dims: int, hidden: int, *, dropout: Mapping[str, float] | None = None, sets: int = 1
    ) -> None:
        super().__init__()
        self.towers, self.sets = dict(towers), sets
        drop = dropout or {}
        self.heads = nn.ModuleDict(
            {
                _name(t.head, number): Head(t.width, dims // sets, hidden, dropout=drop.get(role, 0.0))
                for number in range(sets)
                for role, t in towers.items()
            }
        )

    def of(self, head: str) -> list[Head]:
        """The head of a name in each set."""
        found = [self.heads[_name(head, number)] for number in range(self.sets)]
        return [one for one in found if isinstance(one, Head)]

    def by_set(self, number: int, modality: str, rows: Tensor) -> Tensor:
        """The vectors of one set: (n, dims of a set), rows of length 1."""
        found: Tensor = self.heads[_name(self.towers[modality].head, number)](rows)
        return found

    def forward(self, modality: str, rows: Tensor) -> Tensor:
        found: Tensor = cat([self.by_set(number, modality, rows) for number in range(self.sets)], dim=-1) / self.sets**0.5
        return found


def _name(head: str, number: int) -> str:
    """What the weights of a head are kept under; those of the first set as where there is one only."""
    return f"{head}#{number}" if number else head
