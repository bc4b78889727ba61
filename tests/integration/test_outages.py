"""What jobs do while Redis or Elasticsearch is away, or a worker is lost in the worst moment. Real services.

Batches are run and catalogues are read in this process, so each test decides when; `test_faults` has real workers.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from bad_line import BadLine, bad_line
from celery.exceptions import SoftTimeLimitExceeded
from opened import files_of_catalogues, left_open, open_contexts
from pydantic import SecretStr
from worlds import BATCH, LEASE_SECONDS

from indexer import patience, tasks
from indexer import submit as submitting
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.sweeper import Sweeper
from indexer.tasks import finish_job, index_batch
from triptych.catalogues import upload_location
from triptych.domain import DeadLetter
from triptych.errors import ElasticsearchError, InputError, QueueError, TriptychError
from triptych.jobs import store
from triptych.jobs.job import Job
from triptych.jobs.queue import FINISH_JOB, READ_CATALOGUE, WORDS, queue_name, send_batch, waiting_in
from triptych.services import Services

pytestmark = pytest.mark.integration

AWAY = ElasticsearchError("Elasticsearch did not answer.", code="elasticsearch.unavailable", retryable=True)


def things(number: int, prefix: str = "t") -> list[dict[str, Any]]:
    return [{"id": f"{prefix}-{n}", "title": f"Thing {n}"} for n in range(number)]


def submit(services: Services, path: Path, index: str) -> Job:
    return submitting.submit(open_source(SourceSpec(str(path)), services), index, services)


def interrupted(source: Source, at: dict[int, Callable[[], None]]) -> Source:
    """The source, with something that happens just before it gives the records of these lines."""
    whole = source._read

    def read(progress: Any) -> Iterator[Any]:
        return each(whole(progress))  # opened at once, as ever

    def each(found: Any) -> Iterator[Any]:
        with closing(found):
            for record in found:
                at.get(record["line"], lambda: None)()
                yield record

    object.__setattr__(source, "_read", read)
    return source


def messages(services: Services, task: str) -> list[tuple[dict[str, Any], list[Any]]]:
    """Payload and time limits of the messages of a task that wait for workers of words, in any order."""
    name = queue_name(services.settings, WORDS)
    keys = [name, *(f"{name}\x06\x16{step}" for step in range(1, 10))]
    found = [json.loads(raw) for key in keys for raw in services.redis.lrange(key, 0, -1)]
    mine = [one for one in found if one["headers"]["task"] == task]
    return [(json.loads(one["headers"]["kwargsrepr"].replace("'", '"')), one["headers"]["timelimit"]) for one in mine]


def run_all(services: Services, job: str, batches: int) -> str:
    for number in range(batches):
        index_batch(services, job, number)
    finish_job(services, job)
    return str(services.jobs.state(job))


class Swept:
    """A sweeper whose time passes when the test says so."""

    def __init__(self, services: Services) -> None:
        self.now = 0.0
        self.sweeper = Sweeper(services, clock=lambda: self.now)

    def __call__(self, *, leases: float = 0.0) -> None:
        self.now += leases * LEASE_SECONDS
        self.sweeper.sweep()


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BinaryIO]]:
    """The catalogues that a test opens; whatever happens, none stays open."""
    with files_of_catalogues(monkeypatch) as found:
        yield found
        assert left_open(found) == []


# Redis away while a catalogue is read


def test_redis_away_while_a_catalogue_is_read_fails_no_job(
    quiet: Services, redis: Any, index: str, catalogue: Callable[..., Path]
) -> None:
    source = open_source(SourceSpec(str(catalogue(*things(4 * BATCH)))), quiet)
    at = {BATCH + 2: redis.kill, 3 * BATCH + 2: redis.restart}
    try:
        job = submitting.submit(interrupted(source, at), index, quiet)
    except QueueError:
        redis.restart()  # the tests behind this one need it
        raise
    assert (job.error, job.reading) == (None, False)
    assert quiet.jobs.counts(job.id).read == 4 * BATCH
    assert [payload["number"] for payload, _ in messages(quiet, "triptych.index_batch")] == [3], "Redis lost one, two waited"
    quiet.redis.flushall()  # a worker has taken it
    sweep = Swept(quiet)
    sweep()
    sweep(leases=1)
    assert {payload["number"] for payload, _ in messages(quiet, "triptych.index_batch") if payload["job"] == job.id} == {
        0,
        1,
        2,
        3,
    }
    assert run_all(quiet, job.id, 4) == "completed"


def test_redis_away_while_letters_are_redriven_fails_no_job(
    quiet: Services, redis: Any, index: str, catalogue: Callable[..., Path]
) -> None:
    job = submit(quiet, catalogue({"id": "a", "title": 7}), index)
    assert run_all(quiet, job.id, 1) == "completed_with_dead_letters"
    redis.kill()
    try:
        again = quiet.control.redrive(job.id).job
    finally:
        redis.restart()
    assert (again.error, again.reading) == (None, False)
    assert quiet.jobs.counts(again.id).pending == 1


def test_redis_away_while_a_job_is_resumed_leaves_it_without_a_reader(
    quiet: Services, redis: Any, index: str, catalogue: Callable[..., Path], opened: list[BinaryIO]
) -> None:
    source = open_source(SourceSpec(str(catalogue(*things(3 * BATCH)))), quiet)
    at = {BATCH + 2: lambda: quiet.control.stop(quiet.jobs.newest(size=1)[0].id) and None}
    job = submitting.submit(interrupted(source, at), index, quiet)
    assert (job.reading, job.reader) == (True, None)
    redis.kill()
    try:
        with pytest.raises(QueueError):
            submitting.resume(job.id, quiet)
        assert (len(opened), left_open(opened)) == (2, [])
        assert open_contexts(quiet, f"{quiet.settings.system_prefix}batches") == 0
    finally:
        redis.restart()
    assert quiet.jobs.get(job.id).reader is None, "the next one need not wait for it"
    assert submitting.resume(job.id, quiet).reading is False
    assert run_all(quiet, job.id, 3) == "completed"


# Elasticsearch away while a command reads a catalogue


@pytest.fixture
def line(quiet: Services) -> Iterator[BadLine]:
    with bad_line(quiet.settings.elasticsearch_address) as made:
        yield made


def over(line: BadLine, services: Services) -> Services:
    return Services(services.settings.model_copy(update={"elasticsearch_url": SecretStr(line.url)}))


def test_a_command_waits_for_elasticsearch_and_reads_on(
    quiet: Services, index: str, catalogue: Callable[..., Path], line: BadLine
) -> None:
    mine = over(line, quiet)
    source = open_source(SourceSpec(str(catalogue(*things(3 * BATCH)))), mine)

    def cut() -> None:
        line.cuts = lambda _: True
        threading.Timer(1.0, mend).start()

    def mend() -> None:
        line.cuts = lambda _: False

    job = submitting.submit(interrupted(source, {BATCH + 2: cut}), index, mine)
    assert (job.reading, job.error, job.wanted) == (False, None, "run")
    assert run_all(quiet, job.id, 3) == "completed"
    assert quiet.jobs.counts(job.id).written == 3 * BATCH


def test_a_command_that_waited_too_long_says_how_the_job_is_resumed(
    quiet: Services,
    index: str,
    catalogue: Callable[..., Path],
    line: BadLine,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[BinaryIO],
) -> None:
    monkeypatch.setattr(submitting, "PATIENCE_SECONDS", 0.6)
    mine = over(line, quiet)
    source = open_source(SourceSpec(str(catalogue(*things(3 * BATCH)))), mine)

    def cut() -> None:
        line.cuts = lambda _: True

    with pytest.raises(TriptychError) as caught:
        submitting.submit(interrupted(source, {BATCH + 2: cut}), index, mine)
    assert (len(opened), left_open(opened)) == (1, [])
    job = quiet.jobs.newest(size=1)[0]
    assert (caught.value.code, caught.value.retryable) == ("elasticsearch.unavailable", True)
    assert f"triptych job resume {job.id}" in str(caught.value)
    assert (job.reading, job.error, job.wanted) == (True, None, "run"), "nobody could say that it is left"
    assert not submitting.resume(job.id, quiet).reading
    assert run_all(quiet, job.id, 3) == "completed"


def test_a_command_that_waited_too_long_leaves_a_job_that_can_be_resumed(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    def away() -> None:
        raise AWAY

    source = open_source(SourceSpec(str(catalogue(*things(3 * BATCH)))), quiet)
    with pytest.raises(TriptychError, match="triptych job resume"):
        submitting.submit(interrupted(source, {BATCH + 2: away}), index, quiet)
    job = quiet.jobs.newest(size=1)[0]
    assert (job.reading, job.reader, job.error, job.wanted) == (True, None, None, "run")
    sweep = Swept(quiet)
    sweep()
    sweep(leases=10)
    assert quiet.jobs.state(job.id) == "queued", "what is entered is indexed first"
    index_batch(quiet, job.id, 0)
    sweep(leases=10)
    assert quiet.jobs.state(job.id) == "paused"
    assert f"triptych job resume {job.id}" in str(quiet.jobs.get(job.id).paused_because)
    assert not submitting.resume(job.id, quiet).reading
    assert run_all(quiet, job.id, 3) == "completed"


# A catalogue that is opened, and then nobody reads it


def test_a_job_that_cannot_be_entered_leaves_nothing_open(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, opened: list[BinaryIO]
) -> None:
    def away(**_: Any) -> None:
        raise AWAY

    monkeypatch.setattr(quiet.jobs, "open", away)
    with pytest.raises(ElasticsearchError):
        submit(quiet, catalogue(*things(3)), index)
    assert (len(opened), left_open(opened)) == (1, [])
    with pytest.raises(ElasticsearchError):
        submitting.submit(open_source(SourceSpec(f"es://{index}"), quiet), index, quiet)
    assert open_contexts(quiet, index) == 0


def test_whoever_comes_second_with_a_key_leaves_nothing_open(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, opened: list[BinaryIO]
) -> None:
    source = open_source(SourceSpec(str(catalogue(*things(3)))), quiet)
    first = submitting.submit(source, index, quiet, key="night")
    of_key, answers = quiet.jobs.of_key, [None]  # both asked at the same moment
    monkeypatch.setattr(quiet.jobs, "of_key", lambda *asked: answers.pop() if answers else of_key(*asked))
    assert submitting.submit(source, index, quiet, key="night").id == first.id
    assert (len(opened), left_open(opened)) == (2, [])


def test_whoever_resumes_second_leaves_nothing_open(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, opened: list[BinaryIO]
) -> None:
    source = open_source(SourceSpec(str(catalogue(*things(3 * BATCH)))), quiet)
    at = {BATCH + 2: lambda: quiet.control.stop(quiet.jobs.newest(size=1)[0].id) and None}
    job = submitting.submit(interrupted(source, at), index, quiet)
    with monkeypatch.context() as during:
        during.setattr(quiet.jobs, "take_over", lambda _: None)
        assert submitting.resume(job.id, quiet).reading
        assert (len(opened), left_open(opened)) == (2, [])
    assert not submitting.resume(job.id, quiet).reading


# A catalogue that was changed before it is read on


def test_a_catalogue_that_was_changed_is_not_read_on(
    quiet: Services, index: str, catalogue: Callable[..., Path], opened: list[BinaryIO]
) -> None:
    path = catalogue(*things(3 * BATCH))
    whole, times = path.read_bytes(), path.stat()
    stop = {BATCH + 2: lambda: quiet.control.stop(quiet.jobs.newest(size=1)[0].id) and None}
    job = submitting.submit(interrupted(open_source(SourceSpec(str(path)), quiet), stop), index, quiet)
    path.write_bytes(b'{"id": "new"}\n' + whole)
    with pytest.raises(InputError) as caught:
        submitting.resume(job.id, quiet)
    assert (len(opened), left_open(opened)) == (2, [])
    assert caught.value.code == "catalogue.changed"
    assert "Submit it again" in str(caught.value)
    left = quiet.jobs.get(job.id)
    assert (left.wanted, left.error, left.reader) == ("stop", None, None), "as it was"
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not submitting.resume(job.id, quiet).reading
    assert run_all(quiet, job.id, 3) == "completed"
    assert quiet.jobs.counts(job.id).written == 3 * BATCH


def test_a_worker_does_not_read_on_in_a_catalogue_that_was_changed(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, opened: list[BinaryIO]
) -> None:
    path = catalogue(*things(2 * BATCH))
    job = enter(quiet, index, {"location": str(path)}, resumable=True)
    faulty(monkeypatch, 1, AWAY)
    with pytest.raises(ElasticsearchError):
        submitting.read_on(job, quiet)
    path.write_bytes(path.read_bytes() + b'{"id": "new"}\n')  # nothing of it is entered yet: any will do
    faulty(monkeypatch, BATCH + 2, AWAY)
    with pytest.raises(ElasticsearchError):
        submitting.read_on(job, quiet)
    path.write_bytes(path.read_bytes() + b'{"id": "newer"}\n')
    with pytest.raises(InputError):
        submitting.read_on(job, quiet)
    assert (len(opened), left_open(opened)) == (3, [])
    assert "was changed since" in str(quiet.jobs.get(job).error)
    assert quiet.jobs.counts(job).read == BATCH


# A catalogue that a worker reads


def handed(services: Services, index: str, *records: dict[str, Any]) -> str:
    """A job as `POST /v1/jobs` enters it, for a worker to read."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    kept = services.uploads.keep(io.BytesIO(lines))
    source = {"location": upload_location(kept.id, "feed.jsonl")}
    return enter(services, index, source, resumable=True)


