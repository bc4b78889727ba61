"""The tasks: parse the payload, call the flow, write down the result. The ledger decides what is done; messages only wake."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from celery import Celery, Task

from indexer import calibrate, cautious, dry_run, pipeline, submit
from indexer.behind import of_this_thread
from indexer.patience import patiently
from indexer.records import id_of
from indexer.upgrade.routing import route_of, settled_route
from triptych import traces
from triptych.domain import DeadLetter, Outcome
from triptych.elastic.attached import index_of
from triptych.elastic.lifecycle import read_schema
from triptych.errors import NotFoundError, TriptychError
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import Counts, Job
from triptych.jobs.queue import DRY_RUN, FINISH_JOB, INDEX_BATCH, READ_CATALOGUE, offer_batch, send_finish, waiting
from triptych.jobs.store import Claim, letter_id, now
from triptych.logs import about
from triptych.services import Services

log = logging.getLogger(__name__)
_LONGEST_BACK_OFF = 60.0
_T = TypeVar("_T")

_AGAIN_SECONDS = 5.0
"""Until a batch whose end failed is begun again."""


class Ends(Protocol):
    """Does one thing at a time behind what is done next, as `Behind` does."""

    def wait(self) -> None: ...

    def start(self, call: Callable[[], None], /) -> None: ...


def register(app: Celery, services: Callable[[], Services], ends: Callable[[], Ends | None] = lambda: None) -> None:
    """Give `app` the tasks; `services` makes the process's services on first use, `ends` are `index_batch`'s."""

    @app.task(name=INDEX_BATCH, bind=True, max_retries=None)
    def index_batch_task(self: Task, *, job: str, number: int) -> None:
        made = services()
        with about(job=job, batch=number), _retried(self), traces.span("batch", job=job, batch=number):
            index_batch(made, job, number, ends())

    @app.task(name=READ_CATALOGUE, bind=True, max_retries=None)
    def read_catalogue_task(self: Task, *, job: str) -> None:
        made = services()
        with about(job=job), _retried(self), traces.span("read catalogue", job=job):
            submit.read_on(job, made, again=_again(self))

    @app.task(name=FINISH_JOB, bind=True, max_retries=None)
    def finish_job_task(self: Task, *, job: str) -> None:
        made = services()
        with about(job=job), _retried(self), traces.span("finish", job=job):
            finish_job(made, job)

    @app.task(name=DRY_RUN)
    def dry_run_task(*, run: str, index: str, source: Mapping[str, Any]) -> None:
        with about(dry_run=run):
            dry_run.answer(run, index, source, services())


def _again(task: Task) -> bool:
    """Whether an earlier try of this message may have been cut off."""
    return task.request.retries > 0 or bool((task.request.delivery_info or {}).get("redelivered"))


@contextmanager
def _retried(task: Task) -> Iterator[None]:
    """Give a task back to Celery with exponential back-off when a service was away; anything else is a fault and is raised."""
    try:
        yield
    except TriptychError as error:
        if not error.retryable:
            raise
        wait = min(_LONGEST_BACK_OFF, 0.5 * 2 ** min(task.request.retries, 10))
        log.warning("%s: %s Trying again in %.0f s.", task.name, error, wait)
        raise task.retry(exc=error, countdown=wait) from error


def index_batch(services: Services, name: str, number: int, ends: Ends | None = None) -> None:
    """Run one batch and keep its counts.

    Does nothing if it is done, another worker has it, or its job is gone, failed, or shall pause or stop. In the last cases it
    stays queued, and whoever resumes the job sends it again.

    `ends` takes the end of the batch, from its last write on, to do it while the next one begins; without it that is done
    before this returns.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    try:
        job = services.jobs.get(name)
    except NotFoundError:
        services.jobs.forget(name, number)
        return
    claim = services.jobs.claim(name, number, owner, _begun) if job.runs else None
    if claim is None:
        return
    try:
        with _given_up_well(services, claim), ExitStack() as lease:
            lease.enter_context(_lease_renewed(services, claim))
            result = _run(services, claim, job)
            if ends is not None:
                ends.wait()  # for the end of the batch before, which this one's follows
            end = partial(_end, services, claim, job, result, lease.pop_all())
    except pipeline.LeaseLostError:
        return  # another worker has the batch now, and counts it
    if ends is None:
        end()
    else:
        ends.start(partial(_end_later, end, services, claim))


