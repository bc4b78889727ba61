"""What heads trained on a catalogue are worth: words of the stamps' descriptions to the pictures of stamps that were held out.

    python benchmarks/heads.py DATA
    python benchmarks/heads.py DATA --splits 3 --json FILE

Four fifths of the stamps are learned from, with their descriptions in seven languages; the English description of the others is
not among them. The questions are the others' descriptions in English and in Chinese, each once; an answer is a stamp
with that description among the first ten pictures. Measured: ConSE as it comes with the profile `offline`, heads
(`triptych train heads`), and both as one fused space, all by the encoders that an index would use. No service is needed.
Vectors are kept in TRIPTYCH_DATA_DIR, so a second run takes as long as the training alone.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from bars import LEAST, Bar, bar, barred
from PIL import Image
from rich.console import Console
from rich.table import Table

from evaluation.catalogues import Data, inside
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from training import flow, over
from training.groups import split
from training.heads import HeadOptions, maker
from training.measuring import first_places
from training.products import Reading
from triptych.domain import Modality, Vectors
from triptych.encoders import fused, profiles, registry
from triptych.encoders.base import Encoder
from triptych.schema import Space
from triptych.services import Services
from triptych.settings import load

LANGUAGES = ("en", "zh_CN", "ja", "de", "fr", "es", "ru")
ASKED = {"en": 0.70, "zh_CN": 0.62}
"""The languages of the questions, and the share that must have an answer among the first ten."""

TEST = 0.2
EPOCHS = 40
LEARNING_RATE = 5e-4
COPIES = 1
PARTS = {"aligned": 1.0, "image_words": 1.0}
"""Of the fused space: heads and ConSE."""

OVER = ("text=text", "image=image")


@dataclass(frozen=True, slots=True)
class Row:
    """One way on one split: R@1 and R@10 of the questions of a language, and R@10 by chance."""

    split: int
    way: str
    language: str
    queries: int
    products: int
    r1: float
    r10: float
    chance: float


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp of the test side."""

    picture: Path
    descriptions: Mapping[str, str]


def written(data: Data, folder: Path) -> Path:
    """The stamps that have a picture, with their descriptions alone, as a catalogue."""
    path = folder / "stamps.jsonl"
    with path.open("w", encoding="utf-8") as lines, (data.root / "catalogues" / "stamps.jsonl").open(encoding="utf-8") as given:
        for record in map(json.loads, given):
            if not record["images"]:
                continue
            (reference,) = record["images"]
            target = folder / inside(reference)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data.place(reference).read_bytes())
            texts = {code: text for code, text in record["description"].items() if code in LANGUAGES}
            lines.write(json.dumps({"id": record["id"], "description": texts, "images": [inside(reference)]}) + "\n")
    return path


def measured(services: Services, source: Source, folder: Path, seed: int, console: Console) -> Iterator[tuple[Row, float]]:
    """The rows of one split, and the seconds that training took."""
    reading = Reading(languages=LANGUAGES, texts=len(LANGUAGES), group_languages=("en",))
    asked = flow.Asked(
        folder / f"heads-{seed}",
        OVER,
        reading,
        EPOCHS,
        EPOCHS,
        LEARNING_RATE,
        seed=seed,
        validation=0.0,
        test=TEST,
        copies=COPIES,
    )
    card = flow.train(services, source, asked, maker(HeadOptions()), lambda *_: None)
    console.print(f"split {seed}: {card['training']}", markup=False)
    profile = profiles.parse(services.profile.text + "\n", name="offline")
    encoders = registry.encoders_of(with_heads(profile, card, asked.out), services.settings)
    stamps = held_out(services, source, reading, seed)
    pictures = [_white(stamp.picture) for stamp in stamps]
    held = {name: _in_batches(encoders[name], pictures) for name in PARTS}
    ways = {"ConSE": {"image_words": 1.0}, "heads": {"aligned": 1.0}, "heads + ConSE": PARTS}
    for language in ASKED:
        texts = sorted({stamp.descriptions[language] for stamp in stamps if language in stamp.descriptions})
        asked_ = {name: encoders[name].embed_queries(texts, Modality.TEXT) for name in PARTS}
        answers = np.array([[stamp.descriptions.get(language) == text for stamp in stamps] for text in texts])
        for way, parts in ways.items():
            found = first_places(_joined(asked_, parts), _joined(held, parts), answers.__getitem__).measures()
            counts = (len(texts), len(stamps), found["R@1"], found["R@10"], found["chance R@10"])
            yield Row(seed, way, language, *counts), card["training"]["train_seconds"]


