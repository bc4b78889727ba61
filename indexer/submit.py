"""From a catalogue to a job: read it as a stream, cut it into batches, enter each in the ledger and send its message."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Final

from indexer import records
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.upgrade.routing import settled_route
from triptych.elastic.attached import index_of, no_catalogue
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import InputError, TriptychError
from triptych.jobs import batching
from triptych.jobs.batches import Position, taken_over
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import Batch, Job, Wanted, not_resumable
from triptych.jobs.queue import NORMAL, ping, send_batch, send_finish
from triptych.services import Services

_NO_FOLDER: Final = os.devnull
"""The root of a catalogue that has none: nothing lies below a file, so each of its media ends as a dead letter."""


def submit(source: Source, index: str, services: Services, *, key: str | None = None, priority: int = NORMAL) -> Job:
    """Submit the catalogue `source` to the index behind the alias `index`.

    Returns when the whole catalogue is read and queued, or somebody stopped the job, with the job to follow. With an
    idempotency `key` that a job of this alias has already, that job is returned and nothing is read. Raises before anything is
    entered if the catalogue, the index, Elasticsearch or Redis is not there, or the index was built with other encoders. An
    error while the catalogue is read fails the job, which can be resumed.
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
    lines = source.records()
    root = str(source.root or _NO_FOLDER)
    spec = source.spec
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
    QueueError, and InputError if the job is completed (`job.ended`), its catalogue cannot be read again (`job.not_resumable`)
    or is not there any more.
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
    lines = source.records()
    mine = services.jobs.take_over(lost)
    services.control.resume(job)
    if mine is None:  # another process was quicker, or the reader lives after all
        return services.jobs.get(job)
    return _read(mine, source, lines, services, services.jobs.position(job))


def read_on(name: str, services: Services) -> None:
    """Read the catalogue of a job that was entered for a worker to read, from where its last reader came to.

    Does nothing where somebody reads it or nobody shall. An error while it is read fails the job, which can be resumed. An
    upload, and the password or signature of an address, are dropped when it is read whole.
    """
    job = services.jobs.get(name)
    if not job.reading:
        _drop_source(job, services)  # whoever read it whole may have been lost before
        return
    if job.reader is not None or not job.runs or job.source is None:
        return
    begin = services.jobs.position(name)
    mine = services.jobs.take_over(job)
    if mine is None:
        return
    try:
        if not job.resumable and begin != Position():
            raise not_resumable(job)
        source = open_source(SourceSpec.from_dict(job.source), services)
        lines = source.records()
    except TriptychError as error:
        services.jobs.leave(name, mine.reader, error=f"Reading stopped: {error}")
        raise
    _read(mine, source, lines, services, begin)


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


def _read(job: Job, source: Source, lines: Iterator[records.RawRecord], services: Services, begin: Position) -> Job:
    """Enter the batches of `lines` that come after `begin`, as the job's reader."""
    jobs = services.jobs
    alive = heartbeat(
        lambda: jobs.see(job.id, job.reader), seconds=services.settings.batch_lease_seconds / 3, what=f"job {job.id}"
    )
    try:
        with alive:
            whole = _enter(job, lines, services, begin)
    except (TriptychError, OSError) as error:
        if jobs.get(job.id).error is None:
            jobs.leave(job.id, job.reader, error=f"Reading stopped: {error}")
        else:
            jobs.leave(job.id, job.reader)
        if isinstance(error, OSError):
            raise InputError(
                f"Reading {source.name} failed: {error.strerror}.", code="catalogue.unreadable", field="catalogue"
            ) from error
        raise
    except BaseException:  # Ctrl-C
        jobs.leave(job.id, job.reader)
        raise
    jobs.leave(job.id, job.reader, **({"reading": False} if whole else {}))
    if whole and jobs.counts(job.id).pending == 0:
        send_finish(services.queue, job.id)
    ended = jobs.get(job.id)
    if not ended.reading:
        _drop_source(ended, services)
    return ended


def _drop_source(job: Job, services: Services) -> None:
    """Keep no upload, and no password or signature of an address, of a catalogue that was read whole."""
    spec = SourceSpec.from_dict(job.source) if job.source is not None else None
    if spec is not None and spec.upload is not None:
        services.uploads.forget(spec.upload)
    elif spec is not None and not spec.secret and spec.shown != spec.location and spec.remote:
        services.jobs.keep_source(job, spec.to_dict())


def _enter(job: Job, lines: Iterator[records.RawRecord], services: Services, begin: Position) -> bool:
    """Enter and send the batches after `begin`; whether that was the whole catalogue. False if the job was stopped."""
    fresh = (raw for raw in _once(lines) if raw["line"] > begin.line)
    encoded = read_schema(services.elasticsearch, settled_route(job, services).index).encoded
    size, most = services.settings.batch_size, services.settings.batch_bytes
    batches = batching.cut(fresh, size=size, most_bytes=most, encoded=encoded)
    for number, batch in enumerate(batches, start=begin.number):
        current = services.jobs.get(job.id)
        if current.error is not None:
            raise TriptychError(f"The job failed while the catalogue was read: {current.error}", code="job.failed")
        if current.reader != job.reader:
            raise taken_over(job.id)
        if current.wanted == Wanted.STOP:
            return False
        services.jobs.add(Batch(job.id, number, batch.records, kind=batch.kind, priority=job.priority))
        send_batch(services.queue, job.id, number, kind=batch.kind, priority=job.priority)
    failed = services.jobs.get(job.id).error
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
