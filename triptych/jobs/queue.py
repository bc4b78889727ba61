"""The queue's contract: task names, payloads, and how Celery is set up. JSON only; a message names a batch, no more.

The records of a batch lie in the ledger (Elasticsearch), so losing Redis loses no record: whatever the ledger knows to be
unfinished is sent again (`indexer.sweeper`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from triptych.errors import QueueError, SettingsError
from triptych.settings import Settings

Queue = Celery
"""The queue's type, for those who only pass it on."""

INDEX_BATCH: Final = "triptych.index_batch"
"""Task: embed and write one batch. Payload: job (str), number (int)."""

READ_CATALOGUE: Final = "triptych.read_catalogue"
"""Task: read a job's catalogue and enter its batches. Payload: job (str)."""

FINISH_JOB: Final = "triptych.finish_job"
"""Task: measure the legs' levels and close the job. Payload: job (str)."""


def make_queue(settings: Settings) -> Celery:
    """A Celery application that can send tasks and, with the tasks of `indexer.tasks`, run them."""
    check_address(settings)
    queue = Celery("triptych", broker=settings.redis_address, set_as_current=False)
    queue.conf.update(
        task_default_queue=settings.queue,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,  # a message is gone from Redis only after its batch is done
        task_reject_on_worker_lost=True,  # kill -9 of a pool process puts the message back (it waits for the lease)
        worker_prefetch_multiplier=1,  # a worker holds no more batches than it works on
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": 3600, "socket_timeout": 10, "socket_connect_timeout": 5},
        task_publish_retry_policy={"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3, "interval_max": 1.0},
    )
    return queue


@contextmanager
def translated() -> Iterator[None]:
    """Turn what Redis and Celery raise when the queue is away into QueueError."""
    try:
        yield
    except (OperationalError, redis.RedisError, OSError) as error:
        raise QueueError(
            f"Redis did not answer: {error}.", remedy="Check TRIPTYCH_REDIS_URL and that Redis runs (`triptych doctor`)."
        ) from error


def send_batch(queue: Celery, job: str, number: int) -> None:
    """Enqueue one batch. Raises QueueError."""
    with translated():
        queue.send_task(INDEX_BATCH, kwargs={"job": job, "number": number}, ignore_result=True)


def send_read(queue: Celery, job: str) -> None:
    """Enqueue the reading of a job's catalogue. Raises QueueError."""
    with translated():
        queue.send_task(READ_CATALOGUE, kwargs={"job": job}, ignore_result=True)


def send_finish(queue: Celery, job: str) -> None:
    """Enqueue the closing of a job. Raises QueueError."""
    with translated():
        queue.send_task(FINISH_JOB, kwargs={"job": job}, ignore_result=True)


def connect_redis(settings: Settings) -> redis.Redis:
    """A plain Redis client for pings and queue lengths."""
    check_address(settings)
    return redis.Redis.from_url(settings.redis_address, socket_timeout=5, socket_connect_timeout=5)


def check_address(settings: Settings) -> None:
    """Raise SettingsError if TRIPTYCH_REDIS_URL is no Redis URL. The URL is not shown: it may hold a password."""
    try:
        redis.connection.parse_url(settings.redis_address)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingsError(
            "TRIPTYCH_REDIS_URL is not a Redis URL.",
            field="TRIPTYCH_REDIS_URL",
            remedy="Give one such as redis://queue.example:6379/0 or rediss://:password@queue.example:6380/0.",
        ) from error


def ping(client: redis.Redis) -> None:
    """Raises QueueError if Redis does not answer."""
    with translated():
        client.ping()


def waiting(client: redis.Redis, settings: Settings) -> int:
    """How many messages wait in the queue."""
    with translated():
        length = client.llen(settings.queue)
    return int(length)
