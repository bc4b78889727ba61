"""A server of pictures that does what a test tells it, down to the bytes; on 127.0.0.1, in threads."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TLS = Path(__file__).with_name("tls")


@dataclass(frozen=True)
class Request:
    """What a client asked. Header names are in lower case."""

    path: str
    headers: dict[str, str]


Route = Callable[[socket.socket, Request], None]


@dataclass
class MediaServer:
    """Answers by path; `seen` are the requests so far."""

    port: int = 0
    routes: dict[str, Route] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.seen)

    def saw(self, request: Request) -> None:
        with self.lock:
            self.seen.append(request)


@contextmanager
def serving(*, tls: bool = False, port: int = 0) -> Iterator[MediaServer]:
    """A server that runs while the block does; `port` 0: any that is free."""
    state = MediaServer()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sock: socket.socket = self.request
            with suppress(OSError):
                sock.settimeout(30)
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                request = _read(sock)
                if request is not None:
                    state.saw(request)
                    state.routes[request.path.partition("?")[0]](sock, request)
                sock.close()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            return

    with Server(("127.0.0.1", port), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()


def _read(sock: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65_536)
        if not more:
            return None
        data += more
    first, *lines = data.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Request(first.split(" ")[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Route:
    """An ordinary answer; `Retry_After="1"` is the header Retry-After."""
    given = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return raw(f"HTTP/1.1 {status} X\r\n{head}Connection: close\r\n\r\n".encode() + body)


def raw(data: bytes) -> Route:
    """These bytes and no others."""
    return lambda sock, _: sock.sendall(data)


def in_turn(*routes: Route) -> Route:
    """One route after the other; the last one stays."""
    left = list(routes)

    def answer(sock: socket.socket, request: Request) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(sock, request)

    return answer


def conditional(body: bytes, **headers: str) -> Route:
    """304 for who sends the ETag or the date along, else the body with them."""

    def answer(sock: socket.socket, request: Request) -> None:
        known = request.headers.get("if-none-match") == headers.get("ETag", "-")
        known |= request.headers.get("if-modified-since") == headers.get("Last_Modified", "-")
        (reply(304, ETag=headers.get("ETag", "")) if known else reply(200, body, **headers))(sock, request)

    return answer


def drip(server: MediaServer, head: bytes, *, every: float = 0.1) -> Route:
    """`head`, then one byte after the other without end."""

    def answer(sock: socket.socket, _: Request) -> None:
        sock.sendall(head)
        while not server.stopping.is_set():
            sock.sendall(b"x")
            time.sleep(every)

    return answer


def endless(head: bytes, piece: bytes) -> Route:
    """`head`, then `piece` again and again as fast as it is taken."""

    def answer(sock: socket.socket, _: Request) -> None:
        sock.sendall(head)
        while True:
            sock.sendall(piece)

    return answer


def silence(server: MediaServer) -> Route:
    """Nothing, until the server stops."""
    return lambda _sock, _request: server.stopping.wait(60) and None
