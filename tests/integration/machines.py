"""Machines of their own for workers, as far as one machine has them: each reaches Elasticsearch and Redis at an address of its
own.

`by_loopback` needs Linux alone: 127.0.0.2, 127.0.0.3 and so on, by which the services see them. `by_namespace` gives each a
network stack and a host name of its own; this machine's stack is left as it is, and the only way out is a socket in a folder.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_PORTS = {"elasticsearch": 9200, "redis": 6379}
_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Machine:
    """A place where a worker runs: its host name, what a program is started with there, the variables by which it reaches the
    services from there."""

    host: str
    prefix: Sequence[str]
    changes: Mapping[str, str]

    def start(self, line: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            own = {**environment, **self.changes}
            return subprocess.Popen([*self.prefix, *line], stdout=file, stderr=file, env=own, start_new_session=True)


@contextmanager
def by_loopback(number: int, elasticsearch: str, redis: str) -> Iterator[Machine]:
    """The machine of that number, from 0. The services see 127.0.0.2 and so on."""
    host, ports = f"127.0.0.{number + 2}", {}
    with ExitStack() as stack:
        for name, url in (("elasticsearch", elasticsearch), ("redis", redis)):
            listener = stack.enter_context(socket.create_server((host, 0), backlog=64))
            _serve(stack, listener, _to(url, source=host))
            ports[name] = listener.getsockname()[1]
        yield Machine(socket.gethostname(), (), _changes(host, ports, elasticsearch, redis))


@contextmanager
def by_namespace(number: int, elasticsearch: str, redis: str) -> Iterator[Machine]:
    """The machine of that number, from 0: machine-0 at 10.0.0.1 and so on, which no other machine knows."""
    name, host = f"machine-{number}", f"10.0.0.{number + 1}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tm-"))
        for service, url in (("elasticsearch", elasticsearch), ("redis", redis)):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(f"{folder}/{service}")
            listener.listen(64)
            _serve(stack, listener, _to(url))
        enter = (*_unshare(), sys.executable, __file__, name, host, folder)
        yield Machine(name, enter, _changes(host, _PORTS, elasticsearch, redis))


def why_no_namespace() -> str | None:
    """Why there can be no machine `by_namespace` here; None where there can."""
    if sys.platform != "linux" or not all(map(shutil.which, ("ip", "unshare"))):
        return "network namespaces need Linux, ip and unshare"
    tried = subprocess.run([*_unshare(), "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    return f"no network namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def _unshare() -> tuple[str, ...]:
    """A user without rights is root in there."""
    return ("unshare", "--net", "--uts", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))


def _enter(name: str, host: str, folder: str, *line: str) -> None:
    """In a new namespace: give it its name and address, carry to the services what comes in at it, and become a program."""
    socket.sethostname(name)
    for change in (("link", "set", "lo", "up"), ("address", "add", f"{host}/32", "dev", "lo")):
        subprocess.run(["ip", *change], check=True)
    listeners = [(socket.create_server((host, port), backlog=64), f"{folder}/{service}") for service, port in _PORTS.items()]
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with the program
        with ExitStack() as stack:
            for listener, path in listeners:
                _serve(stack, listener, lambda path=path: _local(path))  # type: ignore[misc]
            threading.Event().wait()
    os.execvp(line[0], line)  # noqa: S606  the listeners are closed here


def _changes(host: str, ports: Mapping[str, int], elasticsearch: str, redis: str) -> dict[str, str]:
    """The addresses of the services as seen from a machine."""
    found = {}
    for service, url in (("elasticsearch", elasticsearch), ("redis", redis)):
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        found[f"TRIPTYCH_{service.upper()}_URL"] = urlunsplit(parts._replace(netloc=f"{login}{at}{host}:{ports[service]}"))
    return {**found, "TRIPTYCH_CACHE_URL": found["TRIPTYCH_REDIS_URL"]}


def _to(url: str, *, source: str = "") -> Callable[[], socket.socket]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    target = (parts.hostname, parts.port)
    return lambda: socket.create_connection(target, source_address=(source, 0))


def _local(path: str) -> socket.socket:
    service = socket.socket(socket.AF_UNIX)
    service.connect(path)
    return service


def _serve(stack: ExitStack, listener: socket.socket, reach: Callable[[], socket.socket]) -> None:
    """Carry what comes in to what `reach` gives, until the stack ends."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_join, args=(client, reach), daemon=True).start()

    def shut() -> None:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)

    stack.callback(shut)
    threading.Thread(target=accept, daemon=True).start()


def _join(client: socket.socket, reach: Callable[[], socket.socket]) -> None:
    with suppress(OSError), client, reach() as service:
        back = threading.Thread(target=_carry, args=(service, client), daemon=True)
        back.start()
        _carry(client, service)
        back.join(_SECONDS)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    _enter(*sys.argv[1:])
