"""Start a server process that either ends with this one or outlives it, and end it by its own pid."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine import guard
from triptych.errors import EngineError
from triptych.settings import child_environment

LOCALHOST = "127.0.0.1"
_TELLING = re.compile(r"error\b|exception|caused by|fatal|failed|refus|in use|denied|no space|unrecognized", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: argument list (absolute path first), the file its output goes to, and its working folder."""

    arguments: tuple[str, ...]
    log: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to set beside those of this process."""


class Child:
    """A started process. Attached, it has a pipe on its standard input that closes when this process ends; detached, not.

    `pid` and `birth` (see guard.birth) name it for good; nothing else is ever signalled.
    """

    def __init__(self, pid: int, *processes: subprocess.Popen[bytes]) -> None:
        """`processes`: none if detached; else the process itself and, after it, those that only serve it."""
        self.pid = pid
        self._process = processes[0] if processes else None
        self._servants = processes[1:]
        self.birth = guard.birth(pid) or ""

    @classmethod
    def of(cls, *processes: subprocess.Popen[bytes]) -> Child:
        return cls(processes[0].pid, *processes)

    @property
    def running(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            return False
        return guard.is_ours(self.pid, self.birth)

    @property
    def exit_code(self) -> int | None:
        """As of subprocess (minus the signal's number); None while it runs or if it is detached."""
        return self._process.poll() if self._process is not None else None

    def kill(self) -> None:
        """kill -9, as a crash would."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self._reap()

    def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL when it still runs after `seconds`."""
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        else:
            guard.end(self.pid, self.birth, seconds=seconds)
        self._reap()

    def _reap(self) -> None:
        if self._process is None:
            guard.end(self.pid, self.birth)
            return
        for servant in self._servants:
            servant.kill()
        for process in (self._process, *self._servants):
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def start_attached(command: Command) -> Child:
    """Start a process whose standard input is a pipe from here, at whose end it must end by itself."""
    return Child.of(_open(command))


def start_guarded(command: Command) -> Child:
    """Start a process that does not watch its standard input: a small process beside it watches, and ends it."""
    process = _open(command)
    born = guard.birth(process.pid) or ""
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(process.pid), born],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    return Child.of(process, watch)


def _open(command: Command) -> subprocess.Popen[bytes]:
    with command.log.open("ab") as log:
        return subprocess.Popen(
            command.arguments,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=command.folder,
            env=child_environment(**command.environment),
            start_new_session=True,
        )


def start_detached(command: Command) -> Child:
    """Start a process that outlives this one: a shell puts it in the background of a session of its own and ends."""
    script = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(command.log), *command.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=command.folder,
        env=child_environment(),
        start_new_session=True,
        check=True,
    )
    return Child(int(done.stdout))


def port_taken(port: int) -> bool:
    """Whether another process listens on this port of 127.0.0.1. Raises OSError for any other trouble (ports below 1024)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as both servers do: TIME_WAIT does not count
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def require_port(port: int, what: str, option: str) -> None:
    """Raise EngineError (engine.port_taken) if `port` is in use; 0 (any free one) always passes."""
    if port and port_taken(port):
        raise EngineError(
            f"Port {port} on {LOCALHOST} is taken by another process, so {what} cannot listen there.",
            code="engine.port_taken",
            field=option,
            remedy=f"Stop that process, name another port with {option}, or leave it out to take any free one.",
        )


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOCALHOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def last_words(log: Path, *, lines: int = 6) -> str:
    """The last lines of a log that tell what went wrong (else just the last ones), for an error message."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        tail = file.read().decode("utf-8", errors="replace").splitlines()
    written = [line.rstrip() for line in tail if line.strip() and not line.lstrip().startswith("at ")]
    telling: Sequence[str] = [line for line in written if _TELLING.search(line)] or written
    return "\n".join(line[:400] for line in telling[-lines:])
