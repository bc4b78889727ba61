"""Behind: calls run in order, in the caller's context, and what they raise is not lost."""

from __future__ import annotations

import contextvars
import threading

import pytest

from indexer.behind import Behind, written_behind

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


def test_all_calls_have_one_thread_and_it_ends() -> None:
    threads: list[threading.Thread] = []
    with written_behind() as behind:
        for _ in range(3):
            behind.start(lambda: threads.append(threading.current_thread()))
    threads[0].join(10)
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert not threads[0].is_alive()


def test_a_call_has_the_callers_context() -> None:
    value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="none")
    behind, seen = Behind(), []
    value.set("the caller's")
    behind.start(lambda: seen.append(value.get()))
    behind.wait()
    assert seen == ["the caller's"]
