"""Workers side by side: queues, priorities, recycling, a bounded end, logs and monitoring. Real Redis, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from machines import Machine, by_loopback, by_namespace, why_no_namespace
from processes import ONE, TRIPTYCH, kill

from triptych.jobs.queue import queue_name, waiting
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

BATCH = 4
PICTURE = "images/demo-001-1.jpg"


@dataclass
class Place:
    """One test's own queues and ledger."""

    services: Services
    command: Any
    wait: Callable[..., None]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        s = self.services.settings
        return {
            "TRIPTYCH_QUEUE": s.queue,
            "TRIPTYCH_SYSTEM_PREFIX": s.system_prefix,
            "TRIPTYCH_BATCH_SIZE": str(BATCH),
            "TRIPTYCH_CACHE_BYTES": "0",
        }

    def submit(self, index: str, path: Path, *options: str) -> str:
        return str(self.command.json("index", "add", index, str(path), *options, **self.environment)["id"])

    @contextmanager
    def worker(self, *options: str, **changes: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A worker that is ready, and its log."""
        log = self.folder / f"{uuid.uuid4().hex[:6]}.log"
        process = self.command.start("worker", *ONE, *options, log=log, **self.environment, **changes)
        try:
            self.wait(lambda: " ready." in log.read_text(), f"the worker ({log})", alive=process)
            yield process, log
        finally:
            kill(process)

    @contextmanager
    def worker_on(self, machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that is ready, on a machine of its own."""
        log = self.folder / f"{uuid.uuid4().hex[:6]}.log"
        process = machine.start([TRIPTYCH, "worker", *ONE], {**self.command.environment, **self.environment}, log)
        try:
            self.wait(lambda: " ready." in log.read_text(), f"the worker ({log})", alive=process)
            yield process
        finally:
            kill(process)

    def batches(self, job: str) -> list[dict[str, Any]]:
        """The ledger's entries of a job, in order."""
        client, name = self.services.elasticsearch, self.services.settings.system_prefix + "batches"
        client.indices.refresh(index=name)
        hits = client.search(index=name, query={"term": {"job": job}}, size=100, sort="number:asc")["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def wait_for_end(self, job: str) -> None:
        self.wait(lambda: self.services.jobs.get(job).finished_at is not None, f"the end of {job} ({self.folder})", seconds=300)
        counts = self.services.jobs.counts(job)
        assert (counts.written, counts.pending) == (counts.read, 0), counts

    @property
    def waiting(self) -> int:
        return waiting(self.services.redis, self.services.settings)


@pytest.fixture
def place(settings: Settings, command: Any, wait: Callable[..., None], tmp_path: Path) -> Place:
    name = f"w-{uuid.uuid4().hex[:8]}"
    own = settings.model_copy(update={"queue": name, "system_prefix": f"{name}-", "batch_size": BATCH})
    return Place(Services(own), command, wait, tmp_path)


def things(number: int, prefix: str = "t", *, words: int = 3) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}-{n}", "title": f"Thing {n} " * words} for n in range(number)]


def test_small_urgent_job_overtakes_the_large_one(place: Place, index: str, catalogue: Callable[..., Path]) -> None:
    large = place.submit(index, catalogue(*things(6 * BATCH)), "--priority", "low")
    urgent = place.submit(index, catalogue(*things(1, "urgent"), name="urgent.jsonl"), "--priority", "high")
    assert place.waiting == 7
    assert place.services.jobs.get(urgent).priority > place.services.jobs.get(large).priority
    with place.worker("--log-format", "json", "--events") as (process, log):
        place.wait_for_end(urgent)
        place.wait_for_end(large)
        inspected = inspect(place, {f"worker-{process.pid}@{socket.gethostname()}"}, "ping", "active_queues", "stats")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    ended = {job: place.services.jobs.get(job).finished_at or "" for job in (urgent, large)}
    assert ended[urgent] < ended[large]
    done = [(line["job"], line["batch"]) for line in lines if line["message"].startswith("batch ended")]
    assert done[0] == (urgent, 0), "it was last in and is first out"
    assert {line["level"] for line in lines} <= {"INFO", "WARNING"}
    assert place.waiting == 0
    assert all("worker-" in text for text in inspected)
    assert all(queue_name(place.services.settings, kind) in inspected[1] for kind in ("words", "pictures", "sounds"))


def inspect(place: Place, workers: set[str], *what: str) -> list[str]:
    """What `celery inspect` says through our application, as Flower asks, of these workers: until all have answered."""
    celery = Path(sys.executable).with_name("celery")
    environment = {**place.command.environment, **place.environment}
    asked = ["--json", "--timeout", "45", "--destination", ",".join(sorted(workers))]
    lines = [[celery, "-A", "indexer.app", "inspect", one, *asked] for one in what]
    running = [subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) for line in lines]
    return [process.communicate(timeout=60)[0] for process in running]