def _end(services: Services, claim: Claim, job: Job, wait: Callable[[], pipeline.Result], lease: ExitStack) -> None:
    """The end of a batch, from its last write on."""
    try:
        with _given_up_well(services, claim):
            with lease:
                result = wait()
                _bury(services, claim, job, result)
            letters = len({letter_id(job.id, letter) for letter in result.dead_letters})
            counts = Counts.of(result.outcomes, letters)
            ended = services.jobs.finish(claim, counts, result.outcomes)
    except pipeline.LeaseLostError:
        return
    if not ended:
        return
    log.info("batch ended: %d records, %d dead letters", counts.read, counts.dead_letters)
    try:
        services.jobs.keep_names(claim)
        _judge(services, job, counts)
        if _may_be_last(services):
            _finish_if_last(services, job.id)
    except TriptychError as error:  # a sweeper looks at the job again; records that are not made smaller stay as they are
        log.warning("job %s: what follows the end of batch %d failed: %s", claim.job, claim.number, error)


def _end_later(end: Callable[[], None], services: Services, claim: Claim) -> None:
    """The end of a batch whose message is gone: one that was given back is sent anew after a while, or by a sweeper."""
    try:
        end()
    except TriptychError as error:
        log.warning("job %s, batch %d: its end failed: %s", claim.job, claim.number, error)
        if error.retryable:
            batch = claim.batch
            offer_batch(
                services.queue, batch.job, batch.number, kind=batch.kind, priority=batch.priority, countdown=_AGAIN_SECONDS
            )
    except Exception:
        log.exception("job %s, batch %d: its end failed", claim.job, claim.number)


@contextmanager
def _given_up_well(services: Services, claim: Claim) -> Iterator[None]:
    """Give the batch back where a service was away, or this process is told to stop; note any other reason why it failed."""
    try:
        yield
    except pipeline.LeaseLostError:
        raise
    except TriptychError as error:
        if error.retryable:
            _release(services, claim, seconds=services.settings.batch_lease_seconds / 3)
        else:
            services.jobs.update(claim.job, error=str(error))
        raise
    except SystemExit:  # the worker is told to stop and its time is up (indexer.app)
        _release(services, claim, seconds=0)
        raise
    except Exception as error:
        services.jobs.note(claim, f"{type(error).__name__}: {error}")
        raise  # the lease runs out, and the batch is started again, batch_attempts times at most


def _begun(read: Callable[[], _T]) -> Callable[[], _T]:
    """The records are read while the batch is claimed and its index is looked at."""
    return of_this_thread("records").begin(read).result


def _run(services: Services, claim: Claim, job: Job) -> Callable[[], pipeline.Result]:
    """The flow up to the last write, which what is returned waits for. A batch that never ended however often it was started is
    given up.
    """
    most = services.settings.batch_attempts
    if claim.attempts > most and not cautious.wanted(claim.batch, most):
        batch = claim.batch
        why = f"it failed with {batch.failure}" if batch.failure else "its worker was lost"
        message = f"Its batch was started {batch.attempts - 1} times and never ended: {why}."
        letters = [DeadLetter("batch.never_ended", message, "run", r["line"], id_of(r)) for r in batch.records]
        given_up = pipeline.Result([Outcome.DEAD] * len(letters), letters)
        return lambda: given_up
    to = route_of(job, services)
    schema = read_schema(services.elasticsearch, to.index)
    services.check(schema)
    beside = services.jobs.beside(job, to.versions)
    batch = claim.batch
    target = pipeline.Target(
        index_of(to.index),
        schema,
        Path(job.root),
        job.id,
        beside.older,
        beside.newer,
        first=job.first and batch.attempts == 1 and to.index == job.index,
        others=to.others,
        aliases=to.names(job),
        begun=frozenset(batch.deleting),
        begin=partial(services.jobs.keep_deleting, claim),
    )
    flow = to.flow(schema)
    if cautious.wanted(batch, most):
        keep = partial(services.jobs.keep, claim)
        done = cautious.run(batch, target, services, keep=keep, still_ours=lambda: services.jobs.renew(claim), flow=flow)
    elif flow is pipeline.run:
        return pipeline.begin(batch.records, target, services, still_ours=lambda: services.jobs.holds(claim))
    else:
        done = flow(batch.records, target, services, still_ours=lambda: services.jobs.holds(claim))
    return lambda: done


