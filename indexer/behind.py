"""One call at a time behind the main flow: a piece of a batch is written while the next one is made."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue


class Behind:
    """Runs calls in a thread of its own, one after the other. What a call raises is raised by the next `wait`.

    One thread for all calls: each thread has a connection to Elasticsearch of its own. It is a daemon: a worker that must end
    at once does not wait for a server.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, call: Callable[[], object]) -> None:
        """Begin `call`, with this thread's context, when the one before has ended."""
        self.wait()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
            self._thread.start()
        self._idle.clear()
        self._calls.put(partial(contextvars.copy_context().run, call))

    def wait(self) -> None:
        """Return when nothing runs any more."""
        self._idle.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def end(self) -> None:
        """Let the thread end once nothing runs any more; nothing may be begun after that."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  whatever it is, the waiting thread must know
                self._error = error
            finally:
                del call  # what it holds may be large
                self._idle.set()


@contextmanager
def written_behind() -> Iterator[Behind]:
    """A Behind whose last call has ended when the block is left, also by an exception; what it raised is raised then.

    Not where the process must end (SystemExit): that waits for nobody.
    """
    behind = Behind()
    try:
        yield behind
    except Exception:
        with suppress(Exception):
            behind.wait()
        raise
    else:
        behind.wait()
    finally:
        behind.end()
