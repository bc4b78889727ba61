"""How requests reach Elasticsearch: a node of elastic_transport over libcurl.

The client's own node is urllib3, in Python. Of the .85 ms of CPU that one search takes the client's process it takes .55,
libcurl .28 (benchmarks/search.py). https://curl.se/libcurl/c/curl_easy_setopt.html
"""

from __future__ import annotations

import functools
import io
import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import pycurl
from elastic_transport import (
    ApiResponseMeta,
    BaseNode,
    ConnectionTimeout,
    HttpHeaders,
    NodeConfig,
    TlsError,
    TransportError,
)
from elastic_transport import ConnectionError as NoConnectionError
from elastic_transport.client_utils import DEFAULT, DefaultType

_TLS = {
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CERTPROBLEM,
    pycurl.E_SSL_CIPHER,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_ISSUER_ERROR,
}
_LENGTH_WANTED = {"POST", "PUT", "PATCH"}
"""Without a body these say so by "Content-Length: 0", else proxies answer with 411 (RFC 9110, 8.6)."""

_LISTING = threading.Lock()
_ALL: weakref.WeakSet[pycurl.Curl] = weakref.WeakSet()
_FORKED: list[pycurl.Curl] = []
"""Handles that came with a fork. Were one freed in the child, it would end a TLS session that the parent still uses."""


def _listed(handles: weakref.WeakSet[pycurl.Curl]) -> list[pycurl.Curl]:
    with _LISTING:
        return list(handles)


def _before_fork() -> None:
    _LISTING.acquire()
    _FORKED.extend(_ALL)


def _after_fork_in_parent() -> None:
    own = set(_ALL)
    _FORKED[:] = [curl for curl in _FORKED if curl not in own]
    _LISTING.release()


def _after_fork_in_child() -> None:
    _ALL.clear()
    _LISTING.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class CurlNode(BaseNode):
    """One Elasticsearch node. Each thread has a connection of its own, which stays open."""

    _CLIENT_META_HTTP_CLIENT = ("cu", pycurl.version_info()[1])

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        if config.ca_certs and not Path(config.ca_certs).exists():
            raise FileNotFoundError(f"there is no {config.ca_certs}")
        self._mine = threading.local()
        self._handles: weakref.WeakSet[pycurl.Curl] = weakref.WeakSet()
        self._closed = 0
        self._address = super().base_url
        usual = {name.lower(): value for name, value in self._headers.items()}
        self._lines = functools.lru_cache(maxsize=64)(functools.partial(_lines, usual))

    @property
    def base_url(self) -> str:
        """The address. elastic_transport asks for it twice a request, and puts it together from its parts each time."""
        return self._address

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> Any:
        """Status and headers, and the body. Raises ConnectionTimeout, TlsError or ConnectionError."""
        curl, posts = self._curl(), method in _LENGTH_WANTED or (body is not None and method != "HEAD")
        seconds = self.config.request_timeout if isinstance(request_timeout, DefaultType) else request_timeout
        head, received = io.BytesIO(), io.BytesIO()
        started = time.perf_counter()
        try:
            self._set_up(curl, method, target, dict(headers or ()), posts=posts)
            curl.setopt(pycurl.TIMEOUT_MS, 0 if seconds is None else max(1, round(seconds * 1000)))
            curl.setopt(pycurl.WRITEHEADER, head)
            curl.setopt(pycurl.WRITEDATA, received)
            if posts:
                curl.setopt(pycurl.POSTFIELDS, body or b"")
            curl.perform()
        except pycurl.error as error:  # also where another thread closed the node just now
            raise translated(error) from error
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        meta = ApiResponseMeta(status, "1.1", headers_of(head.getvalue()), time.perf_counter() - started, self.config)
        return Response(meta, received.getvalue())

    def _set_up(self, curl: pycurl.Curl, method: str, target: str, headers: Mapping[str, str], *, posts: bool) -> None:
        """What this thread's requests have in common; the handle remembers it, so it is set where it differs."""
        known, wanted = self._mine.known, {"url": target, "headers": headers, "method": (method, posts)}
        if known == wanted:
            return
        if known.pop("url", None) != target:
            curl.setopt(pycurl.URL, self._address + target)
        if known.pop("headers", None) != headers:
            curl.setopt(pycurl.HTTPHEADER, self._lines(tuple(headers.items())))
        if known.pop("method", None) != (method, posts):
            _method(curl, method, posts=posts)
        known |= wanted

    def close(self) -> None:
        """Close all connections; one that a request is using is left to its thread. Another request opens a new one."""
        self._closed += 1
        for curl in set(_listed(self._handles)) - set(_FORKED):
            with suppress(pycurl.error):  # it is in use
                curl.close()

    def _curl(self) -> pycurl.Curl:
        """This thread's handle, with all that no request changes; a forked child must not write into its parent's socket."""
        made = (os.getpid(), self._closed)
        if getattr(self._mine, "made", None) != made:
            curl = self._made()
            with _LISTING:
                self._handles.add(curl)
                _ALL.add(curl)
            self._mine.curl, self._mine.made, self._mine.known = curl, made, {}
        found: pycurl.Curl = self._mine.curl
        return found

    def _made(self) -> pycurl.Curl:
        config, curl = self.config, pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROXY, "")  # none, whatever the environment says
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)  # else "/index/_doc/.." would become "/index/"
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.TCP_KEEPALIVE, 1)
        if config.scheme == "https":
            curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
            curl.setopt(pycurl.SSL_VERIFYPEER, int(bool(config.verify_certs)))
            curl.setopt(pycurl.SSL_VERIFYHOST, 2 if config.verify_certs else 0)
            authorities = config.ca_certs or certifi.where()
            curl.setopt(pycurl.CAPATH if Path(authorities).is_dir() else pycurl.CAINFO, str(authorities))
            for option, file in ((pycurl.SSLCERT, config.client_cert), (pycurl.SSLKEY, config.client_key)):
                if file:
                    curl.setopt(option, str(file))
        return curl


