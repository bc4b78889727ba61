"""The time one medium may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """Runs from its making for `seconds`, by the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; 0 or less when it is over."""
        return self._ends - time.monotonic()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is done in the block takes none of the time: waiting for a slot is our doing, not the server's."""
        before = time.monotonic()
        try:
            yield
        finally:
            self._ends += time.monotonic() - before
