"""What the index has of a batch's products, and what that makes of each: to be written, or an outcome already.

An older job never wins over a newer one: job ids sort by time. What a job leaves as it is says nothing of that job, and what is
gone says nothing at all; so while older jobs run on the index, the one is marked as seen and the other has a tombstone in the
ledger, which older jobs look at. Every write names the version that was decided on, so that a
product somebody else wrote meanwhile is looked up and decided again (writing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from indexer import documents
from indexer.work import SHA256_DIGITS, Target, Work
from triptych.domain import DeadLetter, Media, Modality, Operation, Outcome
from triptych.elastic.bulk import Version
from triptych.elastic.engine import mget_versions
from triptych.schema import FIELD
from triptych.services import Services

_READ = ("hash", "job", "seen", "line", "outcome", "missing", "made")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the index has of a product: its version (None: nothing is there), our bookkeeping, and for an update its fields."""

    version: Version | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latest(self) -> str:
        """The newest job that wrote the product, left it as it was, or wanted it gone; empty where there is none."""
        return max(str(self.own.get("job", "")), str(self.own.get("seen", "")))

    def media(self, modality: Modality) -> list[tuple[str, str]]:
        """Short reference and digest of each medium that the vectors were made of, in order."""
        return [(one[0], one[1]) for one in self.own.get("made", {}).get(str(modality), [])]

    def digest_of(self, media: Media) -> str | None:
        """The sha256 of what this reference gave when the product was written, None where it gave nothing."""
        digest = dict(self.media(media.modality)).get(documents.short(media.reference), "")
        return digest if len(digest) == SHA256_DIGITS else None


def look_up(work: Sequence[Work], target: Target, services: Services) -> dict[str, Standing]:
    """What the index has of each, in one request. Raises ElasticsearchError."""
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
    return standing


def decide(item: Work, known: Standing, target: Target) -> Outcome | DeadLetter | None:
    """How the record ends as things stand; None where it must be written. Pure."""
    own = known.own
    same_job = own.get("job") == target.job
    if same_job and own["line"] != item.line:
        return duplicate(item.product.id, item.line, own["line"])
    if known.latest > target.job:
        return Outcome.UNCHANGED  # a newer job had it since: how that left it, it stays
    if item.product.operation is Operation.DELETE:
        return Outcome.UNCHANGED if known.version is None else None
    as_before = Outcome.WRITTEN if same_job else Outcome.UNCHANGED
    if item.product.operation is Operation.UPDATE:
        return _decide_update(item, known, as_before)
    if own.get("hash") != item.digest or own["outcome"] == Outcome.PARTIAL:
        return None  # what was partial is tried again, and gets its dead letters again
    return Outcome.PARTIAL if item.errors else as_before  # a picture's server is away: what the index has of it stays


def must_be_marked(known: Standing, target: Target) -> bool:
    """Whether a product that stays as it is must say that this job has seen it, as an older one may still come. Pure."""
    return target.older and known.version is not None and known.latest < target.job


def to_be_remembered(work: Sequence[Work], standing: Mapping[str, Standing], target: Target) -> list[str]:
    """The products that this job wants gone and an older one might bring back. Pure."""
    deletes = [item.product.id for item in work if item.product.operation is Operation.DELETE]
    return [key for key in deletes if standing[key].latest <= target.job] if target.older else []


def _decide_update(item: Work, known: Standing, as_before: Outcome) -> Outcome | DeadLetter | None:
    if "hash" not in known.own:
        message = "The index has no such product to be updated. Send the whole record."
        return DeadLetter("record.update_missing", message, "write", item.line, item.product.id)
    return as_before if documents.same(known.fields, documents.merged(known.fields, item.product.fields)) else None


def duplicate(product: str, line: int, first: int) -> DeadLetter:
    """The dead letter of a record whose id an earlier line of the job has."""
    message = f"The id {product!r} stands on line {first} already; that record was taken."
    return DeadLetter("record.duplicate_id", message, "parse", line, product)
