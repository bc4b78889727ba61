"""The small parts of fetching: what Retry-After asks for, the spool, slots and the time they take."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from triptych.errors import MediaError
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.deadline import Deadline
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
    with pytest.raises(MediaError) as caught, host.slot(Deadline(1.0), Deadline(60)):
        pytest.fail("the host is not asked")
    assert (caught.value.code, caught.value.retryable) == ("media.host_resting", True)
    with pytest.raises(MediaError), host.slot(Deadline(MOST_WAIT_SECONDS - 5), Deadline(60)):
        pytest.fail("the slot was given back, and the rest is still on")


def test_only_failures_that_may_pass_count_against_a_host() -> None:
    host = Host("cdn.example", 1)

    def fail(*, retryable: bool) -> str:
        with pytest.raises(MediaError) as caught, host.guarding():
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
