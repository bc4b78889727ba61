"""Messages between a decoder and its child: what goes over comes out, and nothing else is believed."""

from __future__ import annotations

import io
import json
import os
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError
from triptych.media.limits import GivenLimits
from triptych.media.process import LateError, Timed
from triptych.media.wire import WireError, answer, receive, result_of, send
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def _over(result: Image.Image | Waveform | MediaError, modality: Modality) -> Any:
    pipe = io.BytesIO()
    answer(pipe, result)
    pipe.seek(0)
    message = receive(pipe)
    assert message is not None
    return result_of(*message, modality)


def _message(header: Any, payload: bytes = b"") -> io.BytesIO:
    text = json.dumps(header).encode()
    return io.BytesIO(struct.pack(">I", len(text)) + text + payload)


def test_a_picture_goes_over() -> None:
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (3, 5, 3), dtype=np.uint8))
    back = _over(picture, Modality.IMAGE)
    assert (back.mode, back.size, back.tobytes()) == ("RGB", (5, 3), picture.tobytes())


def test_a_sound_goes_over() -> None:
    sound = Waveform(np.linspace(-1, 1, 101, dtype=np.float32), 44_100)
    back = _over(sound, Modality.AUDIO)
    assert back.rate == 44_100
    assert back.samples.dtype == np.float32
    assert np.array_equal(back.samples, sound.samples)


def test_an_error_goes_over() -> None:
    error = MediaError("No.", code="media.truncated", field=Modality.AUDIO, remedy="Try another.")
    back = _over(error, Modality.AUDIO)
    assert isinstance(back, MediaError)
    assert (back.message, back.code, back.field, back.remedy) == (error.message, error.code, error.field, error.remedy)


def test_limits_go_over(tmp_path: Any) -> None:
    limits = GivenLimits.of(Settings(media_pixels=7, media_seconds=1.5, decode_seconds=2.5, ffmpeg=tmp_path / "ffmpeg"))
    assert GivenLimits.from_json(json.loads(json.dumps(limits.to_json()))) == limits
    assert GivenLimits.of(limits) == limits


def test_the_end_of_the_stream_is_no_message() -> None:
    assert receive(io.BytesIO()) is None


def test_what_is_cut_off_is_no_message() -> None:
    pipe = io.BytesIO()
    send(pipe, {"rate": 8000}, b"1234")
    for size in range(1, len(pipe.getvalue())):
        with pytest.raises(WireError):
            receive(io.BytesIO(pipe.getvalue()[:size]))


@pytest.mark.parametrize(
    "pipe",
    [
        io.BytesIO(b"\xff\xff\xff\xff"),
        io.BytesIO(b"\0\0\0\2{]"),
        _message({}),
        _message([]),
        _message(None),
        _message({"bytes": -1}),
        _message({"bytes": True}),
        _message({"bytes": "1"}),
        _message({"bytes": 1.5}),
        _message({"bytes": 10**9}),
    ],
)
def test_a_message_that_is_malformed(pipe: io.BytesIO) -> None:
    with pytest.raises(WireError):
        receive(pipe)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    try:
        receive(io.BytesIO(data))
    except WireError:
        return


HALF = np.full(4, 0.5, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("header", "payload", "modality"),
    [
        ({"size": [2, 2]}, b"\0" * 11, Modality.IMAGE),
        ({"size": [1025, 1]}, b"\0" * 3075, Modality.IMAGE),
        ({"size": [0, 5]}, b"", Modality.IMAGE),
        ({"size": [-1, -1]}, b"\0" * 3, Modality.IMAGE),
        ({"size": 3}, b"\0" * 3, Modality.IMAGE),
        ({"rate": 8000}, HALF, Modality.IMAGE),
        ({"size": [1, 1]}, b"\0" * 3, Modality.AUDIO),
        ({"rate": 0}, HALF, Modality.AUDIO),
        ({"rate": 10**9}, HALF, Modality.AUDIO),
        ({"rate": float("inf")}, HALF, Modality.AUDIO),
        ({"rate": 8000}, b"", Modality.AUDIO),
        ({"rate": 8000}, HALF[:-1], Modality.AUDIO),
        ({"rate": 8000}, np.float32([2]).tobytes(), Modality.AUDIO),
        ({"rate": 8000}, np.float32([np.nan]).tobytes(), Modality.AUDIO),
        ({"rate": 1}, HALF * 5, Modality.AUDIO),
        ({"error": None}, b"", Modality.AUDIO),
        ({"error": {"code": "media.x"}}, b"", Modality.AUDIO),
        ({"error": {"code": "internal", "message": "", "remedy": None}}, b"", Modality.AUDIO),
    ],
)
def test_a_result_that_no_decoder_gives(header: dict[str, Any], payload: bytes, modality: Modality) -> None:
    with pytest.raises(WireError):
        result_of(header, payload, modality)


def test_a_child_that_keeps_sending_is_late_all_the_same() -> None:
    """One under a file's command may send its answer byte by byte: there is always something to read."""
    ours, its = os.pipe()
    try:
        with os.fdopen(ours, "rb", buffering=0) as pipe:
            os.write(its, bytes(3))
            left = iter([1.0, 1.0, 0.0])
            timed = Timed(pipe, lambda: next(left))
            read = [timed.readinto(memoryview(bytearray(1))) for _ in range(2)]
            with pytest.raises(LateError):
                timed.readinto(memoryview(bytearray(1)))
        assert read == [1, 1]
    finally:
        os.close(its)
