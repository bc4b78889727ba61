"""The steps that every training has: read and embed, divide, train, measure, shorten, write.

catalogue -> embedded -> split -> task -> loop -> measured on what was held out -> model.safetensors, card.json, card.md
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from indexer.sources.source import Source
from training import card, loop, over
from training.asked import one_side
from training.augment import Augment
from training.catalogue import Catalogue, Progress
from training.groups import Split, split
from training.over import Base
from training.products import Reading
from training.vectors import unwritable
from triptych import __version__
from triptych.domain import Modality
from triptych.encoders import profiles, registry, trained
from triptych.encoders.classical.contrast import seeded
from triptych.encoders.models import WEIGHTS
from triptych.encoders.profile_entries import SpaceEntry
from triptych.encoders.profiles import Profile
from triptych.encoders.trained import Arrays, Compression
from triptych.services import Services

log = logging.getLogger(__name__)

CHECKPOINT = ".training"
Measures = Mapping[str, Mapping[str, float]]
Section = Literal["spaces", "classifiers"]  # of a profile


@dataclass(frozen=True, slots=True)
class Asked:
    """What every training is told. `validation` and `test` are shares of the products; `over` names bases, MODALITY=SPACE.

    `check` looks at the bases before anything is embedded, and raises InputError where nothing can come of them.
    """

    out: Path
    over: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    epochs: int = 60
    patience: int = 15
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0
    validation: float = 0.1
    test: float = 0.1
    compress: Compression = "float32"
    copies: int = 0
    check: Callable[[Mapping[Modality, Base]], None] = lambda _: None


class Trained(loop.Task, Protocol):
    """A task whose network can be kept and measured."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        ...

    def measured(self, products: Any) -> Measures:
        """Measures on a side of the split."""
        ...

    def finish(self) -> None:
        """Called once the best weights are known, before anything is measured."""
        ...

    def arrays(self) -> Arrays:
        """The weights that are kept."""
        ...

    def restore(self, arrays: Arrays) -> None:
        """Put weights back, as they will be read."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """What a kind of training makes of an embedded catalogue: its task, the facts of its file, options for the card.

    `main` names the measure that compression is judged by. `entry` gives the space that a profile can name, `spaces` several by
    name; without either it is named in a `section` of a profile by its file: classifiers. `learned` is told in the card.
    """

    kind: str
    task: Trained
    facts: Mapping[str, Any]
    options: Mapping[str, Any]
    main: str
    entry: Callable[[Mapping[Modality, Base], str], dict[str, Any]] | None = None
    spaces: Callable[[Mapping[Modality, Base], str], dict[str, dict[str, Any]]] = lambda *_: {}
    section: Section = "spaces"
    learned: Callable[[], Mapping[str, Any]] = dict


Make = Callable[[Catalogue, Split, Mapping[Modality, Base], torch.device], Made]


@dataclass(frozen=True, slots=True)
class _Run:
    """One training, as its steps hand it on."""

    services: Services
    asked: Asked
    bases: Mapping[Modality, Base]
    progress: Progress
    times: dict[str, float] = field(default_factory=dict)


def train(services: Services, source: Source, asked: Asked, make: Make, progress: Progress) -> dict[str, Any]:
    """Train, write the folder `asked.out`, and return the card.

    Raises InputError `training.*`, `catalogue.*`; EncoderError where the bases are not prepared.
    """
    spaces = over.named(services.profile, asked.over)
    run = _Run(services, asked, over.bases_of(services.profile, services.settings, spaces), progress)
    asked.check(run.bases)
    _writable(asked.out)
    started = time.monotonic()
    change = Augment(asked.copies, asked.seed) if asked.copies else None
    with over.embedded(services, source, run.bases, asked.reading, change=change, progress=progress) as catalogue:
        run.times["embedding"] = time.monotonic() - started
        run = dataclasses.replace(run, bases={m: b for m, b in run.bases.items() if len(catalogue.inputs[m].product)})
        sides = split(catalogue.group, catalogue.keys, validation=asked.validation, test=asked.test, seed=asked.seed)
        return _trained(run, one_side(catalogue, sides, seed=asked.seed), sides, make)


def _trained(run: _Run, catalogue: Catalogue, sides: Split, make: Make) -> dict[str, Any]:
    from triptych.encoders.runtime import runtime_of  # noqa: PLC0415  transformers with it

    asked = run.asked
    device = runtime_of(run.services.settings).device
    with seeded(asked.seed):
        made = make(catalogue, sides, run.bases, device)
    plan = loop.Plan(asked.epochs, made.task.steps, asked.patience, asked.learning_rate, asked.weight_decay, asked.seed)
    recipe = _digest([made.kind, catalogue.digest, asdict(plan), made.options, made.facts, asked.validation, asked.test])
    state = loop.train(
        made.task, plan, asked.out / CHECKPOINT, recipe, lambda epoch, *_: run.progress("epochs", epoch, asked.epochs)
    )
    made.task.finish()
    measures = {name: made.task.measured(getattr(sides, name)) for name in ("validation", "test")}
    data = trained.to_bytes(made.task.arrays(), made.facts, asked.compress)
    _write(asked.out / WEIGHTS, data)
    found = {
        **_head(run, made, data),
        "bases": {str(modality): _base(base) for modality, base in run.bases.items()},
        "data": _data(catalogue, asked.reading),
        "split": {"seed": asked.seed, "sides": sides.sizes(catalogue.group)},
        "metrics": measures,
        "compression": _compression(made, sides, measures, asked.compress),
        "training": {
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "train_seconds": round(state.seconds, 1),
            "read_and_embed_seconds": round(run.times["embedding"], 1),
            "device": str(device),
            **made.learned(),
        },
        "options": {**_plain(made.options), **{name: getattr(asked, name) for name in _OPTIONS}},
    }
    found["section"] = made.section
    if made.entry is not None:
        found |= _named(run, made.entry(run.bases, f"./{found['name']}"))
    else:
        found |= _by_file(run, made, f"./{found['name']}", found["sha256"])
    card.write(asked.out, found)
    return found


_OPTIONS = ("epochs", "patience", "copies", "learning_rate", "weight_decay", "validation", "test")


def _head(run: _Run, made: Made, data: bytes) -> dict[str, Any]:
    """What was made, by what, when."""
    return {
        "kind": made.kind,
        "name": run.asked.out.resolve().name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"triptych": __version__, "torch": torch.__version__},
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


def _base(base: Base) -> dict[str, Any]:
    spec = base.encoder.spec
    return {
        "space": base.space,
        "encoder": spec.name,
        "licence": spec.licence,
        "dims": base.dims,
        "fingerprint": base.fingerprint,
    }


def _data(catalogue: Catalogue, reading: Reading) -> dict[str, Any]:
    return {
        "catalogue": catalogue.name,
        "products": len(catalogue.ids),
        **{f"{modality} inputs": len(some.row) for modality, some in catalogue.inputs.items()},
        "languages": list(reading.languages) or "all",
        "texts of a product": reading.texts,
        "queries": len(catalogue.wanted),
        "products of queries": sum(map(len, catalogue.wanted)),
        "group_languages": list(reading.group_languages) or "all",
        "group_by": list(reading.group_by),
        "positives_by": list(reading.positives_by),
        "digest": catalogue.digest[:16],
    }


def _compression(made: Made, sides: Split, before: Mapping[str, Measures], how: Compression) -> dict[str, Any]:
    """What shortened weights are and cost, measured on the test side (or that of validation); {} where they stay whole."""
    if how == "float32":
        return {}
    side = "test" if before["test"] else "validation"
    kept = made.task.arrays()
    made.task.restore(trained.whole(trained.shortened(kept, how)))
    after = made.task.measured(getattr(sides, side))
    made.task.restore(kept)
    lost = {name: round(row[made.main] - after[name][made.main], 4) for name, row in before[side].items()}
    return {
        "weights": how,
        "bytes": len(trained.to_bytes(kept, made.facts, how)),
        "bytes_float32": len(trained.to_bytes(kept, made.facts, "float32")),
        f"{made.main} lost on {side}": lost,
    }


def _named(run: _Run, entry: dict[str, Any]) -> dict[str, Any]:
    """The fingerprint that the encoder has in a profile, and the lines that name it there."""
    name, profile = entry["label"], run.services.profile
    here = {**entry, "model": str(run.asked.out.resolve())}
    spaced = SpaceEntry.model_validate(here)
    family = profiles.families()[spaced.family]
    whole: Profile = dataclasses.replace(
        profile,
        spaces={**profile.spaces, name: spaced},
        families={**profile.families, name: family},
        options={**profile.options, name: family.options()},
    )
    fingerprint = registry.spec_of(whole, name, run.services.settings).fingerprint
    return {"fingerprint": fingerprint, "profile": _lines(name, entry)}


def _by_file(run: _Run, made: Made, model: str, sha256: str) -> dict[str, Any]:
    """The same of what is known by its file: several spaces, a fused one with a network, or classifiers of a field."""
    licence = " and ".join(sorted({base.encoder.spec.licence for base in run.bases.values()}))
    fingerprint = f"{made.kind}-{sha256[:16]}"
    if made.section == "classifiers":
        spaces = {str(m): base.space for m, base in run.bases.items() if m in made.facts["towers"]}
        return {
            "fingerprint": fingerprint,
            "profile": _lines(made.facts["field"], {"model": model, "over": spaces, "licence": licence}),
        }
    lines = [_lines(name, entry) for name, entry in made.spaces(run.bases, model).items()]
    return {"fingerprint": fingerprint, "profile": "\n".join(lines)}


def _lines(name: str, entry: Mapping[str, Any]) -> str:
    return "\n".join([f"  {name}:", *(f"    {key}: {_yaml(value)}" for key, value in entry.items())])


def _yaml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(options), default=str))  # type: ignore[no-any-return]


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _writable(folder: Path) -> None:
    """Find out before hours of work. Raises InputError `training.folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def _write(path: Path, data: bytes) -> None:
    try:
        scratch = path.with_name(f".{path.name}")
        scratch.write_bytes(data)
        scratch.replace(path)
    except OSError as error:
        raise unwritable(path.parent, error) from error
