"""The encoders' turns: one call at a time, in a thread of its own, for which no query waits longer than it may.

What hangs cannot be stopped. It keeps its thread and is not asked again until its call has ended; the others get a new thread.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from search_api.deadline import Deadline
from triptych.errors import EncoderError, TriptychError

LONGEST_SECONDS: Final = 60.0
"""A call that takes longer hangs. The first call of an encoder, which may load its model, takes some seconds."""

_T = TypeVar("_T")


class _Lane:
    """A thread, begun with its first call, and whose turn it is."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.name = ""
        self.since: float | None = None
        """When the call began that runs now."""
        self._thread: threading.Thread | None = None

    def begin(self, name: str, work: Callable[[], _T]) -> Future[_T]:
        """Let the thread do `work`, for whoever has the turn; with the end of the work the turn is over."""
        done: Future[_T] = Future()
        context = contextvars.copy_context()

        def task() -> None:
            try:
                found, error = context.run(work), None
            except BaseException as raised:  # noqa: BLE001  it is raised again where it is waited for
                found, error = None, raised
            self.since = None
            self.turn.release()
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(found)  # type: ignore[arg-type]

        self.name, self.since = name, time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=_work, args=(self.tasks,), name="encoders", daemon=True)
            self._thread.start()
        self.tasks.put(task)
        return done


def _work(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # it holds what was embedded


class Turns:
    """Calls encoders, one at a time. Share one between threads."""

    def __init__(self, longest: float = LONGEST_SECONDS) -> None:
        self._longest = longest
        self._changing = threading.Lock()
        self._hanging: dict[str, _Lane] = {}
        self._lane = self._new()

    def call(self, name: str, work: Callable[[], _T], deadline: Deadline) -> _T:
        """What `work` returns, a call of the encoder `name`.

        Raises EncoderError: `encoder.busy` where its turn does not come within the deadline, `encoder.too_slow` where it does
        not end within it, or hangs, and `encoder.failed` for what is no error of ours.
        """
        lane, done = self._begun(name, work, deadline)
        patience = self._patience(deadline)
        try:
            error = done.exception(timeout=patience)
        except TimeoutError:
            if patience < self._longest:
                raise _too_slow(f"The {name} did not answer within timeout_ms.", field="timeout_ms") from None
            self._leave(lane)
            raise self._hangs(name) from None
        if error is None:
            return done.result()
        if isinstance(error, TriptychError):
            raise error
        raise EncoderError(f"The {name} failed: {error}.", code="encoder.failed", retryable=True) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """The encoders for this thread alone, as long as it takes: to load them."""
        lane = self._lane
        with lane.turn:
            yield

    def _begun(self, name: str, work: Callable[[], _T], deadline: Deadline) -> tuple[_Lane, Future[_T]]:
        while True:
            hanging = self._hanging.get(name)
            if hanging is not None and hanging.since is not None:
                raise self._hangs(name)
            lane = self._lane
            if lane.turn.acquire(timeout=min(self._patience(deadline), self._left(lane))):
                with self._changing:
                    if lane is self._lane:
                        return lane, lane.begin(name, work)
                lane.turn.release()
            elif deadline.left == 0:
                raise EncoderError(
                    "The encoder was busy with other queries until the deadline.", code="encoder.busy", retryable=True
                )
            else:
                self._leave(lane)

    def _leave(self, lane: _Lane) -> None:
        """Let the others have a new thread, where the call that runs in a lane hangs."""
        with self._changing:
            if lane is self._lane and self._left(lane) == 0:
                self._hanging[lane.name] = lane
                self._lane = self._new()
                lane.tasks.put(None)

    def _patience(self, deadline: Deadline) -> float:
        return self._longest if deadline.left < 0 else min(deadline.left, self._longest)

    def _left(self, lane: _Lane) -> float:
        """Seconds until the call that runs in a lane hangs."""
        since = lane.since
        return self._longest if since is None else max(0.0, since + self._longest - time.monotonic())

    def _hangs(self, name: str) -> EncoderError:
        return _too_slow(f"The {name} has not answered for {self._longest:.0f} s.")

    def _new(self) -> _Lane:
        lane = _Lane()
        weakref.finalize(self, lane.tasks.put, None)
        return lane


def _too_slow(message: str, **more: Any) -> EncoderError:
    return EncoderError(message, code="encoder.too_slow", retryable=True, remedy="Try again a little later.", **more)
