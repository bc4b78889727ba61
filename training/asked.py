"""Queries that led to products: numbered while a catalogue is read, and each on one side of its split.

A query joins no products: one that led to a hat and a lamp says not that they are alike. Its products are answers to it alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from training.groups import Split, normalised
from training.vectors import Rows
from triptych.domain import Modality

if TYPE_CHECKING:
    from training.catalogue import Catalogue


class Asked:
    """The queries of a catalogue, as its products come."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[int, str]] = {}
        self._wanted: list[list[int]] = []

    def of(self, product: int, texts: Iterable[str]) -> Iterator[tuple[int, str]]:
        """The next product's queries, each once: its number and its text, as it was first met."""
        for key, mine in {normalised(text): text.strip() for text in texts if text.strip()}.items():
            number, text = self._texts.setdefault(key, (len(self._texts), mine))
            if number == len(self._wanted):
                self._wanted.append([])
            self._wanted[number].append(product)
            yield number, text

    def wanted(self) -> tuple[Rows, ...]:
        """The products that each query led to, by its number."""
        return tuple(np.array(products, dtype=np.int64) for products in self._wanted)


def one_side(catalogue: Catalogue, split: Split, *, seed: int) -> Catalogue:
    """The catalogue with each query on the side of one of its products, drawn by the seed, and for its products there only."""
    inputs = catalogue.inputs.get(Modality.TEXT)
    if inputs is None or inputs.query is None:
        return catalogue
    side = np.zeros(len(catalogue.ids), dtype=np.int64)
    side[split.validation], side[split.test] = 1, 2
    homes = np.array([side[_drawn(catalogue, query, seed)] for query in range(len(catalogue.wanted))])
    wanted = tuple(products[side[products] == home] for products, home in zip(catalogue.wanted, homes, strict=True))
    kept = np.flatnonzero((inputs.query < 0) | (homes[inputs.query] == side[inputs.product]))
    mine = dataclasses.replace(
        inputs,
        product=inputs.product[kept],
        row=inputs.row[kept],
        copy=inputs.copy[kept],
        language=tuple(inputs.language[number] for number in kept),
        query=inputs.query[kept],
    )
    return dataclasses.replace(catalogue, inputs={**catalogue.inputs, Modality.TEXT: mine}, wanted=wanted)


def _drawn(catalogue: Catalogue, query: int, seed: int) -> int:
    """The product whose side a query is on."""

    def order(product: int) -> bytes:
        return hashlib.sha256(f"query {seed}:{query}:{catalogue.ids[product]}".encode()).digest()

    products: list[int] = catalogue.wanted[query].tolist()
    return min(products, key=order)
