"""Which processes of the API live, and which index versions each can answer for: kept in Redis, by Redis's own clock.

A version is swapped in only when every process that answers queries has loaded its encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
import redis

from triptych.jobs.queue import translated
from triptych.settings import Settings

REPORT_SECONDS: Final = 2.0
"""Time from one report of a process to the next."""

GONE_SECONDS: Final = 15.0
"""Without a report for so long a process counts as gone."""


ANY: Final = "*"
"""In place of a version: the process cannot even see which there are."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process of the API. `ready` are the versions it can answer for, `failed` those it cannot, or ANY, with the reason."""

    name: str
    ready: frozenset[str]
    failed: Mapping[str, str]

    def why_not(self, version: str) -> str | None:
        """Why it will not be ready for a version; None where it is, or may be soon."""
        return None if version in self.ready else self.failed.get(version, self.failed.get(ANY))


class Servers:
    """Where processes of the API report. Raises QueueError while Redis is away."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client = client
        self._key = f"{settings.queue}:servers"

    def report(self, server: Server) -> None:
        """Say that a process lives, and what it is ready for."""
        said = {"at": self._now(), "ready": sorted(server.ready), "failed": dict(server.failed)}
        with translated():
            self._client.hset(self._key, server.name, orjson.dumps(said))

    def living(self) -> list[Server]:
        """The processes that reported lately; what is kept of the others is dropped."""
        found: list[Server] = []
        with translated():
            kept = self._client.hgetall(self._key)
        at = self._now()
        for name, data in kept.items():
            said = orjson.loads(data)
            if at - said["at"] > GONE_SECONDS:
                with translated():
                    self._client.hdel(self._key, name)
                continue
            found.append(Server(name.decode() if isinstance(name, bytes) else name, frozenset(said["ready"]), said["failed"]))
        return found

    def _now(self) -> float:
        with translated():
            seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1e6
