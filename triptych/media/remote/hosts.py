"""Politeness, per host: few requests at once, a rest when the host asks for one, another when it keeps failing.

Requests are counted over all workers, which also keep the rests that a host asked any of them for (`slots`). That a host keeps
failing each process finds by itself.

A host's rest is waited for out of the batch's time, by all of its media side by side: a server that is away for a few seconds
costs nothing but these. Not for ever: one that gave nothing for PATIENCE_SECONDS would hold each batch for all of its time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Final

import pybreaker

from triptych.errors import MediaError
from triptych.media.remote.away import AwayError, DroppedError
from triptych.media.remote.deadline import Deadline, Times
from triptych.media.remote.slots import Slots

log = logging.getLogger(__name__)

FAILURES = 5
"""Media in a row that could not be had of a host after all attempts; then it is left alone for REST_SECONDS."""

REST_SECONDS = 30.0

MOST_WAIT_SECONDS = 60.0
"""A host that asks for a longer rest (Retry-After) is asked again after this."""

PATIENCE_SECONDS = 120.0
"""A host that is in trouble is waited for so long, from its first failure on; after that its media are given up at once."""

FORGOTTEN_SECONDS = 600.0
"""A failure so long after the last one is the first of a new trouble."""

_FIRST_REST: Final = 0.5
_LONGEST_REST: Final = 4.0
"""Seconds from one try to the next of a host that is away; they double."""

_LOOKS: Final = 0.5
"""Who waits for a host that failed FAILURES times looks so often whether it may be asked again."""

_BUSY = "media.batch_timeout"

_MOST_HOSTS = 1024
"""Hosts remembered; a catalogue may name any number of them."""


def _not_its_fault(error: BaseException) -> bool:
    """A medium that is not there says nothing of its host, nor does a slot that others had."""
    return not (isinstance(error, MediaError) and error.retryable) or error.code == _BUSY


def bounded(rest: float) -> float:
    """The rest that is kept of the one that was asked for."""
    return min(rest, MOST_WAIT_SECONDS)


class _Trouble:
    """Since when a host fails, and whether it ever was well. Safe to share between threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changing = threading.Lock()
        self._since: float | None = None
        self._last = self._rests_until = 0.0
        self._step = _FIRST_REST
        self._told = False
        self.heard_at = 0.0
        self.there = False
        """It gave something, or asked for a rest, since this process began."""

    def failed(self) -> None:
        now = time.monotonic()
        with self._changing:
            if self._since is None or now - self._last > FORGOTTEN_SECONDS:
                self._since, self._step = now, _FIRST_REST
            self._last = now

    def over(self) -> None:
        with self._changing:
            self.heard_at, self.there = time.monotonic(), True
            told, self._told = self._told, False
            seconds = self.seconds
            self._since, self._step = None, _FIRST_REST
        if told:
            log.info("%s gives media again, after %.0f s", self._name, seconds)

    def tell(self, trouble: AwayError | float) -> None:
        """Say once in the log that media wait."""
        with self._changing:
            told, self._told = self._told, True
        if not told:
            what = trouble.message if isinstance(trouble, AwayError) else f"{self._name} asked for a rest of {trouble:g} s."
            log.warning("%s Its media wait.", what)

    def rest(self) -> float:
        """Seconds until it is asked again, which grow with each try, whoever makes it."""
        now = time.monotonic()
        with self._changing:
            if now >= self._rests_until:
                self._rests_until = now + self._step
                self._step = min(2 * self._step, _LONGEST_REST)
            return self._rests_until - now

    @property
    def seconds(self) -> float:
        """Since its first failure."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def long(self) -> bool:
        """Whether it fails for so long that nobody waits any more."""
        return self.seconds > PATIENCE_SECONDS

    @property
    def passes(self) -> bool:
        """Whether it was well before, and may be again soon."""
        return self.there and not self.long


class Host:
    """One host, shared by all threads that ask it. `slots` are those of all workers; without them only this process counts."""

    def __init__(self, name: str, at_once: int, slots: Slots | None = None) -> None:
        self._name = name
        self._mine = threading.BoundedSemaphore(at_once)
        self._slots = slots
        self._not_before = 0.0
        self._trouble = _Trouble(name)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES, reset_timeout=REST_SECONDS, exclude=[_not_its_fault], name=name, throw_new_error_on_trip=False
        )

    @contextmanager
    def guarding(self, until: Deadline) -> Iterator[None]:
        """Run a block that asks for one medium.

        A host that failed FAILURES times is left alone first: where it was well not long ago, its rest is waited for, at most
        `until`. Else, and where it failed again after that, raises MediaError media.host_resting.
        """
        with ExitStack() as calling:
            while True:
                try:
                    calling.enter_context(self._breaker.calling())
                    break
                except pybreaker.CircuitBreakerError as opened:
                    if until.left <= 0 or not self._trouble.passes:
                        raise self._resting(f"failed {FAILURES} times in a row") from opened
                    until.sleep(_LOOKS)
            try:
                yield
            except MediaError as error:
                if not _not_its_fault(error):
                    self._trouble.failed()
                raise
            self.heard()

    @contextmanager
    def slot(self, deadline: Deadline, until: Deadline) -> Iterator[None]:
        """Run a block with one of the host's slots, when the rest it asked for is over.

        The request ends by `deadline`, from which waiting takes nothing; the waiting ends by `until`. Raises MediaError
        media.host_resting where the rest is longer than the time that is left, media.batch_timeout where no slot came free.
        """
        with ExitStack() as turn:
            while True:
                turn.enter_context(self._turn(deadline, until))
                wait = self._rest_left()
                if wait <= 0:
                    break
                turn.close()  # a lease would end while it is waited
                self._wait(wait, deadline, until)
            yield

    @contextmanager
    def _turn(self, deadline: Deadline, until: Deadline) -> Iterator[None]:
        left = deadline.left
        with deadline.standing_still():
            if not self._mine.acquire(timeout=max(until.left, 0)):
                raise self._busy()
        try:
            with deadline.standing_still():
                token = self._taken(left, until)
            try:
                yield
            finally:
                if token is not None and self._slots is not None:
                    self._slots.give(self._name, token)
        finally:
            self._mine.release()

    def _wait(self, seconds: float, deadline: Deadline, until: Deadline) -> None:
        """Wait for the end of a rest: out of the batch's time, but of a host in trouble for long out of the medium's."""
        patient = not self._trouble.long
        if seconds > (until.left if patient else min(deadline.left, until.left)):
            raise self._resting("is away, or asked for a rest,")
        with deadline.standing_still() if patient else nullcontext():
            until.sleep(seconds)

    def bears(self, trouble: AwayError | float, times: Times) -> bool:
        """Whether a medium shall be asked for again after a rest of its host, which is away or asked for so many seconds: with
        all its time before it, and without counting that as an attempt.

        Not where the host gave something since this medium failed last: the trouble may be its own. So may a dropped
        connection, which is borne no longer than one medium may take. Of a host that never gave anything only that it takes no
        connection is borne, in the medium's own time.
        """
        before, times.failed_at = times.failed_at, time.monotonic()
        self._trouble.failed()
        if before is not None and self._trouble.heard_at > before:
            return False
        rest = self._trouble.rest() if isinstance(trouble, AwayError) else bounded(trouble)
        late = isinstance(trouble, DroppedError) and self._trouble.seconds > times.own.seconds
        if self._trouble.passes and not late and 0 < rest <= times.batch.left:
            times.own.begin_again()
        elif self._trouble.there or not self._first_bears(trouble, rest, times.own):
            return False
        self._not_before = max(self._not_before, time.monotonic() + rest)
        self._trouble.tell(trouble)
        return True

    def _first_bears(self, trouble: AwayError | float, rest: float, own: Deadline) -> bool:
        """Whether a host that gave nothing ever is borne: it may be about to start."""
        closed = isinstance(trouble, AwayError) and not isinstance(trouble, DroppedError)
        return closed and self._trouble.seconds < own.seconds and rest <= own.left

    def heard(self) -> None:
        """The host gave something, or said well that it has not."""
        self._trouble.over()

    def _taken(self, seconds: float, until: Deadline) -> str | None:
        """The token of a slot of all workers, None where only this process counts."""
        try:
            return self._slots.take(self._name, seconds=seconds, until=until) if self._slots is not None else None
        except TimeoutError as error:
            raise self._busy() from error

    def rest(self, seconds: float) -> None:
        """The host asked to be left alone for `seconds`."""
        seconds = bounded(seconds)
        self._trouble.there |= seconds > 0
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
