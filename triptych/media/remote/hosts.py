"""Politeness, per host: few requests at once, a rest when the host asks for one, another when it keeps failing.

Requests are counted over all workers, which also keep the rests that a host asked any of them for (`slots`). What else there is
to know of a host each process finds by itself: its `Standing`, by which its media wait for it or are given up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache
from math import inf
from typing import Final

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
"""A host in trouble is waited for so long: one that is dead for the night would hold each batch for all of its time."""

FORGOTTEN_SECONDS = 600.0
"""A failure so long after the last one is the first of a new trouble."""

_SHORTEST_REST: Final = 0.6
_LONGEST_REST: Final = 4.0
"""A host that is away is asked again after as long as it has been away already, within these."""

_BUSY = "media.batch_timeout"

_MOST_HOSTS = 1024
"""Hosts remembered; a catalogue may name any number of them."""


class Standing:
    """What a process knows of a host: how long its media wait for it, at whose cost, and when they are given up.

    It is known once it gave something or asked for a rest, and in trouble from its first failure until it gives something.
    `now` is the time, by whatever clock. Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._known = False
        self._since = inf
        self._gave_at = self._failed_at = self._rests_until = self._alone_until = -inf
        self._lost = 0

    def gave(self, now: float) -> float:
        """It gave something, or said well that it has not; the seconds its trouble took."""
        seconds = max(now - self._since, 0.0)
        self._known, self._since, self._gave_at = True, inf, now
        return seconds

    def ended(self, now: float, *, lost: bool) -> None:
        """A medium is done with; `lost` where it is the host's fault that it could not be had."""
        self._lost = self._lost + 1 if lost else 0
        if lost:
            self._failed(now)
        if self._lost >= FAILURES:
            self._alone_until = now + REST_SECONDS

    def left_alone(self, now: float) -> float:
        """Seconds until a medium of it may be begun."""
        return max(self._alone_until - now, 0.0)

    def asked(self, seconds: float, now: float) -> None:
        """It asked this worker or another for a rest; 0: it did not."""
        self._known |= seconds > 0
        self._rests_until = max(self._rests_until, now + min(seconds, MOST_WAIT_SECONDS))

    def rest(self, now: float) -> float:
        """Seconds until it may be asked."""
        return max(self._rests_until - now, 0.0)

    def patient(self, now: float) -> bool:
        """Whether it is waited for out of the batch's time: one that is known, for PATIENCE_SECONDS of trouble. Any other only
        out of the medium's own.
        """
        return self._known and now - self._since < PATIENCE_SECONDS

    def bears(self, trouble: AwayError | float, times: Times, now: float) -> bool:
        """Whether a medium that found it away, or was asked to wait for so many seconds, asks again after a rest, which begins
        here. That is no attempt of the medium, which has all its time anew where the host is known.

        Borne is, from the first failure on,

        - trouble of a host that is known, for PATIENCE_SECONDS;
        - of it a dropped connection, which may be the medium's fault, no longer than one medium may take;
        - of one that is not known, but may be about to start, that it takes no connection, no longer than that either;
        - nothing where it gave something since this medium met trouble last, which may then be the medium's own;
        - nothing where the rest is longer than the time out of which it is waited for.
        """
        before, times.failed_at = times.failed_at, now
        self._failed(now)
        if not isinstance(trouble, AwayError):
            self.asked(trouble, now)
        seconds, dropped = now - self._since, isinstance(trouble, DroppedError)
        rest = self.rest(now) or min(max(seconds, _SHORTEST_REST), _LONGEST_REST)
        if self._known:
            most, left = times.own.seconds if dropped else PATIENCE_SECONDS, times.batch.left
        else:
            most, left = 0.0 if dropped else times.own.seconds, times.own.left
        gave_since = before is not None and self._gave_at > before
        if gave_since or seconds >= min(most, PATIENCE_SECONDS) or rest > left:
            return False
        self._rests_until = now + rest
        if self._known:
            times.own.begin_again()
        return True

    def _failed(self, now: float) -> None:
        if self._since == inf or now - self._failed_at > FORGOTTEN_SECONDS:
            self._since = now
        self._failed_at = now


