"""A batch that this process works on: its lease, and its records, which may still be read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from triptych.jobs.job import Batch
from triptych.jobs.ledger import Entry


@dataclass(frozen=True, slots=True)
class Whole:
    """A batch with its records, and the entry that these lie in; None of one that an older version entered."""

    batch: Batch
    records: Entry | None


Read = Callable[[], Whole]
"""Reads a batch's records, or waits for them."""


def at_once(read: Read) -> Read:
    """Read them now."""
    whole = read()
    return lambda: whole


@dataclass(slots=True)
class Claim:
    """A batch whose lease this process has, as `owner` (unique to the process and the attempt); this is its start number
    `attempts`.

    `entry` is the batch's entry as this process wrote it last: nobody else changes it as long as the lease holds, so a change
    needs no reading before it. None where another process may have changed it. `until`: before this moment of this process's
    monotonic clock no sweeper gives the batch to anybody. `buried`: dead letters of it may be kept, of this attempt or another.
    """

    job: str
    number: int
    attempts: int
    owner: str
    entry: Entry | None
    until: float
    whole: Read = field(repr=False)
    buried: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def batch(self) -> Batch:
        """The batch with its records. Waits for them where they are still read; raises ElasticsearchError if they cannot be."""
        return self.whole().batch
