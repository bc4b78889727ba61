"""Vectors of a `fused` space by a network that `triptych train fusion` trained on its parts. No torch until it is asked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from triptych.domain import Vector, Vectors
from triptych.encoders import trained
from triptych.encoders.base import IMPORTING
from triptych.errors import EncoderError
from triptych.schema import Space

if TYPE_CHECKING:
    from triptych.encoders.fusion_network import Fusion

KIND = "fusion"


class TrainedFusion:
    """The network of one fused space; `parts` are the spaces it is made of. Computes on the CPU: it is small."""

    def __init__(self, model: Path | None, space: Space, parts: Sequence[Space]) -> None:
        """Raises EncoderError `encoder.trained` where it was trained on other encoders, `encoder.dims`."""
        self._model = model
        self._roles = {part.name: str(part.document_modality) for part in parts}
        found = trained.read(model, KIND)
        own = {str(part.document_modality): (part.encoder, part.fingerprint) for part in parts}
        trained.check_fingerprints(f"The space {space.name}", trained.towers_of(found.facts), own)
        if found.facts["dims"] != space.dims:
            raise EncoderError(
                f"The fusion in {model} gives {found.facts['dims']} dims, not {space.dims}.",
                code="encoder.dims",
                field="dims",
                remedy=f"Write dims: {found.facts['dims']} in the profile.",
            )

    def __call__(self, things: Sequence[Mapping[str, Vector]]) -> list[Vector | None]:
        """The vector of each thing by those of its parts, by space; None where it has none."""
        given = {role: self._having(things, name) for name, role in self._roles.items()}
        rows = self._network.vectors({role: some for role, some in given.items() if len(some[0])}, len(things))
        return [row if row.any() else None for row in rows]

    def _having(self, things: Sequence[Mapping[str, Vector]], name: str) -> tuple[npt.NDArray[np.int64], Vectors]:
        places = [place for place, vectors in enumerate(things) if name in vectors and vectors[name].any()]
        rows = np.array([things[place][name] for place in places], dtype=np.float32)
        return np.array(places, dtype=np.int64), rows

    @functools.cached_property
    def _network(self) -> Fusion:
        with IMPORTING:
            from triptych.encoders.fusion_network import restored  # noqa: PLC0415  torch with it

        return restored(trained.read(self._model, KIND))
