"""`triptych encoders prepare`: from the pinned packages to encoder folders, once.

    package files --(sha256)--> convert --> folder beside --(rename)--> encoders_dir/<name>

Idempotent: a folder of the same recipe whose files are intact is left alone. Two processes may run it at once; the second
waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from triptych.encoders import sources, specs, store
from triptych.settings import Settings, calm_openmp

Progress = Callable[[str, float], None]
"""Told a folder's name and how much of it is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of one folder. `fresh` says that it was built by this call and not there already."""

    name: str
    folder: Path
    fresh: bool


def prepare(settings: Settings, *, progress: Progress | None = None, force: bool = False) -> list[Prepared]:
    """Build what is missing, damaged or of another version under `settings.encoders_dir`; with `force`, build all.

    Takes about 40 s the first time (two cores, 0.4 GB written) and 2 s to check it later.
    Raises EncoderError: `encoder.package_missing`, `encoder.checksum`, `encoder.folder`.
    """
    calm_openmp()
    report = progress or (lambda _name, _done: None)
    done = []
    with store.locked(settings.encoders_dir):
        for name, fill in _STEPS.items():
            folder, recipe = settings.encoders_dir / name, specs.recipe_of(name)
            report(name, 0.0)
            fresh = force or not store.is_intact(folder, recipe)
            if fresh:
                store.build(folder, recipe, functools.partial(fill, settings))
            report(name, 1.0)
            done.append(Prepared(name, folder, fresh))
    return done


def _e5(_settings: Settings, target: Path) -> None:
    source = sources.verified(sources.E5)
    from triptych.encoders import convert_e5  # noqa: PLC0415  (imports torch)

    convert_e5.convert(source, target)


def _efficientnet(_settings: Settings, target: Path) -> None:
    weights = sources.verified(sources.EFFICIENTNET_WEIGHTS)
    for code in (sources.EFFICIENTNET_MODEL, sources.EFFICIENTNET_UTILS):
        sources.verified(code)
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    from triptych.encoders.efficientnet import WEIGHTS  # noqa: PLC0415

    state = torch.load(weights, map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, target / WEIGHTS)


def _conse(settings: Settings, target: Path) -> None:
    from triptych.encoders import conse, e5  # noqa: PLC0415  (import torch)

    conse.write_table(e5.backbone(_on_cpu(settings)), target)


def _whisper(settings: Settings, target: Path) -> None:
    parts = (sources.verified(sources.WHISPER_PART_1), sources.verified(sources.WHISPER_PART_2))
    sources.check(sources.sha256_of(*parts), sources.WHISPER_JOINED_SHA256, what="the joined Whisper file")
    extras = {
        "ctranslate2.json": sources.verified(sources.WHISPER_CONFIG),
        "tokenizer.json": sources.verified(sources.WHISPER_TOKENIZER),
    }
    from triptych.encoders import convert_whisper, whisper  # noqa: PLC0415  (import torch)
    from triptych.encoders.runtime import runtime_of  # noqa: PLC0415

    convert_whisper.convert(parts, extras, target)
    whisper.write_statistics(target, runtime_of(_on_cpu(settings)))


def _on_cpu(settings: Settings) -> Settings:
    """What is computed once for all is computed alike everywhere: in float32 on the CPU."""
    return settings.model_copy(update={"device": "cpu", "dtype": "float32"})


_STEPS: dict[str, Callable[[Settings, Path], None]] = {
    specs.E5_FOLDER: _e5,
    specs.EFFICIENTNET_FOLDER: _efficientnet,
    specs.CONSE_FOLDER: _conse,
    specs.WHISPER_FOLDER: _whisper,
}
"""In this order: ConSE's table is made with the prepared e5."""
