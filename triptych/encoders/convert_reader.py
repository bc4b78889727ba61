"""A cursor over bytes, for the two weight formats we convert."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt


class Reader:
    """Reads little-endian values one after the other. A short file ends in struct.error or ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def many(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._data, self.position)
        self.position += struct.calcsize(layout)
        return values

    def one(self, layout: str) -> Any:
        return self.many(layout)[0]

    def bytes(self, count: int) -> bytes:
        piece = self._data[self.position : self.position + count]
        self.position += count
        return piece

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self._data, dtype, count, self.position)
        self.position += values.nbytes
        return values

    def skip(self, count: int) -> None:
        self.position += count
