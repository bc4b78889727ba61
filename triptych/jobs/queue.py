"""The queue's contract: task names, payloads, and how Celery is set up. JSON only; a message names a batch, no more.

The records of a batch lie in the ledger (Elasticsearch), so losing Redis loses no record: whatever the ledger knows to be
unfinished is sent again (`indexer.sweeper`). Three queues share the work by what batches hold (ADR 17).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import redis
from celery import Celery
from kombu.entity import Exchange
from kombu.entity import Queue as Declared
from kombu.exceptions import OperationalError

from triptych.errors import QueueError, SettingsError
from triptych.settings import Settings

log = logging.getLogger(__name__)

Queue = Celery
"""The queue's type, for those who only pass it on."""

INDEX_BATCH: Final = "triptych.index_batch"
"""Task: embed and write one batch. Payload: job (str), number (int)."""

READ_CATALOGUE: Final = "triptych.read_catalogue"
"""Task: read a job's catalogue and enter its batches. Payload: job (str)."""

FINISH_JOB: Final = "triptych.finish_job"
"""Task: measure the legs' levels and close the job. Payload: job (str)."""

DRY_RUN: Final = "triptych.dry_run"
"""Task: look at a catalogue without indexing it. Payload: run (str), index (str, an alias), source (SourceSpec.to_dict)."""

WORDS: Final = "words"
KINDS: Final[Mapping[str, str]] = {WORDS: "", "pictures": ".image", "sounds": ".audio"}
"""What a batch may hold, and the ending of the queue that takes it. Closing a job is a matter of words."""

HIGHEST: Final = 9
PRIORITIES: Final[Mapping[str, int]] = {"high": 8, "normal": 5, "low": 2}
"""The priorities with names; 0 to 9 in all, 9 is taken first."""
NORMAL: Final = PRIORITIES["normal"]

HARD_LIMIT_AFTER: Final = 30.0
"""Seconds from a task's soft time limit, an exception, to the hard one, which kills its process."""

_NO_LIMIT: Final = 10**8
"""Seconds: three years. Celery takes 0 for its default."""

_SEPARATOR: Final = "\x06\x16"
_STEPS: Final = range(HIGHEST + 1)


def make_queue(settings: Settings) -> Celery:
    """A Celery application that can send tasks and, with the tasks of `indexer.tasks`, run them."""
    check_address(settings.redis_address)
    queue = Celery("triptych", broker=settings.redis_address, set_as_current=False)
    queue.conf.update(
        task_default_queue=settings.queue,
        task_queues=[_declared(name) for name in queue_names(settings)],
        task_create_missing_queues=False,
        **_TASKS,
        **_WORKER,
        task_soft_time_limit=settings.task_seconds,
        task_time_limit=settings.task_seconds + HARD_LIMIT_AFTER,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever; Celery's own default ends the worker after a hundred
        broker_transport_options=_transport(settings),
    )
    return queue


_TASKS: Final[Mapping[str, Any]] = {
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,  # the ledger has the result; there is no result backend
    "result_expires": 3600,  # and should somebody set one, nothing stays in it
    "task_acks_late": True,  # a message is gone from Redis only after its batch is done
    "task_reject_on_worker_lost": True,  # kill -9 of a pool process puts the message back (it waits for the lease)
    "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3, "interval_max": 1.0},
}

_WORKER: Final[Mapping[str, Any]] = {
    "worker_prefetch_multiplier": 1,  # a worker holds no more batches than it works on
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # the lease guards the batch, Redis or not
    "worker_soft_shutdown_timeout": 0.0,  # it sleeps its whole time and acknowledges nothing; indexer.app has a bound
}


def _transport(settings: Settings) -> dict[str, Any]:
    """Redis as a broker. A message stays invisible for longer than any task may take, or it would run twice.

    But for a catalogue that is read without a limit: its second delivery finds that somebody reads it.
    """
    return {
        "visibility_timeout": max(3600, int(2 * (settings.task_seconds + HARD_LIMIT_AFTER))),
        "priority_steps": list(_STEPS),
        "queue_order_strategy": "round_robin",  # of equal priority the queues take turns; priority goes first in any case
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }


def _declared(name: str) -> Declared:
    return Declared(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]


def queue_name(settings: Settings, kind: str) -> str:
    """The queue of batches of that kind."""
    return settings.queue + KINDS[kind]


