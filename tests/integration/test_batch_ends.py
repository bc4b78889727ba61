"""The end of a batch, done behind the next one as in pool processes. Real services; an end is done when the test says so."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import site
from test_outages import messages, refused, submit, things
from worlds import BATCH, World

from indexer import pipeline
from indexer.behind import of_this_thread
from indexer.tasks import finish_job, index_batch
from triptych.jobs.queue import INDEX_BATCH
from triptych.services import Services

pytestmark = pytest.mark.integration

Catalogue = Callable[..., Path]


class Ends(list[Callable[[], None]]):
    """The ends that batches left, in order."""

    def wait(self) -> None:
        """The test does the ends when it wants."""

    def start(self, call: Callable[[], None], /) -> None:
        self.append(call)

    def begin(self, services: Services, job: str, *numbers: int) -> None:
        for number in numbers:
            index_batch(services, job, number, self)


def written(services: Services, job: str) -> int:
    return services.jobs.counts(job).written


def test_a_batch_is_the_workers_until_its_end_is_done(quiet: Services, index: str, catalogue: Catalogue) -> None:
    job, ends = submit(quiet, catalogue(*things(2 * BATCH)), index).id, Ends()
    ends.begin(quiet, job, 0, 1)
    assert quiet.jobs.tally(job).running == 2
    assert written(quiet, job) == 0
    for number, end in enumerate(ends, start=1):
        end()
        assert written(quiet, job) == number * BATCH
    finish_job(quiet, job)
    assert quiet.jobs.state(job) == "completed"
    quiet.elasticsearch.indices.refresh(index=index)
    assert quiet.elasticsearch.count(index=index)["count"] == 2 * BATCH


def test_a_job_is_an_indexs_first_as_long_as_that_has_no_product(quiet: Services, index: str, catalogue: Catalogue) -> None:
    job = submit(quiet, catalogue(*things(BATCH)), index).id
    assert quiet.jobs.get(job).first
    index_batch(quiet, job, 0)
    finish_job(quiet, job)
    quiet.elasticsearch.indices.refresh(index=index)
    assert not quiet.jobs.get(submit(quiet, catalogue(*things(1)), index).id).first


@pytest.mark.parametrize("step", ["finish", "write"])
def test_a_batch_whose_end_is_refused_is_given_back_and_sent_anew(
    quiet: Services, index: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The message it came by is gone, and what fails at its end must not fail the batch that has begun meanwhile."""
    job, ends = submit(quiet, catalogue(*things(2 * BATCH)), index).id, Ends()
    quiet.redis.flushall()
    with monkeypatch.context() as during:
        if step == "write":
            during.setattr(pipeline, "_write", refused)
        ends.begin(quiet, job, 0)
        of_this_thread("pieces").begin(lambda: None).result()  # what was to be written was tried
    ends.begin(quiet, job, 1)
    with monkeypatch.context() as during:
        if step == "finish":
            during.setattr(quiet.jobs, "finish", refused)
        ends.pop(0)()
    ends.pop(0)()
    assert written(quiet, job) == BATCH
    assert [payload for payload, _ in messages(quiet, INDEX_BATCH)] == [{"job": job, "number": 0}]
    claim = quiet.jobs.claim(job, 0, "next")
    assert claim is not None
    assert claim.attempts == 1, "the start that was refused does not count"
    assert quiet.jobs.release(claim)
    ends.begin(quiet, job, 0)
    ends.pop()()
    assert written(quiet, job) == 2 * BATCH


def test_a_batch_that_another_worker_has_by_then_is_counted_once(quiet: Services, index: str, catalogue: Catalogue) -> None:
    job, ends = submit(quiet, catalogue(*things(BATCH)), index).id, Ends()
    ends.begin(quiet, job, 0)
    (seen,) = [one for one in quiet.jobs.running() if one.job == job]
    assert quiet.jobs.give_back(seen)
    index_batch(quiet, job, 0)
    ends.pop()()
    assert written(quiet, job) == BATCH
    assert not quiet.jobs.queued([job], ["words"])


def test_a_fault_at_the_end_is_noted(
    quiet: Services, index: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, ends = submit(quiet, catalogue(*things(BATCH)), index).id, Ends()
    ends.begin(quiet, job, 0)

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError("a fault of ours")

    with monkeypatch.context() as during:
        during.setattr(quiet.jobs, "finish", broken)
        ends.pop()()
    (seen,) = [one for one in quiet.jobs.running() if one.job == job]
    assert seen.entry.source["failure"] == "ZeroDivisionError: a fault of ours"


def test_names_are_kept_of_no_job_that_was_forgotten(quiet: Services, index: str, catalogue: Catalogue) -> None:
    job = submit(quiet, catalogue(*things(BATCH)), index).id
    claim = quiet.jobs.claim(job, 0, "me")
    assert claim is not None
    assert claim.whole().records is not None
    quiet.jobs.erase(quiet.jobs.entry_of(job), job)
    quiet.jobs.keep_names(claim)
    assert quiet.jobs.entry_of(job) is None
    prefix = quiet.settings.system_prefix
    quiet.elasticsearch.indices.refresh(index=f"{prefix}records")
    assert quiet.elasticsearch.count(index=f"{prefix}records", query={"term": {"job": job}})["count"] == 0


LONG_ENDS = """
import time
from indexer import pipeline
begin = pipeline.begin
def slowly(*args, **more):
    wait = begin(*args, **more)
    def result():
        time.sleep(1)
        return wait()
    return result
pipeline.begin = slowly
"""


def test_a_worker_told_to_stop_ends_the_batch_whose_end_is_under_way(
    world: World, catalogue: Catalogue, tmp_path: Path
) -> None:
    """SIGTERM right after its task: nobody has to wait until its lease runs out."""
    world.kill_worker()
    usual, world.of_the_worker = world.of_the_worker, site(tmp_path / "site", LONG_ENDS)
    try:
        worker = world.begin_worker()
        logged = len(world.log.read_text(encoding="utf-8"))
        _, job = world.submit(catalogue(*things(BATCH)))
        until = time.monotonic() + 60
        while not re.search(r"index_batch\[\S+ succeeded", world.log.read_text(encoding="utf-8")[logged:]):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert world.services.jobs.tally(job).running == 1, "its task has ended, its end takes a second still"
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(timeout=60)
        assert world.counts(job).written == BATCH
        assert world.services.jobs.tally(job).running == 0
    finally:
        world.kill_worker()
        world.of_the_worker = usual
