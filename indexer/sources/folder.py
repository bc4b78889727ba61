"""A folder of pictures and sounds: each file a product, or several that get the same id.

The walk is sorted, so records have the same numbers each time. One folder's names lie in memory at once.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

from indexer.records import RawRecord
from indexer.sources.columns import raw
from indexer.sources.spec import SourceSpec, bad_option
from indexer.sources.streams import unreadable
from triptych.domain import Modality
from triptych.media.signature import Kind

SUFFIXES: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"), Kind.PNG: (".png",), Kind.GIF: (".gif",), Kind.WEBP: (".webp",),
    Kind.BMP: (".bmp",), Kind.AVIF: (".avif",), Kind.HEIF: (".heic", ".heif"),
    Kind.WAV: (".wav",), Kind.AIFF: (".aif", ".aiff", ".aifc"), Kind.FLAC: (".flac",), Kind.OGG: (".ogg", ".oga", ".opus"),
    Kind.MP3: (".mp3",), Kind.OTHER_SOUND: (".au", ".snd", ".caf", ".rf64", ".w64"),
    Kind.MP4: (".m4a", ".mp4", ".mov"), Kind.ADTS: (".aac",), Kind.MATROSKA: (".webm", ".mka", ".mkv"),
}  # fmt: skip
"""Endings of names, by what such a file usually is. What it really is, its bytes say when it is indexed."""

_PICTURES: Final = (Kind.JPEG, Kind.PNG, Kind.GIF, Kind.WEBP, Kind.BMP, Kind.AVIF, Kind.HEIF)
_MODALITY: Final = {
    suffix: Modality.IMAGE if kind in _PICTURES else Modality.AUDIO
    for kind, suffixes in SUFFIXES.items()
    for suffix in suffixes
}
_FIELD_OF: Final = {Modality.IMAGE: "images", Modality.AUDIO: "audio"}
_NAMES: Final = ("stem", "name", "parent", "path")
_DEFAULT: Final = "{stem}"
_SHOWN: Final = 500


def read_folder(spec: SourceSpec, most: int) -> Iterator[RawRecord]:
    """The records of a folder. Raises InputError for a folder or a template that cannot be."""
    templates = {"id": spec.id_template or _DEFAULT, "title": spec.title_template or _DEFAULT}
    for name, template in templates.items():
        _check(f"{name}_template", template)
    root = Path(spec.location)
    try:
        os.listdir(root)  # noqa: PTH208  a generator would notice too late
    except OSError as error:
        raise unreadable(spec.shown, str(error.strerror)) from error
    found = _records(root, templates, most)
    first = next(found, None)
    if first is None:
        raise unreadable(spec.shown, "no picture or sound lies in this folder")
    return chain([first], found)


def _check(option: str, template: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise bad_option(option, f"{template!r}: {error}.") from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in _NAMES or form or conversion):
            raise bad_option(option, f"{{{name}}} is not one of {', '.join(f'{{{known}}}' for known in _NAMES)}.")


def _records(root: Path, templates: Mapping[str, str], most: int) -> Iterator[RawRecord]:
    line = 0
    for folder in folders_of(root):
        found: dict[str, dict[str, Any]] = {}
        unnamed: list[Path] = []
        for path in _files(root, folder):
            words = _words(root, path)
            if _escaped(words["path"]) != words["path"]:
                unnamed.append(path)
                continue
            key = templates["id"].format_map(words)
            record = found.setdefault(key, {"id": key, "title": templates["title"].format_map(words)})
            record.setdefault(_FIELD_OF[_MODALITY[path.suffix.lower()]], []).append(words["path"])
        for line, record in enumerate(found.values(), line + 1):  # noqa: B020  it goes on from there
            yield raw(line, record, most)
        for line, path in enumerate(unnamed, line + 1):  # noqa: B020
            yield _not_utf8(line, _words(root, path), templates["id"])


def _escaped(text: str) -> str:
    """A name as it is, but for bytes that are not UTF-8: those as \\xff."""
    return os.fsencode(text).decode(errors="backslashreplace")


def _not_utf8(line: int, words: Mapping[str, str], template: str) -> RawRecord:
    """The dead letter of a file that JSON cannot name: it alone is lost, and not the others of its product."""
    shown = {name: _escaped(word) for name, word in words.items()}
    message = f"The name of the file '{shown['path']}' is not UTF-8. Rename it."
    return {"line": line, "code": "record.bad_row", "message": message, "product_id": template.format_map(shown)}


def _words(root: Path, path: Path) -> dict[str, str]:
    relative = path.relative_to(root)
    return {"stem": path.stem, "name": path.name, "parent": path.parent.name, "path": str(PurePosixPath(relative))}


def folders_of(root: Path) -> Iterator[Path]:
    """The folder and those below it, sorted; hidden ones and links to folders (which may go in circles) are passed over."""
    for place, below, _ in os.walk(root, onerror=partial(_stop, root)):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(place)


def _stop(root: Path, error: OSError) -> NoReturn:
    """What cannot be opened ends the reading: `os.walk` would leave out a folder's products in silence."""
    below = os.path.relpath(error.filename, root)
    where = "" if below == os.curdir else f"'{_escaped(below)[-_SHOWN:]}': "
    raise unreadable(str(root), f"{where}{error.strerror}") from error


def _files(root: Path, folder: Path) -> Iterator[Path]:
    """The media of one folder, sorted by name; hidden ones and links that lead out of the root are passed over."""
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in _MODALITY:
                continue
            real = Path(os.path.realpath(path))
            if real.is_file() and real.is_relative_to(root):
                yield path
    except OSError as error:
        _stop(root, error)
