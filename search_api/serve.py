"""The HTTP server: gunicorn with threads. One process, because each process holds the encoders (about 700 MB)."""

from __future__ import annotations

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn without its own command line: the application is made in each worker process, after the fork."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        from search_api.app import create_app  # noqa: PLC0415  after the fork

        return create_app()


def serve(*, host: str, port: int, processes: int, threads: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    options = {"bind": f"{host}:{port}", "workers": processes, "threads": threads, "worker_class": "gthread", "timeout": 120}
    options |= {
        "graceful_timeout": 20,
        "accesslog": None,
        "loglevel": "warning",
        "proc_name": "triptych",
        "control_socket_disable": True,
    }
    Server({name: value for name, value in options.items() if value is not None}).run()
