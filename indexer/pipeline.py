"""THE flow of indexing, one batch at a time:

    records -> parse -> Product | DeadLetter
            -> look_up (what the index has) -> digests of media (sha256 | MediaError) -> unchanged?
            -> decode -> embed per space, batched (vectors of inputs seen before come from the cache)
            -> writing: documents.build -> lines -> bulk write, on condition of the version looked up -> Outcome per record

Every record ends in exactly one of written, unchanged, partial (a modality is missing, the rest is searchable), deleted, dead.
Nothing here knows of Celery: `run` may be called again with the same batch and changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from indexer import documents
from indexer.behind import written_behind
from indexer.embedding import AT_ONCE, Filling, embed
from indexer.records import RawRecord, parse
from indexer.standing import Standing, decide, duplicate, look_up, must_be_marked, presumed, to_be_deleted, to_be_remembered
from indexer.work import Embedded, Target, Work, parts_of
from indexer.writing import prepare, write
from triptych.domain import DeadLetter, Media, Modality, Operation, Outcome
from triptych.elastic.bulk import Lines
from triptych.elastic.engine import unpack
from triptych.elastic.products import own_fields
from triptych.encoders import fused
from triptych.errors import MediaError, RecordError, TriptychError
from triptych.media.fetcher import BatchMedia
from triptych.schema import IndexSchema, Space
from triptych.services import Services

__all__ = [
    "AT_ONCE",
    "LeaseLostError",
    "Result",
    "Target",
    "Work",
    "begin",
    "embed_only",
    "fill",
    "fill_digested",
    "run",
    "take_digests",
]


PIECE: Final = 256
"""Records made and written at once: Elasticsearch works on a piece while the next one is made."""


class LeaseLostError(TriptychError):
    """The batch was given to another worker before this one had written it."""

    default_code = "batch.lease_lost"

    def __init__(self, message: str = "Another worker has this batch now.", **details: Any) -> None:
        super().__init__(message, **details)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch: one outcome per record, in order, and the dead letters of the batch."""

    outcomes: list[Outcome]
    dead_letters: list[DeadLetter]


def run(
    records: Sequence[RawRecord], target: Target, services: Services, *, still_ours: Callable[[], bool] = lambda: True
) -> Result:
    """Take one batch through the flow.

    A large batch goes piece by piece, and each is written while the next one is read and made. `still_ours` is asked before a
    piece is written; LeaseLostError is raised if it says no. Raises a retryable TriptychError when a service was away; then
    nothing is counted and the whole batch may be run again.
    """
    return begin(records, target, services, still_ours=still_ours)()


def begin(
    records: Sequence[RawRecord], target: Target, services: Services, *, still_ours: Callable[[], bool] = lambda: True
) -> Callable[[], Result]:
    """`run` up to the last two pieces, which are written still: what is returned waits for them. Both raise what `run` raises.

    The first piece of the batch that this thread begins next waits until those are written.
    """
    ledger = _Ledger({}, [])
    taken: dict[str, int] = {}
    with services.fetcher.batch(target.root) as media, written_behind() as behind:
        for start in range(0, len(records), PIECE):
            piece = _parse(records[start : start + PIECE], taken, ledger)
            standing = presumed(piece, target) or look_up(piece, target, services)
            deletes = to_be_deleted(piece, standing, target)
            if deletes and not target.begin(deletes):
                raise LeaseLostError
            _drop_ended(piece, standing, target, media, ledger)
            gone = to_be_remembered(piece, standing, target)
            piece = [item for item in piece if item.line not in ledger.outcomes]
            fill_digested([item for item in piece if item.stays_as is None], standing, target, services, media)
            lines = prepare(piece, standing, target, services)
            behind.start(partial(_write, piece, lines, gone, target, services, ledger, still_ours), waiting=1)
        last = behind.left()

    def result() -> Result:
        last()
        return Result([ledger.outcomes[record["line"]] for record in records], ledger.letters)

    return result


def _write(
    work: Sequence[Work],
    lines: Sequence[Lines],
    gone: Sequence[str],
    target: Target,
    services: Services,
    ledger: _Ledger,
    still_ours: Callable[[], bool],
) -> None:
    if not still_ours():
        raise LeaseLostError
    if gone:
        services.jobs.keep_deleted(target.index, gone, target.job)
    if work:
        write(work, lines, target, services, ledger.ended)


