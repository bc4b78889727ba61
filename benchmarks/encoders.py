"""Items per second of every encoder that can run here: the bare model loop beside the indexing pipeline.

    python benchmarks/encoders.py [CATALOGUE] --profile offline --profile classical --json FILE

    loop      encoder.embed_documents on batches of inputs that are decoded already
    decode    fetch and decode alone, as the pipeline does it, in the decoder's child processes
    pipeline  fetch, decode and embed as a worker does it (indexer.pipeline), with the cache of vectors off

All on the same inputs, in turns (loop, decode, pipeline, loop, ...), so that a busy machine slows them alike. The figures are
medians over the rounds with their range; CPU is that of this process and its children, which a busy machine changes least.
Elasticsearch and Redis are not used. What a record's batch is to a worker, `batch` is here: one medium a record.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import click
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from indexer import documents, pipeline, records
from indexer.fit import fit
from indexer.standing import Standing
from triptych.domain import Media, Modality, Product
from triptych.encoders import fitted
from triptych.encoders.base import Encoder, Fitted, Input
from triptych.encoders.cache import digest_of
from triptych.encoders.registry import spaces_of
from triptych.errors import MediaError, TriptychError
from triptych.media.fetch import fetch
from triptych.schema import IndexSchema, Space
from triptych.services import Services
from triptych.settings import load

SHOP = Path(__file__).parents[1] / "examples" / "shop" / "catalogue.jsonl"
NAMES = tuple(modality.value for modality in Modality)
T = TypeVar("T")


class Local(Services):
    """Services that keep what encoders learned on this machine only, so that no Elasticsearch is needed."""

    def keep(self, learned: Fitted) -> str:
        data = fitted.to_bytes(learned)
        sha256 = fitted.sha256(data)
        path = self.fitted_path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return sha256


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: the encoders of some spaces of one modality, on products that have one input each."""

    profile: str
    modality: Modality
    schema: IndexSchema
    services: Services
    root: Path
    products: Sequence[Product]
    decoded: Sequence[Input]

    @property
    def name(self) -> str:
        return " + ".join(space.name for space in self.schema.spaces)

    @property
    def encoders(self) -> list[Encoder]:
        made = self.services.encoders(self.schema)
        return [made[space.name] for space in self.schema.spaces]


