"""How long a request may still take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

LONGEST_LEG_MS = 5000
"""A leg that takes longer is dropped; the answer names it."""

HUNG_SECONDS = 10.0
"""A search without a deadline is given up then: Elasticsearch hangs, for it ends a search itself after LONGEST_LEG_MS."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time a request has, counted from its start; `seconds` None: as long as it takes."""

    seconds: float | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds left, at least 0; -1 without a deadline, as threading.Lock.acquire takes it."""
        return -1 if self.seconds is None else max(0.0, self.seconds - self.took)

    @property
    def took(self) -> float:
        return time.perf_counter() - self.started

    @property
    def leg_ms(self) -> int:
        """Milliseconds that a search of Elasticsearch may take."""
        return LONGEST_LEG_MS if self.seconds is None else max(1, min(LONGEST_LEG_MS, int(self.left * 1000)))

    @property
    def request_seconds(self) -> float | None:
        """Seconds until a request to Elasticsearch or Redis is given up: a little longer than searches there may take."""
        return None if self.seconds is None else self.left + 0.25
