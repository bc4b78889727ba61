"""The small parts of fetching: what Retry-After asks for, the spool, slots and the time they take."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from triptych.errors import MediaError
from triptych.media.remote import hosts as hosts_module
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.away import AwayError, DroppedError
from triptych.media.remote.deadline import Deadline, Times
from triptych.media.remote.hosts import FAILURES, MOST_WAIT_SECONDS, Host, Hosts
from triptych.media.remote.spool import Spool
from triptych.media.remote.web import Web, rest_asked
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3),
        (" 120 ", 120),
        ("0", 0),
        (None, 0),
        ("", 0),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("٣", 0),
        ("9" * 5000, 999_999_999),
    ],
)
def test_retry_after_in_seconds(text: str | None, seconds: float) -> None:
    assert rest_asked(text) == seconds


def test_retry_after_as_a_date() -> None:
    now = datetime.now(UTC)
    assert 50 < rest_asked(format_datetime(now + timedelta(seconds=60), usegmt=True)) <= 60
    assert rest_asked(format_datetime(now - timedelta(hours=1), usegmt=True)) == 0
    assert rest_asked("Fri, 31 Dec 9999 23:59:59 GMT") > MOST_WAIT_SECONDS
    assert rest_asked("Wed, 99 Foo 2024 00:00:00 GMT") == 0


def test_a_rest_is_bounded_and_longer_than_the_time_left_is_an_error() -> None:
    host = Host("cdn.example", 1)
    host.rest(1e9)
    with pytest.raises(MediaError) as caught, host.slot(Deadline(60), Deadline(1.0)):
        pytest.fail("the host is not asked")
    assert (caught.value.code, caught.value.retryable) == ("media.host_resting", True)
    with pytest.raises(MediaError), host.slot(Deadline(60), Deadline(MOST_WAIT_SECONDS - 5)):
        pytest.fail("the slot was given back, and the rest is still on")


def test_only_failures_that_may_pass_count_against_a_host() -> None:
    host = Host("cdn.example", 1)

    def fail(*, retryable: bool) -> str:
        with pytest.raises(MediaError) as caught, host.guarding(Deadline(60)):
            raise MediaError("x", code="media.http_status", retryable=retryable)
        return caught.value.code

    assert {fail(retryable=False) for _ in range(2 * FAILURES)} == {"media.http_status"}
    assert [fail(retryable=True) for _ in range(FAILURES + 1)] == ["media.http_status"] * FAILURES + ["media.host_resting"]


def test_hosts_are_kept_by_name_and_not_without_end() -> None:
    hosts = Hosts(1)
    first = hosts["0"]
    assert hosts["0"] is first
    for number in range(1, 1025):
        assert hosts[str(number)]
    assert hosts["0"] is not first


def test_waiting_for_a_slot_takes_none_of_the_time() -> None:
    host, deadline = Host("cdn.example", 1), Deadline(0.5)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with host.slot(Deadline(60), Deadline(60)):
            held.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    threading.Timer(0.7, let_go.set).start()
    began = time.monotonic()
    with host.slot(deadline, Deadline(60)):
        waited = time.monotonic() - began
        left = deadline.left
    thread.join()
    assert waited > 0.6
    assert left > 0


def test_waiting_for_a_rest_takes_none_of_the_time_either() -> None:
    host, deadline = Host("cdn.example", 1), Deadline(0.5)
    host.rest(0.8)
    began = time.monotonic()
    with host.slot(deadline, Deadline(60)):
        assert time.monotonic() - began > 0.7
        assert deadline.left > 0


def test_who_waits_for_a_rest_holds_no_slot_and_is_ended_with_its_batch() -> None:
    host, until, resting = Host("cdn.example", 1), Deadline(60), threading.Event()
    host.rest(50)
    codes = []

    def wait() -> None:
        resting.set()
        with pytest.raises(MediaError) as caught, host.slot(Deadline(1), until):
            pytest.fail("the host is not asked")
        codes.append(caught.value.code)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    resting.wait(30)
    time.sleep(0.3)
    assert all(thread.is_alive() for thread in threads)
    until.end()
    for thread in threads:
        thread.join(30)
    assert set(codes) <= {"media.host_resting", "media.batch_timeout"}
    assert (len(codes), time.monotonic() - began < 10) == (3, True)


def test_a_host_in_trouble_is_borne_for_a_while_if_it_was_well_before(monkeypatch: pytest.MonkeyPatch) -> None:
    away, dropped = (kind("gone", code="media.host_unreachable", retryable=True) for kind in (AwayError, DroppedError))

    def times(own: float = 20.0, batch: float = 600.0) -> Times:
        return Times(Deadline(own), Deadline(batch))

    def known() -> Host:
        host = Host("cdn.example", 1)
        host.heard()
        return host

    assert known().bears(away, times())
    assert known().bears(dropped, times())
    assert known().bears(30.0, times())
    assert not known().bears(30.0, times(batch=20.0)), "the batch's time does not reach"
    stranger = Host("cdn.example", 1)
    assert stranger.bears(away, times()), "it may be about to start"
    assert not Host("cdn.example", 1).bears(dropped, times()), "what says nothing ever is no server"
    stranger.rest(1)
    assert stranger.bears(1.0, times())
    mine, host = times(), known()
    assert host.bears(away, mine)
    host.heard()
    assert not host.bears(away, mine), "it gave another medium meanwhile"
    monkeypatch.setattr(hosts_module, "PATIENCE_SECONDS", 0.0)
    mine, host = times(), known()
    host.bears(away, mine)
    time.sleep(0.01)
    assert not host.bears(away, mine), "it would hold each batch for all of its time"
    host.heard()
    monkeypatch.undo()
    assert host.bears(away, times())


def test_the_spool_keeps_what_it_has_room_for() -> None:
    with Spool(10) as spool:
        spool.put("a", b"12345")
        spool.put("b", b"1234567")
        spool.put("c", b"54321")
        spool.put("a", b"other")
        assert [spool.get(key) for key in "abc"] == [b"12345", None, b"54321"]
    assert spool.get("a") is None
    spool.put("d", b"1")
    assert spool.get("d") is None


def test_a_spool_without_disk_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with Spool(10) as spool:
        spool.put("a", b"1")
        assert spool.get("a") is None


def test_a_resolver_that_hangs_takes_no_more_than_the_time_of_the_medium(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(*_: object, **__: object) -> None:
        let_go.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    own = settings.model_copy(update={"fetch_hosts": "cdn.example", "fetch_seconds": 0.3})
    began = time.monotonic()
    with pytest.raises(MediaError) as caught:
        Web(own, Allowed.of(own)).get("https://cdn.example/a.jpg?sign=hunter2", None, Deadline(60))
    took = time.monotonic() - began
    let_go.set()
    assert (caught.value.code, caught.value.retryable) == ("media.fetch_timeout", True)
    assert "hunter2" not in str(caught.value)
    assert 0.2 < took < 10
