"""The node that speaks HTTP by libcurl, against servers that answer well, oddly and not at all."""

from __future__ import annotations

import gc
import itertools
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnectionError
from elastic_transport import ConnectionTimeout, HttpHeaders, NodeConfig, TlsError
from plain_server import Asked, PlainServer, certificates, http, plain_server
from processes import free_port

from triptych.elastic.curl import CurlNode

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with plain_server() as state:
        yield state


@pytest.fixture
def node(server: PlainServer) -> Iterator[CurlNode]:
    one = node_of(server)
    yield one
    one.close()


def node_of(server: PlainServer, **more: Any) -> CurlNode:
    return CurlNode(NodeConfig(**{"scheme": "http", "host": "127.0.0.1", "port": server.port, "request_timeout": 5.0, **more}))


def body_of(node: CurlNode, *args: Any, **more: Any) -> bytes:
    found: bytes = node.perform_request(*args, **more).body
    return found


# Requests


KINDS = [("GET", None), ("GET", b"{}"), ("POST", b"one"), ("POST", b""), ("POST", None), ("PUT", b"two"), ("PUT", None),
         ("DELETE", None), ("DELETE", b"three"), ("HEAD", None)]  # fmt: skip


def test_requests_of_every_kind_after_each_other_keep_nothing_of_the_one_before(server: PlainServer, node: CurlNode) -> None:
    order = [kind for pair in itertools.product(KINDS, KINDS) for kind in pair]
    for number, (method, body) in enumerate(order):
        headers = HttpHeaders({"content-type": "application/json"}) if body else None
        found = node.perform_request(method, f"/{number}", body, headers)
        assert found.body == (b"" if method == "HEAD" else b"%s 1 %s" % (method.encode(), body or b""))
        asked = server.seen[-1]
        assert (asked.method, asked.target, asked.body) == (method, f"/{number}", body or b"")
        assert asked.headers.get("content-type") == ("application/json" if body else None)
        wanted = str(len(body or b"")) if body is not None or method in {"POST", "PUT"} else None
        assert asked.headers.get("content-length") == wanted
        assert not {"expect", "transfer-encoding"} & asked.headers.keys()
    assert server.connections == 1


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 + 1, 20_000_000])
def test_bodies_of_any_size_and_bytes(server: PlainServer, node: CurlNode, size: int) -> None:
    body = random.Random(size).randbytes(size)  # noqa: S311  no secret
    assert body_of(node, "POST", "/_bulk", body) == b"POST 1 " + body
    assert server.seen[-1].headers["content-length"] == str(size)


@pytest.mark.parametrize(
    "target", ["/shop/_doc/..", "/shop/_doc/.", "/a/../b", "/%2E%2E/x", "//x", "/s/_search?q=a%20b&x=%C3%A9"]
)
def test_a_target_is_sent_as_it_is(server: PlainServer, node: CurlNode, target: str) -> None:
    """A path that libcurl tidied up would make "DELETE /shop/_doc/.." delete the index."""
    node.perform_request("DELETE", target)
    assert server.seen[-1].target == target


def test_headers_that_are_sent(server: PlainServer) -> None:
    node = node_of(server, headers={"X-Usual": "usual", "Authorization": "one"}, path_prefix="es")
    node.perform_request("GET", "/x", headers=HttpHeaders({"AUTHORIZATION": "two", "x-name": "Möbel", "x-empty": ""}))
    asked = server.seen[-1]
    assert asked.target == "/es/x"
    found = {name: asked.headers.get(name) for name in ("x-usual", "authorization", "x-name", "x-empty", "content-type")}
    assert found == {"x-usual": "usual", "authorization": "two", "x-name": "Möbel", "x-empty": None, "content-type": None}
    assert asked.headers["user-agent"].startswith("elastic-transport")
    node.perform_request("GET", "/x")
    assert server.seen[-1].headers["authorization"] == "one"
    with pytest.raises(ValueError, match="line break"):
        node.perform_request("GET", "/x", headers=HttpHeaders({"x-key": "a\r\nX-Other: b"}))


# Responses


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 409, 429, 500, 503])
def test_statuses(server: PlainServer, node: CurlNode, status: int) -> None:
    bodies = status not in {204, 304}
    server.answers["/x"] = http(status, b'{"error": 1}' if bodies else b"", length=bodies)
    for method in ("GET", "POST"):
        found = node.perform_request(method, "/x", b"{}")
        assert (found.meta.status, found.body) == (status, b'{"error": 1}' if bodies else b"")
        assert found.meta.http_version == "1.1"
        assert 0 < found.meta.duration < 5
    assert server.connections == 1


def test_a_body_that_only_the_length_of_a_head_tells_of(server: PlainServer, node: CurlNode) -> None:
    server.answers["/x"] = http(404, b"x" * 500)
    found = node.perform_request("HEAD", "/x")
    assert (found.meta.status, found.body, found.meta.headers["content-length"]) == (404, b"", "500")
    assert body_of(node, "GET", "/x") == b"x" * 500
    assert server.connections == 1


