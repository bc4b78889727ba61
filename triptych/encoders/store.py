"""The prepared encoders on disk: one folder each under `settings.encoders_dir`, with a manifest of its files' sizes and hashes.

A folder is built beside its place and renamed into it under a lock, so it is there whole or not at all. No torch here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from triptych.encoders.sources import sha256_of
from triptych.errors import EncoderError

MANIFEST = "manifest.json"
PREPARE = "Run: triptych encoders prepare"


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The folder's manifest, or None when it has none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def is_present(folder: Path, recipe: str) -> bool:
    """Whether the folder was built by this recipe and all its files have their sizes. Cheap: reads no weights."""
    manifest = manifest_of(folder)
    if manifest is None or manifest.get("recipe") != recipe:
        return False
    return all(_size(folder / name) == entry["bytes"] for name, entry in manifest["files"].items())


def is_intact(folder: Path, recipe: str) -> bool:
    """As `is_present`, and every file's sha256 is that of the manifest. Reads everything."""
    manifest = manifest_of(folder)
    if manifest is None or not is_present(folder, recipe):
        return False
    return all(sha256_of(folder / name) == entry["sha256"] for name, entry in manifest["files"].items())


def require(folder: Path, recipe: str) -> Path:
    """The folder, if it is present. Raises EncoderError `encoder.not_prepared`."""
    if not is_present(folder, recipe):
        state = "is damaged or of another version" if folder.exists() else "is not prepared"
        raise EncoderError(f"The encoder {folder.name} {state} ({folder}).", code="encoder.not_prepared", remedy=PREPARE)
    return folder


def build(folder: Path, recipe: str, fill: Callable[[Path], None]) -> None:
    """Let `fill` write files into an empty folder, add the manifest, and put it in the place of `folder` by renaming."""
    scratch = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
    try:
        fill(scratch)
        for path in scratch.iterdir():
            path.chmod(0o644)  # safetensors writes files only their owner can read
        files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(scratch.iterdir())}
        text = json.dumps({"recipe": recipe, "files": files}, indent=2) + "\n"
        (scratch / MANIFEST).write_text(text, encoding="utf-8")
        scratch.chmod(0o755)  # mkdtemp made it private
        _swap(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def locked(encoders_dir: Path) -> Iterator[None]:
    """Hold the folder's lock, waiting for another process that prepares. Creates the folder."""
    try:
        encoders_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(encoders_dir / ".lock")
        lock.acquire()
    except OSError as error:
        raise EncoderError(
            f"Cannot write to {encoders_dir}: {error.strerror}.",
            code="encoder.folder",
            remedy="Set TRIPTYCH_DATA_DIR to a folder that can be written.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _swap(scratch: Path, folder: Path) -> None:
    """Rename `scratch` to `folder`. A folder in the way is first renamed aside: a running process keeps its open files."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".old-{folder.name}-", dir=folder.parent))
        folder.rename(aside / folder.name)
        scratch.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        scratch.rename(folder)


def remove(folder: Path) -> None:
    """Take a folder away, so that it is built anew."""
    shutil.rmtree(folder, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
