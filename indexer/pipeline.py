"""THE flow of indexing, one batch at a time:

    records -> parse -> Product | DeadLetter
            -> look_up (what the index has) -> digests of media (sha256 | MediaError) -> unchanged?
            -> decode -> embed per space, batched (vectors of inputs seen before come from the cache)
            -> documents.build -> bulk write -> Outcome per record

Every record ends in exactly one of written, unchanged, partial (a modality is missing, the rest is searchable) or dead. Nothing
here knows of Celery: `run` may be called again with the same batch and changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer import documents
from indexer.embedding import AT_ONCE, Filling, embed
from indexer.records import RawRecord, parse
from indexer.work import Target, Work, parts_of
from triptych.domain import DeadLetter, Media, Modality, Outcome
from triptych.elastic.engine import bulk_index, mget
from triptych.encoders import fused
from triptych.errors import MediaError, RecordError, TriptychError
from triptych.media.fetcher import BatchMedia
from triptych.schema import FIELD, IndexSchema
from triptych.services import Services

__all__ = ["AT_ONCE", "LeaseLostError", "Result", "Target", "Work", "embed_only", "run"]


class LeaseLostError(TriptychError):
    """The batch was given to another worker before this one had written it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch: one outcome per record, in order, and the dead letters of the batch."""

    outcomes: list[Outcome]
    dead_letters: list[DeadLetter]


def run(
    records: Sequence[RawRecord], target: Target, services: Services, *, still_ours: Callable[[], bool] = lambda: True
) -> Result:
    """Take one batch through the flow.

    `still_ours` is asked once before anything is written; LeaseLostError is raised if it says no. Raises a retryable
    TriptychError when a service was away; then nothing is counted and the whole batch may be run again.
    """
    outcomes: dict[int, Outcome] = {}
    letters: list[DeadLetter] = []
    work = _parse(records, outcomes, letters)
    with services.fetcher.batch(target.root) as media:
        work = _drop_unchanged(work, target, services, media, outcomes, letters)
        _embed(work, target, services, media)
    if not still_ours():
        raise LeaseLostError("Another worker has this batch now.", code="batch.lease_lost")
    _write(work, target, services, outcomes, letters)
    return Result([outcomes[record["line"]] for record in records], letters)


def embed_only(records: Sequence[RawRecord], target: Target, services: Services) -> list[Work]:
    """The valid ones of `records` with their vectors; nothing is looked up and nothing written."""
    work = _parse(records, {}, [])
    with services.fetcher.batch(target.root) as media:
        digests = media.digests(one for item in work for one in item.product.media)
        for item in work:
            _take_digests(item, digests)
        _embed(work, target, services, media)
    return work


def _parse(records: Sequence[RawRecord], outcomes: dict[int, Outcome], letters: list[DeadLetter]) -> list[Work]:
    work: dict[str, Work] = {}
    for record in records:
        parsed = parse(record)
        if isinstance(parsed, DeadLetter):
            _bury(parsed, outcomes, letters)
        elif parsed.id in work:
            _bury(_duplicate(parsed.id, record["line"], work[parsed.id].line), outcomes, letters)
        else:
            work[parsed.id] = Work(record["line"], parsed)
    return list(work.values())


def _bury(letter: DeadLetter, outcomes: dict[int, Outcome], letters: list[DeadLetter]) -> None:
    letters.append(letter)
    outcomes[letter.line] = Outcome.DEAD


def _duplicate(product: str, line: int, first: int) -> DeadLetter:
    message = f"The id {product!r} stands on line {first} already; that record was taken."
    return DeadLetter("record.duplicate_id", message, "parse", line, product)


def _drop_unchanged(
    work: list[Work],
    target: Target,
    services: Services,
    media: BatchMedia,
    outcomes: dict[int, Outcome],
    letters: list[DeadLetter],
) -> list[Work]:
    """Leave out what the index has already, by content hash, and what another line of this job has written."""
    stored = _look_up([w.product.id for w in work], target, services)
    digests = media.digests(one for w in work for one in w.product.media)
    left = []
    for item in work:
        known = stored.get(item.product.id, {})
        same_job = known.get("job") == target.job
        if same_job and known["line"] != item.line:
            _bury(_duplicate(item.product.id, item.line, known["line"]), outcomes, letters)
            continue
        _take_digests(item, digests)
        item.digest = documents.content_hash(item.product, item.digests, target.schema.spaces)
        if known.get("job", "") > target.job:  # job ids sort by time
            outcomes[item.line] = Outcome.UNCHANGED  # a newer job wrote it since: what it wrote stays
        elif known.get("hash") != item.digest or known["outcome"] == Outcome.PARTIAL:
            left.append(item)  # what was partial is tried again, and gets its dead letters again
        else:
            outcomes[item.line] = Outcome.WRITTEN if same_job else Outcome.UNCHANGED
    return left


def _look_up(ids: Sequence[str], target: Target, services: Services) -> dict[str, dict[str, Any]]:
    wanted = [f"{FIELD}.{name}" for name in ("hash", "job", "line", "outcome")]
    found = mget(services.elasticsearch, target.index, ids, includes=wanted)
    return {key: source.get(FIELD, {}) for key, source in found.items()}


def _take_digests(item: Work, digests: Mapping[Media, str | MediaError]) -> None:
    """The digests of the product's media; a medium that cannot be had is given up and hashed by its error.

    The bytes are read again when they are decoded: a batch of large files never lies in memory at once.
    """
    for media in item.product.media:
        digest = digests[media]
        if isinstance(digest, MediaError):
            item.give_up(digest, "fetch", media.modality, media.name)
            digest = digest.code
        item.digests[media.reference] = digest


def _embed(work: list[Work], target: Target, services: Services, media: BatchMedia) -> None:
    """Fill `vectors` and `nested` of each item: by the encoders, by what the record brings, and by fusing."""
    encoders = services.encoders(target.schema)
    spaces = target.schema.spaces
    for modality in Modality:
        fillings = [Filling(s, encoders[s.name]) for s in spaces if s.kind == "encoded" and s.document_modality is modality]
        if fillings:
            parts = [part for item in work for part in parts_of(item, modality, documents.passage(item.product))]
            embed(parts, modality, fillings, media, services)
    for item in work:
        item.parts = {space: some for space, some in item.parts.items() if some}
        item.vectors = {space: fused.mean([part.vector for part in some]) for space, some in item.parts.items()}
        item.nested = {space.name: apart for space in spaces if (apart := item.apart(space))}
        _take_given(item, target.schema)
        for space in (s for s in spaces if s.kind == "fused"):
            whole = fused.combine(space, item.vectors, {s.name: s.dims for s in spaces})
            if whole is not None:
                item.vectors[space.name] = whole


def _take_given(item: Work, schema: IndexSchema) -> None:
    """The vectors that come with the record, checked against the index's spaces; a wrong one is given up, with its reason."""
    for name, given in item.product.vectors.items():
        space = schema.space_of(name)
        try:
            item.vectors[name] = documents.given_vector(name, given, space)
        except RecordError as error:
            item.give_up(error, "embed", space.document_modality if space else None, f"vectors.{name}")
        else:
            item.nested.pop(name, None)  # it stands for the whole product


