"""A job and its states: pure values, no I/O.

A job is one submitted catalogue, cut into batches. Its counters are sums over the batches' own results, so they add up at
every moment: read = written + unchanged + partial + deleted + dead + pending. What state a job is in follows from what its
entry says (`wanted`, `error`, `finished_at`), from its counters, and from whether a batch is running; it is not stored.

    queued -> running -> completed | completed_with_dead_letters
      pause: -> pausing (batches still run) -> paused        resume: -> running
      stop:  -> stopping                    -> stopped       resume: -> running
      an error that trying again does not help: -> failed    resume: -> running
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

from triptych.domain import Outcome
from triptych.errors import InputError

REDRIVE: Final = "-r"
"""Stands between a job's id and the number of a redrive of it; no id of another job has an r."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    COMPLETED_WITH_DEAD_LETTERS = "completed_with_dead_letters"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes a failed job."""
        return self in (JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS, JobState.FAILED)

    @property
    def rests(self) -> bool:
        """Whether nothing happens by itself: it has ended, or waits to be resumed."""
        return self.ended or self in (JobState.PAUSED, JobState.STOPPED)


class Wanted(StrEnum):
    """What whoever controls a job wants of it. Workers look at it before they take a batch."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


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
    deleted: int = 0
    dead: int = 0
    dead_letters: int = 0

    @property
    def ended(self) -> int:
        return self.written + self.unchanged + self.partial + self.deleted + self.dead

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
            deleted=outcomes.count(Outcome.DELETED),
            dead=outcomes.count(Outcome.DEAD),
            dead_letters=dead_letters,
        )


@dataclass(frozen=True, slots=True)
class DeadRows:
    """Dead records one after another in a batch: how many it begins with, the most there are, and how many it ends with."""

    first: int = 0
    most: int = 0
    last: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> DeadRows:
        rows = [(dead, len(list(some))) for dead, some in groupby(outcomes, lambda outcome: outcome is Outcome.DEAD)]
        lengths = [length if dead else 0 for dead, length in rows] or [0]
        return cls(lengths[0], max(lengths), lengths[-1])


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """What a done batch tells the breaker: which one of its job it is, its counts and its rows of dead records."""

    number: int
    counts: Counts
    rows: DeadRows


@dataclass(frozen=True, slots=True)
class Tally:
    """A job's counters and how many of its batches are being worked on."""

    counts: Counts = Counts()
    running: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One submitted catalogue. Times are ISO 8601 in UTC.

    `reading` is true until the catalogue is read whole; `error` says why a job failed, `paused_because` why it paused itself.
    `source` is how the catalogue is read (`SourceSpec.to_dict`) and `resumable` whether another process can read on in it;
    `stamp` says which one it was when it was begun (`indexer.sources.stamps`).
    `reader` names the process that reads it now, None where none does, and `beat` counts that process's signs of life.
    `handed`: it came over HTTP, and its catalogue is for workers to read.
    `key` is the submitter's idempotency key, `redrive_of` the job whose dead letters this one tries again. Dead records before
    `judged_from`, a place in the ledger's order of changes, no longer count for pausing the job. `priority` 9 is the highest.
    `first`: its index had no product when it began to be read.
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
    wanted: Wanted = Wanted.RUN
    paused_because: str | None = None
    source: Mapping[str, Any] | None = None
    stamp: Mapping[str, str] | None = None
    resumable: bool = False
    reader: str | None = None
    handed: bool = False
    beat: int = 0
    key: str | None = None
    redrive_of: str | None = None
    judged_from: int = -1
    priority: int = 5
    first: bool = False

    @property
    def runs(self) -> bool:
        """Whether workers may take batches of it."""
        return self.error is None and self.finished_at is None and self.wanted == Wanted.RUN

    @property
    def elsewhere(self) -> bool:
        """Whether workers can read its catalogue: it was handed to them, or has an address that is no path of one machine."""
        location = str((self.source or {}).get("location", ""))
        return self.handed or location.startswith("upload:") or "://" in location

    def may_write(self, tally: Tally) -> bool:
        """Whether a record of it may still be written, be it after somebody resumed it."""
        if self.finished_at is not None:
            return False
        if tally.running or (self.error is None and self.wanted != Wanted.STOP):
            return True
        if self.reading and self.reader is None and not self.resumable:
            return False  # nobody can resume it
        return self.reading or tally.counts.pending > 0

    def state(self, tally: Tally) -> JobState:
        if self.error is not None:
            return JobState.FAILED
        if self.finished_at is not None:
            return JobState.COMPLETED_WITH_DEAD_LETTERS if tally.counts.dead_letters else JobState.COMPLETED
        if self.wanted == Wanted.PAUSE:
            return JobState.PAUSING if tally.running else JobState.PAUSED
        if self.wanted == Wanted.STOP:
            return JobState.STOPPING if tally.running else JobState.STOPPED
        return JobState.RUNNING if tally.running or tally.counts.ended else JobState.QUEUED

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "wanted": str(self.wanted)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "wanted": Wanted(data.get("wanted", Wanted.RUN))})


