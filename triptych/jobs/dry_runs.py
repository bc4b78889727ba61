"""Dry runs asked for over HTTP: a worker looks at the catalogue, and what it found is kept in Redis for an hour.

Nothing is lost with Redis but an answer that can be asked for again, so it is not in the ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson
import redis

from triptych.errors import NotFoundError, TriptychError
from triptych.jobs.queue import translated
from triptych.settings import Settings

KEPT_SECONDS: Final = 3600
"""How long an answer is kept, and how long one is waited for."""


class DryRuns:
    """Keeps dry runs: `{"id", "state", "report", "problem"}`, the state one of queued, running, done and failed."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client, self._queue = client, settings.queue

    def open(self) -> str:
        """Begin one; its id. Raises QueueError, as all others do."""
        name = uuid.uuid4().hex
        self._put(name, "queued")
        return name

    def begin(self, name: str) -> None:
        """A worker has it."""
        self._put(name, "running")

    def finish(self, name: str, report: Mapping[str, Any]) -> None:
        """Keep what was found."""
        self._put(name, "done", report=report)

    def fail(self, name: str, error: TriptychError) -> None:
        """Keep why nothing was found."""
        found = {"code": error.code, "message": error.message, "field": error.field, "remedy": error.remedy}
        self._put(name, "failed", problem={key: value for key, value in found.items() if value})

    def get(self, name: str) -> dict[str, Any]:
        """One as it stands. Raises NotFoundError `dry_run.not_found`."""
        with translated():
            data = cast("bytes | None", self._client.get(self._key(name)))  # typed for both of redis's clients
        if data is None:
            raise NotFoundError(
                f"There is no dry run {name[:100]!r}.",
                code="dry_run.not_found",
                field="id",
                remedy="It is kept for an hour: ask for it again with POST /v1/jobs and dry_run.",
            )
        return dict(orjson.loads(data))

    def _put(self, name: str, state: str, **more: Any) -> None:
        with translated():
            self._client.set(self._key(name), orjson.dumps({"id": name, "state": state, **more}), ex=KEPT_SECONDS)

    def _key(self, name: str) -> str:
        return f"{self._queue}:dry-run:{name}"
