"""What is known of media fetched before, in Redis, so that an unchanged one is not fetched again (RFC 9110, section 13).

    key    <queue>:m1:<sha256 of the URL, half>
    value  JSON: etag, last_modified, sha256 of the bytes, and of which place the server said so

At most TRIPTYCH_FETCH_KNOWN URLs are kept, the longest unused makes room, and none for more than 30 days. A Redis that is away
is a memory that knows nothing: media are fetched again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import redis

from triptych.settings import Settings

log = logging.getLogger(__name__)

_DAYS_30 = 30 * 24 * 3600
_REST_SECONDS = 30.0
_LONGEST = 512
"""Characters of an ETag or a date that are kept and sent again; a longer one is not remembered."""

_PUT = """
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[3], KEYS[2])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[1], over)
  for i = 1, #oldest, 2 do redis.call('DEL', oldest[i]) end
end
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A medium as it was last fetched. `place` is where its redirects ended: only there may the validators be sent."""

    sha256: str
    place: str
    etag: str | None = None
    last_modified: str | None = None

    @property
    def is_of_use(self) -> bool:
        """Whether a server can be asked by it."""
        marks = [mark for mark in (self.etag, self.last_modified) if mark is not None]
        return bool(marks) and all(len(mark) <= _LONGEST for mark in marks)


class KnownMedia:
    """The memory. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._most = settings.fetch_known
        self._prefix = f"{settings.queue}:m1"
        self._put = client.register_script(_PUT)
        self._rests_until = 0.0

    def get(self, reference: str) -> Known | None:
        """What is known of a reference."""
        value = self._tried(lambda: self._redis.get(self._key(reference)))
        try:
            return Known(**json.loads(value)) if value is not None else None
        except (ValueError, TypeError):  # somebody else's key, or an older form
            return None

    def put(self, reference: str, known: Known) -> None:
        """Remember a reference; what was used longest ago makes room."""
        if known.is_of_use:
            keys, value = [f"{self._prefix}:order", self._key(reference)], json.dumps(asdict(known))
            self._tried(lambda: self._put(keys=keys, args=[value, _DAYS_30, time.time(), self._most]))

    def _key(self, reference: str) -> str:
        return f"{self._prefix}:{hashlib.sha256(reference.encode()).hexdigest()[:32]}"

    def _tried(self, ask: Callable[[], Any]) -> Any:
        """What Redis answers; None while it is away, or where nothing is to be remembered."""
        if self._most == 0 or time.monotonic() < self._rests_until:
            return None
        try:
            return ask()
        except redis.RedisError as error:
            log.warning("the memory of fetched media is away for %.0f s: %s", _REST_SECONDS, error)
            self._rests_until = time.monotonic() + _REST_SECONDS
            return None
