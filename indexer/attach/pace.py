"""How fast documents of an attached index are written, over all workers together: a place in the queue of time, kept in Redis.

Each worker takes as much of the time to come as its documents need and waits until that begins: the generic cell rate algorithm
without a burst (ITU-T I.371).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import redis

from triptych.errors import QueueError

_ONE_PLACE: Final = """
local now = redis.call('TIME')
local at = tonumber(now[1]) + tonumber(now[2]) / 1000000
local free = math.max(at, tonumber(redis.call('GET', KEYS[1]) or '0'))
redis.call('SET', KEYS[1], string.format('%.6f', free + tonumber(ARGV[1])), 'EX', 3600)
return string.format('%.6f', free - at)
"""

_T = TypeVar("_T")


def paced(
    items: Sequence[_T], client: redis.Redis, key: str, rate: float | None, *, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Sequence[_T]]:
    """`items` in pieces of a second each at `rate` a second, each given when its time has come; all at once without a rate.

    Raises QueueError, retryable, where Redis is away.
    """
    if rate is None:
        if items:
            yield items
        return
    size = max(1, int(rate))
    for start in range(0, len(items), size):
        piece = items[start : start + size]
        try:
            wait = float(client.eval(_ONE_PLACE, 1, key, str(len(piece) / rate)))
        except redis.RedisError as error:
            raise QueueError(f"Redis did not answer: {error}.", code="queue.unavailable") from error
        sleep(wait)
        yield piece
