"""What a file is, where it ends, and what lies behind its end."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.media.polyglot import what_follows
from triptych.media.signature import Kind, end_of, picture_kind, size_of, sound_kind

pytestmark = pytest.mark.unit

NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 255, (40, 60, 3), dtype=np.uint8))
PICTURES = (Kind.JPEG, Kind.PNG, Kind.GIF, Kind.WEBP, Kind.BMP, Kind.AVIF)
SOUNDS = (Kind.WAV, Kind.AIFF, Kind.FLAC, Kind.OGG, Kind.MP3)
ENDLESS = (Kind.FLAC, Kind.MP3)  # whose end only a decoder finds


def _picture(kind: str, **options: bool) -> bytes:
    buffer = io.BytesIO()
    NOISE.save(buffer, kind, **options)
    return buffer.getvalue()


def _sound(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(5).uniform(-0.5, 0.5, 9000).astype(np.float32), 8000, format=kind)
    return buffer.getvalue()


def _zip(comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"b")
        archive.comment = comment
    return buffer.getvalue()


FILES = {**{kind: _picture(kind) for kind in PICTURES}, **{kind: _sound(kind) for kind in SOUNDS}}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_known_by_its_beginning(kind: Kind) -> None:
    assert (picture_kind(FILES[kind]), sound_kind(FILES[kind])) == (kind, None)


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sound_is_known_by_its_beginning(kind: Kind) -> None:
    assert (picture_kind(FILES[kind]), sound_kind(FILES[kind])) == (None, kind)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x18ftypM4A \0\0\0\0isommp42", Kind.MP4),
        (b"\xff\xf1\x50\x80", Kind.ADTS),
        (b"\xff\xfb\x90\x00", Kind.MP3),
        (b"ID3\4\0", Kind.MP3),
        (b"\x1a\x45\xdf\xa3", Kind.MATROSKA),
        (b"caff\0\1", Kind.OTHER_SOUND),
        (b"\xff\xd8\xff\xe0", None),
        (b"#EXTM3U\n", None),
    ],
)
def test_sounds_by_their_first_bytes(data: bytes, kind: Kind | None) -> None:
    assert sound_kind(data) is kind


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heif_by_its_brands(brand: bytes) -> None:
    assert picture_kind(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0mif1") is Kind.HEIF
    assert picture_kind(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0avif") is Kind.AVIF


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in ENDLESS])
def test_a_file_ends_where_it_ends_whatever_follows(kind: Kind) -> None:
    data = FILES[kind]
    assert end_of(data, kind) == len(data)
    assert end_of(data + b"<html>" * 100, kind) == len(data)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in ENDLESS])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_off_has_no_end(kind: Kind, share: float) -> None:
    assert end_of(FILES[kind][: int(len(FILES[kind]) * share)], kind) is None


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}])
def test_the_end_of_a_jpeg_of_many_scans(options: dict[str, bool]) -> None:
    data = _picture("JPEG", **options)
    assert end_of(data + b"\xff\xd9", Kind.JPEG) == len(data)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_size_of_a_webp_is_in_its_header(mode: str, options: dict[str, bool]) -> None:
    buffer = io.BytesIO()
    NOISE.convert(mode).save(buffer, "WEBP", **options)
    assert size_of(buffer.getvalue(), Kind.WEBP) == NOISE.size


@pytest.mark.parametrize("kind", list(FILES))
def test_a_zip_behind_it_is_found(kind: Kind) -> None:
    for tail in (_zip(), _zip(b"comment " * 100), b"\0" * 300 + _zip(), b"\x13\x37" * 300 + _zip()):
        assert what_follows(FILES[kind] + tail, kind) == "a ZIP archive"


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\0" * 5000,
        b"\xff" * 100,
        b"\r\n\r\n",
        b"made by a camera",
        np.random.default_rng(1).bytes(50_000),
        b"PK",
        b"MZ",
        b"BM",
    ],
    ids=lambda tail: repr(tail[:8]),
)
@pytest.mark.parametrize("kind", list(FILES))
def test_padding_and_leftovers_are_no_file(kind: Kind, tail: bytes) -> None:
    assert what_follows(FILES[kind] + tail, kind) is None


@pytest.mark.parametrize("kind", PICTURES)
def test_another_picture_of_the_same_kind_is_no_other_file(kind: Kind) -> None:
    assert what_follows(FILES[kind] * 3, kind) is None
    assert what_follows(FILES[kind] * 3 + b"%PDF-1.4", kind) == "a PDF"


def test_a_phone_s_moving_photo_is_no_other_file() -> None:
    film = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + struct.pack(">I4s", 5008, b"mdat") + np.random.default_rng(2).bytes(5000)
    assert what_follows(FILES[Kind.JPEG] + film, Kind.JPEG) is None


def test_an_end_of_zip_without_an_archive_is_no_zip() -> None:
    assert what_follows(FILES[Kind.PNG] + b"PK\5\6" + b"\0" * 18, Kind.PNG) is None


@given(
    st.sampled_from(list(FILES)), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8), st.integers(0, 400)
)
def test_no_damage_makes_it_raise(kind: Kind, damage: list[tuple[int, int]], kept: int) -> None:
    data = bytearray(FILES[kind])
    for place, value in damage:
        data[place] = value
    end = end_of(bytes(data[:kept]), kind)
    assert end is None or 0 <= end <= kept
    what_follows(bytes(data), kind)
