"""Faults in the middle of a job: killed workers, an emptied Redis, a crashed Elasticsearch. No record is lost or counted twice.

All tests have a Redis, a queue and a ledger of their own, so nothing here disturbs the session's worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from engine import elasticsearch_node, redis_server
from indexer.sweeper import sweep
from triptych.jobs.queue import send_batch, waiting
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

READ = 131
LEASE_SECONDS = 3.0
BATCH = 4
BATCHES = -(-READ // BATCH)


@dataclass
class World:
    """One queue and one ledger, and the worker that serves them."""

    settings: Settings
    command: Any
    wait: Callable[..., None]
    log: Path
    environment: dict[str, str] = field(init=False)
    worker: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        s = self.settings
        self.environment = {
            "TRIPTYCH_ELASTICSEARCH_URL": s.elasticsearch_address,
            "TRIPTYCH_REDIS_URL": s.redis_address,
            "TRIPTYCH_QUEUE": s.queue,
            "TRIPTYCH_SYSTEM_PREFIX": s.system_prefix,
            "TRIPTYCH_BATCH_SIZE": str(s.batch_size),
            "TRIPTYCH_BATCH_LEASE_SECONDS": str(s.batch_lease_seconds),
        }

    @cached_property
    def services(self) -> Services:
        return Services(self.settings)

    def begin_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker unless one runs, and wait until it is ready."""
        if self.worker is None or self.worker.poll() is not None:
            self.log.write_bytes(b"")
            self.worker = self.command.start("worker", log=self.log, **self.environment)
            self.wait(lambda: " ready." in self.log.read_text(), f"the worker ({self.log})", alive=self.worker)
        return self.worker

    def kill_worker(self) -> None:
        """kill -9 of the worker and all its children at once."""
        if self.worker is not None and self.worker.poll() is None:
            os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait(timeout=30)

    def submit(self, path: Path) -> tuple[str, str]:
        """A new index and a job that fills it: (index, job id)."""
        index = f"fault-{uuid.uuid4().hex[:8]}"
        self.command("index", "create", index, **self.environment)
        job = self.command.json("index", "add", index, str(path), **self.environment)
        return index, str(job["id"])

    def counts(self, job: str) -> Any:
        return self.services.jobs.counts(job)

    def wait_for_middle(self, job: str) -> None:
        """Wait until some batches are done, others are not, and one is being worked on at this moment."""

        def middle() -> bool:
            done = self.counts(job).ended
            assert done < READ, "the job was over before the fault; make it longer"
            return done >= 3 * BATCH and self._running(job) > 0

        self.wait(middle, "the middle of the job")

    def _running(self, job: str) -> int:
        query = {"bool": {"filter": [{"term": {"job": job}}, {"term": {"state": "running"}}]}}
        batches = self.settings.system_prefix + "batches"
        return int(self.services.elasticsearch.count(index=batches, query=query)["count"])

    def wait_for_end(self, job: str) -> dict[str, Any]:
        """Wait until the job is closed; gives what `job show --json` says."""
        self.wait(
            lambda: self.services.jobs.get(job).finished_at is not None, f"the end of job {job} ({self.log})", seconds=240
        )
        return dict(self.command.json("job", "show", job, **self.environment))

    def check_whole(self, index: str, job: dict[str, Any]) -> None:
        """Every record of the catalogue was written by this job, once."""
        assert job["state"] == "completed", job
        assert {n: job[n] for n in ("read", "written", "unchanged", "partial", "dead", "dead_letters", "pending")} == {
            "read": READ,
            "written": READ,
            "unchanged": 0,
            "partial": 0,
            "dead": 0,
            "dead_letters": 0,
            "pending": 0,
        }
        client = self.services.elasticsearch
        client.indices.refresh(index=index)
        hits = client.search(index=index, size=1000, source=["id", "triptych.job"])["hits"]["hits"]
        ids = [hit["_source"]["id"] for hit in hits]
        assert len(ids) == len(set(ids)) == READ
        assert {hit["_source"]["triptych"]["job"] for hit in hits} == {job["id"]}