def queue_names(settings: Settings) -> list[str]:
    """All queues."""
    return [queue_name(settings, kind) for kind in KINDS]


@contextmanager
def translated() -> Iterator[None]:
    """Turn what Redis and Celery raise when the queue is away into QueueError."""
    try:
        yield
    except (OperationalError, redis.RedisError, OSError) as error:
        raise QueueError(
            f"Redis did not answer: {error}.", remedy="Check TRIPTYCH_REDIS_URL and that Redis runs (`triptych doctor`)."
        ) from error


def send_batch(
    queue: Celery, job: str, number: int, *, kind: str = WORDS, priority: int = NORMAL, countdown: float | None = None
) -> None:
    """Enqueue one batch, to be begun after so many seconds. Raises QueueError."""
    _send(queue, INDEX_BATCH, {"job": job, "number": number}, kind, priority, countdown=countdown)


def offer_batch(
    queue: Celery, job: str, number: int, *, kind: str = WORDS, priority: int = NORMAL, countdown: float | None = None
) -> None:
    """Enqueue a batch that is in the ledger. Where Redis is away it waits there, and a sweeper sends it."""
    try:
        send_batch(queue, job, number, kind=kind, priority=priority, countdown=countdown)
    except QueueError as error:
        log.warning("job %s: batch %d waits for a sweeper to send it. %s", job, number, error)


def send_read(queue: Celery, job: str, *, priority: int = NORMAL, limited: bool = True) -> None:
    """Enqueue the reading of a job's catalogue. Raises QueueError.

    Not `limited`: however long it takes, because nobody could read on in it.
    """
    limits = {} if limited else {"soft_time_limit": _NO_LIMIT, "time_limit": _NO_LIMIT}
    _send(queue, READ_CATALOGUE, {"job": job}, WORDS, priority, **limits)


def send_finish(queue: Celery, job: str, *, priority: int = HIGHEST) -> None:
    """Enqueue the closing of a job: short, so before all batches. Raises QueueError."""
    _send(queue, FINISH_JOB, {"job": job}, WORDS, priority)


def send_dry_run(queue: Celery, run: str, index: str, source: Mapping[str, Any], *, priority: int = NORMAL) -> None:
    """Enqueue a look at a catalogue. Raises QueueError."""
    _send(queue, DRY_RUN, {"run": run, "index": index, "source": dict(source)}, WORDS, priority)


def _send(queue: Celery, task: str, payload: Mapping[str, Any], kind: str, priority: int, **options: Any) -> None:
    name, first = queue.conf.task_default_queue + KINDS[kind], HIGHEST - priority  # Redis: 0 first
    with translated():
        queue.send_task(task, kwargs=payload, queue=name, priority=first, ignore_result=True, **options)


def connect_redis(url: str, field: str = "TRIPTYCH_REDIS_URL", *, seconds: float = 5) -> redis.Redis:
    """A plain Redis client, each call of which has so many seconds.

    Raises SettingsError, which names the setting `field`, if `url` is no Redis URL.
    """
    check_address(url, field)
    return redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)


def check_address(url: str, field: str = "TRIPTYCH_REDIS_URL") -> None:
    """Raise SettingsError if `url`, of the setting `field`, is no Redis URL. The URL may hold a password: it is not shown."""
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingsError(
            f"{field} is not a Redis URL.",
            field=field,
            remedy="Give one such as redis://queue.example:6379/0 or rediss://:password@queue.example:6380/0.",
        ) from error


def ping(client: redis.Redis) -> None:
    """Raises QueueError if Redis does not answer."""
    with translated():
        client.ping()


def waiting(client: redis.Redis, settings: Settings) -> int:
    """How many messages wait, in all queues at all priorities. Raises QueueError."""
    return sum(waiting_in(client, settings).values())


def waiting_in(client: redis.Redis, settings: Settings) -> dict[str, int]:
    """How many messages wait in each queue, at all priorities. Raises QueueError."""
    names = queue_names(settings)
    pipeline = client.pipeline(transaction=False)
    for name in names:
        for step in _STEPS:
            pipeline.llen(f"{name}{_SEPARATOR}{step}" if step else name)  # as kombu names its lists
    with translated():
        counts = pipeline.execute()
    each = len(_STEPS)
    return {name: sum(counts[number * each : (number + 1) * each]) for number, name in enumerate(names)}
