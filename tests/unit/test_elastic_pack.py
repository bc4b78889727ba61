"""Vectors on their way to Elasticsearch and back."""

from __future__ import annotations

import base64
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.elastic.client import Server
from triptych.elastic.engine import pack, unpack

pytestmark = pytest.mark.unit

OLD, NEW = Server("9.2.4", "n", "c"), Server("9.3.0", "n", "c")
FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40)


@given(FLOATS)
def test_a_new_server_gets_big_endian_floats_in_base64(values: list[float]) -> None:
    packed = pack(np.array(values, dtype=np.float32), NEW)
    assert isinstance(packed, str)
    assert base64.b64decode(packed, validate=True) == struct.pack(f">{len(values)}f", *values)


@given(FLOATS)
def test_an_old_server_gets_numbers(values: list[float]) -> None:
    packed = pack(np.array(values, dtype=np.float32), OLD)
    assert packed == values
    assert all(type(x) is float for x in packed)


@pytest.mark.parametrize("server", [OLD, NEW], ids=["numbers", "base64"])
@given(values=FLOATS)
def test_unpack_is_the_inverse_of_pack(server: Server, values: list[float]) -> None:
    vector = np.array(values, dtype=np.float32)
    back = unpack(pack(vector, server))
    assert back.dtype == np.dtype("=f4")
    assert back.tobytes() == vector.tobytes()


def test_a_known_value() -> None:
    assert pack(np.array([1.0, -2.0], dtype=np.float32), NEW) == base64.b64encode(b"\x3f\x80\0\0\xc0\0\0\0").decode()


def test_a_view_with_gaps_is_packed_as_it_reads() -> None:
    vector = np.arange(10, dtype=np.float32)[::3]
    assert unpack(pack(vector, NEW)).tolist() == [0, 3, 6, 9]
