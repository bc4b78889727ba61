"""What a file is by its first bytes, and where it ends by its own structure.

The kind decides which one decoder sees the bytes: no decoder guesses. The end tells a file that was cut off (it has none) from
one that something else was put behind (triptych.media.polyglot).
"""

from __future__ import annotations

import re
import struct
from enum import StrEnum


class Kind(StrEnum):
    """Files that are let near a decoder. Pictures have Pillow's name of the format."""

    JPEG = "JPEG"
    PNG = "PNG"
    GIF = "GIF"
    WEBP = "WEBP"
    BMP = "BMP"
    AVIF = "AVIF"
    HEIF = "HEIF"

    WAV = "WAV"
    AIFF = "AIFF"
    FLAC = "FLAC"
    OGG = "OGG"
    MP3 = "MP3"
    OTHER_SOUND = "AU, CAF, RF64 or W64"

    MP4 = "MP4"
    ADTS = "AAC"
    MATROSKA = "WebM"


_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_MOST_BRANDS = 64
_WEBP_HEADER = 30
_OTHER_SOUNDS = (b".snd", b"caff", b"RF64", b"riff\x2e\x91\xcf\x11")


def picture_kind(data: bytes) -> Kind | None:  # noqa: PLR0911  a table, but its tests differ
    """Which picture the bytes say they are, if one that can be read."""
    if data.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Kind.GIF
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Kind.WEBP
    if data.startswith(b"BM"):
        return Kind.BMP
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        return Kind.AVIF
    return Kind.HEIF if brands & _HEIF_BRANDS else None


