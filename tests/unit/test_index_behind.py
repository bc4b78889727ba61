"""Behind: calls run in order, in the caller's context, and what they raise is not lost."""

from __future__ import annotations

import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexer.behind import Behind, of_this_thread, written_behind

pytestmark = pytest.mark.unit


def test_calls_run_one_after_the_other_beside_the_caller() -> None:
    behind, may_end, seen = Behind(), threading.Event(), []

    def first() -> None:
        may_end.wait(10)
        seen.append("first")

    behind.start(first)
    assert not seen
    may_end.set()
    behind.start(lambda: seen.append("second"))
    behind.wait()
    behind.wait()
    assert seen == ["first", "second"]


def test_an_error_is_raised_where_it_is_waited_for_and_once() -> None:
    behind = Behind()
    behind.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        behind.start(lambda: None)
    behind.wait()


def test_calls_may_wait_for_their_turn() -> None:
    behind, may_end, seen = Behind(), threading.Event(), []
    behind.start(lambda: may_end.wait(10), waiting=1)
    behind.start(lambda: seen.append("second"), waiting=1)  # at once: one may wait
    threading.Timer(0.1, may_end.set).start()
    behind.start(lambda: seen.append("third"), waiting=1)
    assert may_end.is_set(), "two wait at no time"
    behind.wait()
    assert seen == ["second", "third"]


def test_an_error_is_raised_when_all_have_ended() -> None:
    behind, seen = Behind(), []
    for left in (False, True):
        behind.start(lambda: 1 / 0, waiting=1)
        behind.start(lambda: seen.append("second"), waiting=1)
        wait = behind.left() if left else behind.wait
        behind.wait() if left else None
        with pytest.raises(ZeroDivisionError):
            wait()
        wait()
    assert not seen, "what waited behind one that failed is left out"


def test_all_calls_of_a_thread_have_one_thread() -> None:
    threads: list[threading.Thread] = []
    for _ in range(2):
        with written_behind() as behind:
            for _ in range(3):
                behind.start(lambda: threads.append(threading.current_thread()))
    assert len(threads) == 6
    assert len(set(threads)) == 1
    with ThreadPoolExecutor(1) as another:
        assert another.submit(of_this_thread, "pieces").result() is not of_this_thread("pieces")
    assert of_this_thread("afterwards") is not of_this_thread("pieces")


def test_an_error_that_nobody_asks_for_is_not_the_next_ones() -> None:
    behind = Behind()
    failed = behind.begin(lambda: 1 / 0)
    behind.start(lambda: None)
    behind.wait()
    with pytest.raises(ZeroDivisionError):
        failed.result()
    assert behind.begin(lambda: 7).result() == 7


def test_a_fork_has_a_thread_of_its_own() -> None:
    of_this_thread("pieces").begin(lambda: None).result()
    child = os.fork()
    if child == 0:
        os._exit(0 if of_this_thread("pieces").begin(lambda: 7).result(10) == 7 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_waiting_may_end_before_the_call() -> None:
    behind, may_end = Behind(), threading.Event()
    behind.start(lambda: may_end.wait(10))
    with pytest.raises(TimeoutError):
        behind.wait(0.01)
    seen: list[bool] = []
    threading.Timer(0.1, lambda: (seen.append(True), may_end.set())).start()
    behind.wait()
    assert seen, "what was not waited for to its end is waited for again"


def test_a_call_has_the_callers_context() -> None:
    value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="none")
    behind, seen = Behind(), []
    value.set("the caller's")
    behind.start(lambda: seen.append(value.get()))
    behind.wait()
    assert seen == ["the caller's"]
