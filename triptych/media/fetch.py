"""From a file's reference to its bytes, with every limit checked before anything is read. Other kinds: triptych.media.fetcher.

The reference is a path relative to the catalogue's folder (its *root*). It cannot leave the root: neither by `..`, nor by an
absolute path, nor by a symbolic link. Catalogues come from strangers.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from triptych.domain import Media
from triptych.errors import MediaError


def fetch(media: Media, *, root: Path, most_bytes: int) -> bytes:
    """The bytes of `media` under `root`. Raises MediaError whose code says what is wrong with the reference."""
    reference = media.reference
    if "://" in reference or reference.lower().startswith("data:"):
        raise MediaError(
            f"{reference[:200]!r} is a URL of a kind that is not read.",
            code="media.unsupported_reference",
            field=media.modality,
            remedy="Put the file in the catalogue's folder and give its path, or use https, s3, gs or data.",
        )
    path = _inside(root, reference, media)
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer; O_NOFOLLOW: `_inside` resolved all links already.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError as error:
        raise MediaError(
            f"There is no file {reference!r} in the catalogue's folder.", code="media.not_found", field=media.modality
        ) from error
    except OSError as error:
        raise MediaError(
            f"{reference!r} cannot be read: {error.strerror}.", code="media.unreadable", field=media.modality
        ) from error
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise MediaError(f"{reference!r} is not a file.", code="media.not_a_file", field=media.modality)
    with os.fdopen(handle, "rb") as file:
        check_bytes(info.st_size, most_bytes, reference, media.modality)
        try:
            data = file.read(most_bytes + 1)
        except OSError as error:  # a disk or a network folder that fails
            raise MediaError(
                f"{reference!r} cannot be read: {error.strerror}.", code="media.unreadable", field=media.modality
            ) from error
    check_bytes(len(data), most_bytes, reference, media.modality)
    return data


def check_bytes(size: int, most: int, what: str, field: str) -> None:
    """Raise MediaError if `size` bytes are none or more than `most`."""
    if size == 0:
        raise MediaError(f"{what!r} is empty.", code="media.empty", field=field)
    if size > most:
        raise MediaError(
            f"{what!r} has more than the {most} bytes allowed.",
            code="media.too_many_bytes",
            field=field,
            remedy="Make it smaller or raise TRIPTYCH_MEDIA_BYTES.",
        )


def _inside(root: Path, reference: str, media: Media) -> Path:
    """The real path of `reference`, which must lie under `root`."""
    refused = MediaError(
        f"{reference[:200]!r} does not lie in the catalogue's folder.",
        code="media.outside_root",
        field=media.modality,
        remedy="Give a path relative to the catalogue's file, without '..' and links that lead out.",
    )
    if not reference or "\0" in reference or "\\" in reference or Path(reference).is_absolute():
        raise refused
    base = root.resolve()
    try:
        path = (base / reference).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link in circles; a name that cannot be encoded
        raise refused from error
    if not path.is_relative_to(base):
        raise refused
    return path
