"""The pace of indexing pictures as a worker does it by default, beside that of the bare network loop on the same cores.

    python benchmarks/pictures.py CATALOGUE --folder FOLDER [--profile offline] [--items 512] [--rounds 4] [--json FILE]

    loop       encoder.embed_documents on batches of decoded pictures, in one process with a thread for each core
    loops      the same in as many processes as a worker starts where nobody says, with one thread each
    pipeline   fetch, decode and embed as a worker does it (indexer.pipeline), in as many processes, the cache of vectors off
    job        `triptych index add` and one `triptych worker`, ledger, queue and Elasticsearch on the same cores included

The first three take turns, on the same pictures; a first round, which loads and warms, is not counted. `loop` is what a person
would write, and what the bar is about; `loops` says what of the difference are the processes. A job is of the whole catalogue,
its pace that from its first tenth to its ninth.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import click
import encoders
from bars import LEAST, Bar, bar, barred
from ingest import MAPPING
from paced import follow, worker
from rich.console import Console
from rich.table import Table

from engine import Jvm, elasticsearch_node, redis_server
from indexer.worker import concurrency_for, cores, free_bytes, threads_for
from triptych.domain import Modality
from triptych.elastic.lifecycle import create_version, read_mapping_file
from triptych.services import Services
from triptych.settings import Settings, hand_down, load

LOOP, LOOPS, PIPELINE, JOB = "loop", "loops", "pipeline", "job"
BATCH = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What each process measures: its share of the pictures, in the spaces of a profile that are filled by pictures."""

    profile: str
    catalogue: Path
    items: int
    rounds: int

    def subject(self) -> encoders.Subject:
        """All spaces of pictures together come last."""
        return list(encoders.subjects(self.profile, self.catalogue, self.items, {Modality.IMAGE}))[-1]


@click.command()
@click.argument("catalogue", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the worker's log goes.")
@click.option("--profile", default="offline", show_default=True)
@click.option("--items", type=click.IntRange(min=2), default=512, show_default=True, help="Pictures a round, at most.")
@click.option("--rounds", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--jobs", type=click.IntRange(min=0), default=2, show_default=True, help="Whole jobs, after one that warms.")
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(*, catalogue: Path, folder: Path, profile: str, items: int, rounds: int, jobs: int, report: Path | None) -> None:
    """Measure pictures."""
    console = Console(width=120)
    folder.mkdir(parents=True, exist_ok=True)
    processes = concurrency_for("prefork", cores(), free_bytes())
    task = Task(profile, catalogue.resolve(), items, rounds)
    found = turns(task, processes)
    if jobs:
        found[JOB] = whole_jobs(task, folder.resolve(), jobs)
    console.print(table(found, f"Pictures a second, {processes} processes"))
    bars = compared(found)
    console.print(barred(bars))
    if report is not None:
        written = {"processes": processes, "cores": cores(), "rates": found, "bars": [dataclasses.asdict(one) for one in bars]}
        report.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def turns(task: Task, processes: int) -> dict[str, list[float]]:
    """Pictures a second of each way, round by round: the lone process and the several measure while the others wait."""
    context = multiprocessing.get_context("spawn")  # no process inherits another's threads
    gate, results = context.Barrier(processes + 1), context.Queue()
    children = [
        context.Process(target=measure, args=(task, number, processes, gate, results), daemon=True)
        for number in range(processes + 1)
    ]
    for child in children:
        child.start()
    found: dict[str, list[float]] = {LOOP: [], LOOPS: [], PIPELINE: []}
    for _ in range(task.rounds * len(found)):
        way, rate = results.get(timeout=600)
        found[way].append(rate)
    for child in children:
        child.join()
    return found


def measure(task: Task, number: int, processes: int, gate: Barrier, results: multiprocessing.Queue[tuple[str, float]]) -> None:
    """One process: number 0 is the lone one, the others share the pictures."""
    hand_down(THREADS=str(threads_for("prefork", processes if number else 1)))
    subject = task.subject()
    total = len(subject.products)
    share = slice(number - 1, None, processes) if number else slice(None)
    mine = dataclasses.replace(subject, products=subject.products[share], decoded=subject.decoded[share])
    ways: dict[str, Callable[[], None]] = {
        LOOP: lambda: encoders.loop(mine, BATCH),
        LOOPS: lambda: encoders.loop(mine, BATCH),
        PIPELINE: lambda: encoders.through(mine, BATCH),
    }
    for turn in range(task.rounds + 1):
        for way, work in ways.items():
            gate.wait()
            began = time.perf_counter()
            if (number == 0) == (way == LOOP):
                work()
            gate.wait()
            if turn and number == 0:
                results.put((way, total / (time.perf_counter() - began)))


def whole_jobs(task: Task, folder: Path, jobs: int) -> list[float]:
    """The pace of each job, into an index of its own that has the spaces of pictures alone."""
    schema = task.subject().schema
    with task.catalogue.open("rb") as lines:
        count = sum(1 for _ in lines)
    with ExitStack() as stack:
        settings = load()
        node = stack.enter_context(elasticsearch_node(settings, jvm=Jvm(heap="1g", compiler="full")))
        redis = stack.enter_context(redis_server(settings))
        own = Settings.model_validate(
            {"elasticsearch_url": node.url, "redis_url": redis.url, "profile": task.profile, "cache_bytes": 0}
            | {"queue": "pictures-bench", "system_prefix": "pictures-t-"}
        )
        services = Services(own)
        pool = stack.enter_context(worker(own, None, folder / "worker.log"))
        paces = []
        for number in range(jobs + 1):
            alias = f"pictures-{int(time.time())}-{number}"
            create_version(services.elasticsearch, alias, read_mapping_file(MAPPING), schema)
            paces.append(follow(services, alias, task.catalogue, count, pool).pace(0.1, 0.9))
    return paces[1:]


def compared(found: dict[str, list[float]]) -> list[Bar]:
    """The ways in parts of the loop. Pure."""
    shares = [each / lone for each, lone in zip(found[PIPELINE], found[LOOP], strict=True)]
    return [bar(f"{PIPELINE} / {LOOP}", shares, LEAST, 0.95)]


def table(found: dict[str, list[float]], title: str) -> Table:
    made = Table("way", "pictures/s", "range", f"x {LOOP}", title=title, title_justify="left")
    for way, rates in found.items():
        share = median(rates) / median(found[LOOP])
        made.add_row(way, f"{median(rates):.1f}", f"{min(rates):.1f}-{max(rates):.1f}", f"{share:.2f}")
    return made


if __name__ == "__main__":
    main()
