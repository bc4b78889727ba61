"""Checks that an encoder was given what it takes. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.encoders.base import EncoderSpec, Input
from triptych.errors import EncoderError


def check_modality(spec: EncoderSpec, modality: Modality) -> None:
    """Raise EncoderError `encoder.modality` unless queries of this modality search the space."""
    if modality not in spec.query_modalities:
        allowed = ", ".join(spec.query_modalities)
        raise EncoderError(f"The space {spec.space} is searched by {allowed}, not by {modality}.", code="encoder.modality")


def texts(inputs: Sequence[Input]) -> list[str]:
    """The inputs, all of them texts. Raises EncoderError `encoder.input`."""
    return [item if isinstance(item, str) else _refuse(item, "a text") for item in inputs]


def pictures(inputs: Sequence[Input]) -> list[Image.Image]:
    """The inputs, all of them pictures. Raises EncoderError `encoder.input`."""
    return [item if isinstance(item, Image.Image) else _refuse(item, "a picture") for item in inputs]


def sounds(inputs: Sequence[Input]) -> list[Waveform]:
    """The inputs, all of them sounds. Raises EncoderError `encoder.input`."""
    return [item if isinstance(item, Waveform) else _refuse(item, "a sound") for item in inputs]


def _refuse(item: object, wanted: str) -> NoReturn:
    raise EncoderError(f"The encoder takes {wanted}, not {type(item).__name__}.", code="encoder.input")
