"""A server of pictures for the fault harness that can turn bad and good again while a job runs."""

from __future__ import annotations

import io
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from fault_shop import POISONED_EVERY
from media_server import MediaServer, Request, Route, endless, reply, serving

PATH = "/picture"
_DRIP_SECONDS = 0.5
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Pictures:
    """The server; `bad` answers in place of the pictures while it is set, `poisoned` makes some pictures deadly;
    `waits` once a request was left waiting.
    """

    server: MediaServer
    bad: Route | None = None
    poisoned: bool = False
    waits: bool = False

    @property
    def url(self) -> str:
        return self.server.url(PATH)

    @property
    def asked(self) -> int:
        """How many requests came so far."""
        return len(self.server.seen)

    def answer(self, sock: socket.socket, request: Request) -> None:
        number = int(request.path.partition("n=")[2])
        if self.bad is not None:
            self.bad(sock, request)
        else:
            reply(200, picture(number, poisoned=self.poisoned and number % POISONED_EVERY == 0))(sock, request)

    def stall(self, sock: socket.socket, request: Request) -> None:
        """Say nothing until the server is good again, then answer."""
        self.waits = True
        while self.bad is not None and not self.server.stopping.is_set():
            time.sleep(0.05)
        if self.bad is None:
            self.answer(sock, request)

    def drip(self, sock: socket.socket, request: Request) -> None:
        """Send the picture a byte at a time, slowly, until the server is good again, then the rest: that is no silence."""
        rest = _HEAD + picture(int(request.path.partition("n=")[2]))
        self.waits = True
        while self.bad is not None and not self.server.stopping.is_set():
            sock.sendall(rest[:1])
            rest = rest[1:]
            time.sleep(_DRIP_SECONDS)
        sock.sendall(rest)

    def routes(self) -> dict[str, Route]:
        """The ways to be bad, by name."""
        return {
            "stalls": self.stall,
            "answers 500": reply(500),
            "answers 404": reply(404),
            "redirects to a private address": reply(302, Location="http://169.254.169.254/latest/meta-data/"),
            "sends without end": endless(_HEAD + picture(1)[:64], b"x" * 65_536),
            "sends garbage": reply(200, bytes(range(256)) * 64),
        }


def picture(number: int, *, poisoned: bool = False) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    colour = (number * 37 % 256, number * 101 % 256, number // 256 % 256)
    Image.new("RGB", (24, 24), colour).save(buffer, "PNG")
    return buffer.getvalue() + (b"POISONED" if poisoned else b"")


@contextmanager
def pictures() -> Iterator[Pictures]:
    with serving() as server:
        made = Pictures(server)
        server.routes[PATH] = made.answer
        yield made
