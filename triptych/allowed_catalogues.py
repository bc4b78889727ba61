"""Which addresses of catalogues may be named over HTTP: those that begin as TRIPTYCH_CATALOGUES says.

Addresses are taken apart as whoever reads them does, and compared part by part: a beginning of the text alone would also fit
`https://feeds.example@elsewhere/` and `elasticsearch:feeds-a,triptych-keys`. What could be read in two ways fits nothing.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from triptych.catalogues import UPLOAD, named_index
from triptych.errors import MediaError
from triptych.media.remote import urls

_WORD: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9]*):(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]+")
_INDEX: Final = re.compile(r"(?![-_+])[^\s\x00-\x1f,*:<>?\"|/\\#%&]+")
"""One index, alias or data stream: no list, no pattern, no date math, not `_all`, not of another cluster."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DOTS: Final = (".", "..")


@dataclass(frozen=True, slots=True)
class _Place:
    """An address taken apart. `where`: scheme with host and port, bucket, or nothing. `query` None: there is none."""

    where: str
    path: tuple[str, ...]
    query: str | None = None


def may_be_named(location: str, beginnings: str | None) -> bool:
    """Whether a catalogue at `location` may be named over HTTP; `beginnings` as TRIPTYCH_CATALOGUES has them.

    Scheme, host, port and bucket must be the same, and the path, key or name of the index begin the same. Paths have no dot
    segments, URLs no user, and links of this machine must not lead a file out of the folder that is allowed.
    """
    if _CONTROL.search(location) or location.strip() != location:
        return False
    given = _place(location)
    if given is None:
        return False
    for beginning in (part.strip() for part in (beginnings or "").split(",")):
        allowed = _place(beginning, beginning=True) if beginning else None
        if allowed is not None and _begins(given, allowed) and (given.where or _is_inside(location, beginning)):
            return True
    return False


def _begins(given: _Place, allowed: _Place) -> bool:
    if given.where != allowed.where:
        return False
    if allowed.query is not None:
        return given.path == allowed.path and (given.query or "").startswith(allowed.query)
    last = len(allowed.path) - 1
    return (
        len(given.path) > last and given.path[:last] == allowed.path[:last] and given.path[last].startswith(allowed.path[last])
    )


def _place(text: str, *, beginning: bool = False) -> _Place | None:
    """An address, or the beginning of one; None for what is no catalogue's or could be read in two ways."""
    if text.startswith(UPLOAD) or text == "-":
        return None
    found = _WORD.fullmatch(text)
    scheme, rest = (found["scheme"].lower(), found["rest"]) if found else ("", text)
    if scheme in ("elasticsearch", "es"):
        name = named_index(text) or ""
        fits = _INDEX.fullmatch(name) or (beginning and not name)
        return _Place("elasticsearch:", (name,)) if fits else None
    if scheme in urls.HTTP_PORTS:
        return _web(text)
    if scheme in ("s3", "gs") and rest.startswith("//"):
        bucket, _, key = rest[2:].partition("/")
        return _Place(f"{scheme}://{bucket}", tuple(key.split("/"))) if _BUCKET.fullmatch(bucket) and not _climbs(key) else None
    return _Place("", tuple(text.split("/"))) if "://" not in text and not _climbs(text) else None


def _web(text: str) -> _Place | None:
    if _climbs(re.split(r"[?#]", text)[0]):  # `urls.parse` resolves dot segments: what it gives has none
        return None
    try:
        url = urls.parse(text)
    except MediaError:
        return None
    path, mark, query = url.target.partition("?")
    return _Place(f"{url.scheme}://{url.host}:{url.port}", tuple(map(unquote, path.split("/"))), query if mark else None)


def _climbs(path: str) -> bool:
    """Whether a path has a dot segment, however often it is escaped, behind backslashes, or with parameters."""
    while (plain := unquote(path)) != path:
        path = plain
    return any(segment.partition(";")[0] in _DOTS for segment in re.split(r"[/\\]", path))


def _is_inside(path: str, beginning: str) -> bool:
    """Whether a file lies where its path says: below the folder of `beginning` when links are followed."""
    real = _real(path)
    folder, last = os.path.split(beginning)
    begun = tuple(os.path.join(os.path.realpath(folder), last).split("/"))  # noqa: PTH118  a Path drops the last slash
    return any(_begins(_Place("", real), _Place("", one)) for one in (begun, (*_real(beginning), "")))


def _real(path: str) -> tuple[str, ...]:
    return tuple(os.path.realpath(path).split("/"))
