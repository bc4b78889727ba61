"""How requests reach Elasticsearch: a node of elastic_transport over libcurl.

The client's own node is urllib3, in Python. Of the .85 ms of CPU that one search takes the client's process it takes .55,
libcurl .28 (benchmarks/search.py). https://curl.se/libcurl/c/curl_easy_setopt.html
"""

from __future__ import annotations

import io
import os
import threading
import time
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


class CurlNode(BaseNode):
    """One Elasticsearch node. Each thread has a connection of its own, which stays open."""

    _CLIENT_META_HTTP_CLIENT = ("cu", pycurl.version_info()[1])

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self._mine = threading.local()
        self._address = self.base_url
        self._usual = {name.lower(): value for name, value in self._headers.items()}

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: DefaultType | float | None = DEFAULT,
    ) -> Any:
        """Status and headers, and the body. Raises ConnectionTimeout, TlsError or ConnectionError."""
        curl = self._curl()
        seconds = self.config.request_timeout if isinstance(request_timeout, DefaultType) else request_timeout
        sent = {**self._usual, **{name.lower(): value for name, value in (headers or {}).items()}, "expect": ""}
        head, received = io.BytesIO(), io.BytesIO()
        curl.setopt(pycurl.URL, self._address + target)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" if value else f"{name}:" for name, value in sent.items()])
        curl.setopt(pycurl.TIMEOUT_MS, 0 if seconds is None else max(1, round(seconds * 1000)))
        curl.setopt(pycurl.WRITEHEADER, head)
        curl.setopt(pycurl.WRITEDATA, received)
        _ask(curl, method, body)
        started = time.perf_counter()
        try:
            curl.perform()
        except pycurl.error as error:
            raise translated(error) from error
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        meta = ApiResponseMeta(status, "1.1", headers_of(head.getvalue()), time.perf_counter() - started, self.config)
        return Response(meta, received.getvalue())

    def _curl(self) -> pycurl.Curl:
        """This thread's handle, with all that no request changes; a forked child must not write into its parent's socket."""
        if getattr(self._mine, "process", None) != os.getpid():
            self._mine.curl, self._mine.process = self._made(), os.getpid()
        found: pycurl.Curl = self._mine.curl
        return found

    def _made(self) -> pycurl.Curl:
        config, curl = self.config, pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROXY, "")  # none, whatever the environment says
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
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


def _ask(curl: pycurl.Curl, method: str, body: bytes | None) -> None:
    """Set method and body. The handle remembers those of the request before."""
    curl.setopt(pycurl.NOBODY, int(method == "HEAD"))
    if body is not None:
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDS, body)
    elif method != "HEAD":
        curl.setopt(pycurl.HTTPGET, 1)
    if method == "HEAD":
        curl.unsetopt(pycurl.CUSTOMREQUEST)
    else:
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def headers_of(head: bytes) -> HttpHeaders:
    """The headers of the last response in `head`: before it there may be those of a proxy, or a 100 Continue."""
    last = head.decode("latin-1").rstrip().rpartition("\r\n\r\n")[2]
    pairs = (line.partition(":") for line in last.split("\r\n")[1:])
    return HttpHeaders({name.strip().lower(): value.strip() for name, _, value in pairs})


def translated(error: pycurl.error) -> TransportError:
    """libcurl's error as elastic_transport's, which decides what is tried again."""
    code, message = (*error.args, "")[:2]
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return ConnectionTimeout(f"Connection timed out: {message}", errors=(error,))
    kind = TlsError if code in _TLS else NoConnectionError
    return kind(str(message), errors=(error,))
