"""From a profile's `model` to a folder of weights on this machine.

    multilingual-e5-small          weights that come as a package of the extra `offline`, converted once (packages.py)
    torchvision:resnet50           torchvision's own weights, fetched and converted once
    ./my-model, /srv/models/clip   a folder (or a .safetensors file); relative to the profile's file
    google/siglip2-base-...[@rev]  a model of the hub, in the hub's cache

Finding is always local: only `triptych encoders prepare` fetches anything. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from triptych.encoders import packages, store
from triptych.encoders.sources import sha256_of
from triptych.errors import EncoderError
from triptych.settings import Settings

WEIGHTS = "model.safetensors"
CARD = "card.json"
"""Beside what was trained: who reads vectors need not care what it says, so it is no part of the digest."""

TORCHVISION = "torchvision-"
"""And the architecture: the names of the folders that `triptych encoders prepare` fills with torchvision's weights."""

SAFE = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""The files of a model that are read: weights as safetensors only, never pickles; code (*.py) only on consent."""

_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?")
_FILES = (".safetensors", ".vec")
_DIGESTS = ".digests.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
PREPARE = "Run: triptych encoders prepare"


@dataclass(frozen=True, slots=True)
class Model:
    """Where a profile's model is to be had. `name` is short, for people; `reference` is what the profile says."""

    reference: str
    kind: Literal["package", "torchvision", "path", "hub"]
    name: str
    path: Path | None = None
    revision: str | None = None


def model_of(reference: str, folder: Path | None = None) -> Model:
    """What a profile's `model` means; `folder` is the profile's own. Raises EncoderError `encoder.bad_model`."""
    if reference in packages.PACKAGES:
        return Model(reference, "package", reference)
    kind, colon, name = reference.partition(":")
    if colon and kind == "torchvision" and name.isidentifier():
        return Model(reference, "torchvision", name)
    if reference.startswith(("/", "./", "../", "~")):
        with contextlib.suppress(RuntimeError):  # the home of nobody
            path = (folder or Path()).joinpath(Path(reference).expanduser()).resolve()
            return Model(reference, "path", path.name, path)
    hub = _HUB.fullmatch(reference)
    if hub is None:
        raise EncoderError(
            f"{reference!r} names no model.",
            code="encoder.bad_model",
            field="model",
            remedy=f"Give a path (./folder), a hub name (google/siglip2-base-patch16-224), torchvision:resnet50, or one of "
            f"{', '.join(packages.PACKAGES)}.",
        )
    return Model(reference, "hub", hub["name"].rpartition("/")[2], revision=hub["revision"])


def is_there(model: Model, settings: Settings) -> bool:
    """Whether `find` would find it. Cheap: reads no weights."""
    try:
        find(model, settings)
    except EncoderError:
        return False
    return True


def find(model: Model, settings: Settings) -> Path:
    """The model's folder (or file). Raises EncoderError `encoder.not_prepared`, with what would bring it."""
    if model.kind in {"package", "torchvision"}:
        return store.require(settings.encoders_dir / folder_of(model), recipe_of(model))
    if model.kind == "path":
        path = model.path or Path()
        if path.suffix in _FILES and path.is_file():
            return path
        if not path.is_dir() or not any(path.glob("*.safetensors")):
            raise EncoderError(
                f"There are no weights at {path}.",
                code="encoder.not_prepared",
                field="model",
                remedy="Give a folder with *.safetensors files (pickled weights are not read), or such a file.",
            )
        return path
    return _in_hub_cache(model)


def folder_of(model: Model) -> str:
    """The name of a prepared model's folder under `settings.encoders_dir`."""
    return model.name if model.kind == "package" else TORCHVISION + model.name


def recipe_of(model: Model) -> str:
    """What a prepared folder's manifest must say it was made from."""
    return packages.PACKAGES[model.name].recipe if model.kind == "package" else f"torchvision {model.name} 1"


def _in_hub_cache(model: Model) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (half a second, and only hub models want it)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        found = snapshot_download(hub_name(model), revision=model.revision, local_files_only=True)
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise EncoderError(
            f"The model {hub_name(model)} is not on this machine.",
            code="encoder.not_prepared",
            field="model",
            remedy=f"{PREPARE} (fetches it from the hub), or copy its folder here and give the path in the profile.",
        ) from error
    if not _whole(Path(found)):
        raise EncoderError(
            f"The weights of {hub_name(model)} are not here as whole *.safetensors files; pickled ones are not read.",
            code="encoder.not_prepared",
            field="model",
            remedy=f"{PREPARE} again, or choose a revision with safetensors (NAME@REVISION).",
        )
    return Path(found)


def _whole(folder: Path) -> bool:
    """Whether a model's weights are all there: one file, or every one its index names (a download may have been cut off)."""
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        if not all((folder / name).is_file() for name in names):
            return False
    return any(folder.glob("*.safetensors"))


def hub_name(model: Model) -> str:
    """The model's name at the hub, without the revision."""
    return model.reference.partition("@")[0]


def digest_of(model: Model, settings: Settings) -> str:
    """64 hex digits that change when the model's files do, and do not depend on where they lie.

    Of a prepared model: of what it was made from. Of others: of all its files, read once and remembered by size and time.
    """
    if model.kind == "package":
        return packages.PACKAGES[model.name].recipe
    place = find(model, settings)
    files = [place] if place.is_file() else _files(place)
    remembered = _remembered(settings.encoders_dir / _DIGESTS)
    fresh: dict[str, str] = {}
    parts = []
    for path in (path for path in files if path.name not in {store.MANIFEST, CARD}):
        info = path.stat()
        key = f"{path.resolve()}:{info.st_size}:{info.st_mtime_ns}"
        digest = remembered.get(key) or fresh.setdefault(key, sha256_of(path))
        parts.append((WEIGHTS if place.is_file() else path.relative_to(place).as_posix(), digest))
    if fresh:
        _remember(settings.encoders_dir / _DIGESTS, remembered | fresh)
    return packages.digest(parts)


def _files(folder: Path) -> list[Path]:
    """The files of a model that are read, those of its parts too (1_Pooling/config.json, 2_Dense/model.safetensors)."""
    found = {path for pattern in (*SAFE, "*.py") for path in folder.rglob(pattern)}
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _remembered(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str) and _SHA256.fullmatch(value)}


def _remember(path: Path, digests: dict[str, str]) -> None:
    """Only saves time later, so a folder that cannot be written does no harm."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.{id(digests)}")
        scratch.write_text(json.dumps(digests), encoding="utf-8")
        scratch.replace(path)
