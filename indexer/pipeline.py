"""THE flow of indexing, one batch at a time:

    records -> parse -> Product | DeadLetter
            -> look_up (what the index has) -> fetch (bytes | MediaError) -> unchanged?
            -> decode -> embed per space, batched (vectors of inputs seen before come from the cache)
            -> documents.build -> bulk write -> Outcome per record

Every record ends in exactly one of written, unchanged, partial (a modality is missing, the rest is searchable) or dead. Nothing
here knows of Celery: `run` may be called again with the same batch and changes nothing the second time.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from indexer import documents
from indexer.records import RawRecord, parse
from triptych.domain import DeadLetter, Media, Modality, Outcome, Product, Vector
from triptych.elastic.engine import bulk_index, mget
from triptych.encoders import fused
from triptych.encoders.base import Encoder, Input
from triptych.encoders.cache import digest_of
from triptych.errors import MediaError, RecordError, TriptychError
from triptych.media.fetch import fetch
from triptych.schema import FIELD, IndexSchema
from triptych.services import Services

log = logging.getLogger(__name__)

AT_ONCE = {Modality.TEXT: 32, Modality.IMAGE: 8, Modality.AUDIO: 8}
"""Inputs embedded at once, while the next are decoded; bounds a worker's memory whatever a record brings.

With 8 pictures the pipeline has .91 of the pace of the network alone; with a whole batch of 32 nothing overlaps and it has .86
(benchmarks/encoders.py).
"""

_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """Where a batch goes: the index version and what it says of itself, the folder the media lie in, and the job that asks."""

    index: str
    schema: IndexSchema
    root: Path
    job: str


@dataclass(slots=True)
class Work:
    """One product on its way through the flow; `errors` are its dead letters so far, one per part given up."""

    line: int
    product: Product
    digests: dict[str, str] = field(default_factory=dict)
    errors: list[DeadLetter] = field(default_factory=list)
    parts: dict[str, list[Vector]] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    digest: str = ""

    def give_up(self, error: TriptychError, stage: str, modality: Modality | None, reference: str | None = None) -> None:
        letter = DeadLetter(error.code, error.message, stage, self.line, self.product.id, modality, reference)
        self.errors.append(letter)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to embed: a product's words, or one of its media; `digest` is the sha256 of its bytes."""

    work: Work
    what: Media | str
    digest: str

    def give_up(self, error: TriptychError, stage: str, modality: Modality) -> None:
        self.work.give_up(error, stage, modality, self.what.reference if isinstance(self.what, Media) else None)


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
    work = _drop_unchanged(work, target, services, outcomes, letters)
    _embed(work, target, services)
    if not still_ours():
        raise LeaseLostError("Another worker has this batch now.", code="batch.lease_lost")
    _write(work, target, services, outcomes, letters)
    return Result([outcomes[record["line"]] for record in records], letters)


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
    work: list[Work], target: Target, services: Services, outcomes: dict[int, Outcome], letters: list[DeadLetter]
) -> list[Work]:
    """Leave out what the index has already, by content hash, and what another line of this job has written."""
    stored = _look_up([w.product.id for w in work], target, services)
    left = []
    for item in work:
        known = stored.get(item.product.id, {})
        same_job = known.get("job") == target.job
        if same_job and known["line"] != item.line:
            _bury(_duplicate(item.product.id, item.line, known["line"]), outcomes, letters)
            continue
        _fetch(item, target.root, services)
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


def _fetch(item: Work, root: Path, services: Services) -> None:
    """Hash the product's media; a medium that cannot be had is given up and hashed by its error.

    The bytes are read again when they are decoded: a batch of large files never lies in memory at once.
    """
    for media in item.product.media:
        try:
            data = fetch(media, root=root, most_bytes=services.settings.media_bytes)
        except MediaError as error:
            item.give_up(error, "fetch", media.modality, media.reference)
            item.digests[media.reference] = error.code
        else:
            item.digests[media.reference] = hashlib.sha256(data).hexdigest()


def _embed(work: list[Work], target: Target, services: Services) -> None:
    """Fill `vectors` of each item: by the encoders, by what the record brings, and by fusing."""
    encoders = services.encoders(target.schema)
    for modality in Modality:
        spaces = [s for s in target.schema.spaces if s.kind == "encoded" and s.document_modality is modality]
        if spaces:
            parts = [part for item in work for part in _parts(item, modality)]
            _embed_parts(parts, modality, [encoders[space.name] for space in spaces], target, services)
    for item in work:
        item.vectors = {space: fused.mean(some) for space, some in item.parts.items()}
        _take_given(item, target.schema)
        for space in (s for s in target.schema.spaces if s.kind == "fused"):
            whole = fused.combine(space, item.vectors, {s.name: s.dims for s in target.schema.spaces})
            if whole is not None:
                item.vectors[space.name] = whole


def _parts(item: Work, modality: Modality) -> list[Part]:
    """What of a product is embedded in a modality's spaces: its words, or each medium that was there when fetched."""
    if modality is Modality.TEXT:
        words = documents.passage(item.product)
        return [Part(item, words, digest_of(words))] if words else []
    digests = [(media, item.digests[media.reference]) for media in item.product.of(modality)]
    return [Part(item, media, digest) for media, digest in digests if len(digest) == _SHA256_DIGITS]


