"""One request and its answer, with an HTTP server that nobody trusts.

The connection goes to an address that was checked, never to the name: no second resolution, no rebinding. The name stands in
the Host header and is what the certificate is checked for. Proxies of the environment are not used and redirects are not
followed here.

What holds against which server: the connection and the wait for each byte have time-outs; a timer ends the connection at the
deadline, for a server that drips a byte a second (also of its headers, between whose bytes nobody here looks at the clock);
bytes are counted as they come, whatever Content-Length says; no encoding is accepted, so nothing inflates; http.client bounds
a header line (64 KB) and their number (100).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from triptych import __version__
from triptych.errors import MediaError
from triptych.media.fetch import check_bytes
from triptych.media.remote.addresses import Address
from triptych.media.remote.away import AwayError, DroppedError
from triptych.media.remote.deadline import Deadline
from triptych.media.remote.urls import Url

CONNECT_SECONDS = 5.0
"""For one address; of a name with several the next is tried after it."""

SILENCE_SECONDS = 10.0
"""A server that says nothing for so long is given up, although there may be time left for another attempt."""

_MOST_ADDRESSES = 8
_MOST_HEADERS = 64_000
_CHUNK = 65_536
_GOOD = (200, 203)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. `body` is empty unless the status is 200 or 203. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    url: Url,
    addresses: Sequence[Address],
    headers: Mapping[str, str],
    *,
    most_bytes: int,
    deadline: Deadline,
    tls: ssl.SSLContext,
) -> Answer:
    """GET a URL from the first of `addresses` that takes the connection.

    Raises MediaError: media.host_unreachable (an AwayError where the server is not there), media.fetch_timeout (both
    retryable), media.bad_certificate, media.bad_response, media.encoded, media.too_many_bytes, media.empty.
    """
    connection = _connected(url, addresses, deadline, tls)
    own = {"Host": url.authority, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"triptych/{__version__}"}
    try:
        with _ended_at(deadline, connection):
            connection.request("GET", url.target, headers={**own, **headers}, preload_content=False, decode_content=False)
            with connection.getresponse() as response:
                _check_headers(url, response)
                body = _body(url, response, most_bytes) if response.status in _GOOD else b""
                answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)
        if deadline.left <= 0:  # ended by the timer, which looks like the end of a body without a length
            raise late(url, deadline)
    except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        raise _classed(url, deadline, error) from error
    finally:
        connection.close()
    if answer.status in _GOOD:
        check_bytes(len(answer.body), most_bytes, url.place[:200], "path")
    return answer


def _connected(url: Url, addresses: Sequence[Address], deadline: Deadline, tls: ssl.SSLContext) -> HTTPConnection:
    failure: Exception | None = None
    for address in addresses[:_MOST_ADDRESSES]:
        if deadline.left <= 0:
            break
        connection = _connection(url, address, min(CONNECT_SECONDS, deadline.left), tls)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise MediaError(
                f"{url.authority} has no certificate that can be trusted: {error.verify_message}.",
                code="media.bad_certificate",
                remedy="Let the server's operator mend it; a CA of your own is trusted through SSL_CERT_FILE.",
            ) from error
        except (HTTPError, OSError) as error:
            connection.close()
            failure = error
        else:
            connection.timeout = max(min(SILENCE_SECONDS, deadline.left), 0.001)
            return connection
    if failure is None or deadline.left <= 0:
        raise late(url, deadline) from failure
    why = failure.__cause__ or failure  # urllib3's own sentence names an object in memory
    closed = isinstance(failure, NewConnectionError | ConnectTimeoutError)  # not one that speaks no TLS
    away = AwayError if closed else MediaError
    raise away(f"{url.authority} takes no connection: {why}.", code="media.host_unreachable", retryable=True) from failure


def _connection(url: Url, address: Address, seconds: float, tls: ssl.SSLContext) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(str(address), url.port, timeout=seconds)
    return HTTPSConnection(
        str(address), url.port, timeout=seconds, ssl_context=tls, cert_reqs="CERT_REQUIRED", server_hostname=url.host
    )


@contextmanager
def _ended_at(deadline: Deadline, connection: HTTPConnection) -> Iterator[None]:
    """End the connection at the deadline, whatever this thread waits for then."""
    timer = threading.Timer(max(deadline.left, 0), _end, [connection.sock])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(sock: socket.socket) -> None:
    with suppress(OSError):  # closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own would take its state away under the reader


def _check_headers(url: Url, response: urllib3.BaseHTTPResponse) -> None:
    size = sum(len(name) + len(value) for name, value in response.headers.items())
    if size > _MOST_HEADERS:
        raise _bad(url, f"its headers have more than {_MOST_HEADERS} characters")


def _body(url: Url, response: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise MediaError(
            f"{url.place[:200]!r} came encoded ({encoding[:40]}), which was not asked for.",
            code="media.encoded",
            remedy="Let the server send media as they are (Accept-Encoding: identity).",
        )
    said = response.headers.get("content-length", "")
    if said.isdecimal():
        check_bytes(min(int(said), most_bytes + 1), most_bytes, url.place[:200], "path")
    body = bytearray()
    for chunk in response.stream(_CHUNK, decode_content=False):
        body += chunk
        check_bytes(len(body), most_bytes, url.place[:200], "path")
    return bytes(body)


def _classed(url: Url, deadline: Deadline, error: Exception) -> MediaError:
    """What went wrong in an exchange: the time, the connection, or what the server said."""
    if deadline.left <= 0:
        return late(url, deadline)
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return MediaError(
            f"{url.authority} said nothing for {SILENCE_SECONDS:g} s.", code="media.fetch_timeout", retryable=True
        )
    nonsense = (http.client.HTTPException, urllib3.exceptions.InvalidHeader, ValueError)
    if isinstance(error, nonsense) and not isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return _bad(url, f"{error!r}"[:200])
    broken = DroppedError if isinstance(error, ConnectionError) else MediaError  # in a body it is urllib3's ProtocolError
    return broken(f"{url.authority} broke the connection: {error}.", code="media.host_unreachable", retryable=True)


def late(url: Url, deadline: Deadline) -> MediaError:
    """The error of a medium whose time is over."""
    return MediaError(
        f"{url.place[:200]!r} did not come within {deadline.seconds:g} s.",
        code="media.fetch_timeout",
        remedy="Try again later, or raise TRIPTYCH_FETCH_SECONDS.",
        retryable=True,
    )


def _bad(url: Url, why: str) -> MediaError:
    return MediaError(f"{url.authority} does not answer as HTTP says: {why}.", code="media.bad_response")
