"""THE flow of indexing, one batch at a time:

    records -> parse -> Product | DeadLetter
            -> look_up (what the index has) -> fetch (bytes | MediaError) -> unchanged?
            -> decode -> embed per space, batched -> documents.build -> bulk write -> Outcome per record

Every record ends in exactly one of written, unchanged, partial (a modality is missing, the rest is searchable) or dead. Nothing
here knows of Celery: `run` may be called again with the same batch and changes nothing the second time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer import documents
from indexer.records import RawRecord, parse
from triptych.domain import DeadLetter, Media, Modality, Outcome, Product, Vector
from triptych.elastic.engine import bulk_index, mget
from triptych.encoders.base import Encoder, Input, unit
from triptych.errors import MediaError, TriptychError
from triptych.media.decode import decode
from triptych.media.fetch import fetch
from triptych.schema import FIELD, Space
from triptych.services import Services

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Inputs decoded and embedded at once; bounds a worker's memory whatever a record brings (32 pictures of 1024^2 are 100 MB)."""

_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """Where a batch goes: the index version, its spaces, the folder its media lie in, and the job that asks."""

    index: str
    spaces: tuple[Space, ...]
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

    def give_up(self, error: TriptychError, stage: str, modality: Modality, reference: str | None = None) -> None:
        letter = DeadLetter(error.code, error.message, stage, self.line, self.product.id, modality, reference)
        self.errors.append(letter)


Part = tuple[Work, Media | str]
"""One thing to embed: a product's words, or one of its media."""


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
        item.digest = documents.content_hash(item.product, item.digests, target.spaces)
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
    """Fill `vectors` of each item: AT_ONCE inputs of a modality in one call per space, then the mean of several."""
    for modality in Modality:
        spaces = [space for space in target.spaces if space.document_modality is modality]
        parts = [part for item in work for part in _parts(item, modality)] if spaces else []
        for chunk in _chunks(parts, AT_ONCE):
            owners, inputs = _decoded(chunk, modality, target.root, services)
            for space in spaces:
                for (item, _), vector in zip(owners, _embed_all(services.encoders[space.name], owners, inputs), strict=True):
                    if vector is not None:
                        item.parts.setdefault(space.name, []).append(vector)
    for item in work:
        item.vectors = {space: unit(np.mean(some, axis=0)) for space, some in item.parts.items()}


def _parts(item: Work, modality: Modality) -> list[Part]:
    """What of a product is embedded in a modality's spaces: its words, or each medium that was there when fetched."""
    if modality is Modality.TEXT:
        words = documents.passage(item.product)
        return [(item, words)] if words else []
    return [(item, media) for media in item.product.of(modality) if len(item.digests[media.reference]) == _SHA256_DIGITS]


def _reference(part: Media | str) -> str | None:
    return part.reference if isinstance(part, Media) else None


def _chunks(parts: list[Part], size: int) -> Iterator[list[Part]]:
    return (parts[start : start + size] for start in range(0, len(parts), size))


def _decoded(parts: list[Part], modality: Modality, root: Path, services: Services) -> tuple[list[Part], list[Input]]:
    """The inputs of `parts` and, beside each, the part it comes from; what does not decode is given up and left out."""
    owners: list[Part] = []
    inputs: list[Input] = []
    for item, media in parts:
        if isinstance(media, str):
            owners.append((item, media))
            inputs.append(media)
            continue
        try:
            inputs.append(decode(_same_bytes(item, media, root, services), modality, services.settings))
        except MediaError as error:
            item.give_up(error, "decode", modality, media.reference)
        except Exception as error:
            log.exception("a decoder failed on %s of %s", media.reference, item.product.id)
            failure = MediaError(f"The decoder failed: {error}.", code="media.undecodable")
            item.give_up(failure, "decode", modality, media.reference)
        else:
            owners.append((item, media))
    return owners, inputs


def _same_bytes(item: Work, media: Media, root: Path, services: Services) -> bytes:
    """The bytes that were hashed, read again. Raises MediaError if they are others by now."""
    data = fetch(media, root=root, most_bytes=services.settings.media_bytes)
    if hashlib.sha256(data).hexdigest() != item.digests[media.reference]:
        raise MediaError(f"{media.reference!r} was changed while it was read.", code="media.changed")
    return data


def _embed_all(encoder: Encoder, owners: list[Part], inputs: list[Input]) -> list[Vector | None]:
    """One vector per input, None where the encoder has none for it. One bad input must not take its neighbours along."""
    try:
        vectors: list[Vector | None] = list(encoder.embed_documents(inputs))
    except TriptychError:
        raise
    except Exception:
        log.warning(
            "a batch of %d did not embed in space %s; trying one by one", len(inputs), encoder.spec.space, exc_info=True
        )
        vectors = [_embed_one(encoder, owner, value) for owner, value in zip(owners, inputs, strict=True)]
    checked: list[Vector | None] = []
    for (item, media), vector in zip(owners, vectors, strict=True):
        usable = vector is not None and bool(np.isfinite(vector).all()) and bool(vector.any())
        if vector is not None and not usable:
            error = TriptychError("The encoder found nothing in it (a vector of zeros).", code="encoder.no_vector")
            item.give_up(error, "embed", encoder.spec.document_modality, _reference(media))
        checked.append(vector if usable else None)
    return checked


def _embed_one(encoder: Encoder, owner: Part, value: Input) -> Vector | None:
    item, media = owner
    try:
        vector: Vector = encoder.embed_documents([value])[0]
    except Exception as error:  # noqa: BLE001  a stranger's input broke the encoder: it becomes a dead letter with the reason
        failure = TriptychError(f"The encoder failed: {error}.", code="encoder.failed")
        item.give_up(failure, "embed", encoder.spec.document_modality, _reference(media))
        return None
    return vector


def _write(
    work: list[Work], target: Target, services: Services, outcomes: dict[int, Outcome], letters: list[DeadLetter]
) -> None:
    """Write all documents in one bulk request; a document Elasticsearch refuses becomes a dead letter."""
    ready: dict[str, Mapping[str, Any]] = {}
    for item in work:
        failed = [letter.modality for letter in item.errors if letter.modality]
        own = documents.bookkeeping(digest=item.digest, job=target.job, line=item.line, failed=failed)
        ready[item.product.id] = documents.build(item.product, item.vectors, own=own, server=services.server)
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