def test_chunks_with_trailers(server: PlainServer, node: CurlNode) -> None:
    chunks = b"5\r\nhello\r\n1;more=x\r\n \r\n3\r\n\r\n\0\r\n0\r\nX-Sum: 1\r\n\r\n"
    server.answers["/x"] = http(200, chunks, b"Transfer-Encoding: chunked", b"X-Elastic-Product: Elasticsearch", length=False)
    found = node.perform_request("GET", "/x")
    assert found.body == b"hello \r\n\0"
    assert found.meta.headers["x-elastic-product"] == "Elasticsearch"
    assert body_of(node, "GET", "/y") == b"GET 1 "


def test_a_body_that_ends_with_the_connection(server: PlainServer, node: CurlNode) -> None:
    def until_the_end(sock: socket.socket, _: Asked) -> None:
        sock.sendall(http(200, b"all of it", length=False))
        sock.shutdown(socket.SHUT_RDWR)

    server.answers["/x"] = until_the_end
    assert body_of(node, "GET", "/x") == b"all of it"
    assert body_of(node, "GET", "/y") == b"GET 2 "


def test_odd_headers(server: PlainServer, node: CurlNode) -> None:
    odd = [b"WARNING: 299 one", b"Warning:299 two", b"X-Folded: a", b"\tb", b"X-Latin: M\xf6bel\x85x", b"X-Empty:",
           b"X-Colons: a:b: c "]  # fmt: skip
    server.answers["/x"] = http(200, b"ok", *odd)
    headers = node.perform_request("GET", "/x").meta.headers
    assert headers["warning"] == "299 one, 299 two"
    assert headers["X-FOLDED"] == "a b"
    assert headers["x-latin"] == "M\xf6bel\x85x"
    assert (headers["x-empty"], headers["x-colons"], headers["content-length"]) == ("", "a:b: c", "2")
    assert "warning" not in node.perform_request("GET", "/y").meta.headers


def test_a_response_after_a_100(server: PlainServer, node: CurlNode) -> None:
    server.answers["/x"] = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + http(201, b"ok", b"X-Late: 2")
    found = node.perform_request("POST", "/x", b"z" * 5000)
    assert (found.meta.status, found.body, found.meta.headers.get("x-early")) == (201, b"ok", None)
    assert found.meta.headers["x-late"] == "2"


def test_redirects_are_not_followed(server: PlainServer, node: CurlNode) -> None:
    server.answers["/x"] = http(302, b"", b"Location: /y")
    found = node.perform_request("GET", "/x")
    assert (found.meta.status, found.meta.headers["location"]) == (302, "/y")
    assert len(server.seen) == 1


ODD = [
    b"no http at all\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"",
]


@pytest.mark.parametrize("answer", ODD)
def test_no_or_half_a_response_is_a_connection_error(server: PlainServer, node: CurlNode, answer: bytes) -> None:
    def hang_up(sock: socket.socket, _: Asked) -> None:
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_RDWR)

    server.answers["/x"] = hang_up
    with pytest.raises(NoConnectionError) as caught:
        node.perform_request("GET", "/x")
    assert not isinstance(caught.value, TlsError)
    assert body_of(node, "GET", "/y").startswith(b"GET ")


# Connections


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"{}" * 50_000), ("DELETE", None), ("HEAD", None)])
@pytest.mark.parametrize("pause", [0.05, 0.0])
def test_an_idle_connection_that_the_server_closed(
    server: PlainServer, node: CurlNode, method: str, body: bytes | None, pause: float
) -> None:
    for number in range(1, 4):
        assert node.perform_request(method, "/x", body).meta.status == 200
        assert server.connections == number
        server.hang_up()
        time.sleep(pause)


def test_a_connection_that_the_server_closes_once_it_is_asked_again(server: PlainServer, node: CurlNode) -> None:
    """What happens when the server's idle time is over just then: nothing was answered, so it is asked on a new connection."""

    def only_once(sock: socket.socket, asked: Asked) -> None:
        if sum(one.connection == asked.connection for one in server.seen) > 1:
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.sendall(http(200, b"%d" % asked.connection))

    server.answers["/x"] = only_once
    assert [body_of(node, "POST", "/x", b"{}") for _ in range(3)] == [b"1", b"2", b"3"]


def test_connection_refused_and_name_not_found(server: PlainServer) -> None:
    for config in ({"port": free_port()}, {"host": "nobody.invalid"}):
        with pytest.raises(NoConnectionError) as caught:
            node_of(server, **config).perform_request("GET", "/")
        assert type(caught.value) is NoConnectionError


def test_time_outs(server: PlainServer, node: CurlNode) -> None:
    def drip(sock: socket.socket, _: Asked) -> None:
        sock.sendall(http(200, length=False)[:-2] + b"Content-Length: 1000\r\n\r\n")
        for _ in range(100):
            sock.sendall(b"x")
            time.sleep(0.05)

    server.answers |= {"/silent": lambda *_: time.sleep(2), "/drip": drip}
    for target in ("/silent", "/drip"):
        started = time.monotonic()
        with pytest.raises(ConnectionTimeout):
            node.perform_request("GET", target, request_timeout=0.2)
        assert time.monotonic() - started < 1
    with pytest.raises(ConnectionTimeout):
        node_of(server, request_timeout=0.2).perform_request("GET", "/silent")
    assert body_of(node, "GET", "/y", request_timeout=None).startswith(b"GET ")


