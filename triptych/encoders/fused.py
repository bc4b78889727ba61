"""Feature-level fusion: the vectors of several spaces as one, so that one kNN leg searches them all. Pure.

    concatenate: (w1 v1, w2 v2, ...), of length 1    a part that is missing is zeros: it neither helps nor harms
    sum:          w1 v1 + w2 v2 + ..., of length 1   only for spaces of one encoder, whose vectors may be compared
    network:      what `triptych train fusion` trained makes of the parts there are (trained_fusion.py)

With parts of unit length the product of a query and a document is the sum of w_i^2 cos_i over the parts that both have, divided
by both lengths: so a product that lacks a part is not punished for it (early fusion; Snoek et al. 2005,
doi:10.1145/1101149.1101236).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from triptych.domain import Vector
from triptych.encoders.base import unit
from triptych.schema import IndexSchema, Space

Join = Callable[[Sequence[Mapping[str, Vector]]], list[Vector | None]]
"""Makes vectors of a fused space of those of its parts, by space; None for a thing that has none of them."""


def joins_of(schema: IndexSchema, network: Callable[[Space], Join]) -> dict[str, Join]:
    """How the vectors of each fused space are made, by its name; `network` gives that of a trained one."""
    return {s.name: network(s) if s.combine == "network" else _joined(s, schema) for s in schema.spaces if s.kind == "fused"}


def _joined(space: Space, schema: IndexSchema) -> Join:
    dims = {s.name: s.dims for s in schema.spaces}
    return lambda things: [combine(space, vectors, dims) for vectors in things]


def combine(space: Space, vectors: Mapping[str, Vector], dims: Mapping[str, int]) -> Vector | None:
    """The vector of a fused space, float32 of length 1; None where no part is there, or the parts cancel each other out.

    `vectors` holds the parts there are, by space (one that is not of length 1 is scaled to it); `dims` the widths of all parts.
    """
    parts = {name: weight for name, weight in space.parts.items() if name in vectors}
    if not parts:
        return None
    most = max(parts.values())  # only the proportions count
    weighted = {name: weight / most * unit(vectors[name]) for name, weight in parts.items()}
    if space.combine == "sum":
        whole = np.sum(list(weighted.values()), axis=0)
    else:
        whole = np.concatenate([weighted.get(name, np.zeros(dims[name], dtype=np.float32)) for name in space.parts])
    return unit(whole) if np.linalg.norm(whole) > _NOTHING else None


_NOTHING = 1e-6


def mean(vectors: list[Vector]) -> Vector:
    """Several vectors of one space as one: their mean, of length 1."""
    return vectors[0] if len(vectors) == 1 else unit(np.mean(vectors, axis=0))