def _embed_parts(
    parts: list[Part], modality: Modality, encoders: Sequence[Encoder], target: Target, services: Services
) -> None:
    """Give each product its parts' vectors; an input that stands in several products, or was seen before, is embedded once."""
    owners: dict[str, list[Part]] = {}
    for part in parts:
        owners.setdefault(part.digest, []).append(part)
    known = {e.spec.space: services.cache.get(e.spec.fingerprint, "d", list(owners)) for e in encoders}
    fresh = {digest: mine for digest, mine in owners.items() if any(digest not in some for some in known.values())}
    inputs = _decoded(fresh, modality, target.root, services)
    while chunk := dict(islice(inputs, AT_ONCE[modality])):
        for encoder in encoders:
            missing = {digest: value for digest, value in chunk.items() if digest not in known[encoder.spec.space]}
            vectors = _embed_all(encoder, missing, owners)
            services.cache.put(encoder.spec.fingerprint, "d", vectors)
            known[encoder.spec.space].update(vectors)
    for part in parts:
        for space, some in known.items():
            vector = some.get(part.digest)
            if vector is not None and vector.any():
                part.work.parts.setdefault(space, []).append(vector)
            elif vector is not None:
                error = TriptychError("The encoder found nothing in it (a vector of zeros).", code="encoder.no_vector")
                part.give_up(error, "embed", modality)


def _decoded(
    owners: Mapping[str, list[Part]], modality: Modality, root: Path, services: Services
) -> Iterator[tuple[str, Input]]:
    """Digest and input, in order, decoded ahead of whoever takes them; what does not decode is given up and left out."""
    if modality is Modality.TEXT:
        yield from ((digest, str(mine[0].what)) for digest, mine in owners.items())
        return
    sent: deque[str] = deque()

    def feed() -> Iterator[tuple[bytes, Modality]]:
        for digest, mine in owners.items():
            data = next((data for part in mine if (data := _same_bytes(part, root, services)) is not None), None)
            if data is not None:
                sent.append(digest)
                yield data, modality

    for result in services.decoder.decode_all(feed()):
        digest = sent.popleft()
        if isinstance(result, MediaError):
            for part in owners[digest]:
                part.give_up(result, "decode", modality)
        else:
            yield digest, result


def _same_bytes(part: Part, root: Path, services: Services) -> bytes | None:
    """The bytes that were hashed, read again; None if they are gone or others by now, and then the part is given up."""
    if not isinstance(part.what, Media):
        return None
    try:
        data = fetch(part.what, root=root, most_bytes=services.settings.media_bytes)
    except MediaError as error:
        part.give_up(error, "decode", part.what.modality)
        return None
    if digest_of(data) == part.digest:
        return data
    changed = MediaError(f"{part.what.reference!r} was changed while it was read.", code="media.changed")
    part.give_up(changed, "decode", part.what.modality)
    return None


def _embed_all(encoder: Encoder, inputs: Mapping[str, Input], owners: Mapping[str, list[Part]]) -> dict[str, Vector]:
    """Vectors by digest; one bad input must not take its neighbours along."""
    if not inputs:
        return {}
    try:
        vectors: list[Vector | None] = list(encoder.embed_documents(list(inputs.values())))
    except TriptychError:
        raise
    except Exception:
        log.warning(
            "a batch of %d did not embed in space %s; trying one by one", len(inputs), encoder.spec.space, exc_info=True
        )
        vectors = [_embed_one(encoder, value, owners[digest]) for digest, value in inputs.items()]
    found: dict[str, Vector] = {}
    for digest, vector in zip(inputs, vectors, strict=True):
        if vector is not None and np.isfinite(vector).all():
            found[digest] = vector
        elif vector is not None:
            _failed(encoder, owners[digest], "it gave a vector with numbers that are none")
    return found


def _embed_one(encoder: Encoder, value: Input, owners: Sequence[Part]) -> Vector | None:
    try:
        vector: Vector = encoder.embed_documents([value])[0]
    except Exception as error:  # noqa: BLE001  a stranger's input broke the encoder: it becomes a dead letter with the reason
        _failed(encoder, owners, str(error))
        return None
    return vector


def _failed(encoder: Encoder, owners: Sequence[Part], why: str) -> None:
    for part in owners:
        error = TriptychError(f"The encoder {encoder.spec.name} failed: {why}.", code="encoder.failed")
        part.give_up(error, "embed", encoder.spec.document_modality)


def _take_given(item: Work, schema: IndexSchema) -> None:
    """The vectors that come with the record, checked against the index's spaces; a wrong one is given up, with its reason."""
    for name, given in item.product.vectors.items():
        space = schema.space_of(name)
        try:
            item.vectors[name] = documents.given_vector(name, given, space)
        except RecordError as error:
            item.give_up(error, "embed", space.document_modality if space else None, f"vectors.{name}")


def _write(
    work: list[Work], target: Target, services: Services, outcomes: dict[int, Outcome], letters: list[DeadLetter]
) -> None:
    """Write all documents in one bulk request; a document Elasticsearch refuses becomes a dead letter."""
    ready: dict[str, Mapping[str, Any]] = {}
    for item in work:
        failed = [letter.modality for letter in item.errors]
        own = documents.bookkeeping(digest=item.digest, job=target.job, line=item.line, failed=failed)
        fields = {space.name for space in target.schema.spaces if space.searched}
        vectors = {name: vector for name, vector in item.vectors.items() if name in fields}
        ready[item.product.id] = documents.build(item.product, vectors, own=own, server=services.server)
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
