"""What a fault happens to: a queue, a ledger, an index, its workers and its jobs. `fault_account` says what became of them."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fault_shop import Catalogue

from triptych.errors import TriptychError
from triptych.services import Services
from triptych.settings import Settings

ROOT = Path(__file__).parents[2]
TRIPTYCH = Path(sys.executable).with_name("triptych")
LEASE_SECONDS = 3.0
_START_SECONDS = 90.0
_SETTLED_SECONDS = 0.15
_BATCH_SECONDS, _READ_SECONDS = "0.05", "0.1"


class FaultError(Exception):
    """A trial could not be made, or did not end."""


@dataclass(slots=True)
class Worker:
    """A `triptych worker` in a session of its own, which began at a time of the true clock, in seconds."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.time)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def pool(self) -> list[int]:
        """The ids of its pool processes."""
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [line.split() for line in listing.splitlines()]
        return [int(child) for child, parent in pairs if int(parent) == self.process.pid]

    def signal(self, number: signal.Signals) -> None:
        """To it and its children."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9 of it and its children."""
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def said(self, words: str) -> bool:
        """Whether its log has these words."""
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def clock(self) -> float:
        """How many seconds its clock is ahead, more or less: by the time on the line of its log that says that it is ready."""
        line = next(one for one in self.log.read_text(encoding="utf-8").splitlines() if one.endswith(" ready."))
        return dt.datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S").timestamp() - self.began  # noqa: DTZ007  local, as it was written


