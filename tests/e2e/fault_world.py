"""What a fault happens to: a queue, a ledger, an index, its workers and its jobs; and the account of what became of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fault_shop import Catalogue, Differences, compare

from triptych.domain import Outcome
from triptych.errors import TriptychError
from triptych.services import Services
from triptych.settings import Settings

ROOT = Path(__file__).parents[2]
TRIPTYCH = Path(sys.executable).with_name("triptych")
OUTCOMES = ("written", "unchanged", "partial", "dead", "deleted")
LEASE_SECONDS = 3.0
_START_SECONDS = 90.0


class FaultError(Exception):
    """A trial could not be made, or did not end."""


@dataclass(slots=True)
class Worker:
    """A `triptych worker` in a session of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def pool(self) -> list[int]:
        """The ids of its pool processes."""
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [line.split() for line in listing.splitlines()]
        return [int(child) for child, parent in pairs if int(parent) == self.process.pid]

    def kill(self) -> None:
        """kill -9 of it and its children."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)


@dataclass
class World:
    """Lives for one trial. `changes` are settings, with the names they have in the environment less the prefix."""

    elasticsearch: str
    redis: str
    folder: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    jobs: dict[str, Catalogue] = field(default_factory=dict)
    index: str = field(default_factory=lambda: f"fault-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def environment(self) -> dict[str, str]:
        own = {
            "ELASTICSEARCH_URL": self.elasticsearch, "REDIS_URL": self.redis, "QUEUE": self.index,
            "SYSTEM_PREFIX": f"t-{self.index}-", "PROFILE": str(self.folder.parent / "profile.yaml"), "BATCH_SIZE": "2",
            "BATCH_LEASE_SECONDS": str(LEASE_SECONDS), "THREADS": "1", "DECODE_PROCESSES": "1", **self.changes,
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if name == "TRIPTYCH_DATA_DIR" or "TRIPTYCH_" not in name}
        bent, before = Path(__file__).with_name("bent"), [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        path = os.pathsep.join([str(bent), str(ROOT), *before])
        return {**kept, "PYTHONPATH": path, **{f"TRIPTYCH_{name}": value for name, value in own.items()}}

    @cached_property
    def services(self) -> Services:
        given = {name.removeprefix("TRIPTYCH_").lower(): v for name, v in self.environment.items() if "TRIPTYCH_" in name}
        return Services(Settings(**given))

    def command(self, *args: str) -> Any:
        """What `triptych ... --json` prints."""
        done = subprocess.run(
            [TRIPTYCH, *args, "--json"], capture_output=True, text=True, env=self.environment, timeout=300, check=False
        )
        if done.returncode != 0:
            raise FaultError(f"triptych {' '.join(args)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def begin_worker(self, *, clock: float = 0.0) -> Worker:
        """Start a worker whose clock is `clock` seconds off; `wait_ready` waits for it."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [TRIPTYCH, "worker"],
                stdout=file,
                stderr=file,
                env={**self.environment, "FAULT_CLOCK": str(clock)},
                start_new_session=True,
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def wait_ready(self) -> None:
        for worker in self.workers:
            if worker.alive:
                wait_for(lambda one=worker: " ready." in one.log.read_text(), f"{worker.log}", _START_SECONDS)  # type: ignore[misc]

    def submit(self, catalogue: Catalogue) -> str:
        """Submit a catalogue; returns the job's id."""
        path = catalogue.write(self.folder / f"catalogue-{len(self.jobs)}.jsonl")
        job = str(self.command("index", "add", self.index, str(path))["id"])
        self.jobs[job] = catalogue
        return job

    def ended(self, job: str) -> int:
        """How many records of a job have ended; -1 while nobody can tell."""
        try:
            return self.services.jobs.counts(job).ended
        except TriptychError:
            return -1

    def running(self) -> set[str]:
        """The batches that are worked on at this moment, by the ids of their entries in the ledger."""
        return {hit["_id"] for hit in self._batches({"term": {"state": "running"}})}

    def done(self, batches: set[str]) -> bool:
        """Whether all of these batches are done."""
        if not batches:
            return True
        query = {"bool": {"filter": [{"term": {"state": "done"}}, {"ids": {"values": sorted(batches)}}]}}
        try:
            return len(self._batches(query)) == len(batches)
        except TriptychError:
            return False

    def _batches(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        from triptych.elastic.client import translated

        index = self.services.settings.system_prefix + "batches"
        with translated():
            self.services.elasticsearch.indices.refresh(index=index)
            found = self.services.elasticsearch.search(index=index, query=query, size=1000, source=False)
        return list(found["hits"]["hits"])

    def wait_closed(self, seconds: float) -> None:
        """Wait until all jobs have ended."""

        def closed() -> bool:
            try:
                return all(self.services.jobs.get(job).finished_at or self.services.jobs.get(job).error for job in self.jobs)
            except TriptychError:
                return False

        wait_for(closed, f"the end of {', '.join(self.jobs)} ({self.folder})", seconds)

    def documents(self) -> Iterator[dict[str, Any]]:
        """Everything the index holds."""
        client = self.services.elasticsearch
        client.indices.refresh(index=self.index)
        source: dict[str, Any] = {"exclude_vectors": False} if self.services.server.hides_vectors else {"includes": ["*"]}
        after: list[Any] | None = None
        while hits := client.search(index=self.index, size=5000, sort=[{"id": "asc"}], search_after=after, source=source)[
            "hits"
        ]["hits"]:
            yield from hits
            after = hits[-1]["sort"]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        with suppress(Exception):
            client = self.services.elasticsearch
            client.indices.delete(index=f"{self.index}*,t-{self.index}-*", ignore_unavailable=True)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.1)
    raise FaultError(f"{what} was not there after {seconds:.0f} s")


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a trial's records. `faults` are sentences; none: all is as it should be."""

    lost: int
    doubled: int
    faults: tuple[str, ...]
    codes: tuple[str, ...]
    states: tuple[str, ...]


