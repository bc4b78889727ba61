"""From a catalogue to a job: read it as a stream, cut it into batches, enter each in the ledger and send its message."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded

from indexer import records
from indexer.patience import PATIENCE_SECONDS, patiently
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.sources.stamps import changed, differ
from indexer.upgrade.routing import settled_route
from triptych.closing import closed_on_error
from triptych.elastic.attached import index_of, no_catalogue
from triptych.elastic.lifecycle import current_version, is_empty, read_schema
from triptych.errors import InputError, QueueError, TriptychError
from triptych.jobs import batching
from triptych.jobs.batches import Position, taken_over
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import Batch, Job, Wanted, not_resumable
from triptych.jobs.queue import HIGHEST, NORMAL, offer_batch, ping, send_finish, send_read
from triptych.services import Services

log = logging.getLogger(__name__)

_NO_FOLDER: Final = os.devnull
"""The root of a catalogue that has none: nothing lies below a file, so each of its media ends as a dead letter."""

_PARTS: Final = 4
"""A worker reads a catalogue for this part of the time a task may take, so that what comes before it may take the rest."""

Waits = Callable[[Callable[[], Any]], Any]
"""Gives what a call gives, which may be tried again."""

_TOO_LONG: Final = "Reading stopped: in all of TRIPTYCH_TASK_SECONDS the catalogue gave no batch that was not entered before."


def submit(source: Source, index: str, services: Services, *, key: str | None = None, priority: int = NORMAL) -> Job:
    """Submit the catalogue `source` to the index behind the alias `index`.

    Returns when the whole catalogue is read and queued, or somebody stopped the job, with the job to follow. With an
    idempotency `key` that a job of this alias has already, that job is returned and nothing is read. Raises before anything is
    entered if the catalogue, the index, Elasticsearch or Redis is not there, or the index was built with other encoders. An
    error while the catalogue is read fails the job, which can be resumed; without Redis the batches wait in the ledger. While
    Elasticsearch is away it is waited for; is it away for too long, the job is left, and the error names what resumes it.
    """
    version = current_version(services.elasticsearch, index)
    schema = read_schema(services.elasticsearch, version)
    services.check(schema)
    if schema.attachment is not None and source.spec.index != index_of(version):
        raise no_catalogue(index)
    ping(services.redis)
    services.jobs.prepare()
    known = services.jobs.of_key(index, key) if key is not None else None
    if known is not None:
        return known
    root = str(source.root or _NO_FOLDER)
    spec = source.spec
    with closing(source.records()) as lines:
        job, new = services.jobs.open(
            index=version,
            alias=index,
            catalogue=source.name,
            root=root,
            source=spec.to_dict(),
            resumable=spec.resumable,
            key=key,
            priority=priority,
        )
        return _read(job, source, lines, services, Position()) if new else job


def resume(job: str, services: Services) -> Job:
    """Go on with a job that was paused, stopped or failed, and read the rest of its catalogue where nobody does.

    Waits for a lease to see whether its reader lives. Returns when the catalogue is read and queued. Raises NotFoundError,
    QueueError, and InputError if the job is completed (`job.ended`), its catalogue cannot be read again (`job.not_resumable`),
    is another one now (`catalogue.changed`) or is not there any more.
    """
    entry = services.jobs.get(job)
    if entry.reading and entry.reader is not None and reader_lives(entry, services):
        return services.control.resume(job)
    lost = services.jobs.get(job)
    if not lost.reading:
        return services.control.resume(job)
    if not lost.resumable or lost.source is None:
        raise not_resumable(lost)
    source = open_source(SourceSpec.from_dict(lost.source), services)
    with closing(source.records()) as lines:
        _check_same(lost, source, services.jobs.position(job))
        services.control.resume(job)
        mine = services.jobs.take_over(lost)
        if mine is None:  # another process was quicker, or the reader lives after all
            return services.jobs.get(job)
        return _read(mine, source, lines, services, services.jobs.position(job))


def read_on(name: str, services: Services, *, again: bool = False) -> None:
    """Read the catalogue of a job that was entered for a worker to read, from where its last reader came to.

    Does nothing where somebody reads it or nobody shall. `again`: that reader may be an earlier try of the same message; within
    a lease it shows whether it lives. A catalogue that takes long is left for another message. An error that may pass is raised
    and leaves the job as it is; any other fails the job, which can be resumed. An upload, and the password or signature of an
    address, are dropped when it is read whole.
    """
    standing = services.jobs.get(name)
    if not standing.reading:
        _drop_source(standing, services)  # whoever read it whole may have been lost before
        return
    job = _unread(standing, services, again=again)
    mine = services.jobs.take_over(job) if job is not None else None
    if mine is None:
        return
    begin = services.jobs.position(name)
    try:
        source, opened = _opened(mine, begin, services)
        seconds = services.settings.task_seconds / _PARTS if mine.resumable else None
        with closing(opened) as lines:
            ended = _read(mine, source, lines, services, begin, seconds=seconds, retried=mine.resumable)
    except SoftTimeLimitExceeded:
        if services.jobs.position(name) == begin:
            services.jobs.update(name, error=_TOO_LONG)
            raise
        ended = services.jobs.get(name)
        if not ended.reading:
            _drop_source(ended, services)
    if ended.reading and ended.runs:  # before the job's batches: the catalogue may be another one when they are done
        send_read(services.queue, name, priority=min(HIGHEST, ended.priority + 1), limited=ended.resumable)


def _unread(job: Job, services: Services, *, again: bool) -> Job | None:
    """The job as it is now, if its catalogue is to be read and nobody reads it."""
    if job.reader is not None:
        if not again or reader_lives(job, services):
            return None
        now = services.jobs.get(job.id)
        if now.reader is not None and (now.reader, now.beat) != (job.reader, job.beat):
            return None
        job = now
    return job if job.reading and job.runs and job.source is not None else None


def _opened(job: Job, begin: Position, services: Services) -> tuple[Source, Generator[records.RawRecord, None, None]]:
    """The catalogue of a job that this process reads. Errors as in `read_on`."""
    try:
        source = _source_of(job, begin, services)
        lines = source.records()
        with closed_on_error(lines.close):
            _check_same(job, source, begin)
        return source, lines
    except TriptychError as error:
        services.jobs.leave(job.id, job.reader, **({} if error.retryable else {"error": f"Reading stopped: {error}"}))
        raise
    except BaseException:
        with suppress(TriptychError):
            services.jobs.leave(job.id, job.reader)
        raise


def _source_of(job: Job, begin: Position, services: Services) -> Source:
    if not job.resumable and begin != Position():
        raise not_resumable(job)
    return open_source(SourceSpec.from_dict(job.source or {}), services)


def _check_same(job: Job, source: Source, begin: Position) -> None:
    """Raise InputError `catalogue.changed` where lines are entered of a catalogue that is another one now."""
    if begin != Position() and differ(job.stamp or {}, source.progress.stamp):
        raise changed(source.name, job.id)


def reader_lives(job: Job, services: Services) -> bool:
    """Whether the process that reads the job's catalogue gives a sign of life, or ends in good order, within a lease."""
    until = time.monotonic() + services.settings.batch_lease_seconds
    while time.monotonic() < until:
        time.sleep(min(0.2, services.settings.batch_lease_seconds / 3))
        seen = services.jobs.get(job.id)
        if seen.reader is None:
            return False
        if not seen.reading or (seen.reader, seen.beat) != (job.reader, job.beat):
            return True
    return False


