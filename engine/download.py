"""Fetch pinned files into a folder; nothing is used before its sha256 is right, and what is there is never fetched again."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.disk import locked, require_space
from engine.versions import Artifact
from triptych.errors import EngineError

ATTEMPTS = 3
PAUSE_SECONDS = 1.0  # before the second attempt, twice that before the third
TIMEOUT_SECONDS = 300
_CHUNK = 2**20
_log = logging.getLogger(__name__)

Fetch = Callable[[Artifact, Path], Path]


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fault(path: Path, artifact: Artifact) -> str | None:
    """Why the file at `path` is not the pinned one, or None if it is."""
    size = path.stat().st_size
    if size != artifact.size:
        return f"it has {size:,} of {artifact.size:,} bytes"
    found = sha256(path)
    return None if found == artifact.sha256 else f"its sha256 is {found} instead of {artifact.sha256}"


def obtain(artifacts: list[Artifact], folder: Path, *, fetch: Fetch | None = None) -> list[Path]:
    """Paths in `folder` of the given files, verified, in the same order; fetches only what is missing or damaged.

    Safe in several processes at once. A file put there by hand counts, if its sha256 is right. Raises EngineError:
    engine.download (cut, refused or wrong three times), engine.disk_full, engine.no_downloader, engine.locked.
    """
    with locked(folder / ".lock", "downloading"):
        missing = [artifact for artifact in artifacts if not _usable(folder / artifact.filename, artifact)]
        require_space(folder, sum(artifact.size for artifact in missing), "the download")
        for artifact in missing:
            _fetch_verified(artifact, folder, fetch or fetch_with_jgo)
    return [folder / artifact.filename for artifact in artifacts]


def _usable(path: Path, artifact: Artifact) -> bool:
    if not path.exists():
        return False
    reason = fault(path, artifact)
    if reason:
        _log.warning("%s is damaged (%s); it is fetched again", path, reason)
    return reason is None


def _fetch_verified(artifact: Artifact, folder: Path, fetch: Fetch) -> None:
    """Fetch into a folder of its own, verify, and only then give the file its name."""
    partial = folder / ".partial"
    reason = "?"
    cause: BaseException | None = None
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed; the lock is ours
        partial.mkdir(parents=True)
        try:
            got = fetch(artifact, partial)
            found = fault(got, artifact)
            if found is None:
                got.replace(folder / artifact.filename)
                return
            reason, cause = found, None
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors, jgo's own are RuntimeErrors
            reason, cause = _innermost(error), error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _log.warning("download of %s, attempt %d of %d: %s", artifact.filename, attempt, ATTEMPTS, reason)
        if attempt < ATTEMPTS:
            time.sleep(PAUSE_SECONDS * attempt)
    raise EngineError(
        f"{artifact.filename} ({artifact.size:,} bytes) could not be downloaded in {ATTEMPTS} attempts: {reason}.",
        code="engine.download",
        remedy=f"Check the network and try again, or put the file at {folder / artifact.filename} yourself.",
        retryable=True,
    ) from cause


def _innermost(error: BaseException) -> str:
    """What went wrong at the bottom: "Temporary failure in name resolution", not three wrappings of it with addresses."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error).partition("\n")[0] or type(error).__name__


def fetch_with_jgo(artifact: Artifact, folder: Path) -> Path:
    """Fetch one file with jgo's pure-Python resolver into a repository layout below `folder`; returns where it lies.

    Raises OSError or RuntimeError when it fails, EngineError (engine.no_downloader) when jgo is not installed. jgo writes to
    the final name, so a cut download leaves a truncated file: the caller verifies.
    """
    try:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - half a second, and not needed offline
    except ImportError as error:
        raise EngineError(
            f"{artifact.filename} is not here yet, and jgo, which fetches it, is not installed.",
            code="engine.no_downloader",
            remedy="Install the engine's packages: pip install 'triptych[engine]'.",
        ) from error
    _log.info("fetching %s (%.0f MB)", artifact.filename, artifact.size / 1e6)
    resolver = PythonResolver(progress_callback=_progress)
    context = MavenContext(resolver=resolver, repo_cache=folder, timeout=TIMEOUT_SECONDS)
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    return Path(component.artifact(packaging=artifact.packaging).resolve())


@contextmanager
def _progress(filename: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr where that is a terminal; yields the function that takes the bytes of each piece."""
    from rich.console import Console  # noqa: PLC0415 - with jgo: only for a download
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(filename, total=total)
        yield lambda count: progress.update(task, advance=count)
