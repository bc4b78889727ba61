"""Politeness, per host and process: few requests at once, a rest when the host asks for one, another when it keeps failing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pybreaker

from triptych.errors import MediaError
from triptych.media.remote.deadline import Deadline

FAILURES = 5
"""Media in a row that could not be had of a host after all attempts; then it is left alone for REST_SECONDS."""

REST_SECONDS = 30.0

MOST_WAIT_SECONDS = 60.0
"""A host that asks for a longer rest (Retry-After) is asked again after this."""

_MOST_HOSTS = 1024
"""Hosts remembered; a catalogue may name any number of them."""


def _not_its_fault(error: BaseException) -> bool:
    """A medium that is not there says nothing of its host."""
    return not (isinstance(error, MediaError) and error.retryable)


class Host:
    """One host, shared by all threads that ask it."""

    def __init__(self, name: str, at_once: int) -> None:
        self._name = name
        self._slots = threading.BoundedSemaphore(at_once)
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
    def slot(self, deadline: Deadline) -> Iterator[None]:
        """Run a block with one of the host's slots, when the rest it asked for is over.

        Raises MediaError media.host_resting where the rest is longer than the time that is left.
        """
        with deadline.standing_still():
            self._slots.acquire()
        try:
            wait = self._not_before - time.monotonic()
            if wait > deadline.left:
                raise self._resting("asked for a rest")
            if wait > 0:
                time.sleep(wait)
            yield
        finally:
            self._slots.release()

    def rest(self, seconds: float) -> None:
        """The host asked to be left alone for `seconds`."""
        self._not_before = max(self._not_before, time.monotonic() + min(seconds, MOST_WAIT_SECONDS))

    def _resting(self, why: str) -> MediaError:
        return MediaError(
            f"{self._name} {why} and is left alone for a while.",
            code="media.host_resting",
            remedy="Submit the catalogue again later.",
            retryable=True,
        )


class Hosts:
    """The hosts by name; those not asked for longest are forgotten."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._known: OrderedDict[str, Host] = OrderedDict()
        self._making = threading.Lock()

    def __getitem__(self, name: str) -> Host:
        with self._making:
            if name not in self._known:
                self._known[name] = Host(name, self._at_once)
            self._known.move_to_end(name)
            while len(self._known) > _MOST_HOSTS:
                self._known.popitem(last=False)
            return self._known[name]