def pause(job: Job, because: str | None = None) -> Job:
    """The job once it shall pause. Raises InputError if it has ended or was stopped."""
    _check_open(job, "paused")
    if job.wanted == Wanted.STOP:
        raise InputError(
            f"Job {job.id} is stopped.", code="job.stopped", field="job", remedy=f"Go on with it: triptych job resume {job.id}"
        )
    return job if job.wanted == Wanted.PAUSE else replace(job, wanted=Wanted.PAUSE, paused_because=because)


def stop(job: Job) -> Job:
    """The job once it shall stop. Raises InputError if it has ended."""
    _check_open(job, "stopped")
    return replace(job, wanted=Wanted.STOP, paused_because=None)


def resume(job: Job) -> Job:
    """The job once it shall go on: after a pause, a stop or a failure.

    Raises InputError if it is completed, or if its catalogue is not read whole and nobody can read on.
    """
    if job.error is None:
        _check_open(job, "resumed")
    if job.reading and job.reader is None and not job.resumable:
        raise not_resumable(job)
    return replace(job, wanted=Wanted.RUN, paused_because=None, error=None, finished_at=None)


def not_resumable(job: Job) -> InputError:
    """The error of a job whose catalogue cannot be read a second time."""
    again = f"triptych job redrive {job.redrive_of}" if job.redrive_of else "submit the catalogue again"
    return InputError(
        f"Job {job.id} was not read to its end, and {job.catalogue} cannot be read again from where it was left.",
        code="job.not_resumable",
        field="job",
        remedy=f"What is indexed stays unchanged: {again}.",
    )


def _check_open(job: Job, what: str) -> None:
    if job.error is not None or job.finished_at is not None:
        how = "failed" if job.error is not None else "completed"
        remedy = f"Go on with it: triptych job resume {job.id}" if job.error is not None else None
        raise InputError(f"Job {job.id} is {how} and cannot be {what}.", code="job.ended", field="job", remedy=remedy)


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of one task: some records of one job, as they were read.

    `records` holds `{"line": n, "text": "<the line>"}` or, for a line that could not even be read, `{"line": n, "code": ...,
    "message": ...}`. `attempts` counts how often it was started, this time included;
    `failure` says why an earlier attempt failed, where that is known; `progress` how far one came that went record by record;
    `deleting` the lines of the products that one was about to delete. `kind` and `priority` say how its message goes out.
    `products` are the ids of the records' products, in order; empty where they are not known yet.
    """

    job: str
    number: int
    records: tuple[Mapping[str, Any], ...]
    attempts: int = 0
    failure: str | None = None
    progress: Mapping[str, Any] | None = None
    deleting: tuple[int, ...] = ()
    kind: str = "words"
    priority: int = 5
    products: tuple[str | None, ...] = ()

    @property
    def id(self) -> str:
        return batch_id(self.job, self.number)


def latest_of(own: Mapping[str, Any]) -> str:
    """The newest job that wrote a product or left it as it was, by what we keep in it; empty where there is none."""
    return max(str(own.get("job", "")), str(own.get("seen", "")))


def root_of(job: str) -> str:
    """The id of the job whose records a job has: its own, or for a redrive that of the job it tries again."""
    return job.partition(REDRIVE)[0]


def redrive_id(job: str, number: int) -> str:
    """The id of a job's redrive: it sorts behind the job and its earlier redrives, and before all newer jobs."""
    return f"{root_of(job)}{REDRIVE}{number:06d}"


def redrive_number(job: str) -> int:
    """Which redrive of its job this id is of; 0: none."""
    number = job.partition(REDRIVE)[2]
    return int(number) if number else 0


def batch_id(job: str, number: int) -> str:
    """`_id` of a batch's ledger entry."""
    return f"{job}-{number:08d}"