def account(world: World, *, codes: tuple[str, ...] = ()) -> Account:
    """Compare the jobs' counters, the dead letters and the index with the catalogues. `codes` begin those that may be."""
    lost = doubled = 0
    faults: list[str] = []
    expected: dict[str, dict[str, Any]] = {}
    found: set[str] = set()
    states = []
    for job, catalogue in world.jobs.items():  # in order: of a product the newest job's record counts
        expected |= catalogue.expected()
        shown = world.command("job", "show", job)
        states.append(shown["state"])
        ends = sum(shown.get(name, 0) for name in OUTCOMES)
        lost += max(0, len(catalogue) - ends)
        doubled += max(0, ends - len(catalogue), shown["read"] - len(catalogue))
        faults += _faults_of(shown, len(catalogue), codes)
        found |= {letter["code"] for letter in shown["letters"]}
    documents = list(world.documents())
    partial = {hit["_id"] for hit in documents if hit["_source"]["triptych"]["outcome"] == Outcome.PARTIAL}
    differ = compare(documents, expected, partial)
    faults += [f"{name}: {len(ids)}, {ids[0]}" for name, ids in _named(differ).items() if ids]
    lost += len(differ.missing) + len(differ.wrong)
    return Account(lost, doubled + len(differ.surplus), tuple(faults), tuple(sorted(found)), tuple(states))


def _named(differ: Differences) -> dict[str, list[str]]:
    return {"missing": list(differ.missing), "too many": list(differ.surplus), "wrong content": list(differ.wrong)}


def _faults_of(shown: Mapping[str, Any], records: int, codes: tuple[str, ...]) -> Iterator[str]:
    """What a job says that cannot be."""
    counts = {name: shown.get(name, 0) for name in ("read", *OUTCOMES, "pending")}
    if shown["read"] != records or sum(counts[name] for name in OUTCOMES) != records or shown["pending"]:
        yield f"counters do not add up to {records}: {counts}"
    letters = shown["letters"]
    wanted = "completed_with_dead_letters" if letters else "completed"
    if shown["state"] != wanted:
        yield f"state {shown['state']} instead of {wanted}: {shown['error']}"
    strange = sorted({letter["code"] for letter in letters if not letter["code"].startswith(codes or ("none",))})
    if strange:
        yield f"dead letters of {', '.join(strange)}"
    keys = {(letter["line"], letter["modality"], letter["reference"], letter["code"]) for letter in letters}
    if len(keys) != len(letters) or len({letter["line"] for letter in letters}) != counts["partial"] + counts["dead"]:
        yield f"{len(letters)} dead letters on {len({letter['line'] for letter in letters})} lines, but {counts}"
