"""Media by URL, from real servers of every kind of malice, with a real Redis to remember them."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from media_server import TLS, MediaServer, conditional, drip, endless, in_turn, raw, reply, serving, silence
from processes import wait_for
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine import redis_server
from triptych.domain import Media, Modality
from triptych.errors import MediaError
from triptych.media.fetcher import AT_ONCE, Fetcher
from triptych.media.remote import exchange as exchanging
from triptych.media.remote import hosts, slots, web
from triptych.media.remote.deadline import Deadline
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

BODY = b"a picture " * 100
MOST = 100_000
GIGABYTES_10 = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with redis_server(Settings()) as server, redis.Redis.from_url(server.url) as connected:
        yield connected


def nowhere() -> redis.Redis:
    """A client of a Redis that is away, and says so at once: redis-py by itself tries again for seconds, how many by chance."""
    return redis.Redis(port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving() as running:
        running.routes["/a.jpg"] = reply(200, BODY)
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def fetcher(client: redis.Redis, server: MediaServer) -> Callable[..., Fetcher]:
    """A Fetcher that may ask the server; takes settings for it."""

    def make(**settings: Any) -> Fetcher:
        given = {
            "fetch_hosts": "*", "fetch_private": "127.0.0.0/8", "fetch_ports": str(server.port), "fetch_seconds": 10.0,
            "media_bytes": MOST, "queue": f"q-{uuid.uuid4().hex[:8]}",
        }  # fmt: skip
        return Fetcher(Settings(**{**given, **settings}), client)

    return make


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses: the first question gets the first, and so on."""
    table: dict[str, list[str]] = {}
    really = socket.getaddrinfo

    def resolved(host: str, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in table:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (table[host].pop(0), port))]
        return really(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return table


def picture(url: str) -> Media:
    return Media(Modality.IMAGE, url)


def data(fetcher: Fetcher, url: str) -> bytes:
    with fetcher.batch(Path("nowhere")) as batch:
        return batch.data(picture(url))


def error(fetcher: Fetcher, url: str) -> MediaError:
    with pytest.raises(MediaError) as caught:
        data(fetcher, url)
    assert caught.value.field == Modality.IMAGE
    return caught.value


def failing(fetcher: Fetcher, url: str) -> tuple[str, bool]:
    found = error(fetcher, url)
    return found.code.removeprefix("media."), found.retryable


def digest(fetcher: Fetcher, *urls: str) -> list[str | MediaError]:
    with fetcher.batch(Path("nowhere")) as batch:
        return list(batch.digests(picture(url) for url in urls).values())


SHA = hashlib.sha256(BODY).hexdigest()

# What goes well


def test_a_picture_is_fetched(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    assert data(fetcher(), server.url("/a.jpg?w=1#top")) == BODY
    (request,) = server.seen
    assert request.path == "/a.jpg?w=1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("triptych/")
    assert not {"cookie", "authorization", "referer"} & set(request.headers)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\nContent-Encoding: identity\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + BODY + b"\r\n0\r\n\r\n",
    ],
)
def test_forms_of_a_body(fetcher: Callable[..., Fetcher], server: MediaServer, answer: bytes) -> None:
    server.routes["/a.jpg"] = raw(answer)
    assert data(fetcher(), server.url("/a.jpg")) == BODY