def _bury(services: Services, claim: Claim, job: Job, result: pipeline.Result) -> None:
    """Keep the dead letters of this attempt, and those of no earlier one. Raises LeaseLostError if another worker has it."""
    letters = _with_records(result.dead_letters, claim)
    if not letters and not claim.buried:
        return
    if not services.jobs.holds(claim):
        raise pipeline.LeaseLostError
    if claim.buried:
        services.jobs.unbury(job.id, [record["line"] for record in claim.batch.records])
    claim.buried = True
    services.jobs.bury(job, letters, attempt=claim.attempts)


def _with_records(letters: Iterable[DeadLetter], claim: Claim) -> list[DeadLetter]:
    """Dead letters with the whole records they are of, to export and to redrive."""
    texts = {record["line"]: record.get("text") for record in claim.batch.records}
    return [replace(letter, record=texts.get(letter.line)) for letter in letters]


def _judge(services: Services, job: Job, counts: Counts) -> None:
    """Pause the job if too many of its records end badly. A batch without a bad one changes nothing about that."""
    because = services.control.judge(job) if counts.dead or counts.partial else None
    if because is not None:
        log.warning("job %s: paused: %s", job.id, because)


def _lease_renewed(services: Services, claim: Claim) -> AbstractContextManager[None]:
    """Renew the lease in the background while the batch is worked on."""
    what = f"job {claim.job}, batch {claim.number}"
    return heartbeat(lambda: services.jobs.renew(claim), seconds=services.settings.batch_lease_seconds / 3, what=what)


def _release(services: Services, claim: Claim, *, seconds: float) -> None:
    """Give the batch back, trying for so many seconds: what is away may be the ledger. Else its lease runs out."""
    what = f"job {claim.job}: batch {claim.number}"
    try:
        patiently(lambda: services.jobs.release(claim), seconds=seconds, what=f"{what} is given back")
    except TriptychError as error:
        log.warning("%s keeps its lease: %s", what, error)


def _may_be_last(services: Services) -> bool:
    """Whether counting is worth it: nothing waits, or this process has not counted for a while. If not, the sweeper counts."""
    try:
        return waiting(services.redis, services.settings) == 0 or services.counting.due()
    except TriptychError:
        return True


def _finish_if_last(services: Services, name: str) -> None:
    job = services.jobs.get(name)
    if not job.reading and services.jobs.counts(name).pending == 0:
        send_finish(services.queue, name)


def finish_job(services: Services, name: str) -> None:
    """Measure the levels of the index's legs and close the job. A closed job is left as it is."""
    job = services.jobs.get(name)
    counts = services.jobs.counts(name)
    if job.finished_at is not None or job.reading or counts.pending:
        return
    to = settled_route(job, services)
    try:
        if counts.written or counts.partial or counts.deleted or not read_schema(services.elasticsearch, to.index).levels:
            calibrate.calibrate(services, to.index)
    except Exception as error:
        if isinstance(error, TriptychError) and error.retryable:
            raise
        why = f"All records are accounted for, but measuring the index failed: {error}"
        services.jobs.update(name, error=why, finished_at=now())
        raise
    oldest = services.jobs.oldest_dead(to.names(job))
    services.jobs.update(name, finished_at=now())
    if services.jobs.beside(job, to.versions).alone:
        for version in dict.fromkeys((job.index, to.index, *to.others)):
            services.jobs.clear_deleted(version, until=oldest)