class Response(NamedTuple):
    """What a node answers."""

    meta: ApiResponseMeta
    body: bytes


def _method(curl: pycurl.Curl, method: str, *, posts: bool) -> None:
    """Set the method. The handle remembers that of the request before."""
    if method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
        curl.unsetopt(pycurl.CUSTOMREQUEST)
        return
    curl.setopt(pycurl.NOBODY, 0)
    curl.setopt(pycurl.POST if posts else pycurl.HTTPGET, 1)
    curl.setopt(pycurl.CUSTOMREQUEST, method)


def _lines(usual: Mapping[str, str], given: tuple[tuple[str, str], ...]) -> list[bytes]:
    """The headers of a request: those of every one, and over them those given."""
    sent = {"content-type": "", **usual, **{name.lower(): value for name, value in given}, "expect": ""}
    return [_line(name, value) for name, value in sent.items()]


def _line(name: str, value: str) -> bytes:
    """A header as libcurl takes it: without a value it is not sent, not even where libcurl has one of its own."""
    if "\r" in value or "\n" in value:
        raise ValueError(f"the header {name} has a line break in it")
    return f"{name}: {value}".encode("latin-1") if value else f"{name}:".encode("latin-1")


@functools.lru_cache(maxsize=64)
def headers_of(head: bytes) -> HttpHeaders:
    """The headers of the last response in `head`: before it there may be a 100 Continue, behind it the trailers of its body.

    Answers that are sent in pieces, as searches are, have the same head to the letter.
    """
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    start = max((number for number, line in enumerate(lines) if line.startswith("HTTP/")), default=-1)
    found: dict[str, str] = {}
    name = ""
    for line in lines[start + 1 :]:
        if not line:
            break
        if line[0] in " \t":  # a folded header goes on
            found[name] = f"{found.get(name, '')} {line.strip()}"
            continue
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return HttpHeaders(found).freeze()


def translated(error: pycurl.error) -> TransportError:
    """libcurl's error as elastic_transport's, which decides what is tried again."""
    code, message = error.args[0], error.args[-1]
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return ConnectionTimeout(f"Connection timed out: {message}", errors=(error,))
    kind = TlsError if code in _TLS else NoConnectionError
    return kind(str(message), errors=(error,))