def test_a_batch_fetches_nothing_twice(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(200, b"other")
    media = [picture(server.url(path)) for path in ("/a.jpg", "/b.jpg", "/a.jpg")]
    with fetcher().batch(Path("nowhere")) as batch:
        assert batch.digests(media)[media[0]] == SHA
        assert [batch.data(one) for one in media] == [BODY, b"other", BODY]
    assert len(server.seen) == 2


def test_what_the_spool_has_no_room_for_is_fetched_again(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(200, b"x" * 600)
    media = [picture(server.url(path)) for path in ("/a.jpg", "/b.jpg")]
    with fetcher(fetch_spool_bytes=1200).batch(Path("nowhere")) as batch:
        batch.digests(media)
        assert [len(batch.data(one)) for one in media] == [1000, 600]
    assert len(server.seen) == 3


def test_media_are_fetched_side_by_side_but_not_too_many_of_a_host(
    fetcher: Callable[..., Fetcher], server: MediaServer
) -> None:
    now, seen, counting = [0], [0], threading.Lock()

    def slow(sock: socket.socket, request: Any) -> None:
        with counting:
            now[0] += 1
            seen[0] = max(seen[0], now[0])
        time.sleep(0.2)
        with counting:
            now[0] -= 1  # before the answer, after which the next may come
        reply(200, request.path.encode())(sock, request)

    urls = [f"/{number}.jpg" for number in range(12)]
    server.routes |= dict.fromkeys(urls, slow)
    found = digest(fetcher(fetch_per_host=3), *map(server.url, urls))
    assert found == [hashlib.sha256(path.encode()).hexdigest() for path in urls]
    assert 1 < seen[0] <= 3


def test_files_and_data_uris_stand_beside_urls(fetcher: Callable[..., Fetcher], server: MediaServer, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"file")
    media = [picture(text) for text in ("a.jpg", server.url("/a.jpg"), "data:,uri", "none.jpg", "ftp://a/b")]
    with fetcher().batch(tmp_path) as batch:
        found = batch.digests(media)
        assert [batch.data(one) for one in media[:3]] == [b"file", BODY, b"uri"]
    codes = [value.code if isinstance(value := found[one], MediaError) else len(value) for one in media]
    assert codes == [64, 64, 64, "media.not_found", "media.unsupported_reference"]


# Turns, over all workers


def crowd(server: MediaServer, urls: list[str], at_once: int) -> list[int]:
    """Let the server answer these once so many of them were asked for at once, and slowly even then, so that one too many would
    be seen; the greatest number of requests that it saw at once, kept up to date.
    """
    now, most, counting = [0], [0], threading.Condition()

    def slow(sock: socket.socket, request: Any) -> None:
        with counting:
            now[0] += 1
            most[0] = max(most[0], now[0])
            counting.notify_all()
            counting.wait_for(lambda: most[0] >= at_once, timeout=5)
        time.sleep(0.1)
        with counting:
            now[0] -= 1  # before the answer, after which the next may come
        reply(200, request.path.encode())(sock, request)

    server.routes |= dict.fromkeys(urls, slow)
    return most


def together(*calls: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def test_all_workers_together_ask_a_host_no_more_than_allowed(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    urls = [f"/{number}.jpg" for number in range(18)]
    most = crowd(server, urls, at_once=3)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    workers = [fetcher(queue=queue, fetch_per_host=3) for _ in range(3)]
    found: list[str | MediaError] = []
    shares = [list(map(server.url, urls[start::3])) for start in range(3)]
    together(*(lambda w=worker, s=share: found.extend(digest(w, *s)) for worker, share in zip(workers, shares, strict=True)))
    assert sorted(map(str, found)) == sorted(hashlib.sha256(path.encode()).hexdigest() for path in urls)
    assert most == [3]


def test_the_turn_of_a_killed_worker_comes_free(
    fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer, tmp_path: Path
) -> None:
    server.routes["/b.jpg"] = silence(server)
    here = fetcher(fetch_per_host=1, fetch_seconds=2.0)
    port = client.connection_pool.connection_kwargs["port"]
    made = {name: getattr(here.settings, name) for name in ("fetch_hosts", "fetch_private", "fetch_ports", "queue")}
    script = f"""
import pathlib, redis
from triptych.domain import Media, Modality
from triptych.media.fetcher import Fetcher
from triptych.settings import Settings
fetcher = Fetcher(Settings(fetch_per_host=1, fetch_seconds=2.0, **{made!r}), redis.Redis(port={port}))
with fetcher.batch(pathlib.Path("nowhere")) as batch:
    batch.data(Media(Modality.IMAGE, {server.url("/b.jpg")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        wait_for(lambda: bool(server.seen), "the request of the other process", seconds=30)
        process.kill()
    held = f"{here.settings.queue}:h1:127.0.0.1:held"
    assert client.zcard(held) == 1, "nobody gave it back"
    began = time.monotonic()
    assert data(here, server.url("/a.jpg")) == BODY
    assert 1 < time.monotonic() - began < 2 + slots.MARGIN_SECONDS + 3
    assert client.zcard(held) == 0


def test_turns_are_taken_in_order_and_by_none_that_is_gone(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 600.0)  # however long this takes, nobody is gone yet
    shared = slots.Slots(client, Settings(queue=f"q-{uuid.uuid4().hex[:8]}", fetch_per_host=1))

    def ask(token: str) -> int | None:
        return shared.ask("cdn.example", token, seconds=60)

    assert ask("first") == 0
    assert [ask("second"), ask("third"), ask("second")] == [1, 2, 1]
    assert shared.ask("other.example", "x", seconds=60) == 0
    shared.give("cdn.example", "first")
    assert [ask("third"), ask("newcomer")] == [1, 2], "the second was before them"
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 0.3)
    wait_for(lambda: ask("third") == 0, "the end of the patience with the second", seconds=10)
    with pytest.raises(TimeoutError):
        shared.take("cdn.example", seconds=60, until=Deadline(0.1))


def test_who_comes_in_one_millisecond_stands_in_line_as_they_came(client: redis.Redis) -> None:
    """All ask in one breath. Redis sorts by name what is equal, so each has a name before those that came before it."""
    shared = slots.Slots(client, Settings(queue=f"q-{uuid.uuid4().hex[:8]}", fetch_per_host=1))
    with client.pipeline() as breath:
        for number in range(41):
            shared._take(keys=shared._keys("cdn.example"), args=[f"{99 - number}", 1, 60_000, 60_000], client=breath)
        assert breath.execute() == list(range(41))


def test_who_gets_no_turn_in_the_time_of_its_batch_is_a_dead_letter(
    fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer
) -> None:
    here = fetcher(fetch_per_host=1, fetch_batch_seconds=0.4)
    shared = slots.Slots(client, here.settings)
    token = shared.take("127.0.0.1", seconds=60, until=Deadline(60))
    codes = [failing(here, server.url("/a.jpg")) for _ in range(hosts.FAILURES + 1)]
    assert set(codes) == {("batch_timeout", True)}
    assert (token is not None, server.seen) == (True, [])
    shared.give("127.0.0.1", str(token))
    assert data(here, server.url("/a.jpg")) == BODY, "that others had the host says nothing of it"


def test_without_redis_each_process_counts_for_itself_and_says_so_once(
    fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    urls = [f"/{number}.jpg" for number in range(6)]
    most = crowd(server, urls, at_once=2)
    monkeypatch.setattr(slots, "REST_SECONDS", 0.0)  # it is asked each time, and still said once
    caplog.set_level("INFO", logger=slots.__name__)
    connection = nowhere()
    away = Fetcher(fetcher(fetch_per_host=2).settings, connection)
    assert [len(str(found)) for found in digest(away, *map(server.url, urls))] == [64] * len(urls)
    assert most == [2]
    said = [one.message for one in caplog.records if one.name == slots.__name__]
    assert [text.split(":")[0] for text in said] == [
        "requests to hosts are counted by each process for itself while Redis is away"
    ]
    connection.connection_pool.reset()
    connection.connection_pool.connection_kwargs["port"] = client.connection_pool.connection_kwargs["port"]
    assert data(away, server.url("/a.jpg")) == BODY
    assert caplog.records[-1].message == "requests to hosts are counted over all workers again"


def test_files_and_data_uris_ask_redis_nothing(
    fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"file")
    here = fetcher()

    def asked() -> int:
        return int(client.info("stats")["total_commands_processed"])

    def fetched(*references: str) -> int:
        before = asked()
        with here.batch(tmp_path) as batch:
            media = [picture(text) for text in references]
            batch.digests(media)
            assert all(batch.data(one) for one in media)
        return asked() - before

    asking = fetched()
    assert fetched("a.jpg", "data:,uri") == asking
    assert fetched("a.jpg", server.url("/a.jpg")) > asking


# Conditional requests


@pytest.mark.parametrize("marks", [{"ETag": '"one"'}, {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_an_unchanged_picture_is_not_fetched_again(
    fetcher: Callable[..., Fetcher], server: MediaServer, marks: dict[str, str]
) -> None:
    server.routes["/a.jpg"] = conditional(BODY, Date=format_datetime(datetime.now(UTC), usegmt=True), **marks)
    once = fetcher()
    other_process = fetcher(queue=once.settings.queue)
    assert digest(once, server.url("/a.jpg")) == [SHA]
    with other_process.batch(Path("nowhere")) as batch:
        assert list(batch.digests([picture(server.url("/a.jpg"))]).values()) == [SHA]
        second = server.seen[-1].headers
        assert {"if-none-match", "if-modified-since"} & set(second)
        assert batch.data(picture(server.url("/a.jpg"))) == BODY  # the digest came without bytes
    assert not {"if-none-match", "if-modified-since"} & set(server.seen[-1].headers)

    server.routes["/a.jpg"] = conditional(b"new", ETag='"two"')
    assert digest(once, server.url("/a.jpg")) == [hashlib.sha256(b"new").hexdigest()]


def test_a_date_as_young_as_the_answer_is_not_trusted(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    now = format_datetime(datetime.now(UTC), usegmt=True)
    server.routes["/a.jpg"] = conditional(BODY, Last_Modified=now, Date=now)
    here = fetcher()
    for _ in range(2):
        digest(here, server.url("/a.jpg"))
    assert "if-modified-since" not in server.seen[-1].headers


def test_an_etag_goes_to_no_other_place(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = conditional(BODY, ETag='"one"')
    server.routes["/r.jpg"] = in_turn(reply(302, Location="/a.jpg"), reply(302, Location="/b.jpg"))
    server.routes["/b.jpg"] = conditional(b"another", ETag='"one"')
    here = fetcher()
    assert digest(here, server.url("/r.jpg")) == [SHA]
    assert digest(here, server.url("/r.jpg")) == [hashlib.sha256(b"another").hexdigest()]


def test_a_304_that_nobody_asked_for_is_no_picture(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = reply(304)
    assert failing(fetcher(), server.url("/a.jpg")) == ("http_status", False)


def test_the_memory_is_bounded(fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer) -> None:
    here = fetcher(fetch_known=3)
    for number in range(8):
        server.routes[f"/{number}"] = reply(200, BODY, ETag=f'"{number}"')
        digest(here, server.url(f"/{number}"))
    assert len(list(client.scan_iter(match=f"{here.settings.queue}:m1:*"))) == 3 + 1  # and their order
    assert here.known.get(server.url("/7")) is not None
    assert here.known.get(server.url("/0")) is None


def test_without_redis_everything_is_fetched(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = conditional(BODY, ETag='"one"')
    away = Fetcher(fetcher().settings, nowhere())
    assert [digest(away, server.url("/a.jpg")) for _ in range(2)] == [[SHA], [SHA]]


# What passes


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_server_that_fails_once_is_asked_again(fetcher: Callable[..., Fetcher], server: MediaServer, status: int) -> None:
    server.routes["/a.jpg"] = in_turn(reply(status), reply(200, BODY))
    assert data(fetcher(), server.url("/a.jpg")) == BODY
    assert len(server.seen) == 2


def test_attempts_end(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = reply(500)
    assert failing(fetcher(fetch_attempts=3), server.url("/a.jpg")) == ("http_status", True)
    assert len(server.seen) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(fetcher: Callable[..., Fetcher], server: MediaServer, form: str) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    server.routes["/a.jpg"] = in_turn(reply(429, Retry_After="1" if form == "seconds" else when), reply(200, BODY))
    began = time.monotonic()
    assert data(fetcher(), server.url("/a.jpg")) == BODY
    assert time.monotonic() - began > 0.9


def test_a_host_that_asks_for_a_long_rest_gets_it(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(503, Retry_After="3600")
    here = fetcher(fetch_batch_seconds=30.0)  # less than the rest that is kept of an hour
    assert failing(here, server.url("/b.jpg"))[1]
    assert failing(here, server.url("/a.jpg")) == ("host_resting", True)
    assert len(server.seen) == 1


def test_a_rest_longer_than_the_time_of_a_medium_costs_its_batch_time_and_no_medium(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "FAILURES", 1)
    urls = [f"/{number}.jpg" for number in range(3 * AT_ONCE)]
    server.routes |= dict.fromkeys(urls, reply(200, BODY))
    server.routes[urls[5]] = in_turn(reply(503, Retry_After="3"), reply(503, Retry_After="2"), reply(200, BODY))
    here = fetcher(fetch_seconds=1.5, fetch_batch_seconds=15.0, fetch_attempts=2)
    began = time.monotonic()
    with here.batch(Path("nowhere")) as batch:
        assert set(batch.digests(picture(server.url(path)) for path in urls).values()) == {SHA}
        took = time.monotonic() - began
        assert 4.5 < took < 15, "all of them wait side by side"
        assert batch._left > 15 - took - 1, "and that is taken once"
    assert server.asked(urls[5]) == 3


def test_a_server_that_is_away_for_seconds_costs_nothing_but_these(fetcher: Callable[..., Fetcher]) -> None:
    """Killed and started anew on the same port, twice: before the first picture and in the middle."""
    with serving() as first:
        port = first.port
    here = fetcher(fetch_ports=str(port), fetch_attempts=2)
    urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(60)]
    found: dict[Media, str | MediaError] = {}

    def fetch() -> None:
        with here.batch(Path("nowhere")) as batch:
            for start in range(0, len(urls), 12):
                found.update(batch.digests(map(picture, urls[start : start + 12])))

    def slowly(sock: socket.socket, request: Any) -> None:
        time.sleep(0.1)
        reply(200, BODY)(sock, request)

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(2.5)
    with serving(port=port) as server:
        server.routes |= dict.fromkeys((f"/{number}.jpg" for number in range(60)), slowly)
        wait_for(lambda: len(server.seen) > 20, "some pictures", seconds=30)
    time.sleep(3.0)
    assert thread.is_alive()
    with serving(port=port) as server:
        server.routes |= dict.fromkeys((f"/{number}.jpg" for number in range(60)), reply(200, BODY))
        thread.join(30)
    assert (len(found), set(found.values())) == (60, {SHA})


def test_a_proxy_whose_server_is_away_for_seconds_costs_nothing_but_these(
    fetcher: Callable[..., Fetcher], server: MediaServer
) -> None:
    urls = [f"/{number}.jpg" for number in range(30)]
    here = fetcher(fetch_attempts=2)
    assert data(here, server.url("/a.jpg")) == BODY
    server.routes |= dict.fromkeys(urls, raw(b""))
    threading.Timer(2.5, lambda: server.routes.update(dict.fromkeys(urls, reply(200, BODY)))).start()
    assert set(digest(here, *map(server.url, urls))) == {SHA}


def test_a_host_that_failed_and_is_left_alone_is_waited_for_by_a_batch_that_has_the_time(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "REST_SECONDS", 2.0)
    server.routes["/b.jpg"] = in_turn(*[reply(500)] * hosts.FAILURES, reply(200, BODY))
    here = fetcher(fetch_attempts=1)
    assert data(here, server.url("/a.jpg")) == BODY
    codes = [failing(here, server.url("/b.jpg")) for _ in range(hosts.FAILURES)]
    assert set(codes) == {("http_status", True)}
    assert data(here, server.url("/b.jpg")) == BODY


def test_a_host_that_stays_away_is_given_up(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the batch's time, or of the patience with it; then its media cost the next batches nothing."""
    monkeypatch.setattr(hosts, "PATIENCE_SECONDS", 4.0)
    urls = [server.url(f"/{number}.jpg") for number in range(20)]
    server.routes |= {f"/{number}.jpg": raw(b"") for number in range(20)}

    def codes(here: Fetcher) -> tuple[Counter[str], float]:
        began = time.monotonic()
        found = Counter(one.code if isinstance(one, MediaError) else "here" for one in digest(here, *urls))
        return found, time.monotonic() - began

    for batch_seconds, least, most in ((2.0, 0.0, 4.0), (600.0, 3.0, 15.0)):
        here = fetcher(fetch_batch_seconds=batch_seconds, fetch_attempts=1)
        assert data(here, server.url("/a.jpg")) == BODY
        found, seconds = codes(here)
        assert set(found) <= {"media.host_unreachable", "media.host_resting", "media.batch_timeout"}
        assert (found.total(), least < seconds < most) == (20, True), seconds
    assert codes(here)[1] < 1


def test_a_rest_is_one_of_all_workers(fetcher: Callable[..., Fetcher], client: redis.Redis, server: MediaServer) -> None:
    """Asked of one, kept by the others, and no longer than it was asked for; a shorter one does not cut a longer one short."""
    queue = f"q-{uuid.uuid4().hex[:8]}"
    one, other = fetcher(queue=queue, fetch_attempts=1, fetch_batch_seconds=2.5), fetcher(queue=queue, fetch_seconds=1.0)
    server.routes["/b.jpg"] = in_turn(reply(503, Retry_After="3"), reply(503, Retry_After="1"))
    began = time.monotonic()
    assert failing(one, server.url("/b.jpg")) == ("http_status", True)
    assert data(other, server.url("/a.jpg")) == BODY
    assert time.monotonic() - began > 2.9
    shared = slots.Slots(client, one.settings)
    shared.rest("cdn.example", 5)
    shared.rest("cdn.example", 1)
    assert 4 < shared.resting("cdn.example") <= 5.1
    assert shared.resting("other.example") == 0
    assert slots.Slots(client, fetcher().settings).resting("cdn.example") == 0, "another queue's workers"


def test_a_host_that_keeps_failing_is_left_alone(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(500)
    here = fetcher(fetch_attempts=1)
    codes = [failing(here, server.url("/b.jpg"))[0] for _ in range(hosts.FAILURES + 2)]
    assert codes == ["http_status"] * hosts.FAILURES + ["host_resting"] * 2
    assert len(server.seen) == hosts.FAILURES


def test_pictures_that_are_not_there_say_nothing_of_their_host(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(404)
    here = fetcher()
    codes = {failing(here, server.url("/b.jpg")) for _ in range(hosts.FAILURES + 2)}
    assert codes == {("http_status", False)}
    assert data(here, server.url("/a.jpg")) == BODY


# What does not


@pytest.mark.parametrize("status", [204, 206, 400, 401, 403, 404, 410, 501])
def test_other_answers_are_final(fetcher: Callable[..., Fetcher], server: MediaServer, status: int) -> None:
    server.routes["/a.jpg"] = raw(f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode())
    assert failing(fetcher(), server.url("/a.jpg")) == ("http_status", False)
    assert len(server.seen) == 1


def test_nobody_is_asked_unless_allowed(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    url = server.url("/a.jpg")
    assert failing(fetcher(fetch_hosts=None), url) == ("host_not_allowed", False)
    assert failing(fetcher(fetch_hosts="cdn.example"), url) == ("host_not_allowed", False)
    assert failing(fetcher(fetch_ports="80,443"), url) == ("port_not_allowed", False)
    assert failing(fetcher(fetch_private=None), url) == ("address_refused", False)
    assert failing(fetcher(fetch_private="10.0.0.0/8"), url) == ("address_refused", False)
    assert failing(fetcher(fetch_private=None), server.url("/a.jpg", "localhost.")) == ("address_refused", False)
    assert server.seen == []


def test_a_port_where_nobody_listens(fetcher: Callable[..., Fetcher]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert failing(fetcher(fetch_ports=str(port), fetch_seconds=2.0), f"http://127.0.0.1:{port}/") == (
            "host_unreachable",
            True,
        )


BODIES = {
    "empty": (reply(200), "empty", False),
    "garbage": (raw(b"\x00\x01 this is not HTTP\r\n\r\n" * 10), "bad_response", False),
    "another protocol": (raw(b"220 mail.example ESMTP\r\n"), "bad_response", False),
    "nothing at all": (raw(b""), "host_unreachable", True),
    "long header": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), "bad_response", False),
    "many headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "bad_response", False),
    "large headers": (raw(b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 70 + b"\r\n"), "bad_response", False),
    "cut off": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"), "host_unreachable", True),
    "chunks cut off": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nhalf"), "host_unreachable", True),
    "bad chunks": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf"), "host_unreachable", True),
    "one byte too many": (reply(200, b"x" * (MOST + 1)), "too_many_bytes", False),
    "10 GB, as it says": (endless(GIGABYTES_10, b"x" * 65_536), "too_many_bytes", False),
    "without end": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536), "too_many_bytes", False),
    "chunks without end": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + BODY + b"\r\n"), "too_many_bytes", False
    ),
    "one endless chunk line": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1" * 65_536), "host_unreachable", True
    ),
    "headers without end": (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000), "bad_response", False),
    "gzip bomb": (reply(200, gzip.compress(b"\0" * 10_000_000), Content_Encoding="gzip"), "encoded", False),
    "br": (reply(200, b"x", Content_Encoding="br, gzip"), "encoded", False),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_answer(fetcher: Callable[..., Fetcher], server: MediaServer, name: str) -> None:
    server.routes["/a.jpg"], code, again = BODIES[name]
    assert failing(fetcher(fetch_attempts=2), server.url("/a.jpg")) == (code, again)
    assert len(server.seen) == 1 + again


HEADS = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: ", b"HTTP/1.1 302 Found\r\nLocation: "]
HEADS += [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 503 X\r\nRetry-After: ", b"HTTP/1.1 "]


def test_whatever_a_server_says_is_bytes_or_a_media_error(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311
    alphabet = [bytes([number]) for number in range(256)] + [b"\r\n", b"\r\n\r\n", b": ", b"9" * 5000, b"-1", b"chunked"] * 8
    monkeypatch.setattr(hosts, "MOST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(hosts, "PATIENCE_SECONDS", 0.0)  # some redirect to where the connection is dropped
    good = 0
    for _ in range(300):
        answer = chance.choice(HEADS) + b"".join(chance.choices(alphabet, k=chance.randrange(20)))
        server.routes["/a.jpg"] = raw(answer)
        try:
            good += len(data(fetcher(fetch_attempts=1), server.url("/a.jpg"))) > 0
        except MediaError as found:
            assert found.code.startswith("media."), answer  # noqa: PT017
    assert good > 10


def test_the_largest_allowed(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = reply(200, b"x" * MOST)
    assert len(data(fetcher(), server.url("/a.jpg"))) == MOST


def test_an_inflated_length_is_not_believed(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    """A body longer than Content-Length says ends where it says."""
    server.routes["/a.jpg"] = endless(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"abcd")
    assert data(fetcher(), server.url("/a.jpg")) == b"abcd"


DRIPS = {
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "body without length": b"HTTP/1.1 200 OK\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    "status": b"HTTP/1.1 200 ",
    "header": b"HTTP/1.1 200 OK\r\nX-Drip: ",
    "early": b"HTTP/1.1 100 Continue\r\nX-Drip: ",
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_server_that_drips_is_left_at_the_deadline(fetcher: Callable[..., Fetcher], server: MediaServer, name: str) -> None:
    server.routes["/a.jpg"] = drip(server, DRIPS[name])
    began = time.monotonic()
    assert failing(fetcher(fetch_seconds=1.0), server.url("/a.jpg")) == ("fetch_timeout", True)
    assert time.monotonic() - began < 5


def test_a_server_that_says_nothing(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes["/a.jpg"] = silence(server)
    assert failing(fetcher(fetch_seconds=0.5), server.url("/a.jpg")) == ("fetch_timeout", True)
    monkeypatch.setattr(exchanging, "SILENCE_SECONDS", 0.2)
    assert failing(fetcher(fetch_seconds=5.0, fetch_attempts=2), server.url("/a.jpg")) == ("fetch_timeout", True)
    assert len(server.seen) == 3


def test_nothing_is_left_running(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = drip(server, DRIPS["body"])
    digest(fetcher(fetch_seconds=0.5), server.url("/a.jpg"), server.url("/b.jpg"))

    def left() -> list[str]:
        """Threads that fetch, and timers of ours: another test's server may have some too."""
        timers = [
            t for t in threading.enumerate() if str(getattr(getattr(t, "function", None), "__module__", "")).startswith("tri")
        ]
        return [thread.name for thread in threading.enumerate() if thread in timers or thread.name.startswith("fetch")]

    wait_for(lambda: not left(), "the end of timers that were called off", seconds=30)


# Redirects


def test_redirects_are_followed(fetcher: Callable[..., Fetcher], server: MediaServer, names: dict[str, list[str]]) -> None:
    server.routes["/1"] = reply(301, Location="/2")
    server.routes["/2"] = reply(307, Location=server.url("/%C3%BC", "pictures.test"))
    server.routes["/%C3%BC"] = raw("HTTP/1.1 308 X\r\nLocation: ./ü.jpg\r\n\r\n".encode())
    server.routes["/%C3%BC.jpg"] = reply(200, BODY)
    names["pictures.test"] = ["127.0.0.1", "127.0.0.1"]
    assert data(fetcher(), server.url("/1")) == BODY
    assert server.seen[-1].headers["host"] == f"pictures.test:{server.port}"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/meta-data/", "address_refused"),
        ("http://[fd00:ec2::254]/latest/", "address_refused"),
        ("http://[::ffff:a9fe:a9fe]/", "address_refused"),
        ("http://metadata.test/computeMetadata/v1/", "address_refused"),
        ("http://inside.test/", "address_refused"),
        ("http://10.0.0.1/", "address_refused"),
        ("http://[::1]/", "address_refused"),
        ("http://2130706433/", "bad_url"),
        ("http://user:pass@127.0.0.1/", "bad_url"),
        ("http://127.0.0.1:22/", "port_not_allowed"),
        ("file:///etc/passwd", "bad_redirect"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "bad_redirect"),
        ("data:image/png;base64,AAAA", "bad_redirect"),
        ("s3://bucket/key", "bad_redirect"),
        ("", "bad_redirect"),
    ],
)
def test_a_redirect_to_where_it_must_not_lead(
    fetcher: Callable[..., Fetcher], server: MediaServer, names: dict[str, list[str]], location: str, code: str
) -> None:
    names |= {"metadata.test": ["169.254.169.254"], "inside.test": ["192.168.0.7"]}
    server.routes["/a.jpg"] = reply(302, Location=location)
    here = fetcher(fetch_ports=f"{server.port},80")
    assert failing(here, server.url("/a.jpg")) == (code, False)
    assert len(server.seen) == 1


def test_a_redirect_to_a_host_that_is_not_allowed(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/b.jpg"] = reply(302, Location=server.url("/a.jpg", "localhost"))
    assert failing(fetcher(fetch_hosts="127.0.0.1"), server.url("/b.jpg")) == ("host_not_allowed", False)


def test_redirects_in_a_circle(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes |= {"/1": reply(302, Location="/2"), "/2": reply(302, Location="/1")}
    assert failing(fetcher(fetch_redirects=4), server.url("/1")) == ("too_many_redirects", False)
    assert len(server.seen) == 5


# Names and certificates


def test_a_name_is_resolved_once_and_the_answer_is_what_is_asked(
    fetcher: Callable[..., Fetcher], server: MediaServer, names: dict[str, list[str]]
) -> None:
    """DNS rebinding: the second answer would lead to the metadata service, but nobody asks a second time."""
    names["rebind.test"] = ["127.0.0.1", "169.254.169.254"]
    assert data(fetcher(), server.url("/a.jpg", "rebind.test")) == BODY
    assert names["rebind.test"] == ["169.254.169.254"]
    assert server.seen[0].headers["host"] == f"rebind.test:{server.port}"
    assert failing(fetcher(), server.url("/a.jpg", "rebind.test")) == ("address_refused", False)
    assert len(server.seen) == 1


def test_a_self_signed_certificate_is_refused(fetcher: Callable[..., Fetcher]) -> None:
    with serving(tls=True) as secure:
        secure.routes["/a.jpg"] = reply(200, BODY)
        here = fetcher(fetch_ports=str(secure.port))
        assert failing(here, secure.url("/a.jpg", scheme="https")) == ("bad_certificate", False)
        assert secure.seen == []


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    fetcher: Callable[..., Fetcher], server: MediaServer, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "certificate.pem"))
    names |= {"pictures.test": ["127.0.0.1"] * 2, "other.test": ["127.0.0.1"]}
    with serving(tls=True) as secure:
        secure.routes["/a.jpg"] = reply(200, BODY)
        secure.routes["/down"] = reply(302, Location=server.url("/a.jpg"))
        here = fetcher(fetch_ports=f"{secure.port},{server.port}")
        assert data(here, secure.url("/a.jpg", "pictures.test", "https")) == BODY
        assert failing(here, secure.url("/a.jpg", "other.test", "https")) == ("bad_certificate", False)
        assert failing(here, secure.url("/down", "pictures.test", "https")) == ("bad_redirect", False)
    assert server.seen == []


def test_https_where_http_is_spoken(fetcher: Callable[..., Fetcher], server: MediaServer) -> None:
    server.routes["/a.jpg"] = reply(200, BODY)
    assert failing(fetcher(fetch_attempts=1), server.url("/a.jpg", scheme="https"))[0] == "host_unreachable"


def test_proxies_of_the_environment_are_not_used(
    fetcher: Callable[..., Fetcher], server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert data(fetcher(), server.url("/a.jpg")) == BODY


# Buckets; what is in them: test_media_buckets.py


def test_a_bucket_that_is_not_allowed_is_not_asked(fetcher: Callable[..., Fetcher]) -> None:
    for scheme in ("s3", "gs"):
        assert failing(fetcher(fetch_hosts="*"), f"{scheme}://bucket/a.jpg") == ("host_not_allowed", False)


# The flow


def test_products_with_media_on_a_server(
    services: Services, server: MediaServer, own_id: str, index: str, tmp_path: Path, shop_products: list[dict[str, Any]]
) -> None:
    """A server that fails costs a product its picture and no more; the next job mends it; what is unchanged is not fetched."""
    from processes import SHOP

    from indexer import pipeline
    from triptych.domain import Outcome
    from triptych.elastic.lifecycle import current_version, read_schema

    picture_bytes = (SHOP / "images" / "demo-001-1.jpg").read_bytes()
    server.routes["/good.jpg"] = conditional(picture_bytes, ETag='"one"')
    server.routes["/away.jpg"] = reply(503)
    server.routes["/gone.jpg"] = reply(404)
    records = [{"id": path, "title": path, "images": [server.url(f"/{path}.jpg")]} for path in ("good", "away", "gone")] + [
        {"id": "refused", "title": "refused", "images": ["http://10.0.0.1/a.jpg", server.url("/good.jpg")]}
    ]
    raw_records = [{"line": line, "text": json.dumps(record)} for line, record in enumerate(records, start=1)]
    here = Services(
        services.settings.model_copy(
            update={
                "fetch_hosts": "127.0.0.1,10.0.0.1", "fetch_private": "127.0.0.0/8", "fetch_ports": f"80,{server.port}",
                "queue": f"remote-{own_id}",
            }
        )
    )  # fmt: skip
    version = current_version(here.elasticsearch, index)
    schema = read_schema(here.elasticsearch, version)

    def run(job: str) -> pipeline.Result:
        return pipeline.run(raw_records, pipeline.Target(version, schema, tmp_path, job), here)

    first = run("1")
    assert first.outcomes == [Outcome.WRITTEN, Outcome.PARTIAL, Outcome.PARTIAL, Outcome.PARTIAL]
    assert {letter.product_id: letter.code for letter in first.dead_letters} == {
        "away": "media.http_status", "gone": "media.http_status", "refused": "media.address_refused",
    }  # fmt: skip
    assert {letter.stage for letter in first.dead_letters} == {"fetch"}
    assert server.asked("/good.jpg") == 1
    server.routes["/away.jpg"] = reply(200, picture_bytes)
    second = run("2")
    assert second.outcomes == [Outcome.UNCHANGED, Outcome.WRITTEN, Outcome.PARTIAL, Outcome.PARTIAL]
    assert server.asked("/good.jpg") == 2


def test_the_media_of_a_batch_have_a_bound_of_time_together(
    fetcher: Callable[..., Fetcher], server: MediaServer, names: dict[str, list[str]]
) -> None:
    """Sixty hosts that drip: each has its own time, all together no more than the batch's."""
    server.routes["/drip.jpg"] = drip(server, b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    wanted = [picture(server.url(f"/drip.jpg?{n}", host=f"h{n}.example")) for n in range(60)]
    names.update({f"h{n}.example": ["127.0.0.1"] for n in range(60)})
    here = fetcher(fetch_seconds=0.6, fetch_batch_seconds=1.0, fetch_attempts=1)
    began = time.monotonic()
    with here.batch(Path("nowhere")) as batch:
        found = batch.digests([*wanted, picture("data:image/png;base64,AAAA")])
        seconds = time.monotonic() - began
        codes = Counter(one.code if isinstance(one, MediaError) else "here" for one in found.values())
        assert codes["here"] == 1, "what needs no network is never given up"
        assert codes["media.fetch_timeout"] >= AT_ONCE
        assert codes["media.batch_timeout"] >= 60 - 4 * AT_ONCE
        assert codes.total() == 61
        assert all(one.retryable for one in found.values() if isinstance(one, MediaError))
        asked = len(server.seen)
        with pytest.raises(MediaError) as caught:
            batch.data(wanted[-1])
        assert (caught.value.code, caught.value.field) == ("media.batch_timeout", Modality.IMAGE)
        assert len(server.seen) == asked
    assert seconds < 60 / AT_ONCE * 0.6, "without the bound it would be longer"
    assert data(here, server.url("/a.jpg")) == BODY, "the next batch has its own time"
