"""What the index has of a batch's products, and what that makes of each: to be written, or an outcome already.

An older job never wins over a newer one: job ids sort by time, and a redrive's by that of its job. What a job leaves as it is
says nothing of that job, and what is gone says nothing at all; so where an older job may still write a product, the one is
marked as seen and the other has a tombstone in the ledger, which older jobs look at. An older job may write as long as it has
not ended, be it stopped or failed, and what it has a dead letter of may be redriven. Every write names the version that was
decided on, so that a product somebody else wrote meanwhile is looked up and decided again (writing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from indexer import documents
from indexer.work import SHA256_DIGITS, Target, Work
from triptych.domain import DeadLetter, Media, Modality, Operation, Outcome
from triptych.elastic.bulk import Version
from triptych.elastic.engine import mget_versions
from triptych.jobs.job import latest_of
from triptych.schema import FIELD
from triptych.services import Services

_READ = ("hash", "job", "seen", "line", "outcome", "missing", "made")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the index has of a product: its version (None: nothing is there), our bookkeeping, and for an update its fields.

    `older` is the greatest id of the older jobs that may still write it, "" where there is none.
    """

    version: Version | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    older: str = ""

    @property
    def latest(self) -> str:
        """The newest job that wrote the product, left it as it was, or wanted it gone; empty where there is none."""
        return latest_of(self.own)

    def media(self, modality: Modality) -> list[tuple[str, str]]:
        """Short reference and digest of each medium that the vectors were made of, in order."""
        return [(one[0], one[1]) for one in self.own.get("made", {}).get(str(modality), [])]

    def digest_of(self, media: Media) -> str | None:
        """The sha256 of what this reference gave when the product was written, None where it gave nothing."""
        digest = dict(self.media(media.modality)).get(documents.short(media.reference), "")
        return digest if len(digest) == SHA256_DIGITS else None


def look_up(work: Sequence[Work], target: Target, services: Services) -> dict[str, Standing]:
    """What the index has of each, and what older jobs may do to it. Raises ElasticsearchError."""
    ours = {"includes": [f"{FIELD}.{name}" for name in _READ]}
    vectors = [f for s in target.schema.spaces for f in (s.field, s.parts_field)]
    wanted = {w.product.id: {"excludes": vectors} if w.product.operation is Operation.UPDATE else ours for w in work}
    found = mget_versions(services.elasticsearch, target.index, wanted)
    standing = {}
    for item in work:
        stored = found.get(item.product.id)
        source = dict(stored.source) if stored else {}
        own = source.pop(FIELD, {})
        standing[item.product.id] = Standing(stored.version if stored else None, own, source)
    if target.newer:
        gone = [key for key, known in standing.items() if known.version is None]
        for key, job in services.jobs.deleted_by((target.index, *target.others), gone).items():
            standing[key] = Standing(own={"seen": job})
    letters = _letters(work, standing, target, services)
    return {key: replace(known, older=max(target.older, letters.get(key, ""))) for key, known in standing.items()}


def presumed(work: Sequence[Work], target: Target) -> dict[str, Standing] | None:
    """That the index has none of them, where they are most likely its first; None where it must be looked up. Pure.

    A wrong guess costs the writes of what is there already, which are refused and looked up then (writing.py), and whatever was
    made for them: so not where an encoder makes vectors.
    """
    puts = all(item.product.operation is Operation.PUT for item in work)
    guess = target.first and puts and not target.newer and not target.schema.encoded
    return {item.product.id: Standing(older=target.older) for item in work} if guess else None


def _letters(work: Sequence[Work], standing: Mapping[str, Standing], target: Target, services: Services) -> Mapping[str, str]:
    """The latest older job that has a dead letter of each product that may be left as it is, or be deleted."""
    ids = [w.product.id for w in work if standing[w.product.id].version or w.product.operation is Operation.DELETE]
    return services.jobs.dead_before(target.aliases, target.job, ids) if target.aliases else {}


def decide(item: Work, known: Standing, target: Target) -> Outcome | DeadLetter | None:
    """How the record ends as things stand; None where it must be written. Pure."""
    own = known.own
    same_job = own.get("job") == target.job
    if same_job and own["line"] != item.line:
        return duplicate(item.product.id, item.line, own["line"])
    if item.product.operation is Operation.DELETE:
        return _decide_delete(item, known, target)
    if known.latest > target.job:
        return Outcome.UNCHANGED  # a newer job had it since: how that left it, it stays
    as_before = Outcome.WRITTEN if same_job else Outcome.UNCHANGED
    if item.product.operation is Operation.UPDATE:
        return _decide_update(item, known, as_before)
    if own.get("hash") != item.digest or own["outcome"] == Outcome.PARTIAL:
        return None  # what was partial is tried again, and gets its dead letters again
    return Outcome.PARTIAL if item.errors else as_before  # a picture's server is away: what the index has of it stays


def must_be_marked(known: Standing) -> bool:
    """Whether a product that stays as it is must say that this job has seen it, as an older one may still come. Pure.

    Not if it says so of another job already that is newer than those: an old job that nobody resumes costs one mark.
    """
    return bool(known.older) and known.version is not None and known.latest <= known.older


def to_be_remembered(work: Sequence[Work], standing: Mapping[str, Standing], target: Target) -> list[str]:
    """The products that this job wants gone and an older one might bring back. Pure."""
    deletes = [item.product.id for item in work if item.product.operation is Operation.DELETE]
    return [key for key in deletes if standing[key].older and standing[key].latest <= target.job]


def to_be_deleted(work: Sequence[Work], standing: Mapping[str, Standing], target: Target) -> list[int]:
    """The lines of the products that this job is about to delete. Pure."""
    deletes = [item for item in work if item.product.operation is Operation.DELETE]
    return [
        item.line
        for item in deletes
        if standing[item.product.id].version and decide(item, standing[item.product.id], target) is None
    ]


def _decide_delete(item: Work, known: Standing, target: Target) -> Outcome | None:
    if known.version is None:
        return Outcome.DELETED if item.line in target.begun else Outcome.UNCHANGED
    return Outcome.UNCHANGED if known.latest > target.job else None


def _decide_update(item: Work, known: Standing, as_before: Outcome) -> Outcome | DeadLetter | None:
    if "hash" not in known.own:
        message = "The index has no such product to be updated. Send the whole record."
        return DeadLetter("record.update_missing", message, "write", item.line, item.product.id)
    changes = documents.placed(known.fields, item.product.fields)
    return as_before if documents.same(known.fields, documents.merged(known.fields, changes)) else None


def duplicate(product: str, line: int, first: int) -> DeadLetter:
    """The dead letter of a record whose id an earlier line of the job has."""
    message = f"The id {product!r} stands on line {first} already."
    return DeadLetter("record.duplicate_id", message, "parse", line, product)