def with_heads(profile: profiles.Profile, card: Mapping[str, Any], out: Path) -> profiles.Profile:
    """The profile with the heads as a space, as a user would write it."""
    text = profile.text.replace("\nspeech:", f"\n{card['profile']}\n\nspeech:")
    return registry.only(
        profiles.parse(text.replace(f"model: ./{out.name}", f"model: {out}"), name="with heads", folder=out.parent),
        {"text", "image", "image_words", "aligned"},
    )


def held_out(services: Services, source: Source, reading: Reading, seed: int) -> list[Stamp]:
    """The test side of the split that the training of this seed made."""
    bases = over.bases_of(services.profile, services.settings, over.named(services.profile, OVER))
    with over.embedded(services, source, bases, reading, progress=lambda *_: None) as catalogue:
        sides = split(catalogue.group, catalogue.keys, validation=0.0, test=TEST, seed=seed)
    ids = {catalogue.ids[number] for number in sides.test}
    root = source.root or Path()
    records = (json.loads(str(raw["text"])) for raw in source.records())
    return [Stamp(root / r["images"][0], r["description"]) for r in records if r["id"] in ids]


def _in_batches(encoder: Encoder, pictures: Sequence[Image.Image]) -> Vectors:
    return np.concatenate([encoder.embed_documents(pictures[at : at + 8]) for at in range(0, len(pictures), 8)])


def _joined(vectors: Mapping[str, Vectors], parts: Mapping[str, float]) -> Vectors:
    """As a fused space of these parts joins them."""
    dims = {name: vectors[name].shape[1] for name in parts}
    space = Space(name="both", encoder="", fingerprint="", dims=sum(dims.values()), kind="fused", parts=dict(parts))
    zeros = np.zeros(sum(dims.values()), dtype=np.float32)
    count = len(vectors[next(iter(parts))])
    rows = [fused.combine(space, {name: vectors[name][n] for name in parts}, dims) for n in range(count)]
    return np.stack([zeros if one is None else one for one in rows])


def _white(path: Path) -> Image.Image:
    """As the decoder gives it: on white."""
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    return [
        bar(
            f"R@10 {language}, heads + ConSE",
            [r.r10 for r in rows if (r.way, r.language) == ("heads + ConSE", language)],
            LEAST,
            least,
        )
        for language, least in ASKED.items()
    ]


def table(rows: Sequence[Row]) -> Table:
    """The mean over the splits."""
    found = Table("way", "language", "queries", "pictures", "R@1", "R@10", "chance R@10", title="Words to held-out pictures")
    for way, language in dict.fromkeys((r.way, r.language) for r in rows):
        mine = [r for r in rows if (r.way, r.language) == (way, language)]
        means = [f"{np.mean([getattr(r, name) for r in mine]):.3f}" for name in ("r1", "r10", "chance")]
        found.add_row(way, language, str(mine[0].queries), str(mine[0].products), *means)
    return found


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--splits", default=3, show_default=True, type=click.IntRange(1, 20), help="Splits, each trained on anew.")
@click.option(
    "--share", type=click.Path(path_type=Path), default=Path("/usr/share"), help="Where Debian's packages have files."
)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the results to this file.")
def main(*, data: Path, splits: int, share: Path, report: Path | None) -> None:
    """Train heads on the stamps in DATA and ask them words."""
    console = Console(width=120)
    settings = load().model_copy(update={"profile": "offline"})
    services = Services(settings)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="triptych-training-") as folder:
        source = open_source(SourceSpec(str(written(Data(data.resolve(), share), Path(folder)))), services)
        found: list[tuple[Row, float]] = []
        for seed in range(splits):
            mine = list(measured(services, source, Path(folder), seed, console))
            console.print(f"  {[(row.way, row.language, row.r10) for row, _ in mine]}", markup=False)
            found += mine
    rows, seconds = [one for one, _ in found], [took for _, took in found]
    console.print(table(rows))
    limits = bars_of(rows)
    console.print(barred(limits))
    console.print(
        f"{np.median(seconds):.0f} s of training a split, {time.monotonic() - started:.0f} s in all, {os.cpu_count()} CPUs"
    )
    if report is not None:
        report.write_text(
            json.dumps({"rows": [asdict(one) for one in rows], "seconds": seconds}, indent=1) + "\n", encoding="utf-8"
        )
    if not all(one.holds for one in limits):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
