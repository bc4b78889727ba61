"""Bytes fetched to be hashed, kept on disk until they are decoded, so that a batch fetches nothing twice.

One file without a name: the system takes it away when it is closed, even when the process is killed.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from typing import IO, Self

log = logging.getLogger(__name__)


class Spool:
    """Bytes by key, at most `most_bytes`; what does not fit is not kept. Safe to share between threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`, if there is room."""
        with self._lock:
            if key in self._places or self._end + len(data) > self._most:
                return
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="triptych-")  # noqa: SIM115  closed by __exit__
                self._file.seek(self._end)
                self._file.write(data)
                self._file.flush()
            except OSError as error:  # a full disk: they are fetched again
                log.warning("fetched media are not kept on disk: %s", error)
                self._most = 0
                return
            self._places[key] = self._end, len(data)
            self._end += len(data)

    def get(self, key: str) -> bytes | None:
        """The bytes of `key`, None if they are not kept."""
        with self._lock:
            if self._file is None or key not in self._places:
                return None
            start, length = self._places[key]
            data = os.pread(self._file.fileno(), length, start)
            return data if len(data) == length else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._places, self._most = None, {}, 0
