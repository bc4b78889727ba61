"""The HTTP server: granian, which reads and writes HTTP in Rust, with threads for the application.

One process, because each process holds the encoders (about 700 MB). Against gunicorn's threads it takes .3 ms of CPU less per
request (benchmarks/search.py), which is a seventh of a `native` query's.
"""

from __future__ import annotations

import logging

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from triptych import logs
from triptych.settings import load

_STOP_SECONDS = 20
"""Time that requests under way have when the server is stopped."""


def serve(*, host: str, port: int, processes: int, threads: int) -> None:
    """Serve until SIGTERM or Ctrl-C. The application is made in each worker process; one that dies is replaced."""
    logs.set_up(load(), level=logging.getLogger().level)
    Granian(
        "search_api.app:create_app",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        http=HTTPModes.http1,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
        log_level=LogLevels.warning,
        log_dictconfig={"loggers": {"_granian": {}, "granian.access": {}}},  # no handlers of its own: ours, on stderr
    ).serve()
