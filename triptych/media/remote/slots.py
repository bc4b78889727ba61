"""How many requests go to a host at once, counted in Redis over all workers of all machines.

    <queue>:h1:<host>:held     who asks the host now, and until when that counts
    <queue>:h1:<host>:line     who waits, in order of coming
    <queue>:h1:<host>:alive    when each of those that wait asked last
    <queue>:h1:<host>:rest     there as long as the host asked to be left alone (Retry-After)

A slot is a lease: longer than its request can take, so that nobody renews it, and it comes free by itself where its worker was
killed. All times are those of Redis's clock. Slots are given in order of coming, also to those that come in one millisecond: a
process that asks again at once would else keep the others waiting for as long as its batch lasts. Redis may forget: then more
requests are made at once until those under way have ended. While it is away each process counts its own requests
(`hosts.Host`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import redis

from triptych.media.remote.deadline import Deadline
from triptych.settings import Settings

log = logging.getLogger(__name__)

MARGIN_SECONDS: Final = 2.0
"""A lease is so much longer than its request may take: for a thread that comes late to give its slot back."""

PATIENCE_SECONDS: Final = 2.0
"""Who waits and has not asked for so long is gone, and no more in anybody's way."""

REST_SECONDS: Final = 30.0
"""A Redis that is away is asked again after this."""

_STEP_SECONDS: Final = 0.01
_LONGEST_STEP_SECONDS: Final = 0.25
"""Who is next asks each 10 ms, who is tenth each 100 ms."""

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[4])) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('ZREM', KEYS[3], gone)
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
redis.call('ZADD', KEYS[2], 'NX', math.max(now, (tonumber(last) or 0) + 1), ARGV[1])
local free = ARGV[2] - redis.call('ZCARD', KEYS[1])
local place = redis.call('ZRANK', KEYS[2], ARGV[1]) - free + 1
if place <= 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
else
  redis.call('ZADD', KEYS[3], now, ARGV[1])
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 86400) end
return place
"""
_LONGER: Final = "if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end"
_GIVE: Final = "for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end"


class Slots:
    """The slots of all hosts. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._prefix = f"{settings.queue}:h1"
        self._most = settings.fetch_per_host
        self._take, self._give = client.register_script(_TAKE), client.register_script(_GIVE)
        self._longer, self._left = client.register_script(_LONGER), client.pttl
        self._rests_until = 0.0
        self._away = False
        self._telling = threading.Lock()

    def take(self, host: str, *, seconds: float, until: Deadline) -> str | None:
        """Wait for a slot of `host` for a request of at most `seconds`; the token to give it back by, None without Redis.

        Raises TimeoutError where `until` is over before there is one.
        """
        token = uuid.uuid4().hex
        while True:
            place = self.ask(host, token, seconds=seconds)
            if place is None:
                return None
            if place <= 0:
                return token
            if until.left <= 0:
                self.give(host, token)
                raise TimeoutError
            time.sleep(min(place * _STEP_SECONDS, _LONGEST_STEP_SECONDS) * random.uniform(0.5, 1))  # noqa: S311  no secret

    def ask(self, host: str, token: str, *, seconds: float) -> int | None:
        """Ask for a slot once: 0 or less where the token has one now, else its place among those that wait, from 1."""
        lease = int((max(seconds, 0) + MARGIN_SECONDS) * 1000)
        args: list[str | int] = [token, self._most, lease, int(PATIENCE_SECONDS * 1000)]
        place = self._tried(lambda: self._take(keys=self._keys(host), args=args))
        return None if place is None else int(place)

    def give(self, host: str, token: str) -> None:
        """Give a slot back, or wait for none any more."""
        self._tried(lambda: self._give(keys=self._keys(host), args=[token]))

    def rest(self, host: str, seconds: float) -> None:
        """The host asked all workers to leave it alone for `seconds`; a rest that is longer stays."""
        if seconds > 0:
            self._tried(lambda: self._longer(keys=[self._key(host, "rest")], args=[int(seconds * 1000) + 1]))

    def resting(self, host: str) -> float:
        """Seconds of rest that are left; 0 where there is none, and while Redis is away."""
        return float(max(self._tried(lambda: self._left(self._key(host, "rest"))) or 0, 0)) / 1000

    def _keys(self, host: str) -> list[str]:
        return [self._key(host, name) for name in ("held", "line", "alive")]

    def _key(self, host: str, name: str) -> str:
        return f"{self._prefix}:{host}:{name}"

    def _tried(self, ask: Callable[[], Any]) -> Any:
        """What Redis answers; None while it is away. That is said once, and once that it is back."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            found = ask()
        except redis.RedisError as error:
            self._rests_until = time.monotonic() + REST_SECONDS
            self._say(away=True, error=error)
            return None
        if self._away:
            self._say(away=False)
        return found

    def _say(self, *, away: bool, error: Exception | None = None) -> None:
        with self._telling:
            changed, self._away = self._away != away, away
        if changed and away:
            log.warning("requests to hosts are counted by each process for itself while Redis is away: %s", error)
        elif changed:
            log.info("requests to hosts are counted over all workers again")
