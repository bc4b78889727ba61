"""Loads the encoders of versions that may serve soon, beside the queries, and reports for which this process can answer.

So a swap finds every process ready, and none has to load an encoder while somebody waits.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid

from search_api.searcher import Searcher
from triptych.elastic.lifecycle import read_schema
from triptych.errors import NotFoundError, TriptychError
from triptych.jobs.servers import ANY, REPORT_SECONDS, Server, Servers
from triptych.services import Services

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""Time after which encoders that did not load are tried again."""


class Readiness:
    """What this process is ready for. `start` keeps it so in the background."""

    def __init__(self, services: Services, searcher: Searcher) -> None:
        self._services, self._searcher = services, searcher
        self._servers = Servers(services.redis, services.settings)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._ready: set[str] = set()
        self._failed: dict[str, tuple[float, str]] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def look(self) -> None:
        """Load what open upgrades need, and report. Raises a TriptychError where a service is away."""
        self._report()  # at once: loading may take long, and this process lives
        wanted = self._wanted()
        self._ready &= wanted
        self._failed = {name: why for name, why in self._failed.items() if name in wanted}
        for name in sorted(wanted - self._ready):
            if name not in self._failed or time.monotonic() - self._failed[name][0] > AGAIN_SECONDS:
                self._load(name)
        self._report()

    def _wanted(self) -> set[str]:
        try:
            upgrades = self._services.upgrades.all_open()
        except TriptychError as error:
            if not error.retryable:  # it may not read them
                self._failed[ANY] = (time.monotonic(), str(error)[:500])
                self._report()
            raise
        return {name for upgrade in upgrades for name in (upgrade.old, upgrade.new)}

    def _load(self, name: str) -> None:
        try:
            self._searcher.warm(read_schema(self._services.elasticsearch, name))
        except Exception as error:
            if isinstance(error, TriptychError) and error.retryable:
                raise
            if isinstance(error, NotFoundError) or getattr(error, "code", None) == "elasticsearch.not_found":
                return  # it is not made yet
            log.warning("the encoders of %s do not load: %s", name, error)
            self._failed[name] = (time.monotonic(), str(error)[:500])
        else:
            self._ready.add(name)
            self._failed.pop(name, None)

    def _report(self) -> None:
        failed = {name: why for name, (_, why) in self._failed.items()}
        self._servers.report(Server(self._name, frozenset(self._ready), failed))

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except TriptychError as error:
                log.debug("readiness: %s", error)
            except Exception:
                log.exception("readiness failed; it looks again")  # this thread must outlive any fault
            time.sleep(REPORT_SECONDS)
