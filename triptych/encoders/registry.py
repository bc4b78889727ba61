"""Which encoders there are, and how to get one. Importing this does not import torch; `load` does.

The weights of a loaded encoder are read on its first use, once per process.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from triptych.encoders import sources, specs, store
from triptych.encoders.base import Encoder, EncoderSpec
from triptych.errors import EncoderError
from triptych.settings import Settings, calm_openmp

SPECS: tuple[EncoderSpec, ...] = specs.OFFLINE
"""All encoders known, listable before anything is installed."""

OFFLINE_SPACES: tuple[str, ...] = tuple(spec.space for spec in specs.OFFLINE)
"""The offline profile: text, image, image_words, audio."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """How to make an encoder: its class as "module:name", the prepared folders it reads, package files its code needs."""

    factory: str
    folders: tuple[str, ...]
    code: tuple[sources.SourceFile, ...] = ()


_NETWORK = (sources.EFFICIENTNET_MODEL, sources.EFFICIENTNET_UTILS)  # its class stays in the package
_ENTRIES = {
    "text": _Entry("triptych.encoders.e5:E5Encoder", (specs.E5_FOLDER,)),
    "image": _Entry("triptych.encoders.efficientnet:EfficientNetEncoder", (specs.EFFICIENTNET_FOLDER,), _NETWORK),
    "image_words": _Entry(
        "triptych.encoders.conse:ConseEncoder",
        (specs.E5_FOLDER, specs.EFFICIENTNET_FOLDER, specs.CONSE_FOLDER),
        _NETWORK,
    ),
    "audio": _Entry("triptych.encoders.whisper:WhisperSoundEncoder", (specs.WHISPER_FOLDER,)),
}


def spec_of(space: str) -> EncoderSpec:
    """The encoder that fills a space. Raises EncoderError `encoder.unknown`."""
    for spec in SPECS:
        if spec.space == space:
            return spec
    known = ", ".join(spec.space for spec in SPECS)
    raise EncoderError(f"There is no space {space!r}.", code="encoder.unknown", field="space", remedy=f"Known spaces: {known}.")


def load(spaces: Iterable[str | EncoderSpec], settings: Settings) -> dict[str, Encoder]:
    """The encoders of these spaces, by space, in the order given. Weights are read on first use.

    Raises EncoderError: `encoder.unknown`, `encoder.not_prepared`, `encoder.package_missing`, and
    `encoder.fingerprint_mismatch` for a spec (an index's, say) that is not the one known here under its space.
    """
    calm_openmp()
    wanted = [_known(item) for item in spaces]
    for spec in wanted:
        for folder in folders(spec, settings):
            store.require(folder, specs.recipe_of(folder.name))
        for file in _ENTRIES[spec.space].code:
            sources.locate(file)
    return {spec.space: _make(spec, settings) for spec in wanted}


def folders(spec: EncoderSpec, settings: Settings) -> list[Path]:
    """The prepared folders an encoder reads."""
    return [settings.encoders_dir / name for name in _ENTRIES[spec.space].folders]


def is_prepared(spec: EncoderSpec, settings: Settings) -> bool:
    """Whether `load` would find all of the encoder's folders. Cheap: looks at sizes only."""
    return all(store.is_present(folder, specs.recipe_of(folder.name)) for folder in folders(spec, settings))


def require(settings: Settings) -> None:
    """Raise EncoderError `encoder.not_prepared` unless every encoder of the offline profile is there. Cheap."""
    for spec in specs.OFFLINE:
        for folder in folders(spec, settings):
            store.require(folder, specs.recipe_of(folder.name))


def _known(item: str | EncoderSpec) -> EncoderSpec:
    if isinstance(item, str):
        return spec_of(item)
    spec = spec_of(item.space)
    if spec.fingerprint != item.fingerprint:
        raise EncoderError(
            f"The space {item.space} was filled by {item.name} ({item.fingerprint});"
            f" here it is {spec.name} ({spec.fingerprint}).",
            code="encoder.fingerprint_mismatch",
            field="space",
            remedy="Index the catalogue again, or use the Triptych version it was indexed with.",
        )
    return spec


def _make(spec: EncoderSpec, settings: Settings) -> Encoder:
    module, _, name = _ENTRIES[spec.space].factory.partition(":")
    encoder: Encoder = getattr(importlib.import_module(module), name)(settings)
    return encoder
