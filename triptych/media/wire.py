"""How a decoder's process and its parent talk: a length (4 bytes, big-endian), a JSON object of so many bytes, and raw bytes.

The object's `bytes` says how many raw bytes follow. The parent believes nothing that comes back: the child has read a
stranger's file and may be under its command.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.media.picture import KEPT_SIDE
from triptych.media.sound import KEPT_SECONDS, MOST_RATE

_LENGTH = struct.Struct(">I")
_MOST_HEADER = 65_536
_MOST_TEXT = 1_000
_MOST_REPLY = 32_000_000  # 15 s at 192 kHz in float32 are 12 MB, a picture of 1024 x 1024 3 MB
_CHANNELS = 3


class Writes(Protocol):
    def write(self, data: memoryview, /) -> int: ...

    def flush(self) -> None: ...


class Reads(Protocol):
    def readinto(self, into: memoryview, /) -> int: ...


class WireError(Exception):
    """What came is not a message."""


def send(pipe: Writes, header: Mapping[str, Any], payload: bytes = b"") -> None:
    """Write one message. Raises OSError if the other side is gone."""
    text = json.dumps({**header, "bytes": len(payload)}).encode()
    for part in (_LENGTH.pack(len(text)) + text, payload):
        left = memoryview(part)
        while left:  # a pipe without a buffer takes what it can
            left = left[pipe.write(left) :]
    pipe.flush()


def receive(pipe: Reads, most: int = _MOST_REPLY) -> tuple[dict[str, Any], bytearray] | None:
    """Read one message; None at the end of the stream. Raises WireError if it is malformed or breaks off."""
    start = _read(pipe, _LENGTH.size)
    if not start:
        return None
    if len(start) < _LENGTH.size or (length := _LENGTH.unpack(start)[0]) > _MOST_HEADER:
        raise WireError("no message")
    try:
        header = json.loads(_read(pipe, length))
        size = header["bytes"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError("no header") from error
    if type(size) is not int or not 0 <= size <= most:
        raise WireError("no size")
    payload = _read(pipe, size)
    if len(payload) < size:
        raise WireError("it breaks off")
    return header, payload


def _read(pipe: Reads, size: int) -> bytearray:
    """So many bytes, or fewer at the end of the stream."""
    buffer = bytearray(size)
    view, got = memoryview(buffer), 0
    while got < size and (count := pipe.readinto(view[got:])):
        got += count
    view.release()
    del buffer[got:]
    return buffer


def answer(pipe: Writes, result: Image.Image | Waveform | MediaError) -> None:
    """Write a result as a message."""
    if isinstance(result, Image.Image):
        send(pipe, {"size": result.size}, result.tobytes())
    elif isinstance(result, Waveform):
        send(pipe, {"rate": result.rate}, result.samples.astype("<f4").tobytes())
    else:
        text = {"message": result.message[:_MOST_TEXT], "code": result.code, "remedy": result.remedy}
        send(pipe, {"error": text})


def result_of(header: Mapping[str, Any], payload: bytes | bytearray, modality: Modality) -> Image.Image | Waveform | MediaError:
    """The result that a message carries. Raises WireError unless it is one that a decoder of `modality` may give."""
    try:
        if "error" in header:
            return _error(header["error"], modality)
        if modality is Modality.IMAGE:
            width, height = (int(side) for side in header["size"])
            if not (0 < width <= KEPT_SIDE and 0 < height <= KEPT_SIDE and len(payload) == width * height * _CHANNELS):
                raise WireError("no picture")
            return Image.frombytes("RGB", (width, height), payload)
        rate, samples = int(header["rate"]), np.frombuffer(payload, dtype="<f4").astype(np.float32)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WireError("no result") from error
    fits = 0 < rate <= MOST_RATE and 0 < len(samples) <= KEPT_SECONDS * rate + 1
    if not fits or not np.isfinite(samples).all() or np.abs(samples).max() > 1:
        raise WireError("no sound")
    return Waveform(samples, rate)


def _error(raw: Mapping[str, Any], modality: Modality) -> MediaError:
    code, remedy = str(raw["code"]), raw["remedy"]
    if not code.startswith("media."):
        raise WireError("no code")
    return MediaError(
        str(raw["message"])[:_MOST_TEXT],
        code=code[:_MOST_TEXT],
        field=modality,
        remedy=None if remedy is None else str(remedy)[:_MOST_TEXT],
    )
