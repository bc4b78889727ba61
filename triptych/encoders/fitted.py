"""What an encoder learned from a catalogue (base.Fitted) as bytes: one safetensors file, its facts as JSON in the header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from triptych.encoders.base import Fitted
from triptych.errors import EncoderError

_FACTS = "facts"


def to_bytes(fitted: Fitted) -> bytes:
    """The same arrays and facts give the same bytes. https://github.com/huggingface/safetensors#format"""
    tensors = {name: np.asarray(array, order="C") for name, array in fitted.tensors.items()}
    return save(tensors, metadata={_FACTS: json.dumps(fitted.facts, ensure_ascii=False, sort_keys=True)})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> Fitted:
    """The inverse of `to_bytes`, from a file. Raises EncoderError `encoder.damaged`."""
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[_FACTS])
            return Fitted({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118  not a dict
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EncoderError(
            f"What an encoder learned cannot be read ({path}): {error}", code="encoder.damaged", remedy="Delete that file."
        ) from error