@dataclass
class World:
    """Lives for one trial. `changes` are settings, with the names they have in the environment less the prefix.

    `slow_reading`: catalogues are entered slowly. `shelf` is what the index holds after the jobs that were accounted for, of
    which `half` lacks pictures (`fault_account`).
    """

    elasticsearch: str
    redis: str
    folder: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    commands: list[subprocess.Popen[bytes]] = field(default_factory=list)
    jobs: dict[str, Catalogue] = field(default_factory=dict)
    slow_reading: bool = False
    shelf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    half: Collection[str] = ()
    index: str = field(default_factory=lambda: f"fault-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def environment(self) -> dict[str, str]:
        own = {
            "ELASTICSEARCH_URL": self.elasticsearch, "REDIS_URL": self.redis, "QUEUE": self.index,
            "SYSTEM_PREFIX": f"t-{self.index}-", "PROFILE": str(self.folder.parent / "profile.yaml"), "BATCH_SIZE": "2",
            "BATCH_BYTES": "2400", "BATCH_LEASE_SECONDS": str(LEASE_SECONDS), "THREADS": "1", "DECODE_PROCESSES": "1",
            **self.changes,
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if name == "TRIPTYCH_DATA_DIR" or "TRIPTYCH_" not in name}
        bent, before = Path(__file__).with_name("bent"), [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        path = os.pathsep.join([str(bent), str(ROOT), *before])
        slow = {"FAULT_BATCH_SECONDS": _BATCH_SECONDS, "FAULT_READ_SECONDS": _READ_SECONDS if self.slow_reading else "0"}
        return {**kept, "PYTHONPATH": path, **slow, **{f"TRIPTYCH_{name}": value for name, value in own.items()}}

    @cached_property
    def services(self) -> Services:
        given = {name.removeprefix("TRIPTYCH_").lower(): v for name, v in self.environment.items() if "TRIPTYCH_" in name}
        return Services(Settings(**given))

    def command(self, *args: str, clock: float = 0.0) -> Any:
        """What `triptych ... --json` prints, run by a clock that is `clock` seconds off."""
        own = {**self.environment, "FAULT_CLOCK": str(clock)}
        done = subprocess.run([TRIPTYCH, *args, "--json"], capture_output=True, text=True, env=own, timeout=300, check=False)
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
        """Wait for the workers that live. Raises FaultError at once for one that ends before it is ready."""

        def ready(worker: Worker) -> bool:
            if not worker.alive:
                raise FaultError(f"a worker ended before it was ready: {worker.log.read_text()[-300:]}")
            return worker.said(" ready.")

        for worker in self.workers:
            if worker.alive:
                wait_for(lambda one=worker: ready(one), f"{worker.log}", _START_SECONDS)  # type: ignore[misc]

    def submit(self, catalogue: Catalogue, *options: str, clock: float = 0.0) -> str:
        """Submit a catalogue, by a clock that is `clock` seconds off; returns the job's id when it is read."""
        job = str(self.command("index", "add", self.index, str(self._written(catalogue)), *options, clock=clock)["id"])
        self.jobs[job] = catalogue
        return job

    def begin_submit(self, catalogue: Catalogue) -> tuple[str, subprocess.Popen[bytes]]:
        """Let a command submit a catalogue; returns the job's id as soon as it is there, and the command, which reads."""
        known, path = set(self._job_ids()), self._written(catalogue)
        with (self.folder / "submit.log").open("wb") as file:
            command = subprocess.Popen(
                [TRIPTYCH, "index", "add", self.index, str(path)],
                stdout=file,
                stderr=file,
                env=self.environment,
                start_new_session=True,
            )
        self.commands.append(command)
        wait_for(lambda: bool(set(self._job_ids()) - known), f"the job of {path}", _START_SECONDS)
        (job,) = set(self._job_ids()) - known
        self.jobs[job] = catalogue
        return job, command

    def post(self, catalogue: Catalogue) -> str:
        """Send a catalogue to the API, for a worker to read; returns the job's id."""
        from search_api.app import create_app

        body = {
            "job": json.dumps({"index": self.index}),
            "catalogue": (io.BytesIO(self._written(catalogue).read_bytes()), "a.jsonl"),
        }
        answer = create_app(self.services).test_client().post("/v1/jobs", data=body, content_type="multipart/form-data")
        if answer.status_code != 202:
            raise FaultError(f"the API took no catalogue: {answer.get_data(as_text=True)}")
        job = str(answer.get_json()["id"])
        self.jobs[job] = catalogue
        return job

    def _written(self, catalogue: Catalogue) -> Path:
        return catalogue.write(self.folder / f"catalogue-{uuid.uuid4().hex[:8]}.jsonl")

    def _job_ids(self) -> list[str]:
        return [job.id for job in self.services.jobs.newest(size=100)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """No worker moves while the block runs."""
        for worker in self.workers:
            worker.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in self.workers:
                worker.signal(signal.SIGCONT)

    def said(self, words: str) -> bool:
        """Whether the log of any worker has these words."""
        return any(worker.said(words) for worker in self.workers)

    def times(self, pattern: re.Pattern[str]) -> int:
        """How often a pattern stands in the logs of all workers."""
        return sum(len(pattern.findall(one.log.read_text(encoding="utf-8", errors="replace"))) for one in self.workers)

    def ended(self, job: str) -> int:
        """How many records of a job have ended; -1 while nobody can tell."""
        try:
            return self.services.jobs.counts(job).ended
        except TriptychError:
            return -1

    def read(self, job: str) -> int:
        """How many records of a job are read; -1 while nobody can tell."""
        try:
            return self.services.jobs.counts(job).read
        except TriptychError:
            return -1

    def running(self) -> set[str]:
        """The batches that are worked on at this moment, by the ids of their entries in the ledger."""
        return set(self._batches({"term": {"state": "running"}}))

    def held_by(self, processes: Collection[int]) -> set[str]:
        """Those that pool processes of these ids work on."""
        batches = self._batches({"term": {"state": "running"}})
        return {key for key, entry in batches.items() if int(entry["owner"].split(":")[1]) in processes}

    def caught(self, workers: Collection[Worker], pause: Callable[[], float]) -> set[str]:
        """Stop the pool processes of some workers (SIGSTOP) at a moment when they work on batches, and say which."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            pool = [pid for worker in workers for pid in worker.pool()]
            _signal(pool, signal.SIGSTOP)
            time.sleep(_SETTLED_SECONDS)  # what they asked for is answered
            held = self.held_by(pool)
            if held:
                return held
            _signal(pool, signal.SIGCONT)
            time.sleep(pause())
        raise FaultError(f"{len(workers)} workers work on no batch ({self.folder})")

    def attempts(self, batches: Collection[str]) -> dict[str, int]:
        """How often each of these batches was started."""
        found = self._batches({"ids": {"values": sorted(batches)}})
        return {key: entry["attempts"] for key, entry in found.items()}

    def done(self, batches: set[str]) -> bool:
        """Whether all of these batches are done."""
        if not batches:
            return True
        query = {"bool": {"filter": [{"term": {"state": "done"}}, {"ids": {"values": sorted(batches)}}]}}
        try:
            return len(self._batches(query)) == len(batches)
        except TriptychError:
            return False

    def _batches(self, query: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """At most 5000 of the ledger's batches, by their ids, without their records."""
        from triptych.elastic.client import translated

        index, fields = self.services.settings.system_prefix + "batches", ["owner", "attempts", "last_line", "read"]
        with translated():
            self.services.elasticsearch.indices.refresh(index=index)
            found = self.services.elasticsearch.search(index=index, query=query, size=5000, source_includes=fields)
        return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}

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
        for command in self.commands:
            kill(command)
        with suppress(Exception):
            client = self.services.elasticsearch
            client.indices.delete(index=f"{self.index}*,t-{self.index}-*", ignore_unavailable=True)


def kill(command: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process that has a session of its own, and of its children."""
    if command.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
    command.wait(timeout=30)


def _signal(processes: Collection[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.1)
    raise FaultError(f"{what} was not there after {seconds:.0f} s")
