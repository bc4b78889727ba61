"""TLS in front of a server that speaks none, as an operator's proxy does it: bytes in, bytes out, a certificate asked for."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def tls_front(port: int, folder: Path) -> Iterator[str]:
    """The https address of a front of 127.0.0.1:`port`, for clients that show a certificate of the CA in `folder`, which holds
    what `plain_server.certificates` made.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_join, args=(sock, context, port), daemon=True).start()


def _join(sock: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Carry bytes both ways until one side ends. A client that shows no certificate is heard no further."""
    with suppress(OSError), sock:
        sock.settimeout(30)
        with context.wrap_socket(sock, server_side=True) as outer, socket.create_connection(("127.0.0.1", port)) as inner:
            outer.settimeout(None)
            back = threading.Thread(target=_carry, args=(inner, outer), daemon=True)
            back.start()
            _carry(outer, inner)
            back.join(30)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
