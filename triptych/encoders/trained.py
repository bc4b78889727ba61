"""What was trained, as one safetensors file: weights, whole or shortened, and facts as JSON; and what it must stand on.

    float32   as it was trained
    bfloat16  half the bytes: the upper 16 bits of each value, kept as uint16
    int8      a quarter: each row of a matrix as whole numbers to 127 and one scale (Jacob et al. 2018, arXiv:1712.05877)

Shortened weights are made whole when they are read; the network computes in float32 whichever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from triptych.encoders import fitted
from triptych.encoders.base import Encoder, Fitted
from triptych.encoders.models import WEIGHTS
from triptych.errors import EncoderError

Compression = Literal["float32", "bfloat16", "int8"]
Arrays = Mapping[str, npt.NDArray[Any]]

VERSION = 1
_SCALE = ".scale"
_STEPS = 127


@dataclass(frozen=True, slots=True)
class Tower:
    """What a network takes of one modality: the width and the fingerprint of its frozen encoder; `head` names its weights."""

    width: int
    base: str
    head: str


def shortened(tensors: Arrays, how: Compression) -> dict[str, npt.NDArray[Any]]:
    """The weights as they are kept. Only matrices are shortened: they are nearly all, and biases and means are delicate."""
    kept: dict[str, npt.NDArray[Any]] = {}
    for name, array in tensors.items():
        if array.ndim != 2 or how == "float32":  # noqa: PLR2004  a matrix
            kept[name] = array
        elif how == "bfloat16":
            kept[name] = _upper_half(array)
        else:
            scale = np.maximum(np.abs(array).max(axis=1), 1e-12) / _STEPS
            kept[name] = np.round(array / scale[:, None]).astype(np.int8)
            kept[name + _SCALE] = scale.astype(np.float32)
    return kept


def whole(tensors: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `shortened`, as float32."""
    found: dict[str, npt.NDArray[Any]] = {}
    for name, array in tensors.items():
        if array.dtype == np.uint16:
            found[name] = (array.astype(np.uint32) << 16).view(np.float32)
        elif array.dtype == np.int8:
            found[name] = array.astype(np.float32) * tensors[name + _SCALE][:, None]
        elif not name.endswith(_SCALE):
            found[name] = array
    return found


def _upper_half(array: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, to even where two are as near."""
    bits = np.asarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_bytes(tensors: Arrays, facts: Mapping[str, Any], how: Compression) -> bytes:
    """The file of something trained: the same weights and facts give the same bytes."""
    return fitted.to_bytes(Fitted(shortened(tensors, how), {**facts, "version": VERSION, "compression": how}))


def file_of(model: Path | None) -> Path:
    """The file of a trained model that a profile names, itself or by its folder. Raises EncoderError `encoder.trained`."""
    path = model / WEIGHTS if model is not None and model.is_dir() else model
    if path is None or not path.is_file():
        raise EncoderError(f"There is nothing trained at {model}.", code="encoder.trained", field="model", remedy=_REMEDY)
    return path


def read(model: Path | None, kind: str) -> Fitted:
    """What was trained, its weights whole. Raises EncoderError `encoder.trained` where it is of another kind or version."""
    found = fitted.read(file_of(model))
    if found.facts.get("kind") != kind or found.facts.get("version") != VERSION:
        is_ = f"{found.facts.get('kind')} {found.facts.get('version')}"
        raise EncoderError(f"{model} holds {is_}, not {kind} {VERSION}.", code="encoder.trained", field="model", remedy=_REMEDY)
    return Fitted(whole(found.tensors), found.facts)


def towers_of(facts: Mapping[str, Any]) -> dict[str, Tower]:
    """The towers by role."""
    return {role: Tower(**tower) for role, tower in facts["towers"].items()}


def check_bases(space: str, towers: Mapping[str, Tower], parts: Mapping[str, Encoder]) -> None:
    """Raise EncoderError `encoder.trained` unless the parts are the frozen encoders that were trained on, by role."""
    check_fingerprints(space, towers, {role: (base.spec.name, base.spec.fingerprint) for role, base in parts.items()})


def check_fingerprints(space: str, towers: Mapping[str, Tower], parts: Mapping[str, tuple[str, str]]) -> None:
    """The same of the encoders' names and fingerprints, by role."""
    for role, (name, fingerprint) in parts.items():
        tower = towers.get(role)
        if tower is None or tower.base != fingerprint:
            trained = f"on {tower.base}" if tower is not None else "without it"
            raise EncoderError(
                f"{space} stands on {name} ({fingerprint}) for {role}, but its model was trained {trained}.",
                code="encoder.trained",
                field=f"over.{role}",
                remedy="Name the spaces that it was trained on, or train it again: triptych train.",
            )


_REMEDY = "Give the folder that `triptych train` wrote."
