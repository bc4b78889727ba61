"""The forms a catalogue may have and what its name says of them: one table for commands, HTTP and whoever reads. Pure.

Also what of its address people may see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

FileFormat = Literal["jsonl", "json", "csv", "tsv", "parquet"]
"""What a file may be."""

SentFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "elasticsearch"]
"""What a catalogue named or sent over HTTP may be: a folder's files are asked for by commands only."""

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "folder", "elasticsearch"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

UPLOAD: Final = "upload:"
"""Begins the location of a catalogue that was sent over HTTP: `upload:ID/NAME`, or without its name `upload:ID`."""

COMPRESSED: Final = (".gz", ".zst", ".bz2", ".xz")
"""Endings that say how a file is packed. What it really is, its first bytes say."""

SLICES: Final = 4
MOST_SLICES: Final = 8
"""Parts of an index that are read side by side: by default, and at most."""

_SUFFIXES: Final[Mapping[str, FileFormat]] = {
    ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_LONGEST_NAME: Final = 200
_INDEX: Final = re.compile(r"(?:elasticsearch:|es://)(?P<index>.+)", re.DOTALL)


def format_of(name: str) -> FileFormat:
    """What a file is by its name, whatever case, packed or not; JSON lines where the name says nothing."""
    plain = PurePosixPath(name).name.lower()
    for ending in COMPRESSED:
        plain = plain.removesuffix(ending)
    return _SUFFIXES.get(PurePosixPath(plain).suffix, "jsonl")


def upload_location(upload: str, name: str) -> str:
    """The location of an upload whose sender calls it `name`: without folders and what cannot be printed."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(letter for letter in last if letter.isprintable())[-_LONGEST_NAME:]
    return f"{UPLOAD}{upload}/{plain}" if plain else f"{UPLOAD}{upload}"


def upload_of(location: str) -> str | None:
    """The id of the upload that a location means, None for every other."""
    return location.removeprefix(UPLOAD).partition("/")[0] if location.startswith(UPLOAD) else None


def named_index(location: str) -> str | None:
    """The index of Elasticsearch that a location means, None for every other."""
    found = _INDEX.fullmatch(location)
    return found["index"] if found else None


def is_remote(location: str) -> bool:
    """Whether a location is a URL of a file."""
    return "://" in location and named_index(location) is None


def shown(location: str) -> str:
    """A location as people and logs may see it: a URL without user, password, query and fragment."""
    if not is_remote(location):
        return location
    scheme, _, rest = location.partition("://")
    user, at, behind = rest.partition("@")
    if at and scheme.lower() == "s3" and "/" not in user.partition(":")[0]:  # a key's secret may hold slashes
        location = f"{scheme}://{behind}"
    try:
        parts = urlsplit(location)
    except ValueError:  # such as a bracket that is not closed: nothing of it is known to be no secret
        return f"{scheme}://..."
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