def test_a_time_out_while_connecting() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with pytest.raises(ConnectionTimeout):
            CurlNode(NodeConfig("http", *address)).perform_request("GET", "/", request_timeout=0.3)
        for one in waiting:
            one.close()


def test_proxies_of_the_environment_are_not_used(server: PlainServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert body_of(node_of(server), "GET", "/") == b"GET 1 "


def test_threads_at_once_have_a_connection_each(server: PlainServer, node: CurlNode) -> None:
    together = threading.Barrier(8)

    def ask(thread: int) -> list[bytes]:
        together.wait()
        return [body_of(node, "POST", f"/{thread}", b"%d-%d" % (thread, n)).split()[-1] for n in range(50)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert found == [[b"%d-%d" % (thread, n) for n in range(50)] for thread in range(8)]
    assert server.connections == 8
    by_thread = {
        target: {one.connection for one in server.seen if one.target == target} for target in map("/{}".format, range(8))
    }
    assert all(len(connections) == 1 for connections in by_thread.values())


def test_close(server: PlainServer, node: CurlNode) -> None:
    assert body_of(node, "GET", "/") == b"GET 1 "
    go = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(node.perform_request, "GET", "/").result()
        server.answers["/slow"] = lambda sock, _: (go.wait(5), sock.sendall(http(200, b"late")))[1]
        running = pool.submit(node.perform_request, "GET", "/slow")
        while server.seen[-1].target != "/slow":
            time.sleep(0.01)
        node.close()
        node.close()
        go.set()
        assert running.result().body == b"late", "what runs is not broken off"
        assert pool.submit(node.perform_request, "GET", "/").result().body == b"GET 3 "
    assert body_of(node, "GET", "/") == b"GET 4 "


# TLS


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    certificates(folder)
    return folder


@pytest.fixture
def secure(papers: Path) -> Iterator[Callable[..., PlainServer]]:
    """Makes servers of TLS."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(certificate: str = "server.pem", *, clients: bool = False) -> PlainServer:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(papers / certificate)
            if clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(papers / "ca.pem")
            return stack.enter_context(plain_server(context))

        yield make


def test_certificates(secure: Callable[..., PlainServer], papers: Path) -> None:
    good, other = secure(), secure("other.pem")
    ca = {"scheme": "https", "ca_certs": str(papers / "ca.pem")}
    for host in ("127.0.0.1", "localhost"):
        node = node_of(good, host=host, **ca)
        assert [body_of(node, "GET", "/").split()[0] for _ in range(2)] == [b"GET"] * 2
    assert good.connections == 2
    for node in (node_of(good, scheme="https"), node_of(other, **ca), node_of(other, host="localhost", **ca)):
        with pytest.raises(TlsError):
            node.perform_request("GET", "/", b"secret")
    assert other.seen == []
    unchecked = node_of(other, scheme="https", verify_certs=False, ssl_show_warn=False)
    assert body_of(unchecked, "GET", "/").startswith(b"GET")
    with pytest.raises(FileNotFoundError):
        node_of(good, scheme="https", ca_certs=str(papers / "none.pem"))


def test_client_certificates(secure: Callable[..., PlainServer], papers: Path) -> None:
    server = secure(clients=True)
    ca = {"scheme": "https", "ca_certs": str(papers / "ca.pem")}
    file = str(papers / "client.pem")
    for mine in ({"client_cert": file}, {"client_cert": file, "client_key": file}):
        assert body_of(node_of(server, **ca, **mine), "POST", "/", b"x").endswith(b" x")
    with pytest.raises(NoConnectionError):
        node_of(server, **ca).perform_request("GET", "/")


def test_http_where_https_is_spoken_and_the_reverse(server: PlainServer, secure: Callable[..., PlainServer]) -> None:
    with pytest.raises(TlsError):
        node_of(server, scheme="https").perform_request("GET", "/")
    with pytest.raises(NoConnectionError):
        node_of(secure()).perform_request("GET", "/")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it is multi-threaded
def test_a_forked_child_has_its_own_connection(secure: Callable[..., PlainServer], papers: Path, *, tls: bool) -> None:
    with plain_server() as plain:
        server = secure() if tls else plain
        node = node_of(server, scheme="https" if tls else "http", **({"ca_certs": str(papers / "ca.pem")} if tls else {}))
        assert body_of(node, "GET", "/") == b"GET 1 "
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(body_of, node, "GET", "/").result() == b"GET 2 "
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 0 if body_of(node, "GET", "/") == b"GET 3 " else 2
                    grandchild = os.fork()
                    if grandchild == 0:
                        os._exit(0)
                    os.waitpid(grandchild, 0)
                    gc.collect()
                    node.close()
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert body_of(node, "GET", "/") == b"GET 1 ", "the parent's is as it was"
            assert pool.submit(body_of, node, "GET", "/").result() == b"GET 2 "
