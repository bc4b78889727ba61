"""Files that are two things at once: a picture to us, a program or an archive to whoever gets the file next.

A decoder reads only what the header says, so here a second file has no power; it is refused because a shop hands its media on.
Refused is a file of another kind behind the end of the first. Not refused is what real files carry there: padding, tags, left
overs, a second picture of the same kind (MPO, Ultra HDR's gain map), the MP4 of a phone's "motion photo". The signatures are
those of https://www.garykessler.net/library/file_sigs.html; those long enough that no honest data has one by chance are
searched for in everything that follows, the others only where it begins.
"""

from __future__ import annotations

import re
import struct

from triptych.errors import MediaError
from triptych.media.signature import Kind, end_of, picture_kind, sound_kind

_PADDING = re.compile(rb"(?:[\0 \t\r\n]|\xff(?!\xd8))*")
_ANYWHERE = re.compile(rb"%PDF-\d|<!doctype\s|<html[\s>]|<script[\s>]|<\?php\s|<svg[\s>]", re.IGNORECASE)
_AT_ONCE = {
    b"PK\3\4": "a ZIP archive",
    b"Rar!\x1a\7": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"\x7fELF": "a program",
    b"\xca\xfe\xba\xbe": "a program",
    b"\xcf\xfa\xed\xfe": "a program",
    b"#!/": "a script",
    b"%!PS": "a PostScript document",
    b"II*\0": "another picture",
    b"MM\0*": "another picture",
}
_SECOND = frozenset({Kind.PNG, Kind.GIF, Kind.JPEG, Kind.WEBP, Kind.AVIF, Kind.HEIF, Kind.WAV, Kind.FLAC, Kind.OGG})
_MOST_OF_A_KIND = 32  # pictures of one kind behind each other that are looked past: each costs a copy of the rest
_ZIP_END, _ZIP_END_SIZE, _ZIP_COMMENT = b"PK\5\6", 22, 0xFFFF


def refuse_polyglot(data: bytes, kind: Kind, field: str) -> None:
    """Raise MediaError media.polyglot if a file of another kind lies behind the one that `data` begins with."""
    second = what_follows(data, kind)
    if second is not None:
        raise MediaError(
            f"Behind the end of the {kind.value} lies {second}.",
            code="media.polyglot",
            field=field,
            remedy="Save it anew with a program that writes only the picture or sound.",
        )


def what_follows(data: bytes, kind: Kind) -> str | None:
    """What other file lies behind the one that `data` begins with, None if there is none."""
    if _ends_as_zip(data):
        return "a ZIP archive"
    rest = data
    for _ in range(_MOST_OF_A_KIND):
        end = end_of(rest, kind)
        padding = None if end is None else _PADDING.match(rest, end)
        if padding is None or padding.end() >= len(rest):
            return None
        rest = rest[padding.end() :]
        if kind not in (picture_kind(rest), sound_kind(rest)):
            break
    if (found := _ANYWHERE.search(rest)) is not None:
        return "a PDF" if found[0].startswith(b"%") else "a web page or script"
    if rest.startswith(b"MZ") and len(rest) > 64 and rest.find(b"PE\0\0", 64, 4096) > 0:  # noqa: PLR2004  after DOS's header
        return "a program"
    if picture_kind(rest) in _SECOND or sound_kind(rest) in _SECOND:
        return "another picture or sound"
    return next((name for start, name in _AT_ONCE.items() if rest.startswith(start)), None)


def _ends_as_zip(data: bytes) -> bool:
    """Whether a ZIP reader, which begins at the end, finds an archive (APPNOTE.TXT 4.3.16): its directory is where it says."""
    at = data.rfind(_ZIP_END, max(0, len(data) - _ZIP_COMMENT - _ZIP_END_SIZE))
    if at < 0 or at + _ZIP_END_SIZE > len(data):
        return False
    start = at - struct.unpack_from("<I", data, at + 12)[0]
    return 0 < start < at and data.startswith(b"PK\1\2", start)
