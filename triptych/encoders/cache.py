"""Vectors of inputs seen before, in Redis: the same bytes under the same encoder are never embedded twice.

    key    <name>:v1:<fingerprint>:<d|q>:<sha256 of the bytes, half>     d for documents, q for queries
    value  float32, little-endian (an encoder's vector), or nothing where the encoder found nothing in the input

Variants and re-listings of a product share their pictures, a change of price changes no input, and shoppers repeat their words.
The cache holds at most TRIPTYCH_CACHE_BYTES of keys and values: a sorted set orders the keys by their last use, and a script
takes the oldest away. Redis mostly carries the queue too, so its own eviction (maxmemory-policy) must not be relied on. A Redis
that is away is a cache that knows nothing; no search and no job fails for it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import redis

from triptych.domain import Vector
from triptych.settings import Settings

log = logging.getLogger(__name__)

OVERHEAD = 400
"""Bytes of memory an entry takes in Redis beside its value: two copies of the key, its score, slots of tables. Measured: 310
to 560 for vectors of 100 dims, by how full the tables are; and an allocator's slack of up to a quarter of the value."""

_REST_SECONDS = 30.0
"""After Redis was away it is left alone for so long, so that each query does not wait for it."""

_PUT = """
local function cost(length) return length + math.floor(length / 4) + tonumber(ARGV[3]) end
local bytes = 0
for i = 4, #ARGV, 2 do
  local key, value = ARGV[i], ARGV[i + 1]
  if not redis.call('ZSCORE', KEYS[1], key) then bytes = bytes + cost(#value) end
  redis.call('SET', key, value)
  redis.call('ZADD', KEYS[1], ARGV[1], key)
end
local held = redis.call('INCRBY', KEYS[2], bytes)
while held > tonumber(ARGV[2]) do
  local oldest = redis.call('ZPOPMIN', KEYS[1], 16)
  if #oldest == 0 then
    redis.call('SET', KEYS[2], 0)
    break
  end
  for i = 1, #oldest, 2 do
    held = redis.call('DECRBY', KEYS[2], cost(redis.call('STRLEN', oldest[i])))
    redis.call('DEL', oldest[i])
  end
end
"""

_DIGITS = 32
"""Of the sha256: 128 bits tell 10^15 inputs apart, and the keys are much of what a small vector costs."""

Role = Literal["d", "q"]

_VERSION = 1
"""Raise it when media are decoded in another way: the same bytes then have other vectors."""


@dataclass(slots=True)
class Counts:
    """How often the cache was asked, and knew."""

    asked: int = 0
    known: int = 0


def cost(length: int) -> int:
    """Bytes of Redis's memory, about, that a value of `length` bytes takes; as the script counts."""
    return length + length // 4 + OVERHEAD


def digest_of(value: str | bytes) -> str:
    """The sha256 of an input's bytes."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


class VectorCache:
    """Vectors by fingerprint and digest. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._most = settings.cache_bytes
        self._prefix = f"{settings.cache_name or settings.queue}:v{_VERSION}"
        self._order, self._bytes = f"{self._prefix}:order", f"{self._prefix}:bytes"
        self._put = client.register_script(_PUT)
        self._rests_until = 0.0
        self.counts = Counts()

    def get(self, fingerprint: str, role: Role, digests: Sequence[str]) -> dict[str, Vector]:
        """The vectors known of these inputs, by digest."""
        wanted = list(dict.fromkeys(digests))
        if not wanted or not self._awake():
            return {}
        keys = [self._key(fingerprint, role, digest) for digest in wanted]
        values: list[bytes | None] = self._tried(lambda: self._redis.mget(keys)) or [None] * len(keys)
        found = {digest: value for digest, value in zip(wanted, values, strict=True) if value is not None}
        if found:
            seen = {self._key(fingerprint, role, digest): time.time() for digest in found}
            self._tried(lambda: self._redis.zadd(self._order, seen, xx=True))
        self.counts.asked += len(wanted)
        self.counts.known += len(found)
        return {digest: np.frombuffer(value, dtype="<f4").astype(np.float32) for digest, value in found.items()}

    def put(self, fingerprint: str, role: Role, vectors: Mapping[str, Vector]) -> None:
        """Remember vectors by digest; the oldest entries make room."""
        if not vectors or not self._awake():
            return
        pairs: list[Any] = []
        for digest, vector in vectors.items():
            pairs += [self._key(fingerprint, role, digest), vector.astype("<f4").tobytes()]
        arguments = [time.time(), self._most, OVERHEAD, *pairs]
        self._tried(lambda: self._put(keys=[self._order, self._bytes], args=arguments))

    def ping(self) -> None:
        """Raises redis.RedisError where its Redis does not answer."""
        self._redis.ping()

    @property
    def held(self) -> int:
        """Bytes taken, by the cache's own account."""
        return int(self._tried(lambda: self._redis.get(self._bytes)) or 0)

    def _key(self, fingerprint: str, role: Role, digest: str) -> str:
        return f"{self._prefix}:{fingerprint}:{role}:{digest[:_DIGITS]}"

    def _awake(self) -> bool:
        return self._most > 0 and time.monotonic() >= self._rests_until

    def _tried(self, ask: Callable[[], Any]) -> Any:
        """What Redis answers, None while it is away."""
        try:
            return ask()
        except redis.RedisError as error:
            log.warning("the cache of vectors is away for %.0f s: %s", _REST_SECONDS, error)
            self._rests_until = time.monotonic() + _REST_SECONDS
            return None
