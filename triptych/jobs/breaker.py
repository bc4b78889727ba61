"""When a job is paused by itself: too many of its records end badly. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triptych.jobs.job import EndedBatch
from triptych.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """`most_dead`: dead records a job may have, None for any number. `bad_share`: share of the latest `window` records that may
    end as dead or partial; 1 is never exceeded. `in_row`: dead records one after another in the catalogue that a job may have,
    None for any.
    """

    most_dead: int | None = None
    bad_share: float = 0.5
    window: int = 500
    in_row: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.job_most_dead, settings.job_bad_share, settings.job_window, settings.job_dead_in_row)

    @property
    def looked_at(self) -> int:
        """How many of the latest batches are enough to judge by, however few records each has."""
        return max(self.window, (self.in_row or 0) + 1)


def judge(recent: Iterable[EndedBatch], dead: int, limits: Limits) -> str | None:
    """Why a job should be paused, None if it should go on.

    `recent` are its batches, the latest to end first, as many as make up a window; `dead` is how many records died, both
    since the job was last resumed. A job with fewer records than a window is never paused for its share.
    """
    recent = list(recent)
    if limits.most_dead is not None and dead > limits.most_dead:
        return f"{dead} records are dead, more than the {limits.most_dead} of TRIPTYCH_JOB_MOST_DEAD."
    row = longest_row(recent)
    if limits.in_row is not None and row > limits.in_row:
        return f"{row} records one after another are dead, more than the {limits.in_row} of TRIPTYCH_JOB_DEAD_IN_ROW."
    read = bad = 0
    for counts in (one.counts for one in recent):
        if read >= limits.window:
            break
        read += counts.ended
        bad += counts.dead + counts.partial
    if read < limits.window or bad <= limits.bad_share * read:
        return None
    return (
        f"{bad} of the latest {read} records ended as dead or partial, more than TRIPTYCH_JOB_BAD_SHARE ({limits.bad_share:g})."
    )


def longest_row(batches: Iterable[EndedBatch]) -> int:
    """The most dead records one after another in the catalogue's order, whatever order these batches ended in.

    A batch that has not ended ends a row, until it has: then its neighbours are counted with it.
    """
    longest = row = 0
    before: EndedBatch | None = None
    for one in sorted(batches, key=lambda batch: batch.number):
        if before is None or one.number != before.number + 1:
            row = 0
        longest = max(longest, row + one.rows.first, one.rows.most)
        row = row + one.counts.dead if one.counts.dead == one.counts.ended else one.rows.last
        before = one
    return longest
