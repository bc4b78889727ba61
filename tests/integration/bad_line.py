"""A line to a real service that can be made slow, or cut at requests of a kind: what a network does to a search."""

from __future__ import annotations

import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 65_536


@dataclass(slots=True)
class BadLine:
    """Passes bytes on to `host`:`port`; `delay` seconds before each request, and hangs up where `cuts` says so of one."""

    host: str
    port: int
    delay: float = 0.0
    cuts: Callable[[bytes], bool] = field(default=lambda _: False)
    requests: int = 0
    url: str = ""

    def carry(self, near: socket.socket) -> None:
        """One connection, until either side hangs up."""
        with near, socket.create_connection((self.host, self.port)) as far:
            threading.Thread(target=self._back, args=(far, near), daemon=True).start()
            with suppress(OSError):
                while data := near.recv(_CHUNK):
                    if data.startswith((b"GET ", b"POST ", b"HEAD ", b"PUT ")):
                        self.requests += 1
                        if self.cuts(data):
                            break
                        time.sleep(self.delay)
                    far.sendall(data)
            for one in (near, far):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(_CHUNK):
                near.sendall(data)
            near.shutdown(socket.SHUT_RDWR)


@contextmanager
def bad_line(url: str) -> Iterator[BadLine]:
    """A line to the service at `url`, good at first."""
    place = urllib.parse.urlsplit(url)
    line = BadLine(str(place.hostname), int(place.port or 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        line.url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=line.carry, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield line
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
