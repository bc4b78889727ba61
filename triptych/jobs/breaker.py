"""When a job is paused by itself: too many of its records end badly. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from triptych.jobs.job import Counts
from triptych.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """`most_dead`: dead records a job may have, None for any number. `bad_share`: share of the latest `window` records that may
    end as dead or partial; 1 is never exceeded. `in_row`: dead records one after another that a job may have, None for any.
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


def judge(recent: Iterable[Counts], dead: int, limits: Limits) -> str | None:
    """Why a job should be paused, None if it should go on.

    `recent` are the counts of its batches, the latest first, as many as make up a window; `dead` is how many records died, both
    since the job was last resumed. A job with fewer records than a window is never paused for its share.

    Records in a row are counted by whole batches: batches end in any order, and which of its records died a batch's counts do
    not say. So a row begins and ends up to a batch later than it does in the catalogue.
    """
    recent = list(recent)
    if limits.most_dead is not None and dead > limits.most_dead:
        return f"{dead} records are dead, more than the {limits.most_dead} of TRIPTYCH_JOB_MOST_DEAD."
    row = sum(counts.dead for counts in takewhile(lambda counts: counts.dead == counts.ended, recent))
    if limits.in_row is not None and row > limits.in_row:
        return f"The latest {row} records are all dead, more than the {limits.in_row} of TRIPTYCH_JOB_DEAD_IN_ROW."
    read = bad = 0
    for counts in recent:
        if read >= limits.window:
            break
        read += counts.ended
        bad += counts.dead + counts.partial
    if read < limits.window or bad <= limits.bad_share * read:
        return None
    return (
        f"{bad} of the latest {read} records ended as dead or partial, more than TRIPTYCH_JOB_BAD_SHARE ({limits.bad_share:g})."
    )
