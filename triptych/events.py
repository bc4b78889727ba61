"""Whose events are kept, without saying who they are, and how many may come.

A session's id is never kept. In its place stands a pseudonym: HMAC-SHA256 (RFC 2104) of the id under a salt that is made anew
every TRIPTYCH_EVENTS_SALT_DAYS and that Redis forgets a period later. From then on nobody, we included, can tell whose it was.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final, cast

import redis

from triptych.errors import TriptychError
from triptych.jobs.queue import translated
from triptych.settings import Settings

_SALT_BYTES: Final = 32
_DAY: Final = 86_400
_MINUTE: Final = 60
_PER_SESSION: Final = 600
"""Events that one session may send in a minute: ten clicks a second are no person's."""


class Pseudonyms:
    """Names sessions without telling which they are."""

    def __init__(self, client: redis.Redis, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._seconds = settings.events_salt_days * _DAY

    def of(self, session: str) -> str:
        """The session's pseudonym now. Raises QueueError."""
        period = self._period()
        key = self._key(period)
        with translated():
            salt = self._client.get(key)
            if salt is None:
                until = (period + 2) * self._seconds
                self._client.set(key, secrets.token_hex(_SALT_BYTES), nx=True, exat=until)
                salt = self._client.get(key)
        if not isinstance(salt, bytes):
            raise TypeError(type(salt))
        return _pseudonym(salt, session)

    def known(self, session: str) -> list[str]:
        """The session's pseudonyms whose salts are still there, the newest first; makes none. Raises QueueError."""
        period = self._period()
        with translated():
            salts = cast("list[bytes | None]", self._client.mget([self._key(period), self._key(period - 1)]))
        return [_pseudonym(salt, session) for salt in salts if salt is not None]

    def _period(self) -> int:
        return int(self._clock() // self._seconds)

    def _key(self, period: int) -> str:
        return f"{self._settings.queue}:events-salt:{self._settings.events_salt_days}:{period}"


def _pseudonym(salt: bytes, session: str) -> str:
    return hmac.new(salt, session.encode(), hashlib.sha256).hexdigest()[:32]


class Rate:
    """How many events come in a minute, counted in Redis for all processes of the API."""

    def __init__(self, client: redis.Redis, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._client, self._settings, self._clock = client, settings, clock

    def take(self, number: int, session: str) -> None:
        """Count `number` events of a session (its pseudonym).

        Raises TriptychError `events.too_many`, retryable, where that is more than may come in this minute; QueueError.
        """
        minute = int(self._clock() // _MINUTE)
        keys = [f"{self._settings.queue}:events-rate:{minute}", f"{self._settings.queue}:events-rate:{minute}:{session}"]
        with translated():
            pipe = self._client.pipeline()
            for key in keys:
                pipe.incrby(key, number)
                pipe.expire(key, 2 * _MINUTE)
            whole, _, mine, _ = pipe.execute()
        if whole > self._settings.events_per_minute or mine > _PER_SESSION:
            what = f"one session sent more than {_PER_SESSION}" if mine > _PER_SESSION else "more than the API takes came"
            raise TriptychError(
                f"Too many events: in this minute {what}.",
                code="events.too_many",
                field="events",
                retryable=True,
                remedy="Send them again in a minute.",
            )
