"""Faults in the middle of a job: killed workers, an emptied Redis, a crashed Elasticsearch. No record is lost or counted twice.

All tests have a Redis, a queue and a ledger of their own, so nothing here disturbs the session's worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import site
from pydantic import SecretStr
from worlds import BATCH, BATCHES, LEASE_SECONDS, READ, World

from engine import elasticsearch_node
from indexer.sweeper import Sweeper
from triptych.jobs.queue import send_batch, waiting

pytestmark = pytest.mark.integration

SLOW = """
import time
from indexer import pipeline
begin = pipeline.begin
def slowly(*args, **more):
    time.sleep(0.1)
    return begin(*args, **more)
pipeline.begin = slowly
"""


@pytest.fixture(autouse=True, scope="module")
def slow_worker(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A batch takes a tenth of a second at least, so that a quick machine has not ended the job before the fault comes."""
    world.of_the_worker = site(tmp_path_factory.mktemp("slow") / "site", SLOW)


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


@pytest.mark.parametrize("how", ["closed", "blocked"])
def test_index_closed_or_blocked_for_a_while(world: World, light_shop: Path, how: str) -> None:
    world.begin_worker()
    index, job = world.submit(light_shop)
    indices = world.services.elasticsearch.indices
    world.wait_for_middle(job)
    if how == "closed":
        indices.close(index=index)
    else:
        indices.put_settings(index=index, settings={"index.blocks.write": True})
    time.sleep(8)
    shown = world.counts(job)
    assert shown.ended < READ
    if how == "closed":
        indices.open(index=index)
    else:
        indices.put_settings(index=index, settings={"index.blocks.write": None})
    world.check_whole(index, world.wait_for_end(job))
    indices.refresh(index=index)
    hits = world.services.elasticsearch.search(index=index, size=READ, version=True, source=False)["hits"]["hits"]
    assert {hit["_version"] for hit in hits} == {1}, "each was written once"


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
    allowed = world.settings.batch_attempts
    for number, times in ((1, allowed), (2, allowed - 1)):
        for attempt in range(times):
            assert world.services.jobs.claim(job, number, f"dead-{attempt}") is not None
            (seen,) = [batch for batch in world.services.jobs.running() if batch.job == job]
            assert world.services.jobs.give_back(seen)
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


POISON = """
import os
from indexer import pipeline
begin = pipeline.begin
def deadly(records, *args, **more):
    if any("poison" in record["text"] for record in records):
        os._exit(9)
    return begin(records, *args, **more)
pipeline.begin = deadly
"""


def test_record_that_kills_its_worker_does_not_take_its_neighbours_along(
    world: World, catalogue: Callable[..., Path], tmp_path: Path
) -> None:
    """Every process that touches the record dies at once, as one does that runs out of memory."""
    world.kill_worker()
    titles = ["Thing", "poison", "Thing", "Thing", "Thing", "Thing"]
    records = [{"id": f"n-{number}", "title": title} for number, title in enumerate(titles)]
    index, job = world.submit(catalogue(*records))
    usual, world.of_the_worker = world.of_the_worker, site(tmp_path / "site", POISON)
    try:
        world.begin_worker()
        shown = world.wait_for_end(job)
    finally:
        world.kill_worker()
        world.of_the_worker = usual
    assert (shown["read"], shown["written"], shown["dead"], shown["pending"]) == (6, 5, 1, 0)
    assert [(letter["code"], letter["line"], letter["product_id"]) for letter in shown["letters"]] == [
        ("batch.never_ended", 2, "n-1")
    ]
    world.services.elasticsearch.indices.refresh(index=index)
    assert world.services.elasticsearch.count(index=index)["count"] == 5


def test_submitter_killed_while_it_reads(world: World, index: str, tmp_path: Path) -> None:
    """What was read is indexed, the job pauses with the reason, and whoever resumes it reads on."""
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
    now = [0.0]
    sweeper = Sweeper(world.services, clock=lambda: now[0])
    sweeper.sweep()
    now[0] = 10 * LEASE_SECONDS
    sweeper.sweep()  # as a worker does after ten leases
    shown = world.command.json("job", "show", job, **world.environment)
    assert (shown["state"], shown["read"], shown["written"]) == ("paused", 2 * BATCH, 2 * BATCH)
    assert f"triptych job resume {job}" in shown["paused_because"]
    pipe.unlink()
    twice = {"id": "s-1", "title": "Not this one"}
    whole = [*({"id": f"s-{number}", "title": f"Thing {number}"} for number in range(3 * BATCH)), twice]
    pipe.write_text("".join(f"{json.dumps(record)}\n" for record in whole))
    world.command("job", "resume", job, **world.environment)
    shown = world.wait_for_end(job)
    assert [shown[name] for name in ("state", "read", "written", "dead", "pending")] == [
        "completed_with_dead_letters", 3 * BATCH + 1, 3 * BATCH, 1, 0,
    ]  # fmt: skip
    assert [(letter["code"], letter["line"]) for letter in shown["letters"]] == [("record.duplicate_id", 3 * BATCH + 1)]
    world.services.elasticsearch.indices.refresh(index=index)
    assert world.services.elasticsearch.count(index=index)["count"] == 3 * BATCH


def test_worker_ends_in_good_order(world: World, light_shop: Path) -> None:
    """SIGTERM: the batch at hand is finished or given back, the worker ends by itself, the next one goes on."""
    process = world.begin_worker()
    index, job = world.submit(light_shop)
    world.wait_for_middle(job)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    left = world.counts(job)
    assert left.ended % BATCH in {0, READ % BATCH}, "whole batches; the last one is shorter, and any may end first"
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
        mine = World(settings, world.command, world.wait, world.log.with_name("es.log"), of_the_worker=world.of_the_worker)
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