@pytest.fixture(scope="module")
def redis(settings: Settings) -> Iterator[Any]:
    with redis_server(settings) as server:
        yield server


@pytest.fixture(scope="module")
def world(
    settings: Settings, redis: Any, command: Any, wait: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    own = settings.model_copy(
        update={
            "redis_url": SecretStr(redis.url),
            "queue": name,
            "system_prefix": f"{name}-",
            "batch_size": BATCH,
            "batch_lease_seconds": LEASE_SECONDS,
        }
    )
    made = World(own, command, wait, tmp_path_factory.mktemp("faults") / "worker.log")
    try:
        yield made
    finally:
        made.kill_worker()


@pytest.fixture
def light_shop(catalogue: Callable[..., Path], shop_products: list[dict[str, Any]]) -> Path:
    """All products of the demo shop, but most without pictures and sounds: a job of seconds that still has every modality."""
    records = []
    for number, product in enumerate(shop_products):
        images = product["images"][:1] if number % 6 == 0 else []
        audio = product.get("audio", []) if number % 12 == 0 else []
        records.append({**product, "description": {}, "images": images, "audio": audio})
    assert len(records) == READ
    return catalogue(*records)


def children(pid: int) -> list[int]:
    """The ids of a process's children."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listing.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def test_whole_worker_killed(world: World, light_shop: Path) -> None:
    world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    world.kill_worker()
    at_death = world.counts(job)
    assert 0 < at_death.ended < READ
    assert at_death.read == READ
    world.begin_worker()
    world.check_whole(index, world.wait_for_end(job))


def test_pool_process_killed(world: World, light_shop: Path) -> None:
    parent = world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    victims = children(parent.pid)
    assert victims
    for child in victims:
        os.kill(child, signal.SIGKILL)
    world.check_whole(index, world.wait_for_end(job))
    assert parent.poll() is None, "the worker itself lives on"
    assert not set(children(parent.pid)) & set(victims)


def test_redis_emptied_while_batches_wait(world: World, light_shop: Path) -> None:
    parent = world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    assert waiting(world.services.redis, world.settings) > 5, "batches wait"
    world.services.redis.flushall()
    world.check_whole(index, world.wait_for_end(job))
    assert parent.poll() is None


def test_redis_restarted_empty(world: World, redis: Any, light_shop: Path) -> None:
    """Redis crashes without having written anything to disk: its messages are gone, and so are all connections."""
    world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    redis.kill()
    time.sleep(1)
    redis.restart()
    world.check_whole(index, world.wait_for_end(job))


def test_batches_delivered_twice(world: World, light_shop: Path) -> None:
    world.begin_worker()
    index, job = world.submit(light_shop)
    for number in range(BATCHES):
        send_batch(world.services.queue, job, number)
        send_batch(world.services.queue, job, number)
    shown = world.wait_for_end(job)
    world.check_whole(index, shown)
    for number in range(BATCHES):
        send_batch(world.services.queue, job, number)  # and again when all are done
    world.wait(lambda: waiting(world.services.redis, world.settings) == 0, "an empty queue")
    time.sleep(1)
    again = world.command.json("job", "show", job, **world.environment)
    assert again == shown
    world.check_whole(index, again)


def test_batch_that_never_ends_becomes_dead_letters(world: World, catalogue: Callable[..., Path]) -> None:
    """Workers take a batch and die, as often as they may; another batch has one attempt left and is written."""
    world.kill_worker()
    records = [{"id": f"n-{number}", "title": f"Thing {number}"} for number in range(3 * BATCH)]
    index, job = world.submit(catalogue(*records))
    quick = Services(world.settings.model_copy(update={"batch_lease_seconds": 0.05}))
    allowed = world.settings.batch_attempts
    for number, times in ((1, allowed), (2, allowed - 1)):
        for attempt in range(times):
            assert quick.jobs.claim(job, number, f"dead-{attempt}") is not None
            time.sleep(0.1)
    world.begin_worker()
    shown = world.wait_for_end(job)
    assert shown["state"] == "completed_with_dead_letters"
    assert {n: shown[n] for n in ("read", "written", "unchanged", "partial", "dead", "pending")} == {
        "read": 3 * BATCH,
        "written": 2 * BATCH,
        "unchanged": 0,
        "partial": 0,
        "dead": BATCH,
        "pending": 0,
    }
    assert [letter["line"] for letter in shown["letters"]] == [5, 6, 7, 8]
    assert {letter["code"] for letter in shown["letters"]} == {"batch.never_ended"}
    world.services.elasticsearch.indices.refresh(index=index)
    assert world.services.elasticsearch.count(index=index)["count"] == 2 * BATCH
    assert [letter["product_id"] for letter in shown["letters"]] == ["n-4", "n-5", "n-6", "n-7"]


def test_submitter_killed_while_it_reads(world: World, index: str, tmp_path: Path) -> None:
    """What was read is indexed, and the job ends as failed with the reason instead of running for ever."""
    world.begin_worker()
    pipe = tmp_path / "catalogue.jsonl"
    os.mkfifo(pipe)
    known = {job.id for job in world.services.jobs.newest()}
    process = world.command.start("index", "add", index, str(pipe), log=tmp_path / "add.log", **world.environment)
    with pipe.open("w", encoding="utf-8") as catalogue:
        catalogue.writelines(f'{{"id": "s-{number}", "title": "Thing {number}"}}\n' for number in range(2 * BATCH + 1))
        catalogue.flush()  # two batches are whole, the third still waits for more

        def new_jobs() -> list[str]:
            return [job.id for job in world.services.jobs.newest() if job.id not in known]

        world.wait(lambda: bool(new_jobs()) and world.counts(new_jobs()[0]).read == 2 * BATCH, "two batches", alive=process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    (job,) = new_jobs()
    world.wait(lambda: world.counts(job).pending == 0, "the batches that were read")
    sweep(Services(world.settings.model_copy(update={"batch_lease_seconds": 0.01})))  # as a worker does after ten leases
    shown = world.command.json("job", "show", job, **world.environment)
    assert (shown["state"], shown["read"], shown["written"]) == ("failed", 2 * BATCH, 2 * BATCH)
    assert "submit the catalogue again" in shown["error"]
    world.services.elasticsearch.indices.refresh(index=index)
    assert world.services.elasticsearch.count(index=index)["count"] == 2 * BATCH


def test_worker_ends_in_good_order(world: World, light_shop: Path) -> None:
    """SIGTERM: the batch at hand is finished or given back, the worker ends by itself, the next one goes on."""
    process = world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    left = world.counts(job)
    assert left.ended % BATCH == 0 or left.pending == 0
    assert 0 < left.pending < READ, "it did not go on to the end"
    world.begin_worker()
    world.check_whole(index, world.wait_for_end(job))


def test_elasticsearch_killed_and_started_again(world: World, light_shop: Path, tmp_path: Path) -> None:
    """The index, the ledger and the worker's batch are all on the node that dies."""
    world.kill_worker()
    with elasticsearch_node(world.settings, data_dir=tmp_path / "node") as node:
        settings = world.settings.model_copy(
            update={"elasticsearch_url": SecretStr(node.url), "queue": f"{world.settings.queue}-es"}
        )
        mine = World(settings, world.command, world.wait, world.log.with_name("es.log"))
        try:
            mine.begin_worker()
            index, job = mine.submit(light_shop)
            mine.wait_for_middle(job)
            node.kill()
            time.sleep(2)
            node.restart()
            mine.check_whole(index, mine.wait_for_end(job))
        finally:
            mine.kill_worker()
