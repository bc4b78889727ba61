"""The time one medium may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_STEP_SECONDS: Final = 0.25
"""Who sleeps looks so often whether the time was ended."""


class Deadline:
    """Runs from its making for `seconds`, by the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; 0 or less when it is over."""
        return self._ends - time.monotonic()

    def begin_again(self) -> None:
        """All the time is left again."""
        self._ends = time.monotonic() + self.seconds

    def end(self) -> None:
        """It is over now, for all threads that wait by it."""
        self._ends = min(self._ends, time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until it is over."""
        wake = time.monotonic() + seconds
        while (wait := min(wake - time.monotonic(), self.left)) > 0:
            time.sleep(min(wait, _STEP_SECONDS))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is done in the block takes none of the time: waiting for a slot is our doing, not the server's."""
        before = time.monotonic()
        try:
            yield
        finally:
            self._ends += time.monotonic() - before


@dataclass(slots=True)
class Times:
    """How long a medium may be worked on: `own` for its requests, `batch` for its waiting too.

    `failed_at`: when its host was in trouble last while it was asked for.
    """

    own: Deadline
    batch: Deadline
    failed_at: float | None = None
