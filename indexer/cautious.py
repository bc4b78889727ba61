"""A batch whose worker was lost, record by record: the one that kills its worker must not take its neighbours along.

How far it came is kept in the batch's entry before each record. So the next attempt knows at which record the worker was lost:
it is tried once more, then buried, and the rest goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from celery.exceptions import SoftTimeLimitExceeded

from indexer import pipeline
from indexer.records import RawRecord, id_of
from indexer.work import Target
from triptych.domain import DeadLetter, Modality, Outcome
from triptych.errors import TriptychError
from triptych.jobs.job import Batch
from triptych.logs import about
from triptych.services import Services

log = logging.getLogger(__name__)

LOSSES: Final = 2
"""A record is given up when so many workers were lost while they worked on it alone: one may have been killed from outside."""

_LONGEST_WAIT: Final = 4.0
"""Seconds between tries while Elasticsearch is away; when it is back, a lease passes before the batch is another's."""

Keep = Callable[[Mapping[str, Any]], bool]
"""Writes the progress down; False if the batch is another worker's by now."""


@dataclass(slots=True)
class Progress:
    """How the first records of a batch ended, their dead letters, and how often the next one was begun and not ended."""

    outcomes: list[Outcome] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    begun: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        letters = [
            DeadLetter(**{**one, "modality": Modality(one["modality"]) if one["modality"] else None}) for one in data["letters"]
        ]
        return cls([Outcome(one) for one in data["outcomes"]], letters, data["begun"])


def wanted(batch: Batch, most: int) -> bool:
    """Whether the batch is to be worked on record by record: from its second attempt to the last, and as long as it gets on.

    After the last each attempt buries the record it was lost at, so there are at most as many more as records.
    """
    return 1 < batch.attempts <= most or (batch.progress is not None and most < batch.attempts <= most + len(batch.records) + 1)


def run(
    batch: Batch,
    target: Target,
    services: Services,
    *,
    keep: Keep,
    still_ours: Callable[[], bool],
    flow: Callable[..., pipeline.Result] | None = None,
) -> pipeline.Result:
    """Take a batch through the flow (`pipeline.run`, or another) record by record, from where the attempt before was lost.

    Raises what `pipeline.run` raises for errors of services; any other error is the record's, and it is given up.
    """
    progress = Progress.from_dict(batch.progress) if batch.progress else Progress()
    last = batch.attempts > services.settings.batch_attempts
    for record in batch.records[len(progress.outcomes) :]:
        if progress.begun >= (1 if last else LOSSES):
            with about(product=id_of(record), line=record["line"]):
                log.error("the record lost its workers and is given up")
            _give_up(progress, record, f"its worker was lost {progress.begun} times while it worked on this record alone")
            continue
        progress.begun += 1
        _kept(progress, keep)
        try:
            result = (flow or pipeline.run)([record], target, services, still_ours=still_ours)
        except SystemExit:
            progress.begun -= 1  # the worker is told to stop: that is not the record's fault
            with suppress(TriptychError):
                keep(progress.to_dict())
            raise
        except TriptychError:
            progress.begun -= 1  # nor is it that a service was away
            _keep_in_the_end(progress, keep)
            raise
        except SoftTimeLimitExceeded:
            raise  # the batch's time is up, be it this record's fault or not: the next attempt begins with it
        except Exception as error:
            with about(product=id_of(record), line=record["line"]):
                log.exception("the record failed alone and is given up")
            _give_up(progress, record, f"alone it failed with {type(error).__name__}: {error}")
            continue
        progress.outcomes += result.outcomes
        progress.letters += result.dead_letters
        progress.begun = 0
    return pipeline.Result(progress.outcomes, progress.letters)


def _kept(progress: Progress, keep: Keep) -> None:
    if not keep(progress.to_dict()):
        raise pipeline.LeaseLostError


def _keep_in_the_end(progress: Progress, keep: Keep) -> None:
    """Write the progress down once Elasticsearch is there: without it this worker has nothing else to do.

    Else two times that it was away would count as two lost workers.
    """
    wait = 0.5
    while True:
        try:
            keep(progress.to_dict())
        except TriptychError as error:
            if not error.retryable:
                return
            log.warning("the progress of the batch cannot be written down. %s Trying again in %.1f s.", error, wait)
        else:
            return
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def _give_up(progress: Progress, record: RawRecord, why: str) -> None:
    text = record.get("text")
    letter = DeadLetter(
        "batch.never_ended",
        f"It did not end: {why[:500]}.",
        "run",
        record["line"],
        id_of(record),
        record=text[:8000] if text else None,
    )
    progress.outcomes.append(Outcome.DEAD)
    progress.letters.append(letter)
    progress.begun = 0
