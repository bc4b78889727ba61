"""A job and its states: pure values, no I/O.

A job is one submitted catalogue, cut into batches. Its counters are sums over the batches' own results, so they add up at
every moment: read = written + unchanged + partial + dead + pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from triptych.domain import Outcome


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_DEAD_LETTERS = "completed_with_dead_letters"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class BatchState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records were read and how they ended. `pending` are read but not ended."""

    read: int = 0
    written: int = 0
    unchanged: int = 0
    partial: int = 0
    dead: int = 0
    dead_letters: int = 0

    @property
    def ended(self) -> int:
        return self.written + self.unchanged + self.partial + self.dead

    @property
    def pending(self) -> int:
        return self.read - self.ended

    @classmethod
    def of(cls, outcomes: list[Outcome], dead_letters: int) -> Counts:
        """Count one batch's outcomes."""
        return cls(
            read=len(outcomes),
            written=outcomes.count(Outcome.WRITTEN),
            unchanged=outcomes.count(Outcome.UNCHANGED),
            partial=outcomes.count(Outcome.PARTIAL),
            dead=outcomes.count(Outcome.DEAD),
            dead_letters=dead_letters,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One submitted catalogue. Times are ISO 8601 in UTC.

    `reading` is true while the catalogue is still read; `error` says why a job failed. Of `priority` 9 is the highest.
    """

    id: str
    index: str
    alias: str
    catalogue: str
    root: str
    submitted_at: str
    reading: bool = True
    finished_at: str | None = None
    error: str | None = None
    priority: int = 5

    def state(self, counts: Counts) -> JobState:
        if self.error is not None:
            return JobState.FAILED
        if self.finished_at is None:
            return JobState.RUNNING if counts.ended else JobState.QUEUED
        return JobState.COMPLETED_WITH_DEAD_LETTERS if counts.dead_letters else JobState.COMPLETED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of one task: some records of one job, as they were read.

    `records` holds `{"line": n, "text": "<the line>"}` or, for a line that could not even be read, `{"line": n, "code": ...,
    "message": ...}`. `attempts` counts how often it was started, this time included;
    `failure` says why an earlier attempt failed, where that is known. `kind` and `priority` say how its message goes out.
    """

    job: str
    number: int
    records: tuple[Mapping[str, Any], ...]
    attempts: int = 0
    failure: str | None = None
    kind: str = "words"
    priority: int = 5

    @property
    def id(self) -> str:
        return batch_id(self.job, self.number)


def batch_id(job: str, number: int) -> str:
    """`_id` of a batch's ledger entry."""
    return f"{job}-{number:08d}"
