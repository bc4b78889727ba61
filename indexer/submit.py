"""From a catalogue to a job: read it as a stream, cut it into batches, enter each in the ledger and send its message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexer import batching, records
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import TriptychError
from triptych.jobs.job import Batch, Job
from triptych.jobs.queue import ping, send_batch, send_finish
from triptych.services import Services


def submit(catalogue: Path, index: str, services: Services) -> Job:
    """Submit `catalogue` (JSON lines; media relative to its folder) to the index behind the alias `index`.

    Returns when the whole catalogue is read and queued, with the job to follow. Raises before anything is entered if the
    catalogue, the index, Elasticsearch or Redis is not there, or the index was built with other encoders.
    """
    version = current_version(services.elasticsearch, index)
    schema = read_schema(services.elasticsearch, version)
    for space in services.spaces:
        schema.check_space(space)
    ping(services.redis)
    lines = records.read(catalogue, services.settings)
    path = catalogue.resolve()
    job = services.jobs.open(index=version, alias=index, catalogue=str(path), root=str(path.parent))
    try:
        for number, batch in enumerate(_batches(lines, services)):
            services.jobs.add(Batch(job.id, number, tuple(batch)))
            send_batch(services.queue, job.id, number)
    except TriptychError as error:
        services.jobs.update(job.id, reading=False, error=f"Reading stopped: {error}")
        raise
    services.jobs.update(job.id, reading=False)
    if services.jobs.counts(job.id).pending == 0:
        send_finish(services.queue, job.id)
    return services.jobs.get(job.id)


def _batches(lines: Iterator[records.RawRecord], services: Services) -> Iterator[list[records.RawRecord]]:
    return batching.cut(lines, size=services.settings.batch_size, most_bytes=services.settings.batch_bytes)