@dataclass(frozen=True, slots=True)
class Figure:
    """A way's figures at one batch size: items per second (median, least, most) and CPU milliseconds per item (median)."""

    profile: str
    spaces: str
    encoders: str
    modality: str
    way: str
    batch: int
    items: int
    per_second: float
    least: float
    most: float
    cpu_ms: float


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=SHOP)
@click.option("--profile", "profiles", multiple=True, default=("offline", "classical"), help="A profile; may be repeated.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1, max(pipeline.AT_ONCE.values())), default=(1, 8, 32))
@click.option("--items", type=click.IntRange(min=2), default=64, help="Inputs of each modality, at most.")
@click.option("--rounds", type=click.IntRange(min=1), default=5)
@click.option("--modality", "modalities", multiple=True, type=click.Choice(NAMES), default=NAMES)
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(
    *,
    catalogue: Path,
    profiles: Sequence[str],
    batches: Sequence[int],
    items: int,
    rounds: int,
    modalities: Sequence[str],
    report: Path | None,
) -> None:
    """Measure encoders on the pictures, sounds and texts of CATALOGUE (default: the demo shop)."""
    console = Console(width=150)
    figures: list[Figure] = []
    for profile in profiles:
        try:
            for subject in subjects(profile, catalogue.resolve(), items, {Modality(name) for name in modalities}):
                for batch in batches:
                    console.print(f"[dim]{profile}: {subject.name}, batches of {batch}[/dim]")
                    figures += measure(subject, batch, rounds)
        except TriptychError as error:
            console.print(f"[yellow]{profile} is left out: {error.message}[/yellow]")
    console.print(table(figures))
    if report is not None:
        report.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")


def subjects(profile: str, catalogue: Path, items: int, modalities: set[Modality]) -> Iterator[Subject]:
    """Each space of a profile, and all spaces of a modality together where there are several."""
    services = Local(load().model_copy(update={"profile": profile, "cache_bytes": 0}))
    spaces = [s for s in spaces_of(services.profile, services.settings, fitted=fit(services, catalogue)) if s.kind == "encoded"]
    for modality in (m for m in Modality if m in modalities):
        mine = [space for space in spaces if space.document_modality is modality]
        sets: list[list[Space]] = [*([space] for space in mine), *([mine] if len(mine) > 1 else [])]
        if not sets:
            continue
        products = list(single(services, catalogue, modality))[:items]
        decoded = [
            value for value in inputs(services, catalogue.parent, products, modality) if not isinstance(value, MediaError)
        ]
        for some in sets if decoded else ():
            schema = IndexSchema(spaces=tuple(some))
            yield Subject(profile, modality, schema, services, catalogue.parent, products, decoded)


def single(services: Services, catalogue: Path, modality: Modality) -> Iterator[Product]:
    """Products with one different input of a modality each, and nothing else."""
    seen: set[object] = set()
    for raw in records.read(catalogue, services.settings):
        product = records.parse(raw)
        if not isinstance(product, Product):
            continue
        parts: Sequence[Media | str] = [documents.passage(product)] if modality is Modality.TEXT else product.of(modality)
        for number, part in enumerate(parts):
            key = (
                part if isinstance(part, str) else fetch(part, root=catalogue.parent, most_bytes=services.settings.media_bytes)
            )
            if key in seen:
                continue
            seen.add(key)
            name = f"{product.id}-{number}"
            yield (
                dataclasses.replace(product, id=name, media=(part,))
                if isinstance(part, Media)
                else dataclasses.replace(product, id=name, media=())
            )


def inputs(services: Services, root: Path, products: Sequence[Product], modality: Modality) -> Iterator[Input | MediaError]:
    """What the products have, fetched and decoded as the pipeline does it: read twice, the first time for its hash."""
    if modality is Modality.TEXT:
        yield from (documents.passage(product) for product in products)
        return
    media = [product.media[0] for product in products]
    most = services.settings.media_bytes
    for medium in media:
        digest_of(fetch(medium, root=root, most_bytes=most))
    yield from services.decoder.decode_all((fetch(medium, root=root, most_bytes=most), modality) for medium in media)


def measure(subject: Subject, batch: int, rounds: int) -> list[Figure]:
    """The three ways in turns."""
    ways: dict[str, Callable[[], None]] = {
        "loop": lambda: loop(subject, batch),
        "decode": lambda: decode(subject, batch),
        "pipeline": lambda: through(subject, batch),
    }
    if subject.modality is Modality.TEXT:
        del ways["decode"]
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            taken = timed(work)
            if number:  # the first round loads and warms
                times[way].append(taken)
    return [figure(subject, way, batch, some) for way, some in times.items()]


def loop(subject: Subject, batch: int) -> None:
    for chunk in chunks(subject.decoded, batch):
        for encoder in subject.encoders:
            encoder.embed_documents(chunk)


def decode(subject: Subject, batch: int) -> None:
    for chunk in chunks(subject.products, batch):
        for _ in inputs(subject.services, subject.root, chunk, subject.modality):
            pass


def through(subject: Subject, batch: int) -> None:
    target = pipeline.Target("none", subject.schema, subject.root, "benchmark")
    for chunk in chunks(subject.products, batch):
        work = [pipeline.Work(line, product) for line, product in enumerate(chunk)]
        pipeline.fill(work, {product.id: Standing() for product in chunk}, target, subject.services)
        missing = [item.errors for item in work if set(item.vectors) != {space.name for space in subject.schema.spaces}]
        if missing:
            raise click.ClickException(f"The pipeline gave no vector: {missing[0]}")


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds, the latter with those of this process's children."""
    before, started = cpu_seconds(), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    after = cpu_seconds()
    return wall, sum(after.values()) - sum(before.get(pid, 0.0) for pid in after)


def cpu_seconds() -> Mapping[int, float]:
    """By process id, so that a child that ended takes nothing with it."""
    me = psutil.Process()
    found: dict[int, float] = {}
    for process in [me, *me.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = used.user + used.system
    return found


def figure(subject: Subject, way: str, batch: int, taken: Sequence[tuple[float, float]]) -> Figure:
    count = len(subject.products)
    rates = [count / wall for wall, _ in taken]
    return Figure(
        profile=subject.profile,
        spaces=subject.name,
        encoders=", ".join(space.encoder for space in subject.schema.spaces),
        modality=subject.modality,
        way=way,
        batch=batch,
        items=count,
        per_second=round(median(rates), 2),
        least=round(min(rates), 2),
        most=round(max(rates), 2),
        cpu_ms=round(1000 * median(cpu for _, cpu in taken) / count, 2),
    )


def table(figures: Sequence[Figure]) -> Table:
    """A row per encoder and batch size; `share` is the pipeline's speed in parts of the bare loop's, by time and by CPU."""
    heads = (
        "profile",
        "spaces",
        "of",
        "batch",
        "loop /s",
        "range",
        "decode /s",
        "pipeline /s",
        "range",
        "share",
        "CPU ms",
        "share",
    )
    found = Table(*heads, title="Items per second; CPU ms an item: loop, decode, pipeline", title_justify="left")
    groups: dict[tuple[str, str, int], dict[str, Figure]] = {}
    for one in figures:
        groups.setdefault((one.profile, one.spaces, one.batch), {})[one.way] = one
    for (profile, spaces, batch), ways in groups.items():
        bare, whole, decoding = ways["loop"], ways["pipeline"], ways.get("decode")
        cpu = [f"{ways[way].cpu_ms:.1f}" if way in ways else "-" for way in ("loop", "decode", "pipeline")]
        found.add_row(
            profile, spaces, bare.modality, str(batch),
            f"{bare.per_second:.1f}", f"{bare.least:.1f}-{bare.most:.1f}",
            f"{decoding.per_second:.0f}" if decoding else "",
            f"{whole.per_second:.1f}", f"{whole.least:.1f}-{whole.most:.1f}", f"{whole.per_second / bare.per_second:.2f}",
            " ".join(cpu), f"{bare.cpu_ms / max(whole.cpu_ms, 1e-9):.2f}",
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