class Host:
    """One host, shared by all threads that ask it. `slots` are those of all workers; without them only this process counts."""

    def __init__(self, name: str, at_once: int, slots: Slots | None = None) -> None:
        self._name = name
        self._mine = threading.BoundedSemaphore(at_once)
        self._slots = slots
        self._standing, self._changing = Standing(), threading.Lock()
        self._told = False

    @contextmanager
    def guarding(self, until: Deadline) -> Iterator[None]:
        """Run a block that asks for one medium, when the host is not left alone any more.

        Raises MediaError media.host_resting where that is not waited for, or ends after `until`.
        """
        while (alone := self._standing.left_alone(time.monotonic())) > 0:
            self._wait(alone, Deadline(0), until, f"failed {FAILURES} times in a row")
        lost = False
        try:
            yield
            self.heard()
        except MediaError as error:
            lost = error.retryable and error.code != _BUSY  # what is not there, or others' turns, says nothing of the host
            raise
        finally:
            with self._changing:
                self._standing.ended(time.monotonic(), lost=lost)

    @contextmanager
    def slot(self, deadline: Deadline, until: Deadline) -> Iterator[None]:
        """Run a block with one of the host's slots, when the host does not rest.

        The request ends by `deadline`, which waiting for others leaves as it is; all waiting ends by `until`. Raises MediaError
        media.host_resting where the rest is longer than the time that is left, media.batch_timeout where no slot came free.
        """
        while True:
            with ExitStack() as held:
                self._take(held, deadline, until)
                rest = self._rest()
                if rest <= 0:
                    yield
                    return
            self._wait(rest, deadline, until, "is away, or asked for a rest,")  # without the slot, whose lease would end

    def _take(self, held: ExitStack, deadline: Deadline, until: Deadline) -> None:
        seconds = deadline.left
        with deadline.standing_still(), suppress(TimeoutError):
            if self._mine.acquire(timeout=max(until.left, 0)):
                held.callback(self._mine.release)
                if self._slots is not None and (token := self._slots.take(self._name, seconds=seconds, until=until)):
                    held.callback(self._slots.give, self._name, token)
                return
        raise MediaError(
            f"{self._name} was asked by others for all the time that was left for the media of this batch.",
            code=_BUSY,
            remedy="Redrive it later, or raise TRIPTYCH_FETCH_PER_HOST or TRIPTYCH_FETCH_BATCH_SECONDS.",
            retryable=True,
        )

    def _rest(self) -> float:
        shared = self._slots.resting(self._name) if self._slots is not None else 0.0
        now = time.monotonic()
        with self._changing:
            self._standing.asked(shared, now)
            return self._standing.rest(now)

    def _wait(self, seconds: float, deadline: Deadline, until: Deadline, why: str) -> None:
        patient = self._standing.patient(time.monotonic())
        if seconds > (until.left if patient else min(deadline.left, until.left)):
            raise MediaError(
                f"{self._name} {why} and is left alone for a while.",
                code="media.host_resting",
                remedy="Submit the catalogue again later.",
                retryable=True,
            )
        with deadline.standing_still() if patient else nullcontext():
            until.sleep(seconds)

    def rest(self, seconds: float) -> None:
        """The host asked to be left alone for `seconds`."""
        with self._changing:
            self._standing.asked(seconds, time.monotonic())
        if self._slots is not None:
            self._slots.rest(self._name, min(seconds, MOST_WAIT_SECONDS))

    def heard(self) -> None:
        """The host gave something, or said well that it has not."""
        with self._changing:
            seconds = self._standing.gave(time.monotonic())
            told, self._told = self._told, False
        if told:
            log.info("%s gives media again, after %.0f s", self._name, seconds)

    def bears(self, trouble: AwayError | float, times: Times) -> bool:
        """`Standing.bears`. That media wait is said once in the log."""
        with self._changing:
            if not self._standing.bears(trouble, times, time.monotonic()):
                return False
            told, self._told = self._told, True
        if not told:
            what = trouble.message if isinstance(trouble, AwayError) else f"{self._name} asked for a rest of {trouble:g} s."
            log.warning("%s Its media wait.", what)
        return True


class Hosts:
    """The hosts by name; those not asked for longest are forgotten."""

    def __init__(self, at_once: int, slots: Slots | None = None) -> None:
        self._known = lru_cache(_MOST_HOSTS)(lambda name: Host(name, at_once, slots))
        self._making = threading.Lock()

    def __getitem__(self, name: str) -> Host:
        with self._making:  # else two threads may each make one
            return self._known(name)
