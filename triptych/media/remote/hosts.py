"""Politeness, per host: few requests at once, a rest when the host asks for one, another when it keeps failing.

Requests are counted over all workers, which also keep the rests that a host asked any of them for (`slots`). That a host keeps
failing each process finds by itself.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pybreaker

from triptych.errors import MediaError
from triptych.media.remote.deadline import Deadline
from triptych.media.remote.slots import Slots

FAILURES = 5
"""Media in a row that could not be had of a host after all attempts; then it is left alone for REST_SECONDS."""

REST_SECONDS = 30.0

MOST_WAIT_SECONDS = 60.0
"""A host that asks for a longer rest (Retry-After) is asked again after this."""

_BUSY = "media.batch_timeout"

_MOST_HOSTS = 1024
"""Hosts remembered; a catalogue may name any number of them."""


def _not_its_fault(error: BaseException) -> bool:
    """A medium that is not there says nothing of its host, nor does a slot that others had."""
    return not (isinstance(error, MediaError) and error.retryable) or error.code == _BUSY


class Host:
    """One host, shared by all threads that ask it. `slots` are those of all workers; without them only this process counts."""

    def __init__(self, name: str, at_once: int, slots: Slots | None = None) -> None:
        self._name = name
        self._mine = threading.BoundedSemaphore(at_once)
        self._slots = slots
        self._not_before = 0.0
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES, reset_timeout=REST_SECONDS, exclude=[_not_its_fault], name=name, throw_new_error_on_trip=False
        )

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Run a block that asks for one medium. Raises MediaError media.host_resting while the host is left alone."""
        try:
            with self._breaker.calling():
                yield
        except pybreaker.CircuitBreakerError as opened:
            raise self._resting(f"failed {FAILURES} times in a row") from opened

    @contextmanager
    def slot(self, deadline: Deadline, until: Deadline) -> Iterator[None]:
        """Run a block with one of the host's slots, when the rest it asked for is over.

        The request ends by `deadline`, from which waiting for the slot takes nothing; the waiting ends by `until`. Raises
        MediaError media.host_resting where the rest is longer than the time that is left, media.batch_timeout where no slot
        came free.
        """
        left = deadline.left
        with deadline.standing_still():
            if not self._mine.acquire(timeout=max(until.left, 0)):
                raise self._busy()
        try:
            with deadline.standing_still():
                token = self._taken(left, until)
            try:
                wait = self._rest_left()
                if wait > deadline.left:
                    raise self._resting("asked for a rest")
                if wait > 0:
                    time.sleep(wait)
                yield
            finally:
                if token is not None and self._slots is not None:
                    self._slots.give(self._name, token)
        finally:
            self._mine.release()

    def _taken(self, seconds: float, until: Deadline) -> str | None:
        """The token of a slot of all workers, None where only this process counts."""
        try:
            return self._slots.take(self._name, seconds=seconds, until=until) if self._slots is not None else None
        except TimeoutError as error:
            raise self._busy() from error

    def rest(self, seconds: float) -> None:
        """The host asked to be left alone for `seconds`."""
        seconds = min(seconds, MOST_WAIT_SECONDS)
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        if self._slots is not None:
            self._slots.rest(self._name, seconds)

    def _rest_left(self) -> float:
        """Seconds: of a rest that this process was asked for, or any worker."""
        shared = self._slots.resting(self._name) if self._slots is not None else 0.0
        return max(self._not_before - time.monotonic(), shared)

    def _busy(self) -> MediaError:
        return MediaError(
            f"{self._name} was asked by others for all the time that was left for the media of this batch.",
            code=_BUSY,
            remedy="Redrive it later, or raise TRIPTYCH_FETCH_PER_HOST or TRIPTYCH_FETCH_BATCH_SECONDS.",
            retryable=True,
        )

    def _resting(self, why: str) -> MediaError:
        return MediaError(
            f"{self._name} {why} and is left alone for a while.",
            code="media.host_resting",
            remedy="Submit the catalogue again later.",
            retryable=True,
        )


class Hosts:
    """The hosts by name; those not asked for longest are forgotten."""

    def __init__(self, at_once: int, slots: Slots | None = None) -> None:
        self._at_once, self._slots = at_once, slots
        self._known: OrderedDict[str, Host] = OrderedDict()
        self._making = threading.Lock()

    def __getitem__(self, name: str) -> Host:
        with self._making:
            if name not in self._known:
                self._known[name] = Host(name, self._at_once, self._slots)
            self._known.move_to_end(name)
            while len(self._known) > _MOST_HOSTS:
                self._known.popitem(last=False)
            return self._known[name]
