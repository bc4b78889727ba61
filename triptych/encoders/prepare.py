"""`triptych encoders prepare`: all that a profile's encoders need on this machine, once.

    package files --(sha256)--> convert  ─┐
    torchvision's own weights --> convert ├-> folder beside --(rename)--> encoders_dir/<name>
    what follows from weights --> derive -┘
    the hub's files --> the hub's own cache

Idempotent: what is here and intact is left alone. Two processes may run it at once; the second waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from triptych.encoders import models, packages, registry, store
from triptych.encoders.models import Model
from triptych.encoders.profiles import Profile
from triptych.errors import EncoderError
from triptych.settings import Settings, calm_openmp

Progress = Callable[[str, float], None]
"""Told what is worked on and how much of it is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of one model or one derived folder. `fresh` says that it was made by this call and not there already."""

    name: str
    folder: Path
    fresh: bool


@dataclass(frozen=True, slots=True)
class Download:
    """A model that would be fetched from elsewhere, with the licence its profile states."""

    model: Model
    licence: str
    remote_code: bool


def downloads(profile: Profile, settings: Settings) -> list[Download]:
    """What `prepare` would fetch over the network: to be shown before it is."""
    return [
        Download(model, licence, remote_code)
        for model, licence, remote_code in _wanted(profile)
        if model.kind in {"hub", "torchvision"} and not models.is_there(model, settings)
    ]


def prepare(profile: Profile, settings: Settings, *, progress: Progress | None = None, force: bool = False) -> list[Prepared]:
    """Make or fetch what is missing, damaged or of another version; with `force`, make all anew that is made here.

    The profile `offline` takes about 40 s the first time (two cores, 0.4 GB written) and 2 s to check it later.
    Raises EncoderError: `encoder.package_missing`, `encoder.checksum`, `encoder.folder`, `encoder.not_fetched`.
    """
    calm_openmp()
    report = progress or (lambda _name, _done: None)
    done = []
    with store.locked(settings.encoders_dir):
        for model, _, remote_code in _wanted(profile):
            report(model.name, 0.0)
            done.append(_model(model, settings, force=force, remote_code=remote_code))
            report(model.name, 1.0)
    for name, family in profile.families.items():
        if family.derive is not None:
            report(family.name, 0.0)
            done.append(_derive(profile, name, settings, force=force))
            report(family.name, 1.0)
    return done


def missing(profile: Profile, settings: Settings) -> list[Model]:
    """The profile's models that are not on this machine. Cheap."""
    return [model for model, _, _ in _wanted(profile) if not models.is_there(model, settings)]


def require(profile: Profile, settings: Settings) -> None:
    """Raise EncoderError `encoder.not_prepared` unless all models of the profile are here. Cheap."""
    for model, _, _ in _wanted(profile):
        models.find(model, settings)


def _wanted(profile: Profile) -> Iterator[tuple[Model, str, bool]]:
    """The models of a profile, each once, with its licence and whether it may bring code."""
    seen = set()
    owners = [(name, model) for name in profile.families if (model := registry.model_of(profile, name)) is not None]
    trusted = {model for name, model in owners if getattr(profile.options[name], "remote_code", False)}
    for name, model in owners:
        if model not in seen:
            seen.add(model)
            yield model, profile.spaces[name].licence, model in trusted
    if profile.speech is not None:
        model = models.model_of(profile.speech.model, profile.folder)
        if model not in seen:
            yield model, profile.speech.licence, False


def _model(model: Model, settings: Settings, *, force: bool, remote_code: bool) -> Prepared:
    if model.kind == "path":
        return Prepared(model.name, models.find(model, settings), fresh=False)
    if model.kind == "hub":
        return _fetch(model, settings, remote_code=remote_code)
    folder, recipe = settings.encoders_dir / models.folder_of(model), models.recipe_of(model)
    fresh = force or not store.is_intact(folder, recipe)
    if fresh:
        fill = packages.PACKAGES[model.name].build if model.kind == "package" else functools.partial(_torchvision, model.name)
        store.build(folder, recipe, fill)
    return Prepared(model.name, folder, fresh)


def _derive(profile: Profile, name: str, settings: Settings, *, force: bool) -> Prepared:
    family = profile.families[name]
    setup = registry.setup_of(profile, name, settings, parts={})
    folder = registry.derived_folder(setup)
    fresh = force or not store.is_intact(folder, setup.spec.fingerprint)
    if fresh:
        store.remove(folder)
        registry.derived(profile, setup, family)
    return Prepared(family.name, folder, fresh)


def _fetch(model: Model, settings: Settings, *, remote_code: bool) -> Prepared:
    """The model's files from the hub, into the hub's own cache: safetensors and JSON; code only on the profile's word."""
    if models.is_there(model, settings):
        return Prepared(model.name, models.find(model, settings), fresh=False)
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    patterns = [*models.SAFE, "*.py"] if remote_code else list(models.SAFE)
    try:
        snapshot_download(models.hub_name(model), revision=model.revision, allow_patterns=patterns)
    except Exception as error:  # the hub's client raises its own, the transport's and the disk's errors
        raise EncoderError(
            f"{model.reference} could not be fetched from the hub: {error}",
            code="encoder.not_fetched",
            field="model",
            remedy="Check the name and the network, or copy the model's folder here and give its path in the profile.",
        ) from error
    return Prepared(model.name, models.find(model, settings), fresh=True)


def _torchvision(name: str, target: Path) -> None:
    """torchvision's default weights of an architecture, by its own downloader with its hash checked, as safetensors."""
    from safetensors.torch import save_file  # noqa: PLC0415
    from torchvision.models import get_model_weights  # noqa: PLC0415

    try:
        weights = get_model_weights(name).DEFAULT
        state = weights.get_state_dict(progress=False, check_hash=True)
    except Exception as error:
        raise EncoderError(
            f"torchvision's weights of {name} could not be fetched: {error}",
            code="encoder.not_fetched",
            field="model",
            remedy="Check the name (torchvision.models.list_models()) and the network, or give a .safetensors file's path.",
        ) from error
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, target / models.WEIGHTS)
