"""From a catalogue to a job: read it as a stream, cut it into batches, enter each in the ledger and send its message."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Final

from indexer import batching, records
from indexer.routing import kind_of
from indexer.sources.source import Source
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import InputError, TriptychError
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import Batch, Job
from triptych.jobs.queue import NORMAL, ping, send_batch, send_finish
from triptych.services import Services

_NO_FOLDER: Final = os.devnull
"""The root of a catalogue that has none: nothing lies below a file, so each of its media ends as a dead letter."""


def submit(source: Source, index: str, services: Services, *, priority: int = NORMAL) -> Job:
    """Submit the catalogue `source` to the index behind the alias `index`.

    Returns when the whole catalogue is read and queued, with the job to follow. Raises before anything is entered if the
    catalogue, the index, Elasticsearch or Redis is not there, or the index was built with other encoders.
    """
    version = current_version(services.elasticsearch, index)
    services.check(read_schema(services.elasticsearch, version))
    ping(services.redis)
    lines = _once(source.records())
    root = str(source.root or _NO_FOLDER)
    job = services.jobs.open(index=version, alias=index, catalogue=source.name, root=root, priority=priority)
    try:
        alive = heartbeat(
            lambda: services.jobs.see(job.id), seconds=services.settings.batch_lease_seconds, what=f"job {job.id}"
        )
        with alive:
            for number, batch in enumerate(_batches(lines, services)):
                kind = kind_of(batch)
                services.jobs.add(Batch(job.id, number, tuple(batch), kind=kind, priority=priority))
                send_batch(services.queue, job.id, number, kind=kind, priority=priority)
    except (TriptychError, OSError) as error:
        services.jobs.update(job.id, reading=False, error=f"Reading stopped: {error}")
        if isinstance(error, OSError):
            raise InputError(
                f"Reading {source.name} failed: {error.strerror}.", code="catalogue.unreadable", field="catalogue"
            ) from error
        raise
    failed = services.jobs.get(job.id).error
    if failed is not None:
        raise TriptychError(f"The job failed while the catalogue was read: {failed}", code="job.failed")
    services.jobs.update(job.id, reading=False)
    if services.jobs.counts(job.id).pending == 0:
        send_finish(services.queue, job.id)
    return services.jobs.get(job.id)


def _batches(lines: Iterator[records.RawRecord], services: Services) -> Iterator[list[records.RawRecord]]:
    return batching.cut(lines, size=services.settings.batch_size, most_bytes=services.settings.batch_bytes)


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
