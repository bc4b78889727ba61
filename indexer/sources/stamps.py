"""What tells that a catalogue is still the one that was read before: a file's size and time of change, a server's ETag.

A job that is read on goes by the numbers of lines, which mean other records in a catalogue that was changed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from triptych.errors import InputError

log = logging.getLogger(__name__)

Stamp = Mapping[str, str]
"""What is known of a catalogue, by name; empty where nothing is."""

_SECONDS: Final = 20.0

_DECISIVE: Final = ("version", "etag")
"""Where one of these is known of both, nothing else counts: two servers of one catalogue may tell other times."""


def of_file(stream: BinaryIO) -> Stamp:
    """The stamp of an open local file; nothing of a pipe."""
    found = os.fstat(stream.fileno())
    return {"size": str(found.st_size), "changed": str(found.st_mtime_ns)} if stat.S_ISREG(found.st_mode) else {}


def of_folders(folders: Iterable[Path]) -> Stamp:
    """The stamp of a folder of media: it and those below it with their times of change, as files that come and go change them.

    Nothing where one cannot be looked at: reading says so.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for folder in folders:
            digest.update(f"{folder}\0{folder.stat().st_mtime_ns}\0".encode(errors="surrogateescape"))
    except (OSError, InputError):
        return {}
    return {"folders": digest.hexdigest()}


def of_answer(headers: Mapping[str, str]) -> Stamp:
    """The stamp of a file behind HTTP, by the headers of the answer that it comes in."""
    names = {"etag": "ETag", "changed": "Last-Modified", "size": "Content-Length"}
    return {name: str(headers[header]) for name, header in names.items() if headers.get(header)}


def of_object(client: Any, bucket: str, key: str) -> Stamp:
    """The stamp of an object of S3, by one request; nothing where it is refused, for only reading is asked of a catalogue."""
    try:
        found = client.head_object(Bucket=bucket, Key=key)
    except Exception as error:  # noqa: BLE001  whatever it is, the object itself is read as ever
        log.warning("what version of s3://%s/%s is read cannot be told: %s", bucket, key, type(error).__name__)
        return {}
    names = {"version": "VersionId", "etag": "ETag", "size": "ContentLength"}
    return {name: str(found[header]) for name, header in names.items() if found.get(header)}


def of_blob(client: Any, bucket: str, key: str) -> Stamp:
    """The stamp of an object of Google's, as `of_object`. Its generation changes with every write."""
    try:
        found = client.bucket(bucket).blob(key)
        found.reload(timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001  as above
        log.warning("what version of gs://%s/%s is read cannot be told: %s", bucket, key, type(error).__name__)
        return {}
    return {name: str(value) for name, value in (("version", found.generation), ("size", found.size)) if value is not None}


def differ(before: Stamp, now: Stamp) -> bool:
    """Whether two stamps are of different catalogues, as far as both tell. Pure."""
    common = before.keys() & now.keys()
    decisive = [name for name in _DECISIVE if name in common]
    return any(before[name] != now[name] for name in decisive[:1] or common)


def changed(shown: str, job: str) -> InputError:
    """The error of a job whose catalogue is another one now."""
    return InputError(
        f"The catalogue {shown} was changed since job {job} began to read it: its lines are other records now.",
        code="catalogue.changed",
        field="catalogue",
        remedy="Submit it again: what is indexed and is in it still stays unchanged. Job "
        f"{job} can go on (`triptych job resume {job}`) only with the catalogue as it was.",
    )