def _read(
    job: Job,
    source: Source,
    lines: Iterator[records.RawRecord],
    services: Services,
    begin: Position,
    *,
    seconds: float | None = None,
    retried: bool = False,
) -> Job:
    """Enter the batches of `lines` that come after `begin`, as the job's reader; with `seconds` for so long from the first on.

    `retried`: an error that may pass does not fail the job, because the caller comes again. Where nobody does, such an error is
    waited out for a while; then the job is left for whoever resumes it.
    """
    jobs = services.jobs
    waits = partial(patiently, seconds=0.0 if retried else PATIENCE_SECONDS, what=f"job {job.id}")
    alive = heartbeat(
        lambda: jobs.see(job.id, job.reader), seconds=services.settings.batch_lease_seconds / 3, what=f"job {job.id}"
    )
    try:
        with alive:
            if begin == Position():
                first = waits(lambda: is_empty(services.elasticsearch, index_of(job.index)))
                waits(lambda: jobs.turn(job.id, lambda now: replace(now, stamp=source.progress.stamp, first=first)))
            whole = _enter(job, lines, services, begin, seconds, waits)
            waits(lambda: jobs.leave(job.id, job.reader, **({"reading": False} if whole else {})))
    except (TriptychError, OSError) as error:
        failed = _reading_failed(job, source, error, services, retried=retried)
        if failed is error:
            raise
        raise failed from error
    except BaseException:  # Ctrl-C, the end of a worker, of a task's time
        with suppress(TriptychError):
            jobs.leave(job.id, job.reader)
        if not retried:
            log.warning("job %s: its catalogue was not read to the end. Read on: triptych job resume %s", job.id, job.id)
        raise
    if whole and jobs.counts(job.id).pending == 0:
        with suppress(QueueError):  # a sweeper closes it
            send_finish(services.queue, job.id)
    ended = jobs.get(job.id)
    if not ended.reading:
        _drop_source(ended, services)
    return ended


