"""Vectors on disk by the digest of what they were made of: computed once, read in batches, never all in memory.

    <name>.f16    rows of `dims` float16, one after another
    <name>.keys   16 bytes of a sha256 for each row

Both files only grow, until `clear` removes those that nobody has open. A process that is ended in between leaves one longer
than the other; the longer one is cut when they are opened again. Float16 keeps a value of a vector of length 1 to three
digits, far less than dropout takes away.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from triptych.domain import Vector, Vectors
from triptych.errors import InputError

_KEY = 16  # bytes of a sha256: 128 bits tell 10^15 inputs apart
_VALUE = 2  # bytes of a float16
_DAY = 86_400  # seconds

Rows = npt.NDArray[np.int64]


def digest_of(value: str | bytes, *more: str) -> bytes:
    """What an input is known by; `more` says what was done with it (an augmented copy)."""
    found = hashlib.sha256(value.encode() if isinstance(value, str) else value)
    for part in more:
        found.update(b"\0" + part.encode())
    return found.digest()[:_KEY]


class VectorFile(AbstractContextManager["VectorFile"]):
    """Vectors of one encoder. Several processes may have it open: each takes up what the others added before it adds."""

    def __init__(self, folder: Path, name: str, dims: int) -> None:
        self.dims = dims
        self._values, self._keys = folder / f"{name}.f16", folder / f"{name}.keys"
        self._lock = FileLock(folder / f".{name}.lock")
        self._rows: dict[bytes, int] = {}
        self._view: npt.NDArray[np.float16] | None = None
        self._used: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._catch_up()
                self._used = _in_use(self._keys)
        except OSError as error:
            raise unwritable(folder, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._view = None
        if self._used is not None:
            self._used.close()

    def __enter__(self) -> Self:
        return self

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def row(self, key: bytes) -> int | None:
        """The row of an input's vector, None where it has none yet."""
        return self._rows.get(key)

    def add(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors by key. Those of keys that are there are passed over."""
        try:
            with self._lock:
                self._catch_up()
                fresh = {key: vector for key, vector in vectors.items() if key not in self._rows}
                if not fresh:
                    return
                block = np.stack(list(fresh.values())).astype("<f2")
                with self._values.open("ab") as values, self._keys.open("ab") as keys:
                    values.write(block.tobytes())
                    keys.write(b"".join(fresh))
                self._catch_up()
        except OSError as error:
            raise unwritable(self._values.parent, error) from error

    def read(self, rows: Sequence[int] | Rows) -> Vectors:
        """The vectors of these rows, (n, dims), float32."""
        if not len(rows):
            return np.empty((0, self.dims), dtype=np.float32)
        if self._view is None:
            self._view = np.memmap(self._values, dtype="<f2", mode="r", shape=(len(self._rows), self.dims))
        return np.asarray(self._view[np.asarray(rows)], dtype=np.float32)

    def _catch_up(self) -> None:
        """Take up the rows that are there by now; cut what somebody left half written. With the lock held."""
        for path in (self._values, self._keys):
            path.touch()
        width = _VALUE * self.dims
        sizes = self._values.stat().st_size, self._keys.stat().st_size
        count = min(sizes[0] // width, sizes[1] // _KEY)
        if sizes != (count * width, count * _KEY):
            os.truncate(self._values, count * width)
            os.truncate(self._keys, count * _KEY)
        known = len(self._rows)
        if count > known:
            with self._keys.open("rb") as keys:
                keys.seek(known * _KEY)
                data = keys.read((count - known) * _KEY)
            self._rows.update({data[at : at + _KEY]: known + at // _KEY for at in range(0, len(data), _KEY)})
            self._view = None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was removed: files of vectors, by encoder, with their bytes; those in use, that were left."""

    removed: Mapping[str, int]
    in_use: tuple[str, ...]


def clear(folder: Path, *, unused_days: float = 0) -> Cleared:
    """Remove the files of vectors that no training has open and none has opened for so many days.

    Raises InputError `training.folder`.
    """
    removed: dict[str, int] = {}
    in_use: list[str] = []
    before = time.time() - unused_days * _DAY
    for keys in sorted(folder.glob("*.keys")):
        values, name = keys.with_suffix(".f16"), keys.stem
        try:
            with FileLock(folder / f".{name}.lock"):
                if keys.stat().st_mtime > before:
                    continue
                if not _is_free(keys):
                    in_use.append(name)
                    continue
                removed[name] = sum(path.stat().st_size for path in (keys, values) if path.is_file())
                for path in (keys, values):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
    return Cleared(removed, tuple(in_use))


def _in_use(path: Path) -> IO[bytes]:
    """The file, open and marked as in use until it is closed."""
    import fcntl  # noqa: PLC0415  not on Windows

    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _is_free(path: Path) -> bool:
    """Whether no process has marked it as in use."""
    import fcntl  # noqa: PLC0415

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def unwritable(folder: Path, error: OSError) -> InputError:
    """The error of a folder that cannot be written to."""
    return InputError(
        f"Cannot write to {folder}: {error.strerror}.",
        code="training.folder",
        remedy="Give another folder, or set TRIPTYCH_DATA_DIR to one that can be written.",
    )