def test_workers_with_narrow_queues_share_a_job(place: Place, index: str, catalogue: Callable[..., Path]) -> None:
    """A worker for words leaves pictures alone; a second one, with threads, takes them."""
    pictures = [{**thing, "images": [PICTURE]} for thing in things(BATCH, "p")]
    job = place.submit(index, catalogue(*things(2 * BATCH), *pictures, *pictures_less(pictures)))
    with place.worker("--queues", "words"):
        place.wait(lambda: place.services.jobs.counts(job).ended == 3 * BATCH, "the words")
        time.sleep(1)
        assert [(b["kind"], b["state"]) for b in place.batches(job)] == [
            ("words", "done"),
            ("words", "done"),
            ("pictures", "queued"),
            ("words", "done"),
        ]
        assert place.waiting == 1
        with place.worker("--queues", "pictures", "--pool", "threads", "--name", "gpu"):
            place.wait_for_end(job)
    assert len({batch["owner"].split(":")[1] for batch in place.batches(job)}) == 2, "two processes"


def pictures_less(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": record["id"] + "-plain", "title": record["title"], "images": []} for record in records]


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux alone")
def test_two_workers_at_addresses_of_their_own(place: Place, index: str, catalogue: Callable[..., Path]) -> None:
    """Each reaches Elasticsearch and Redis at an address of its own, and is seen there by it."""
    work_side_by_side(place, index, catalogue, by_loopback, seen_by_redis=frozenset({"127.0.0.2", "127.0.0.3"}))


def test_two_workers_on_machines_of_their_own(place: Place, index: str, catalogue: Callable[..., Path]) -> None:
    """Two network stacks that know neither each other nor this machine's 127.0.0.1, with host names of their own."""
    why = why_no_namespace()
    if why is not None:
        pytest.skip(why)
    work_side_by_side(place, index, catalogue, by_namespace)


def work_side_by_side(
    place: Place, index: str, catalogue: Callable[..., Path], machine: Any, *, seen_by_redis: frozenset[str] = frozenset()
) -> None:
    """A job, on a worker on each of two machines: both have done batches of it, and both answer by their names."""
    settings, redis = place.services.settings, place.services.redis
    with ExitStack() as stack:
        machines = [
            stack.enter_context(machine(number, settings.elasticsearch_address, settings.redis_address)) for number in (0, 1)
        ]
        workers = [stack.enter_context(place.worker_on(one)) for one in machines]
        job = place.submit(index, catalogue(*things(12 * BATCH, words=60)))
        place.wait_for_end(job)
        names = {f"worker-{one.pid}@{at.host}" for one, at in zip(workers, machines, strict=True)}
        (answered,) = inspect(place, names, "ping")
        assert all(one.poll() is None for one in workers)
        assert len({one.changes["TRIPTYCH_ELASTICSEARCH_URL"] for one in machines}) == 2
        assert {client["addr"].rpartition(":")[0] for client in redis.client_list()} >= seen_by_redis
    assert set(json.loads(answered)) == names
    owners = {tuple(batch["owner"].split(":")[:2]) for batch in place.batches(job)}
    assert len(owners) == 2
    assert {host for host, _ in owners} == {one.host for one in machines}


def test_pool_process_that_holds_too_much_is_replaced(place: Place, index: str, catalogue: Callable[..., Path]) -> None:
    job = place.submit(index, catalogue(*things(2 * BATCH)))
    with place.worker("--max-memory", "50"):
        place.wait_for_end(job)
    assert len({batch["owner"].split(":")[1] for batch in place.batches(job)}) == 2, "one process for each batch"


def test_busy_worker_ends_within_its_bound_and_gives_its_batch_back(
    place: Place, index: str, catalogue: Callable[..., Path]
) -> None:
    job = place.submit(index, catalogue(*things(2 * BATCH, words=400)))
    with place.worker(TRIPTYCH_WORKER_STOP_SECONDS="0") as (process, log):
        place.wait(lambda: any(batch["state"] == "running" for batch in place.batches(job)), "a running batch", alive=process)
        started = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=20)
        assert time.monotonic() - started < 10, log.read_text()
    assert [batch["state"] for batch in place.batches(job)] == ["queued", "queued"], log.read_text()
    assert [batch["attempts"] for batch in place.batches(job)] == [0, 0], "its start does not count"
    with place.worker():
        place.wait_for_end(job)