def _reading_failed(
    job: Job, source: Source, error: TriptychError | OSError, services: Services, *, retried: bool
) -> TriptychError:
    """What is raised where reading failed; the job is left, and has failed unless it can be read on."""
    jobs = services.jobs
    passes = isinstance(error, TriptychError) and error.retryable
    if isinstance(error, TriptychError) and passes and not retried and job.resumable:
        with suppress(TriptychError):  # if it is away still, the job has a reader that gives no sign of life
            jobs.leave(job.id, job.reader)
        return _given_up(job, error)
    if (passes and retried) or jobs.get(job.id).error is not None:
        jobs.leave(job.id, job.reader)
    else:
        jobs.leave(job.id, job.reader, error=f"Reading stopped: {error}")
    if not isinstance(error, TriptychError):
        message = f"Job {job.id}: reading {source.name} failed: {error.strerror}."
        return InputError(message, code="catalogue.unreadable", field="catalogue")
    if not retried:
        error.message = f"Job {job.id}: {error.message}"
    return error


def _given_up(job: Job, error: TriptychError) -> TriptychError:
    """The error of a command that waited in vain. A sweeper pauses the job once what is entered has ended."""
    remedy = f"What is entered is indexed; when it is back, read on: triptych job resume {job.id}"
    return TriptychError(f"Reading {job.catalogue} stopped: {error.message}", code=error.code, retryable=True, remedy=remedy)


def _drop_source(job: Job, services: Services) -> None:
    """Keep no upload, and no password or signature of an address, of a catalogue that was read whole."""
    spec = SourceSpec.from_dict(job.source) if job.source is not None else None
    if spec is not None and spec.upload is not None:
        services.uploads.forget(spec.upload)
    elif spec is not None and not spec.secret and spec.shown != spec.location and spec.remote:
        services.jobs.keep_source(job, spec.to_dict())


def _enter(
    job: Job,
    lines: Iterator[records.RawRecord],
    services: Services,
    begin: Position,
    seconds: float | None,
    waits: Waits,
) -> bool:
    """Enter and send the batches after `begin`; whether that was the whole catalogue. False if the job was stopped, or
    `seconds` are over since the first was entered. What is asked of the ledger goes through `waits`."""
    fresh = (raw for raw in _once(lines) if raw["line"] > begin.line)
    encoded = waits(lambda: read_schema(services.elasticsearch, settled_route(job, services).index)).encoded
    size, most = services.settings.batch_size, services.settings.batch_bytes
    batches = batching.cut(fresh, size=size, most_bytes=most, encoded=encoded)
    until = math.inf
    for number, batch in enumerate(batches, start=begin.number):
        current = waits(partial(services.jobs.get, job.id))
        if current.error is not None:
            raise TriptychError(f"The job failed while the catalogue was read: {current.error}", code="job.failed")
        if current.reader != job.reader:
            raise taken_over(job.id)
        if current.wanted == Wanted.STOP or time.monotonic() > until:
            return False
        entry = Batch(job.id, number, batch.records, kind=batch.kind, priority=job.priority, products=batch.products)
        waits(partial(services.jobs.add, entry, uuid.uuid4().hex))
        offer_batch(services.queue, job.id, number, kind=batch.kind, priority=job.priority)
        if seconds is not None:
            until = min(until, time.monotonic() + seconds)
    failed = waits(lambda: services.jobs.get(job.id)).error
    if failed is not None:
        raise TriptychError(f"The job failed while the catalogue was read: {failed}", code="job.failed")
    return True


def _once(lines: Iterator[records.RawRecord]) -> Iterator[records.RawRecord]:
    """The records, where one whose id stands on an earlier line already is replaced by that finding.

    Remembers 8 bytes of hash per id, about 60 MB for a million; the chance that any two of a million are confused is 3 in 10^8.
    """
    seen: set[int] = set()
    for raw in lines:
        name = records.id_of(raw)
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) if name is not None else None
        if key is not None and key in seen:
            message = f"The id {name!r} stands on an earlier line already; that record was taken."
            yield {**raw, "code": "record.duplicate_id", "message": message, "stage": "parse", "product_id": name}
            continue
        if key is not None:
            seen.add(key)
        yield raw
