"""What became of one record of a job: put together of what is kept anyway.

    its place in a batch (line, product, how the batch stands, how the record ended)
        + its dead letters (stage, code, message) + what the index has of the product now (content hash, job)

There is no entry for a record: a million of them would be written as often as the products themselves (docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from triptych.domain import Outcome
from triptych.elastic.attached import field_of, index_of
from triptych.elastic.client import Client
from triptych.elastic.engine import mget
from triptych.elastic.lifecycle import current_version
from triptych.errors import InputError, NotFoundError
from triptych.jobs.job import BatchState, Job
from triptych.jobs.places import Place
from triptych.jobs.store import JobStore
from triptych.schema import FIELD

PENDING: Final = "pending"
OVERTAKEN: Final = "overtaken"
"""A later job has written or deleted the product since, or somebody else deleted it."""

_STAGES: Final = ("read", "parse", "fetch", "decode", "embed", "write", "run")
_REASON: Final = ("code", "message", "stage", "modality", "reference", "attempt", "at")


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a record.

    `state` is `pending`, an outcome, or `overtaken`; `outcome` is how it ended in this job whatever came later, None while it
    is pending. `stage` is how far it came, or where it was given up, as a whole or a part; of a pending one `queued` or
    `running`. `attempt`: how often its batch was started. `hash` is the product's content hash, None where this job's content
    is not in the index. `overtaken_by` is the job that wrote the product since, None where it is gone. `reasons` are its dead
    letters, `failure` is why an earlier attempt at its batch failed. `lines` are further lines of the job with the same id.
    """

    job: str
    line: int
    product: str | None
    state: str
    outcome: str | None
    stage: str
    attempt: int
    hash: str | None
    overtaken_by: str | None
    batch: int
    reasons: tuple[Mapping[str, Any], ...]
    failure: str | None
    lines: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find(jobs: JobStore, client: Client, job: Job, which: str | int) -> Record:
    """The record of a product, by its id, or of a line, by its number, in a job. Raises NotFoundError `job.record_not_found`.

    Where an id is on several lines, it is the first that did not end dead, or the first: later ones are `record.duplicate_id`.
    """
    if isinstance(which, int):
        at = jobs.place_at(job.id, which)
        places = [] if at is None else [at]
    else:
        places = sorted(jobs.places_of(job.id, which), key=lambda place: (place.outcome is Outcome.DEAD, place.line))
    if not places:
        line = isinstance(which, int)
        raise NotFoundError(
            f"No record of {'line' if line else 'the product'} {which!r} is entered in job {job.id}.",
            code="job.record_not_found",
            field="line" if line else "product",
            remedy="While the job reads its catalogue it may still come.",
        )
    place, others = places[0], sorted(one.line for one in places[1:])
    letters = jobs.letters_at(job.id, place.line)
    return told(job.id, place, letters, _own(client, job, place.product), others)


def _own(client: Client, job: Job, product: str | None) -> Mapping[str, Any] | None:
    """What we keep in the product, as it is now; nothing where it is gone, None where nobody can tell: the index is gone."""
    if product is None:
        return None
    try:
        version = current_version(client, job.alias)
    except (NotFoundError, InputError):
        return None
    ours = field_of(version) or FIELD
    found = mget(client, index_of(version), [product], includes=[f"{ours}.job", f"{ours}.hash"])
    return dict(found[product].get(ours, {})) if product in found else {}


def told(
    job: str, place: Place, letters: Sequence[Mapping[str, Any]], own: Mapping[str, Any] | None, others: Sequence[int] = ()
) -> Record:
    """Put a record's answer together. Pure. `own` as `_own` gives it."""
    state = state_of(job, place.outcome, own)
    here = own is not None and state in (Outcome.WRITTEN, Outcome.PARTIAL, Outcome.UNCHANGED)
    later = str((own or {}).get("job", ""))
    return Record(
        job=job,
        line=place.line,
        product=place.product,
        state=state,
        outcome=None if place.outcome is None else str(place.outcome),
        stage=_stage(place, letters),
        attempt=place.attempts,
        hash=str(own["hash"]) if here and own and "hash" in own else None,
        overtaken_by=later if state == OVERTAKEN and later > job else None,
        batch=place.batch,
        reasons=tuple({name: letter.get(name) for name in _REASON} for letter in letters) if place.outcome is not None else (),
        failure=place.failure,
        lines=tuple(others),
    )


def state_of(job: str, outcome: Outcome | None, own: Mapping[str, Any] | None) -> str:
    """A record's state by how it ended in its job and what the index has of its product now. Pure."""
    if outcome is None:
        return PENDING
    if outcome is Outcome.DEAD or own is None:
        return str(outcome)
    if outcome is Outcome.DELETED:
        return OVERTAKEN if own else str(outcome)
    return OVERTAKEN if not own or str(own.get("job", "")) > job else str(outcome)  # job ids sort by time


def _stage(place: Place, letters: Sequence[Mapping[str, Any]]) -> str:
    if place.outcome is None:
        return "running" if place.state is BatchState.RUNNING else "queued"
    if letters:
        return max((str(letter["stage"]) for letter in letters), key=_STAGES.index)
    return "compare" if place.outcome is Outcome.UNCHANGED else "write"