def sound_kind(data: bytes) -> Kind | None:  # noqa: PLR0911  a table, but its tests differ
    """Which sound the bytes say they are, if one that can be read."""
    if data.startswith((b"RIFF", b"RIFX")) and data[8:12] == b"WAVE":
        return Kind.WAV
    if data.startswith(b"FORM") and data[8:12] in (b"AIFF", b"AIFC"):
        return Kind.AIFF
    if data.startswith(b"fLaC"):
        return Kind.FLAC
    if data.startswith(b"OggS"):
        return Kind.OGG
    if data.startswith(_OTHER_SOUNDS):
        return Kind.OTHER_SOUND
    if data[4:8] == b"ftyp" and picture_kind(data) is None:
        return Kind.MP4
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return Kind.MATROSKA
    if re.match(rb"\xff[\xf0\xf1\xf8\xf9]", data):  # MPEG's sync word with layer 0, which only AAC has
        return Kind.ADTS
    return Kind.MP3 if re.match(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", data) else None


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12, 4.3), none for any other."""
    if data[4:8] != b"ftyp":
        return set()
    words = data[8 : min(int.from_bytes(data[:4], "big"), 8 + 4 * _MOST_BRANDS)]
    return {words[at : at + 4] for at in range(0, len(words), 4) if at != 4}  # noqa: PLR2004  the second is the version


def size_of(data: bytes, kind: Kind) -> tuple[int, int] | None:
    """Width and height by the header, of a WebP: Pillow cannot tell before it has taken the memory for twice its pixels.

    https://developers.google.com/speed/webp/docs/riff_container, RFC 6386 9.1, RFC 9649 3.4. None for every other kind.
    """
    if kind is not Kind.WEBP or len(data) < _WEBP_HEADER:
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def end_of(data: bytes, kind: Kind) -> int | None:
    """Where the file that `data` begins with ends; None if its structure leads beyond the data, as in a file cut off.

    Kinds whose end cannot be told without decoding (FLAC, MP3 ...) end where the data end. Never raises.
    """
    find = {
        Kind.JPEG: _jpeg_end, Kind.PNG: _png_end, Kind.GIF: _gif_end, Kind.BMP: _bmp_end, Kind.WEBP: _riff_end,
        Kind.WAV: _wav_end, Kind.AIFF: _aiff_end, Kind.OGG: _ogg_end,
        Kind.AVIF: _boxes_end, Kind.HEIF: _boxes_end, Kind.MP4: _boxes_end,
    }.get(kind)  # fmt: skip
    if find is None:
        return len(data)
    try:
        end = find(data)
    except (IndexError, struct.error):  # a header that is not all there
        return None
    return end if end is not None and end <= len(data) else None


_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # in coded data FF is followed by 00 or a restart marker
_JPEG_END, _JPEG_ALONE = 0xD9, (0x01, 0xD8)


def _jpeg_end(data: bytes) -> int | None:
    """Behind the first EOI marker, segments skipped (a thumbnail in one has an EOI of its own)."""
    at = 2
    while (found := _JPEG_MARKER.search(data, at)) is not None:
        at = found.end()
        marker = found[1][0]
        if marker == _JPEG_END:
            return at
        if marker not in _JPEG_ALONE:
            at += struct.unpack_from(">H", data, at)[0]
    return None


def _png_end(data: bytes) -> int:
    at = 8
    while True:
        size, name = struct.unpack_from(">I4s", data, at)
        at += 12 + int(size)
        if name == b"IEND":
            return at


def _gif_end(data: bytes) -> int:
    """Behind the trailer, or where something follows that is no block."""
    at = 13 + _colours(data[10])
    while True:
        if data[at] == 0x3B:  # noqa: PLR2004  trailer
            return at + 1
        if data[at] == 0x21:  # noqa: PLR2004  extension
            at += 2
        elif data[at] == 0x2C:  # noqa: PLR2004  image: descriptor, colour table, least code size
            at += 11 + _colours(data[at + 9])
        else:
            return at
        while data[at]:
            at += 1 + data[at]
        at += 1


def _colours(flags: int) -> int:
    """Bytes of a GIF's colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp_end(data: bytes) -> int:
    """By the size of its pixels: the size in the header is often wrong, and can be made to cover anything."""
    file_size, pixels, header = struct.unpack_from("<I4xII", data, 2)
    if header < 40:  # noqa: PLR2004  OS/2's first header
        width, height, bits, packing = *struct.unpack_from("<HH2xH", data, 18), 0
    else:
        width, height, bits, packing = struct.unpack_from("<ii2xHI", data, 18)
    packed = packing not in (0, 3, 6)  # BI_RGB, BI_BITFIELDS and its kin with alpha lie there as they are
    return int(file_size if packed else pixels + (width * bits + 31) // 32 * 4 * abs(height))


def _riff_end(data: bytes) -> int:
    order = "<I" if data.startswith(b"RIFF") else ">I"
    size = struct.unpack_from(order, data, 4)[0]
    return int(8 + size + size % 2) if 8 + size < len(data) else int(8 + size)


STREAMED = 0x7FFFF000
"""Sizes from here on are what programs write that do not know how much will follow (sox 0x7FFFF000, ffmpeg 0xFFFFFFFF)."""

_CHUNK_HEADER = 8
_SLOPPY = 64  # some programs count a header into the size of their data, or out of it


def _wav_end(data: bytes) -> int:
    """Behind the samples; chunks that follow them are tags. A file that does not know its size ends with the data."""
    order = "<4sI" if data.startswith(b"RIFF") else ">4sI"
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from(order, data, at)
        at += 8 + size
        if name == b"data":
            streamed = size == 0 or size >= STREAMED
            return len(data) if streamed or len(data) < at <= len(data) + _SLOPPY else at
        at += size % 2
    return _riff_end(data)


def _aiff_end(data: bytes) -> int:
    end = _riff_end(data)
    return len(data) if end <= _CHUNK_HEADER or end >= STREAMED or len(data) < end <= len(data) + _SLOPPY else end


def _ogg_end(data: bytes) -> int:
    at = 0
    while data[at : at + 4] == b"OggS":
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return at


_BOX = re.compile(rb"[A-Za-z0-9 ]{4}")


def _boxes_end(data: bytes) -> int:
    """Behind the last box on the top level, or where something follows that is no box."""
    at = 0
    while at + 8 <= len(data) and _BOX.fullmatch(data, at + 4, at + 8):
        size = struct.unpack_from(">I", data, at)[0]
        if size == 0:  # to the end of the file
            return len(data)
        if size == 1:
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size < 8:  # noqa: PLR2004  less than its own header
            break
        at += size
    return int(at)