@dataclass(frozen=True, slots=True)
class _Ledger:
    """How the batch's records ended so far, by line, and their dead letters."""

    outcomes: dict[int, Outcome]
    letters: list[DeadLetter]

    def bury(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        self.outcomes[letter.line] = Outcome.DEAD

    def ended(self, item: Work, end: Outcome | DeadLetter) -> None:
        """A product's end; it leaves the dead letters of its parts unless a newer one is there, or it is another's double."""
        if isinstance(end, DeadLetter):
            self.bury(end)
        else:
            self.outcomes[item.line] = end
        if end is not Outcome.UNCHANGED and not (isinstance(end, DeadLetter) and end.stage == "parse"):
            self.letters.extend(item.errors)


def embed_only(records: Sequence[RawRecord], target: Target, services: Services) -> list[Work]:
    """The valid ones of `records` with their vectors; nothing is looked up and nothing written."""
    work = [item for item in _parse(records, {}, _Ledger({}, [])) if item.product.operation is Operation.PUT]
    with services.fetcher.batch(target.root) as media:
        digests = media.digests(one for item in work for one in item.product.media)
        for item in work:
            take_digests(item, digests, Standing())
        _embed(work, target, services, media)
        _fuse(work, services.joins(target.schema))
    return work


def fill(work: list[Work], standing: Mapping[str, Standing], target: Target, services: Services) -> None:
    """Make every vector of `work`, whose products were looked up already."""
    with services.fetcher.batch(target.root) as media:
        digests = media.digests(one for item in work for one in item.product.media)
        for item in work:
            take_digests(item, digests, standing[item.product.id])
            item.made = documents.made_of(item.product, item.digests, target.schema.spaces)
        fill_digested(work, standing, target, services, media)


def fill_digested(
    work: Sequence[Work], standing: Mapping[str, Standing], target: Target, services: Services, media: BatchMedia
) -> None:
    """Make every vector of `work`, whose digests are taken, but those that were copied."""
    _embed(work, target, services, media)
    _keep_stored(work, standing, target, services)
    _fuse(work, services.joins(target.schema))


def _parse(records: Sequence[RawRecord], taken: dict[str, int], ledger: _Ledger) -> list[Work]:
    """The valid ones of `records`; `taken` are the lines of the products that the batch has so far, by id."""
    work: list[Work] = []
    for record in records:
        parsed = parse(record)
        if isinstance(parsed, DeadLetter):
            ledger.bury(parsed)
        elif parsed.id in taken:
            ledger.bury(duplicate(parsed.id, record["line"], taken[parsed.id]))
        else:
            taken[parsed.id] = record["line"]
            work.append(Work(record["line"], parsed))
    return work


def _drop_ended(
    work: Sequence[Work], standing: Mapping[str, Standing], target: Target, media: BatchMedia, ledger: _Ledger
) -> None:
    """Take the digests of all media, and end the records that need no writing as things stand."""
    digests = media.digests(one for item in work for one in item.product.media)
    for item in work:
        known = standing[item.product.id]
        take_digests(item, digests, known)
        item.made = documents.made_of(item.product, item.digests, target.schema.spaces)
        item.digest = documents.hash_of(item.product.fields, item.made["hash"])
        decided = decide(item, known, target)
        if isinstance(decided, Outcome) and must_be_marked(known):
            item.stays_as = decided
        elif decided is not None:
            ledger.ended(item, decided)


def take_digests(item: Work, digests: Mapping[Media, str | MediaError], known: Standing) -> None:
    """The digests of the product's media; a medium that cannot be had is given up and hashed by its error.

    One whose server is away for the moment is given up too, but counts as what it was when the product was written.
    The bytes are read again when they are decoded: a batch of large files never lies in memory at once.
    """
    for media in item.product.media:
        digest = digests[media]
        if isinstance(digest, MediaError):
            item.give_up(digest, "fetch", media.modality, media.name)
            before = known.digest_of(media) if digest.retryable else None
            if before is not None:
                item.away.add(media.reference)
            digest = before or digest.code
        item.digests[media.reference] = digest


def _embed(work: Sequence[Work], target: Target, services: Services, media: BatchMedia) -> None:
    """Fill `vectors` and `nested` of each item by the encoders and by what the record brings."""
    encoders = services.encoders(target.schema)
    spaces = target.schema.spaces
    for modality in Modality:
        fillings = [Filling(s, encoders[s.name]) for s in spaces if s.kind == "encoded" and s.document_modality is modality]
        if fillings:
            lacking = [item for item in work if any(f.space.name not in item.copied for f in fillings)]
            parts = [part for item in lacking for part in parts_of(item, modality, documents.passage(item.product))]
            embed(parts, modality, fillings, media, services)
    for item in work:
        item.parts = {space: some for space, some in item.parts.items() if some}
        item.vectors |= {space: fused.mean([part.vector for part in some]) for space, some in item.parts.items()}
        item.nested |= {space.name: apart for space in spaces if (apart := item.apart(space))}
        _take_given(item, target.schema)


def _keep_stored(work: Sequence[Work], standing: Mapping[str, Standing], target: Target, services: Services) -> None:
    """Where a medium is away and its vector forgotten, the index's vectors are kept if they were made of the same media."""
    lacking = [item for item in work if item.lacking]
    if not lacking:
        return
    ids = [item.product.id for item in lacking]
    stored = own_fields(services.elasticsearch, target.index, ids, target.schema, services.server)
    for item in lacking:
        for space in (s for s in target.schema.spaces if s.name in item.lacking and s.name not in item.product.vectors):
            if space.document_modality is not None and _same_media(item, standing[item.product.id], space.document_modality):
                _keep(item, space, stored.get(item.product.id, {}))


def _same_media(item: Work, known: Standing, modality: Modality) -> bool:
    mine = [(documents.short(one.reference), item.digests[one.reference]) for one in item.product.of(modality)]
    return mine == known.media(modality)


def _keep(item: Work, space: Space, own: Mapping[str, Any]) -> None:
    """Take a space's vector, or its parts, from the document in the index."""
    plain, parts = own.get(space.name), own.get(space.parts_name) or []
    some = [Embedded(unpack(one["vector"]), one.get("reference"), one.get("start")) for one in parts if "vector" in one]
    if plain is not None:
        item.vectors[space.name] = unpack(plain)
    elif some:
        item.vectors[space.name] = fused.mean([one.vector for one in some])
        item.nested[space.name] = some


def _fuse(work: Sequence[Work], joins: Mapping[str, fused.Join]) -> None:
    """Make the vectors of fused spaces, by name, of those of their parts."""
    for name, join in joins.items():
        made = [item for item in work if name not in item.copied]
        for item, whole in zip(made, join([item.vectors for item in made]), strict=True):
            if whole is not None:
                item.vectors[name] = whole


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
