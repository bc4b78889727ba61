"""When a job is paused by itself: too many of its records end badly. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from triptych.jobs.job import Counts
from triptych.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """`most_dead`: dead records a job may have, None for any number. `bad_share`: share of the latest `window` records that may
    end as dead or partial; 1 is never exceeded."""

    most_dead: int | None = None
    bad_share: float = 0.5
    window: int = 500

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.job_most_dead, settings.job_bad_share, settings.job_window)


def judge(recent: Iterable[Counts], dead: int, limits: Limits) -> str | None:
    """Why a job should be paused, None if it should go on.

    `recent` are the counts of its batches, the latest first, as many as make up a window; `dead` is how many records died, both
    since the job was last resumed. A job with fewer records than a window is never paused for its share.
    """
    if limits.most_dead is not None and dead > limits.most_dead:
        return f"{dead} records are dead, more than the {limits.most_dead} of TRIPTYCH_JOB_MOST_DEAD."
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
