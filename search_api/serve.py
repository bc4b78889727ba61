"""The HTTP server: granian, which reads and writes HTTP in Rust, with threads for the application.

One process, because each process holds the encoders (about 700 MB). Against gunicorn's threads it takes .3 ms of CPU less per
request (benchmarks/search.py), which is a seventh of a `native` query's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from search_api.access import is_loopback
from search_api.reloading import Server
from triptych import logs
from triptych.errors import SettingsError
from triptych.settings import Settings, metrics_folder, share_metrics
from triptych.settings_file import SettingsFile

log = logging.getLogger(__name__)

STOP_SECONDS = 20
"""Time that requests under way have when the server is stopped."""


def serve(*, host: str | None, port: int | None, processes: int, threads: int, env_file: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. The application is made in each worker process; one that dies is replaced.

    `host` and `port` are by default those of the settings. SIGHUP: read `env_file` and the code anew (search_api.reloading).

    Raises SettingsError `access.open_to_others`, `settings.unreadable_file`.
    """
    file = SettingsFile(env_file)

    settings = file.take(lambda given: check_closed(host or given.api_host, given))
    address, at = host or settings.api_host, settings.api_port if port is None else port

    def refresh() -> Settings:
        """The address stays as it was: it is bound."""
        return file.take(lambda given: check_closed(address, given))

    logs.set_up(settings, level=logging.getLogger().level)
    if not settings.api_keys:
        log.warning("http://%s:%d asks for no keys: whoever reaches it may do all (TRIPTYCH_API_KEYS)", address, at)
    with TemporaryDirectory(prefix="triptych-metrics-") as folder:
        if processes > 1 and metrics_folder() is None:
            share_metrics(Path(folder))
        _server(host=address, port=at, processes=processes, threads=threads, refresh=refresh).serve()


def _server(*, host: str, port: int, processes: int, threads: int, refresh: Callable[[], object]) -> Server:
    return Server(
        "search_api.app:create_app",
        refresh=refresh,
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        http=HTTPModes.http1,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.warning,
        log_dictconfig={"loggers": {"_granian": {}, "granian.access": {}}},  # no handlers of its own: ours, on stderr
    )


def check_closed(host: str, settings: Settings) -> None:
    """Without keys only this machine may reach the API. Raises SettingsError `access.open_to_others`."""
    if not settings.api_keys and not is_loopback(host):
        raise SettingsError(
            f"On {host or 'all addresses'} other machines reach the API, and it asks for no keys.",
            code="access.open_to_others",
            field="TRIPTYCH_API_KEYS",
            remedy="Set TRIPTYCH_API_KEYS=true and make a key with `triptych key create`, or listen on 127.0.0.1.",
        )
