"""What failed five times in a row is left alone for a while; and how long a request may still take."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, tzinfo

import pybreaker
import pytest

from search_api.breakers import FAILURES, REST_SECONDS, Breakers
from search_api.deadline import LONGEST_LEG_MS, Deadline
from triptych.errors import (
    ElasticsearchError,
    EncoderError,
    MediaError,
    NotFoundError,
    QueryError,
    QueueError,
    TriptychError,
)

pytestmark = pytest.mark.unit

AWAY = ElasticsearchError("It was away.", code="elasticsearch.unavailable", retryable=True)


def call(breakers: Breakers, error: BaseException | None = None, name: str = "elasticsearch") -> None:
    with breakers.guarding(name, ElasticsearchError, "elasticsearch.unavailable"):
        if error is not None:
            raise error


def fail(breakers: Breakers, error: BaseException = AWAY, times: int = FAILURES, name: str = "elasticsearch") -> None:
    for _ in range(times):
        with pytest.raises(type(error)):
            call(breakers, error, name)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds by which the breakers' clock is ahead."""
    ahead = [0.0]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=ahead[0])

    monkeypatch.setattr(pybreaker, "datetime", Clock)
    return ahead


def test_a_failure_comes_through_as_it_is() -> None:
    breakers = Breakers()
    with pytest.raises(ElasticsearchError) as caught:
        call(breakers, AWAY)
    assert caught.value is AWAY
    assert breakers.state() == {"elasticsearch": "closed"}


def test_five_failures_in_a_row_open_it() -> None:
    breakers = Breakers()
    fail(breakers, times=FAILURES)
    assert breakers.state() == {"elasticsearch": "open"}
    touched = []
    with pytest.raises(ElasticsearchError) as caught, breakers.guarding("elasticsearch", ElasticsearchError, "some.code"):
        touched.append(1)
    assert touched == [], "the service is not asked"
    assert caught.value is not AWAY
    assert (caught.value.code, caught.value.retryable) == ("some.code", True)
    assert f"rests for {REST_SECONDS:.0f} s" in caught.value.message


def test_four_do_not_and_a_success_begins_anew() -> None:
    breakers = Breakers()
    fail(breakers, times=FAILURES - 1)
    call(breakers)
    fail(breakers, times=FAILURES - 1)
    assert breakers.state() == {"elasticsearch": "closed"}
    fail(breakers, times=1)
    assert breakers.state() == {"elasticsearch": "open"}


def test_after_its_rest_it_is_tried_once(later: list[float]) -> None:
    breakers = Breakers()
    fail(breakers)
    later[0] = REST_SECONDS - 1
    with pytest.raises(ElasticsearchError, match="rests"):
        call(breakers)
    later[0] = REST_SECONDS + 1
    call(breakers)
    assert breakers.state() == {"elasticsearch": "closed"}
    fail(breakers, times=FAILURES - 1)
    assert breakers.state() == {"elasticsearch": "closed"}, "and its failures are forgotten"


def test_a_try_that_fails_opens_it_again_with_its_own_error(later: list[float]) -> None:
    breakers = Breakers()
    fail(breakers)
    later[0] = REST_SECONDS + 1
    with pytest.raises(ElasticsearchError) as caught:
        call(breakers, AWAY)
    assert caught.value is AWAY
    assert breakers.state() == {"elasticsearch": "open"}
    later[0] = 2 * REST_SECONDS - 1
    with pytest.raises(ElasticsearchError, match="rests"):
        call(breakers)
    later[0] = 2 * REST_SECONDS + 2
    call(breakers)
    assert breakers.state() == {"elasticsearch": "closed"}


@pytest.mark.parametrize(
    "error",
    [
        QueryError("x"), MediaError("x"), NotFoundError("x"),
        ElasticsearchError("refused", code="elasticsearch.bad_request"),
        ElasticsearchError("the query's own deadline", code="elasticsearch.too_slow", retryable=True),
        EncoderError("others were at it", code="encoder.busy", retryable=True),
    ],
    ids=lambda error: error.code,
)  # fmt: skip
def test_what_is_not_the_services_fault_does_not_count(error: TriptychError) -> None:
    breakers = Breakers()
    fail(breakers, error, times=3 * FAILURES)
    assert breakers.state() == {"elasticsearch": "closed"}


@pytest.mark.parametrize(
    "error", [AWAY, EncoderError("x"), QueueError("x"), ValueError("x")], ids=lambda error: type(error).__name__
)
def test_what_is_the_services_fault_counts(error: Exception) -> None:
    breakers = Breakers()
    fail(breakers, error)
    assert breakers.state() == {"elasticsearch": "open"}


def test_each_dependency_has_its_own() -> None:
    breakers = Breakers(failures=1)
    fail(breakers, times=1, name="redis")
    call(breakers, name="elasticsearch")
    assert breakers.state() == {"redis": "open", "elasticsearch": "closed"}


def test_threads_share_one() -> None:
    breakers = Breakers()
    threads = [threading.Thread(target=fail, args=(breakers, AWAY, 1)) for _ in range(FAILURES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breakers.state() == {"elasticsearch": "open"}


def test_after_the_rest_one_thread_tries_and_the_others_go_on_resting(later: list[float]) -> None:
    breakers = Breakers()
    fail(breakers)
    later[0] = REST_SECONDS + 1
    inside, go = threading.Event(), threading.Event()

    def attempt() -> None:
        with breakers.guarding("elasticsearch", ElasticsearchError, "elasticsearch.unavailable"):
            inside.set()
            assert go.wait(10)

    one = threading.Thread(target=attempt)
    one.start()
    assert inside.wait(10)
    for _ in range(3):
        with pytest.raises(ElasticsearchError, match="rests"):
            call(breakers)
    go.set()
    one.join()
    assert breakers.state() == {"elasticsearch": "closed"}
    call(breakers)


def test_one_that_rests_is_told_even_while_another_error_is_handled() -> None:
    """The second error must be that of the resting service, not the one being handled."""
    breakers = Breakers(failures=1)
    fail(breakers, times=1, name="redis")
    try:
        call(Breakers(), QueryError("first"))
    except QueryError:
        with pytest.raises(QueueError), breakers.guarding("redis", QueueError, "queue.unavailable"):
            pass


# Deadlines


def test_without_a_deadline_a_request_takes_as_long_as_it_takes() -> None:
    deadline = Deadline()
    assert deadline.left == -1, "as a lock takes it"
    assert threading.Lock().acquire(timeout=deadline.left)
    assert (deadline.leg_ms, deadline.request_seconds) == (LONGEST_LEG_MS, None)
    assert deadline.took >= 0


def test_what_is_left_grows_less_and_never_below_nothing() -> None:
    deadline = Deadline(10.0, started=time.perf_counter() - 4)
    assert 5.5 < deadline.left <= 6
    assert 4 <= deadline.took < 4.5
    assert deadline.leg_ms == LONGEST_LEG_MS
    assert deadline.request_seconds == pytest.approx(deadline.left + 0.25, abs=0.05)
    near = Deadline(1.0, started=time.perf_counter() - 0.5)
    assert 400 < near.leg_ms <= 500
    over = Deadline(1.0, started=time.perf_counter() - 2)
    assert (over.left, over.leg_ms, over.request_seconds) == (0, 1, 0.25)
