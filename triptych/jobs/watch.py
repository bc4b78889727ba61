"""How long something has not changed, by this machine's own clock: nobody else's time is believed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping


class Watch:
    """Remembers since when each of some values has been the same.

    A lease that one machine writes as a time and another compares with its own clock is wrong by the difference of the clocks.
    This compares what was seen at two moments of one clock, which cannot be set (`time.monotonic`).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[Hashable, float]] = {}

    def unchanged(self, seen: Mapping[str, Hashable], *, seconds: float) -> list[str]:
        """The keys of `seen` whose values were the same for at least `seconds`. What is not in `seen` is forgotten, and what is
        returned starts anew."""
        at = self._clock()
        known, self._since = self._since, {}
        found = []
        for key, value in seen.items():
            before = known.get(key)
            since = before[1] if before is not None and before[0] == value else at
            if before is not None and at - since >= seconds:
                found.append(key)
                since = at
            self._since[key] = (value, since)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._since.clear()


class Seldom:
    """True at most once in so many seconds: for what is worth doing now and then. Safe to share between threads."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = clock()
        self._lock = threading.Lock()

    def due(self) -> bool:
        """Whether it is time again; then it is not for the next seconds."""
        with self._lock:
            if self._clock() < self._next:
                return False
            self._next = self._clock() + self._seconds
            return True
