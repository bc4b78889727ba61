"""A server of HTTP over sockets that answers with the bytes a test gives it, and remembers what it was asked."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """A request. Header names are in lower case; `connection` counts the connections from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[socket.socket, Asked], None] | bytes | None
"""Bytes are sent as they are, None ends the connection; a function sends what it likes."""


@dataclass
class PlainServer:
    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hang_up(self) -> None:
        """End all connections from this side."""
        for sock in self.open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def http(status: int, body: bytes = b"", *headers: bytes, length: bool = True) -> bytes:
    """A response."""
    lines = [b"HTTP/1.1 %d Some Reason" % status, *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextmanager
def plain_server(tls: ssl.SSLContext | None = None) -> Iterator[PlainServer]:
    """Every path that has no answer gives 200 and what was asked: method, number of the connection, body."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        state = PlainServer(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, state, tls), daemon=True).start()
        yield state
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        state.hang_up()


def _accept(listener: socket.socket, state: PlainServer, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        while True:
            sock, _ = listener.accept()
            state.connections += 1
            threading.Thread(target=_serve, args=(sock, state, tls, state.connections), daemon=True).start()


def _serve(sock: socket.socket, state: PlainServer, tls: ssl.SSLContext | None, number: int) -> None:
    with suppress(OSError), sock:
        sock.settimeout(30)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True)
        state.open.append(sock)
        with sock, sock.makefile("rb") as stream:
            if stream.peek(1)[:1] == b"\x16":  # a hello of TLS
                sock.sendall(http(400, b"plain HTTP is spoken here"))
                return
            while (line := stream.readline()).strip():
                method, _, rest = line.decode("latin-1").partition(" ")
                target = rest.partition(" ")[0]
                headers: dict[str, str] = {}
                while (line := stream.readline()).strip():
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                asked = Asked(method, target, headers, stream.read(int(headers.get("content-length", 0))), number)
                with state.lock:
                    state.seen.append(asked)
                answer = state.answers.get(target, http(200, b"%s %d %s" % (method.encode(), number, asked.body)))
                if answer is None:
                    return
                if callable(answer):
                    answer(sock, asked)
                elif method == "HEAD":
                    sock.sendall(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                else:
                    sock.sendall(answer)


def certificates(folder: Path) -> None:
    """ca.pem, server.pem (for 127.0.0.1 and localhost), other.pem (for a name elsewhere) and client.pem, each with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    ca = _certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=None))
    _write(folder / "ca.pem", ca)
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    for file, names in (("server.pem", here), ("other.pem", [x509.DNSName("other.test")]), ("client.pem", here)):
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file)])
        _write(folder / file, _certificate(subject, name, own, key, x509.SubjectAlternativeName(names)), own)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), now - day, now + day)
    for one in extensions:
        builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256())


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    text = certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        form = serialization.PrivateFormat.PKCS8
        text += key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(text)
