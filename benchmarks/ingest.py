"""The speed of indexing, as ratios to elasticsearch.helpers.parallel_bulk writing the same documents to the same node.

    python benchmarks/ingest.py --folder FOLDER [--data DATA] [--count 10000] [--json FILE]
    python benchmarks/ingest.py --folder FOLDER --rounds 0 --long 1000000 --dims 64

    by hand    read the lines, pack the vectors, parallel_bulk; what a person would write
    pipeline   pipeline.run in threads of this process: parse, look up, hash, build, write
    job        `triptych index add` and one `triptych worker` with as many pool processes, ledger and queue included

The vectors come with the records, so no encoder runs: what is left is Triptych's own work and Elasticsearch's. The ways take
turns, each writes an empty index of its own, and all have the same threads. A first round, which is not counted, warms Java's
machine for each of them. Figures are medians over the rounds, with their range. --batch is what parallel_bulk sends at once,
and Triptych's size of a batch: of these records 32 times as many, or 4 MB.
--long N: then a job of N records, for the memory of its pool process after 10,000 records and at its end, and for its pace in
the first and the last tenth; with --rounds 0 that alone. A record of 384 numbers takes 4 kB of disk in FOLDER, of 64 numbers 1.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click
import made
from bars import LEAST, MOST, Bar, bar, barred
from elasticsearch.helpers import parallel_bulk
from made import Made
from paced import Course, follow, worker
from psutil import Process  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from engine import Jvm, elasticsearch_node, redis_server
from indexer import pipeline, records
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import create_version, read_mapping_file, read_schema
from triptych.jobs import batching
from triptych.services import Services
from triptych.settings import load

MAPPING = Path(__file__).parents[1] / "mappings" / "products.json"
BY_HAND, PIPELINE, JOB = "by hand", "pipeline", "job"
_EARLY = 10_000


class Bench:
    """The services, and the ways to fill an index; each returns the seconds it took."""

    def __init__(self, services: Services, catalogue: Made, threads: int, batch: int) -> None:
        self.services = services
        self.catalogue = catalogue
        self.threads = threads
        self.batch = batch
        self.pool: Sequence[Process] = ()
        self.made = 0

    def index(self) -> tuple[str, str]:
        """A new, empty index: alias and version."""
        self.made += 1
        alias = f"ingest-{int(time.time())}-{self.made}"
        base = read_mapping_file(MAPPING)
        properties = {**base["mappings"]["properties"], "attrs": {"type": "flattened"}}
        body = {**base, "mappings": {**base["mappings"], "properties": properties}}
        return alias, create_version(self.services.elasticsearch, alias, body, self.services.schema())

    def by_hand(self) -> float:
        _, version = self.index()
        began = time.monotonic()
        actions = made.actions(self.catalogue.path, version)
        client = self.services.elasticsearch
        for good, found in parallel_bulk(client, actions, thread_count=self.threads, chunk_size=self.batch):
            if not good:
                raise RuntimeError(str(found))
        took = time.monotonic() - began
        self._check(version)
        return took

    def pipeline(self) -> float:
        _, version = self.index()
        schema = read_schema(self.services.elasticsearch, version)
        target = pipeline.Target(version, schema, self.catalogue.path.parent, "benchmark")
        began = time.monotonic()
        read = closing(records.read(self.catalogue.path, self.services.settings))
        with read as lines, ThreadPoolExecutor(self.threads) as pool:
            most = self.services.settings.batch_bytes
            cut = batching.cut(lines, size=self.batch, most_bytes=most, encoded=schema.encoded)
            running: deque[Future[pipeline.Result]] = deque()
            for one in cut:  # read ahead, as parallel_bulk does
                running.append(pool.submit(pipeline.run, one.records, target, self.services))
                if len(running) > 2 * self.threads:
                    _all_written(running.popleft())
            for last in running:
                _all_written(last)
        took = time.monotonic() - began
        self._check(version)
        return took

    def job(self) -> float:
        return self.course(self.catalogue).seconds

    def course(self, catalogue: Made) -> Course:
        """A whole job, from its submission until its last record has ended; closing it is not counted."""
        alias, version = self.index()
        found = follow(self.services, alias, catalogue.path, catalogue.count, self.pool)
        self._check(version, catalogue.count)
        return found

    def _check(self, version: str, count: int | None = None) -> None:
        client, wanted = self.services.elasticsearch, count or self.catalogue.count
        with translated():
            client.indices.refresh(index=version)
            there = client.count(index=version)["count"]
            client.indices.delete(index=version)
        if there != wanted:
            raise RuntimeError(f"{version} has {there} of {wanted} products")


def _all_written(batch: Future[pipeline.Result]) -> None:
    if dead := batch.result().dead_letters:
        raise RuntimeError(dead[0].message)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where what is made is kept.")
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), help="The developers' data; without it texts are made up."
)
@click.option("--count", type=click.IntRange(min=100), default=10_000, show_default=True, help="Products a round.")
@click.option("--rounds", type=click.IntRange(min=0), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads, and pool processes.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Records a request and a batch.")
@click.option("--dims", type=click.IntRange(min=2), default=384, show_default=True, help="Numbers of a vector.")
@click.option("--long", "longer", type=click.IntRange(min=0), default=0, help="Records of one long job; 0: leave out.")
@click.option("--heap", default="1g", show_default=True, help="Heap of the node.")
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(  # noqa: PLR0913, PLR0917  click gives a command its options by name
    folder: Path,
    data: Path | None,
    count: int,
    rounds: int,
    threads: int,
    batch: int,
    dims: int,
    longer: int,
    heap: str,
    report: Path | None,
) -> None:
    """Measure indexing."""
    console = Console(width=120)
    catalogue = made.catalogue(folder.resolve(), count, dims, data)
    with ExitStack() as stack:
        settings = load()
        node = stack.enter_context(elasticsearch_node(settings, jvm=Jvm(heap=heap, compiler="full")))
        redis = stack.enter_context(redis_server(settings))
        own = made.settings(node.url, redis.url, made.profile(folder.resolve(), dims), batch)
        bench = Bench(Services(own), catalogue, threads, batch)
        bench.pool = stack.enter_context(worker(own, threads, folder.resolve() / "worker.log"))
        ways = {BY_HAND: bench.by_hand, PIPELINE: bench.pipeline, JOB: bench.job}
        found = [_round(ways, number, console) for number in range(rounds + 1)][1:] if rounds else []  # a cold Java is slow
        bars = compared(found) if found else []
        course = None
        if longer:
            course = bench.course(made.catalogue(folder.resolve(), longer, dims, data))
            bars += lasting(course)
    if found:
        console.print(table(found, count, f"{count} products of {dims} numbers, {threads} threads, batches of {batch}"))
    if course:
        console.print(tenths(course))
    console.print(barred(bars))
    if report is not None:
        facts = {"count": count, "dims": dims, "threads": threads, "batch": batch, "long": longer}
        written = {"facts": facts, "rounds": found, "bars": [asdict(one) for one in bars]}
        report.write_text(json.dumps({**written, "course": asdict(course) if course else None}, indent=1) + "\n")


def _round(ways: dict[str, Callable[[], float]], number: int, console: Console) -> dict[str, float]:
    """Every way once, in an order that turns: the seconds."""
    names = list(ways)
    turn = number % len(names)
    found = {name: ways[name]() for name in (*names[turn:], *names[:turn])}
    taken = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.items())
    console.print(f"[dim]{time.strftime('%X')} round {number or 'to warm up'}: {taken}[/dim]")
    return found


def compared(rounds: Sequence[dict[str, float]]) -> list[Bar]:
    """Documents per second in parts of those by hand. Pure."""
    return [bar(f"{way} / {BY_HAND}", [one[BY_HAND] / one[way] for one in rounds], LEAST, 0.9) for way in (PIPELINE, JOB)]


def lasting(course: Course) -> list[Bar]:
    """What must not change over a long job. Pure."""
    pace = course.pace(0.9, 1.0) / course.pace(0.0, 0.1)
    grown = course.rss_at(1.0) / course.rss_at(min(1.0, _EARLY / course.count))
    return [
        bar("memory, end / 10,000 records", [grown], MOST, 1.05),
        bar("pace, last / first tenth", [pace], LEAST, 0.9),
    ]


def tenths(course: Course) -> Table:
    """How a long job went, tenth by tenth. Pure."""
    found = Table("tenth", "records/s", "MB", title=f"{course.count} records in {course.seconds:.0f} s", title_justify="left")
    for tenth in range(10):
        end = (tenth + 1) / 10
        found.add_row(str(tenth + 1), f"{course.pace(tenth / 10, end):.0f}", f"{course.rss_at(end) / 1e6:.0f}")
    return found


def table(rounds: Sequence[dict[str, float]], count: int, title: str) -> Table:
    found = Table("way", "docs/s", "range", title=title, title_justify="left")
    for way in rounds[0]:
        rates = [count / one[way] for one in rounds]
        found.add_row(way, f"{median(rates):.0f}", f"{min(rates):.0f}-{max(rates):.0f}")
    return found


if __name__ == "__main__":
    main()
