"""Free space and file locks: what must be true of the disk before anything is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triptych.errors import EngineError

START_BYTES = 256 * 2**20  # for data, logs and translog of a node that begins; below this Elasticsearch soon fails to write
LOCK_SECONDS = 600.0  # longest a first download and build by another process is waited for
_POLL_SECONDS = 0.1


def free_bytes(folder: Path) -> int:
    """Free bytes for an ordinary user on the file system where `folder` is or would be."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise EngineError (engine.disk_full) unless `needed` bytes are free at `folder`."""
    free = free_bytes(folder)
    if free < needed:
        raise EngineError(
            f"The disk is nearly full: {purpose} needs {needed:,} bytes at {folder}, {free:,} are free.",
            code="engine.disk_full",
            remedy="Free some space, or set TRIPTYCH_DATA_DIR to a folder on a larger disk.",
        )


@contextmanager
def locked(path: Path, purpose: str, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file `path` (advisory, freed by the system when its holder dies, so never stale).

    Raises EngineError (engine.locked) when another process keeps it for longer than `seconds`.
    """
    import fcntl  # noqa: PLC0415 - not on Windows, where `triptych --help` must still work

    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"Another process has been {purpose} for more than {seconds:.0f} s (it holds {path}).",
                        code="engine.locked",
                        remedy="Wait for it or end it, then try again.",
                        retryable=True,
                    ) from error
                time.sleep(_POLL_SECONDS)
        yield