def _write(
    work: list[Work], target: Target, services: Services, outcomes: dict[int, Outcome], letters: list[DeadLetter]
) -> None:
    """Write all documents in one bulk request; a document Elasticsearch refuses becomes a dead letter."""
    ready: dict[str, Mapping[str, Any]] = {}
    for item in work:
        failed = [letter.modality for letter in item.errors]
        own = documents.bookkeeping(digest=item.digest, job=target.job, line=item.line, failed=failed)
        searched = [space for space in target.schema.spaces if space.searched]
        vectors = {s.name: item.vectors[s.name] for s in searched if s.name in item.vectors and s.name not in item.nested}
        parts = {s.parts_name: item.nested[s.name] for s in searched if s.name in item.nested}
        ready[item.product.id] = documents.build(item.product, vectors, own=own, server=services.server, parts=parts)
    written = bulk_index(services.elasticsearch, target.index, ready)
    for item in work:
        reason = written[item.product.id].reason
        if reason is not None:
            letter = DeadLetter(
                "elasticsearch.rejected", f"Elasticsearch refused it: {reason}", "write", item.line, item.product.id
            )
            _bury(letter, outcomes, letters)
        else:
            outcomes[item.line] = Outcome.PARTIAL if item.errors else Outcome.WRITTEN
        letters.extend(item.errors)