def enter(services: Services, index: str, source: dict[str, Any], *, resumable: bool) -> str:
    version = services.elasticsearch.indices.get_alias(name=index)
    job, _ = services.jobs.open(
        index=next(iter(version)), alias=index, catalogue="feed", root="/dev/null", source=source, resumable=resumable
    )
    services.jobs.leave(job.id, job.reader, handed=True)
    return job.id


def faulty(monkeypatch: pytest.MonkeyPatch, line: int, fault: BaseException) -> None:
    """Reading breaks once, before this line."""
    opened, left = submitting.open_source, [fault]

    def broken() -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(submitting, "open_source", lambda *spec: interrupted(opened(*spec), {line: broken}))


def test_an_error_that_may_pass_leaves_the_job_for_the_next_try(
    quiet: Services, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = handed(quiet, index, *things(3 * BATCH))
    faulty(monkeypatch, 2 * BATCH + 2, AWAY)
    with pytest.raises(ElasticsearchError):
        submitting.read_on(job, quiet)
    left = quiet.jobs.get(job)
    assert (left.error, left.reader, left.reading) == (None, None, True)
    assert quiet.jobs.counts(job).read == 2 * BATCH
    submitting.read_on(job, quiet, again=True)
    assert not quiet.jobs.get(job).reading
    assert run_all(quiet, job, 3) == "completed"
    assert quiet.jobs.counts(job).written == 3 * BATCH


def test_a_reader_that_could_not_leave_keeps_its_next_try_waiting_for_a_lease_only(
    quiet: Services, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = handed(quiet, index, *things(2 * BATCH))
    faulty(monkeypatch, BATCH + 2, AWAY)

    def away(*_: Any, **__: Any) -> None:
        raise AWAY

    with monkeypatch.context() as during:
        during.setattr(quiet.jobs, "leave", away)
        with pytest.raises(ElasticsearchError):
            submitting.read_on(job, quiet)
    assert quiet.jobs.get(job).reader is not None
    submitting.read_on(job, quiet)  # another message: whoever reads is not its business
    assert quiet.jobs.get(job).reading
    began = time.monotonic()
    submitting.read_on(job, quiet, again=True)
    assert LEASE_SECONDS - 0.1 <= time.monotonic() - began < 3 * LEASE_SECONDS
    assert not quiet.jobs.get(job).reading
    assert run_all(quiet, job, 2) == "completed"


def test_the_next_try_takes_nothing_from_a_reader_that_lives(
    quiet: Services, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = handed(quiet, index, *things(BATCH))
    mine = quiet.jobs.take_over(quiet.jobs.get(job))
    assert mine is not None
    get = quiet.jobs.get

    def seen(name: str) -> Job:
        found = get(name)
        quiet.jobs.see(name, mine.reader)
        return found

    monkeypatch.setattr(quiet.jobs, "get", seen)
    submitting.read_on(job, quiet, again=True)
    left = quiet.jobs.get(job)
    assert (left.reader, left.reading) == (mine.reader, True)


def test_a_catalogue_that_takes_long_is_read_by_one_task_after_the_other(quiet: Services, index: str) -> None:
    hasty = Services(quiet.settings.model_copy(update={"task_seconds": 1e-9}))
    job = handed(quiet, index, *things(3 * BATCH - 1))
    for read in (BATCH, 2 * BATCH):
        submitting.read_on(job, hasty)
        assert quiet.jobs.counts(job).read == read
        assert quiet.jobs.get(job).reader is None
        ((payload, limits),) = messages(quiet, READ_CATALOGUE)
        assert (payload, limits) == ({"job": job}, [None, None])
        assert quiet.redis.llen(f"{quiet.settings.queue}\x06\x163") == 1, "before the job's own batches"
        quiet.redis.flushall()
    quiet.control.pause(job)
    submitting.read_on(job, hasty)
    assert quiet.jobs.counts(job).read == 2 * BATCH, "nobody begins to read what is paused"
    quiet.control.resume(job)
    quiet.redis.flushall()
    submitting.read_on(job, hasty)
    assert not quiet.jobs.get(job).reading
    assert messages(quiet, READ_CATALOGUE) == []
    assert quiet.uploads.parts(str(quiet.jobs.get(job).source)) == 0
    assert run_all(quiet, job, 3) == "completed"


def test_the_end_of_a_task_s_time_is_no_end_of_the_job(quiet: Services, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = handed(quiet, index, *things(2 * BATCH))
    faulty(monkeypatch, BATCH + 2, SoftTimeLimitExceeded())
    submitting.read_on(job, quiet)
    left = quiet.jobs.get(job)
    assert (left.error, left.reader, left.reading) == (None, None, True)
    assert [payload for payload, _ in messages(quiet, READ_CATALOGUE)] == [{"job": job}]
    faulty(monkeypatch, 1, SoftTimeLimitExceeded())
    with pytest.raises(SoftTimeLimitExceeded):
        submitting.read_on(job, quiet)
    assert "TRIPTYCH_TASK_SECONDS" in str(quiet.jobs.get(job).error), "it would go on like that for ever"


def test_an_index_is_read_without_a_limit_and_at_once(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    first = submit(quiet, catalogue(*things(3 * BATCH)), index)
    assert run_all(quiet, first.id, 3) == "completed"
    quiet.elasticsearch.indices.refresh(index=index)
    hasty = Services(quiet.settings.model_copy(update={"task_seconds": 1e-9}))
    job = enter(quiet, index, {"location": f"es://{index}"}, resumable=False)
    quiet.redis.flushall()
    sweep = Swept(quiet)
    sweep()
    sweep(leases=10)  # its message was lost
    limits = [limits for payload, limits in messages(quiet, READ_CATALOGUE) if payload == {"job": job}]
    assert len(limits) == 1
    assert min(limits[0]) > 10_000_000
    submitting.read_on(job, hasty)
    assert not quiet.jobs.get(job).reading
    assert quiet.jobs.counts(job).read == 3 * BATCH


def test_an_index_that_was_half_read_fails_with_its_reason(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_all(quiet, submit(quiet, catalogue(*things(3 * BATCH)), index).id, 3) == "completed"
    quiet.elasticsearch.indices.refresh(index=index)
    job = enter(quiet, index, {"location": f"es://{index}"}, resumable=False)
    faulty(monkeypatch, BATCH + 2, AWAY)
    with pytest.raises(ElasticsearchError):
        submitting.read_on(job, quiet)
    assert "did not answer" in str(quiet.jobs.get(job).error)
    quiet.jobs.update(job, error=None)
    with pytest.raises(InputError):
        submitting.read_on(job, quiet, again=True)


# The sweeper


def test_messages_of_one_kind_that_nobody_takes_keep_no_batch_of_another_waiting(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    words = submit(quiet, catalogue(*things(2 * BATCH)), index).id
    pictures = submit(quiet, catalogue({"id": "p", "images": ["images/demo-001-1.jpg"]}, name="p.jsonl"), index).id
    quiet.redis.flushall()
    send_batch(quiet.queue, pictures, 0, kind="pictures")  # and no worker takes pictures
    sweep = Swept(quiet)
    sweep()
    sweep(leases=1)
    sent = [payload["number"] for payload, _ in messages(quiet, "triptych.index_batch") if payload["job"] == words]
    assert sorted(sent) == [0, 1]
    assert waiting_in(quiet.redis, quiet.settings)[queue_name(quiet.settings, "pictures")] == 1, "it is there already"
    quiet.redis.flushall()
    send_batch(quiet.queue, words, 0)
    sweep(leases=1)
    assert waiting_in(quiet.redis, quiet.settings)[queue_name(quiet.settings, "pictures")] == 0, "it may have waited till now"
    sweep(leases=1)
    assert waiting_in(quiet.redis, quiet.settings)[queue_name(quiet.settings, "pictures")] == 1
    assert len(messages(quiet, "triptych.index_batch")) == 1, "words are busy"


def test_a_ledger_whose_kinds_cannot_be_searched_for(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    """The entries of an older version: their kinds are kept, but the index has no field of them."""
    old = Services(quiet.settings.model_copy(update={"system_prefix": f"{quiet.settings.system_prefix}unkind-"}))
    name = f"{old.settings.system_prefix}batches"
    fields = {"job": {"type": "keyword"}, "state": {"type": "keyword"}, "number": {"type": "long"}}
    old.elasticsearch.indices.create(index=name, mappings={"dynamic": False, "properties": fields})
    entry = {"job": "j", "state": "queued", "attempts": 0}
    for number, kind in enumerate(({}, {"kind": "words"}, {"kind": "pictures"})):
        old.elasticsearch.index(index=name, document={**entry, **kind, "number": number})
    old.jobs.prepare()
    assert sorted(one.number for one in old.jobs.queued(["j"], ["words", "sounds"])) == [0, 1]
    assert [one.number for one in old.jobs.queued(["j"], ["pictures"])] == [2]


def test_jobs_that_rest_keep_no_newer_one_open(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 2)
    resting = [submit(quiet, catalogue(*things(1)), index).id for _ in range(4)]
    for job in resting:
        quiet.control.stop(job)
    newest = submit(quiet, catalogue(*things(1)), index).id
    index_batch(quiet, newest, 0)
    quiet.redis.flushall()  # the message that closes it is lost
    pages = list(quiet.jobs.unfinished())
    assert len(pages) >= 3
    Swept(quiet)()
    assert newest in [payload["job"] for payload, _ in messages(quiet, FINISH_JOB)]


def test_many_catalogues_at_once_are_looked_after(quiet: Services, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PAGE", 2)
    jobs = {enter(quiet, index, {"location": "s3://feeds/a.csv"}, resumable=True) for _ in range(4)}
    assert jobs <= {job.id for job in quiet.jobs.unread()}
    for job in jobs:
        quiet.control.stop(job)
    assert not jobs & {job.id for job in quiet.jobs.unread()}


def test_while_elasticsearch_is_away_no_lease_runs_out(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    """No worker could give a sign of life, so none is lost yet when it is back."""
    job = submit(quiet, catalogue(*things(1)), index).id
    claim = quiet.jobs.claim(job, 0, "me")
    assert claim is not None
    sweep = Swept(quiet)
    sweep()
    nowhere = Services(quiet.settings.model_copy(update={"elasticsearch_url": SecretStr("http://127.0.0.1:1")}))
    sweep.sweeper._services = nowhere
    with pytest.raises(ElasticsearchError):
        sweep(leases=1)
    sweep.sweeper._services = quiet
    sweep(leases=1)
    assert quiet.jobs.renew(claim)
    sweep()
    sweep(leases=1)
    assert not quiet.jobs.renew(claim)
    assert run_all(quiet, job, 1) == "completed"


# Dead letters of attempts that were cut off


@pytest.fixture
def mended(catalogue: Callable[..., Path], shop_products: Any) -> tuple[Path, Callable[[], None]]:
    """A catalogue with a picture that is not there, and what brings it."""
    picture = shop_products[0]["images"][0]
    path = catalogue({"id": "p", "images": [picture]}, {"id": "late", "title": "Late", "images": ["late.jpg"]})
    name = picture["path"] if isinstance(picture, dict) else picture

    def mend() -> None:
        (path.parent / "late.jpg").write_bytes((path.parent / name).read_bytes())

    return path, mend


def check_clean(services: Services, job: str) -> None:
    finish_job(services, job)
    assert services.jobs.state(job) == "completed"
    assert services.jobs.counts(job).written == 2
    assert services.control.letters(job) == []
    with pytest.raises(InputError, match="no such dead letter"):
        services.control.redrive(job)


def check_given_back(services: Services, job: str) -> None:
    """A worker may start the batch, and the start before does not count."""
    claim = services.jobs.claim(job, 0, "next")
    assert claim is not None
    assert claim.batch.attempts == 1
    assert services.jobs.release(claim)


def failing(
    services: Services, monkeypatch: pytest.MonkeyPatch, job: str, step: str, instead: Any, error: type[BaseException]
) -> None:
    """Run the first batch with `instead` in place of a step of the ledger, which ends it with `error`."""
    with monkeypatch.context() as during:
        during.setattr(services.jobs, step, instead)
        with pytest.raises(error):
            index_batch(services, job, 0)


def refused(*_: Any) -> bool:
    """A step of the ledger of which Elasticsearch wants to know nothing now."""
    raise AWAY


def test_letters_of_an_attempt_that_was_lost_before_its_end_do_not_stay(
    quiet: Services, index: str, mended: tuple[Path, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mend = mended
    job = submit(quiet, path, index).id

    def lost(*_: Any) -> bool:
        raise KeyboardInterrupt

    failing(quiet, monkeypatch, job, "finish", lost, KeyboardInterrupt)
    assert [letter["code"] for letter in quiet.control.letters(job)] == ["media.not_found"]
    (seen,) = [one for one in quiet.jobs.running() if one.job == job]
    assert quiet.jobs.give_back(seen)
    mend()
    index_batch(quiet, job, 0)
    check_clean(quiet, job)


def test_letters_of_which_the_answer_was_lost_do_not_stay(
    quiet: Services, index: str, mended: tuple[Path, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is given back, and its start does not count."""
    path, mend = mended
    job = submit(quiet, path, index).id
    bury = quiet.jobs.bury

    def unanswered(*args: Any, **more: Any) -> None:
        bury(*args, **more)
        raise AWAY

    failing(quiet, monkeypatch, job, "bury", unanswered, ElasticsearchError)
    mend()
    check_given_back(quiet, job)
    index_batch(quiet, job, 0)
    check_clean(quiet, job)


def test_a_batch_whose_end_the_ledger_refuses_is_given_back(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Elasticsearch that is too busy has written all records and not that they are; nobody waits for a lease to run out, and
    the start does not count: a batch that seems lost with its worker is worked on record by record.
    """
    job = submit(quiet, catalogue(*things(3)), index).id

    failing(quiet, monkeypatch, job, "finish", refused, ElasticsearchError)
    assert not [one for one in quiet.jobs.running() if one.job == job]
    check_given_back(quiet, job)
    assert run_all(quiet, job, 1) == "completed"
    assert quiet.jobs.counts(job).read == 3


def test_a_batch_is_given_back_though_the_ledger_refuses_that_too_at_first(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(quiet, catalogue(*things(1)), index).id
    release, refusals = quiet.jobs.release, [AWAY, AWAY]

    def busy(claim: store.Claim) -> bool:
        if refusals:
            raise refusals.pop()
        return release(claim)

    monkeypatch.setattr(quiet.jobs, "release", busy)
    monkeypatch.setattr(patience, "_FIRST_WAIT", 0.01)
    failing(quiet, monkeypatch, job, "finish", refused, ElasticsearchError)
    assert not refusals
    check_given_back(quiet, job)


def test_a_worker_that_lost_its_batch_while_it_was_frozen_buries_nothing(
    quiet: Services, index: str, mended: tuple[Path, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mend = mended
    job = submit(quiet, path, index).id
    run = tasks._run

    def frozen(services: Services, claim: store.Claim, of: Job) -> Any:
        result = run(services, claim, of)()
        assert [isinstance(letter, DeadLetter) for letter in result.dead_letters] == [True]
        (seen,) = [one for one in quiet.jobs.running() if one.job == job]
        assert quiet.jobs.give_back(seen)
        mend()
        monkeypatch.setattr(tasks, "_run", run)
        index_batch(quiet, job, 0)  # another worker
        claim.until = 0.0  # so much later
        return lambda: result

    monkeypatch.setattr(tasks, "_run", frozen)
    index_batch(quiet, job, 0)
    check_clean(quiet, job)
