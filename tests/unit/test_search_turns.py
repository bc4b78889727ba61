"""Encoders are asked one at a time, and one that hangs holds up nobody for ever."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from embedding_toys import SCHEMA, Encoder, Parts, asking, embedder

from search_api.breakers import Breakers
from search_api.deadline import Deadline
from search_api.legs import wanted
from search_api.turns import Turns
from triptych.domain import Modality, Vectors
from triptych.encoders.base import Input
from triptych.errors import EncoderError, QueryError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

SOON = 0.2
"""Seconds after which a call hangs here."""


class Hanging:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(30)
        return "late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.go.set()


def code_of(turns: Turns, name: str, work: Callable[[], object], deadline: Deadline | None = None) -> str:
    with pytest.raises(EncoderError) as caught:
        turns.call(name, work, deadline or Deadline())
    assert caught.value.retryable
    return caught.value.code


def test_what_a_call_returns_and_raises_comes_through() -> None:
    turns = Turns()
    assert turns.call("a", lambda: 7, Deadline()) == 7
    ours = QueryError("x")

    def fails(error: Exception) -> None:
        raise error

    with pytest.raises(QueryError) as caught:
        turns.call("a", lambda: fails(ours), Deadline())
    assert caught.value is ours
    for other in (RuntimeError("memory"), TimeoutError("inner")):
        with pytest.raises(EncoderError, match=str(other)) as raised:
            turns.call("a", partial(fails, other), Deadline())
        assert (raised.value.code, raised.value.__cause__) == ("encoder.failed", other)
    assert turns.call("a", lambda: 8, Deadline(5.0)) == 8


def test_all_calls_are_made_in_one_thread_one_at_a_time() -> None:
    turns, inside, most, seen = Turns(), [0], [0], set()

    def work() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        seen.add(threading.get_ident())
        time.sleep(0.002)
        inside[0] -= 1

    threads = [threading.Thread(target=turns.call, args=("a", work, Deadline())) for _ in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (most, len(seen)) == ([1], 1)
    assert threading.get_ident() not in seen


def test_a_query_waits_no_longer_than_its_deadline(hanging: Hanging) -> None:
    turns = Turns()
    started = time.perf_counter()
    with pytest.raises(EncoderError) as caught:
        turns.call("a", hanging, Deadline(0.05))
    assert (caught.value.code, caught.value.field) == ("encoder.too_slow", "timeout_ms")
    assert code_of(turns, "b", lambda: 1, Deadline(0.05)) == "encoder.busy", "the call still runs"
    assert time.perf_counter() - started < 5
    hanging.go.set()
    assert turns.call("b", lambda: 1, Deadline(5.0)) == 1


def test_what_hangs_is_not_waited_for_again_and_the_others_go_on(hanging: Hanging) -> None:
    turns = Turns(SOON)
    waiting: list[object] = []
    others = [threading.Thread(target=lambda: waiting.append(turns.call("b", lambda: 1, Deadline()))) for _ in range(3)]
    first = threading.Thread(target=lambda: waiting.append(code_of(turns, "a", hanging)))
    first.start()
    assert hanging.begun.wait(10)
    for one in others:
        one.start()
    for one in (first, *others):
        one.join(10)
    assert sorted(map(str, waiting)) == ["1", "1", "1", "encoder.too_slow"], "who waited behind it too"
    started = time.perf_counter()
    for _ in range(5):
        assert code_of(turns, "a", lambda: 2) == "encoder.too_slow"
        assert turns.call("b", lambda: 3, Deadline()) == 3
    assert time.perf_counter() - started < SOON, "at once"
    hanging.go.set()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert turns.call("a", lambda: 4, Deadline()) == 4
            break
        except EncoderError:
            time.sleep(0.01)
    else:
        pytest.fail("it is asked again when its call has ended")


def test_one_that_nobody_waits_for_any_more_hangs_too(hanging: Hanging) -> None:
    """All who asked were in a hurry; the next one without a deadline finds out."""
    turns = Turns(SOON)
    assert code_of(turns, "a", hanging, Deadline(0.01)) == "encoder.too_slow"
    assert turns.call("b", lambda: 1, Deadline()) == 1
    assert code_of(turns, "a", lambda: 1) == "encoder.too_slow"


def test_its_thread_ends_with_it() -> None:
    turns = Turns()
    thread = turns.call("a", threading.current_thread, Deadline())
    assert thread.is_alive()
    del turns
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_hanging_encoder_costs_its_leg_and_is_left_alone(settings: Settings, hanging: Hanging) -> None:
    parts, breakers = Parts(settings), Breakers()

    class Hangs(Encoder):
        def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
            hanging()
            return super().embed_queries(inputs, modality)

    parts.rows["image"] = Hangs([0, 0, 0])
    mine = embedder(parts, breakers)
    mine._turns = Turns(SOON)
    for number in range(8):
        asked = asking(text=f"shoe {number}")
        assert [leg.name for leg in mine.legs(asked, wanted(asked.request, SCHEMA))] == ["lexical", "text.text"]
        assert [one.name for one in asked.failed] == ["text.image"]
    assert breakers.state()["encoder image"] == "open"


def test_queries_in_a_hurry_do_not_open_the_breaker(settings: Settings) -> None:
    parts, breakers = Parts(settings), Breakers()

    class Slow(Encoder):
        def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
            time.sleep(0.03)
            return super().embed_queries(inputs, modality)

    parts.rows["image"] = Slow([0, 1, 0])
    mine = embedder(parts, breakers)
    for number in range(8):
        asked = asking(image=f"picture {number}".encode(), text="shoe")
        asked.deadline = Deadline(0.01)
        mine.legs(asked, wanted(asked.request, SCHEMA))
        assert {one.code for one in asked.failed} <= {"encoder.too_slow", "encoder.busy"}
    assert breakers.state()["encoder image"] == "closed"
