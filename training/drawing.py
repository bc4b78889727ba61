"""What a batch of a contrastive training sees of its products: one input of each modality at random, and mixtures of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.catalogue import Inputs
from training.vectors import Rows
from triptych.domain import Vectors

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Mixed:
    """With which other of a batch each product is mixed, (n,) places in it, and the share of its own vectors, (n,), .5 to 1."""

    partner: Rows
    share: npt.NDArray[np.float32]

    @classmethod
    def drawn(cls, count: int, beta: float) -> Mixed:
        """At random, by torch's random numbers."""
        share = torch.distributions.Beta(beta, beta).sample((count,)).numpy()
        return cls(torch.randperm(count).numpy(), np.maximum(share, 1 - share))

    def of(self, places: Rows, vectors: Vectors) -> Vectors:
        """The vectors, (m, dims), of the products in these places, ascending, mixed where the partner has one as well. Pure."""
        partner = self.partner[places]
        at = np.searchsorted(places, partner).clip(max=len(places) - 1)
        share = np.where(places[at] == partner, self.share[places], 1)[:, None].astype(np.float32)
        found: Vectors = share * vectors + (1 - share) * vectors[at]
        return found


class Owned:
    """The inputs of a modality, by the products of a side."""

    def __init__(self, inputs: Inputs, products: Rows, *, copies: bool) -> None:
        self.inputs = inputs
        self._which = inputs.of(products, copies=copies)
        owners = inputs.product[self._which]
        self._order = self._which[np.argsort(owners, kind="stable")]
        owners = inputs.product[self._order]
        self._products, self._starts, self._counts = np.unique(owners, return_index=True, return_counts=True)

    def has(self, products: Rows) -> npt.NDArray[np.bool_]:
        """Which of these products have an input, bool (n,)."""
        return np.isin(products, self._products)

    def draw(self, products: Rows, *, drop: float) -> tuple[Rows, Rows]:
        """One input of each product that has any, at random, each left out with the chance `drop`: (places, inputs)."""
        at = np.searchsorted(self._products, products).clip(max=max(len(self._products) - 1, 0))
        chance = torch.rand(2, len(products)).numpy()
        if not len(self._products):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        kept = np.flatnonzero((self._products[at] == products) & (chance[0] >= drop))
        chosen = self._starts[at[kept]] + (chance[1][kept] * self._counts[at[kept]]).astype(np.int64)
        return kept, self._order[chosen]

    def first(self, products: Rows) -> Rows:
        """The first input of each product, which of words is its own and no query, -1 where it has none: (n,)."""
        if not len(self._products):
            return np.full(len(products), -1, dtype=np.int64)
        at = np.searchsorted(self._products, products).clip(max=len(self._products) - 1)
        return np.where(self._products[at] == products, self._order[self._starts[at]], -1)

    def mean(self) -> Vectors:
        total = np.zeros(self.inputs.vectors.dims, dtype=np.float64)
        for start in range(0, len(self._which), _BLOCK):
            total += self.inputs.read(self._which[start : start + _BLOCK]).sum(axis=0, dtype=np.float64)
        return (total / max(len(self._which), 1)).astype(np.float32)
