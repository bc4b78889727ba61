"""Calls behind the main flow: a piece of a batch is written while the next one is made."""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Behind:
    """Runs calls in a thread of its own, one after the other.

    One thread for all calls: each thread has a connection to Elasticsearch of its own. It is a daemon: a worker that must end
    at once does not wait for a server.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._started: deque[Future[Any]] = deque()
        self._thread: threading.Thread | None = None

    def begin(self, call: Callable[[], _T]) -> Future[_T]:
        """Run `call`, with this thread's context, when those before have ended; what it gives or raises is the future's."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
            self._thread.start()
        future: Future[_T] = Future()
        context = contextvars.copy_context()
        self._calls.put(lambda: _settle(future, lambda: context.run(call)))
        return future

    def start(self, call: Callable[[], object], *, waiting: int = 0) -> None:
        """Begin `call` when those before have ended, as soon as at most so many of them are `waiting` for their turn.

        Raises what one of them raised. One that waited behind one that failed is left out.
        """
        while len(self._started) > waiting:
            self._started[0].exception()  # a wait that is cut off here can be waited again
            self._started.popleft().result()
        before = self._started[-1] if self._started else None
        self._started.append(self.begin(call if before is None else lambda: (before.result(), call())))

    def wait(self, seconds: float | None = None) -> None:
        """Return when all that was started has ended, raising what the first raised that failed.

        Raises TimeoutError after `seconds`.
        """
        _wait_for(self._started, seconds)

    def left(self) -> Callable[[], None]:
        """Leave what was started to whoever calls what is returned, which waits for it, and raises once what it raised; `wait`
        knows of it no more.
        """
        started, self._started = self._started, deque()
        return partial(_wait_for, started)

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            call()
            del call  # what it holds may be large


def _wait_for(started: deque[Future[Any]], seconds: float | None = None) -> None:
    """Empty `started` when all have ended, raising what the first raised that failed. TimeoutError leaves all in it."""
    if started:
        started[-1].exception(seconds)  # they run one after the other: when the last has ended, all have
    ended = list(started)
    started.clear()
    for one in ended:
        one.result()


def _settle(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001  whatever it is, the waiting thread must know
        future.set_exception(error)
    finally:
        del future, call  # an error's traceback has this frame, and the future the error


_mine = threading.local()


def of_this_thread(name: str) -> Behind:
    """The Behind of that name of this thread, for all its batches. A fork has its own: threads do not come along."""
    if getattr(_mine, "pid", None) != os.getpid():
        _mine.pid, _mine.known = os.getpid(), {}
    found: Behind = _mine.known.setdefault(name, Behind())
    return found


@contextmanager
def written_behind() -> Iterator[Behind]:
    """This thread's Behind, of which all that was started has ended when the block is left, also by an exception; what it
    raised is raised then.

    Not where the process must end (SystemExit): that waits for nobody.
    """
    behind = of_this_thread("pieces")
    try:
        yield behind
    except Exception:
        with suppress(Exception):
            behind.wait()
        raise
    else:
        behind.wait()
