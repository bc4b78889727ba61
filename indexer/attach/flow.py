"""The flow of an attached index, one batch at a time. Its owner's documents are the catalogue:

    ids -> read (the document as it is now, with its version) -> unchanged since we embedded it?
        -> pipeline.fill (digests, vectors) -> partial update of our object field, on condition of the version that was read

A document that its owner changes meanwhile is read again, a few times; who changes it faster than that wins, and the watcher
or a redrive comes back to it. Nothing outside our object field is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from indexer import documents, pipeline
from indexer.attach import kept, reading
from indexer.attach.pace import paced
from indexer.records import RawRecord
from indexer.standing import Standing
from indexer.work import Target, Work
from indexer.writing import document
from triptych.domain import DeadLetter, Outcome
from triptych.elastic.attached import version_of
from triptych.elastic.bulk import Version, Write, Written, bulk
from triptych.elastic.engine import mget_versions
from triptych.elastic.lifecycle import read_schema
from triptych.errors import MediaError, NotFoundError
from triptych.schema import Attachment, IndexSchema
from triptych.services import Services

ROUNDS: Final = 5
"""Times a document is read and written whose owner is quicker each time."""

NAMED: Final = frozenset({"id", "title", "images", "audio", "routing"})
"""What a record of an attached index has: the document's id, and what it may hold, by which batches are cut
and routed; the document's routing, if it has one."""

WORDS: Final = "..."
"""Stands for a document's words in a record: they are read when its batch is worked on."""

_NOTHING_MADE: Final[Mapping[str, Any]] = {"image": [], "audio": []}
"""An update replaces a list, but would leave an absent one as it was."""

_READ: Final = ("key", "hash", "job", "outcome", "missing", "made")


@dataclass(slots=True)
class _Batch:
    """A batch on its way: how its records ended by line, its dead letters, the names of its products by document, and the
    spaces that documents have vectors in which say that they were embedded as they are."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    has: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def end(self, item: Work, outcome: Outcome) -> None:
        self.outcomes[item.line] = outcome
        if outcome is not Outcome.UNCHANGED:
            self.letters.extend(item.errors)

    def bury(self, letter: DeadLetter) -> None:
        self.outcomes[letter.line] = Outcome.DEAD
        self.letters.append(letter)


def run(
    records: Sequence[RawRecord], target: Target, services: Services, *, still_ours: Callable[[], bool] = lambda: True
) -> pipeline.Result:
    """Take one batch through the flow; outcomes, errors and `still_ours` are those of `pipeline.run`.

    A document that is not there any more ends as `deleted`.
    """
    batch = _Batch()
    waiting = _ids(records, batch)
    for _ in range(ROUNDS):
        work, standing = _read(waiting, target, services, batch)
        pipeline.fill(work, standing, target, services)
        for item in work:
            item.made = {**_NOTHING_MADE, **item.made}
        work = [item for item in work if not _as_before(item, standing[item.product.id], target, batch)]
        waiting = _write(work, standing, target, services, batch, still_ours)
        if not waiting:
            break
    for key, line in waiting.items():
        message = f"Its owner changed it each of the {ROUNDS} times it was to be written; his changes stay."
        batch.bury(DeadLetter("attach.kept_changing", message, "write", line, key))
    return pipeline.Result([batch.outcomes[record["line"]] for record in records], batch.letters)


def _is_there(target: Target, services: Services) -> bool:
    """Whether our field is still to be written: it may have been dropped, or the index detached, since the batch began."""
    try:
        read_schema(services.elasticsearch, version_of(target.index, target.schema.object_field))
    except NotFoundError:
        return False
    return True


def _ids(records: Iterable[RawRecord], batch: _Batch) -> dict[str, int]:
    """The line of each document that is named. A record of a catalogue is refused: the owner writes his documents."""
    lines: dict[str, int] = {}
    for record in records:
        line = int(record["line"])
        data = orjson.loads(record.get("text", "null")) if "code" not in record else None
        if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not _names(data):
            message = record.get("message", "The index is attached: its owner writes its documents, a catalogue cannot.")
            batch.bury(DeadLetter("attach.no_catalogue", message, "parse", line, record.get("product_id")))
        elif "routing" in data:
            message = f"The document has a routing of its own ({data['routing']}), without which it cannot be read or written."
            batch.bury(DeadLetter("attach.routing", message, "parse", line, data["id"]))
        elif data["id"] in lines:
            batch.outcomes[line] = Outcome.UNCHANGED
        else:
            lines[data["id"]] = line
    return lines


def _names(data: Mapping[str, Any]) -> bool:
    """Whether a record only names a document; one of a catalogue says more of it."""
    return not data.keys() - NAMED and data.get("title", WORDS) == WORDS


def _read(
    lines: Mapping[str, int], target: Target, services: Services, batch: _Batch
) -> tuple[list[Work], dict[str, Standing]]:
    """The documents as they are now; those that need no writing have ended."""
    schema = target.schema
    how = schema.attachment or Attachment()
    wanted = {"includes": source_paths(schema)}
    found = mget_versions(services.elasticsearch, target.index, dict.fromkeys(lines, wanted))
    work: list[Work] = []
    standing: dict[str, Standing] = {}
    embedded: dict[str, Version | None] = {}
    for key, line in lines.items():
        stored = found.get(key)
        if stored is None:
            batch.outcomes[line] = Outcome.DELETED
            continue
        read = reading.read(key, stored.source, how)
        if read.key is None:
            batch.bury(DeadLetter("attach.no_id", f"The document has no {how.id!r}, which names it.", "parse", line, key))
            continue
        item = Work(line, read.product, digest=reading.digest_of(read.product, schema.spaces, how))
        own = stored.source.get(schema.object_field) or {}
        as_it_is = own.get("hash") == item.digest and own.get("key") == read.key
        if as_it_is and own.get("outcome") == Outcome.WRITTEN and own.get("job") == target.job:
            batch.outcomes[line] = Outcome.WRITTEN
            continue
        for modality, fault in read.faults:
            item.give_up(MediaError(fault, code="attach.bad_reference"), "parse", modality)
        batch.keys[key] = read.key
        standing[key] = Standing(stored.version, own)
        work.append(item)
        if as_it_is:
            embedded[key] = stored.version
    batch.has = kept.spaces_of(services.elasticsearch, target.index, embedded, schema)
    return [item for item in work if item.product.id not in embedded or not _is_whole(item, standing, target, batch)], standing


def _is_whole(item: Work, standing: Mapping[str, Standing], target: Target, batch: _Batch) -> bool:
    """Whether a document that says so is embedded whole; its record has ended then."""
    has = batch.has.get(item.product.id)
    written = standing[item.product.id].own.get("outcome") == Outcome.WRITTEN
    whole = written and kept.has_all(item, has, target.schema)
    if whole:
        batch.outcomes[item.line] = Outcome.UNCHANGED
    return whole


def source_paths(schema: IndexSchema) -> list[str]:
    """What of a document is read: the attachment's paths and our bookkeeping."""
    paths = schema.attachment.paths if schema.attachment else ()
    return [*paths, *(f"{path}.*" for path in paths), *(f"{schema.object_field}.{name}" for name in (*_READ, "made.*"))]


def _as_before(item: Work, known: Standing, target: Target, batch: _Batch) -> bool:
    """Whether a product is just as its document says and has: one that is partial again in the same way, or has all vectors
    that could be made. Then nothing is written, or the watcher would never rest."""
    key, new = item.product.id, {**_own(item, target), "key": batch.keys[item.product.id]}
    old = {**known.own, "missing": _list_of(known.own.get("missing"))}
    same = all(old.get(name) == new[name] for name in ("key", "hash", "outcome", "missing", "made"))
    if same := same and kept.has_made(item, batch.has.get(key), target.schema):
        batch.end(item, Outcome.PARTIAL if item.errors else Outcome.UNCHANGED)
    return same


def _list_of(value: Any) -> list[Any]:
    """A synthetic `_source` has one value without a list."""
    return value if isinstance(value, list) else [value] if value else []


def _own(item: Work, target: Target) -> dict[str, Any]:
    failed = [letter.modality for letter in item.errors]
    return documents.bookkeeping(digest=item.digest, job=target.job, line=item.line, failed=failed, made=item.made)


def _write(
    work: Sequence[Work],
    standing: Mapping[str, Standing],
    target: Target,
    services: Services,
    batch: _Batch,
    still_ours: Callable[[], bool],
) -> dict[str, int]:
    """Write our object field of each; the lines of those that were changed meanwhile, by document."""
    changed: dict[str, int] = {}
    how = target.schema.attachment or Attachment()
    pace = f"{services.settings.queue}:pace:{target.index}"
    for piece in paced(work, services.redis, pace, how.most_per_second):
        if not still_ours() or not _is_there(target, services):  # at a slow pace much may happen between two pieces
            raise pipeline.LeaseLostError("Another worker has this batch now, or our field is dropped.")
        writes = [_update(item, standing[item.product.id], target, services, batch) for item in piece]
        done = bulk(services.elasticsearch, target.index, writes)
        for item in piece:
            one = done[item.product.id]
            if one.conflict:
                changed[item.product.id] = item.line
            else:
                _ended(item, one, batch)
    return changed


def _ended(item: Work, done: Written, batch: _Batch) -> None:
    if done.reason is not None:
        message = f"Elasticsearch refused it: {done.reason}"
        batch.bury(DeadLetter("elasticsearch.rejected", message, "write", item.line, item.product.id))
    else:
        batch.end(item, Outcome.PARTIAL if item.errors else Outcome.WRITTEN)


def _update(item: Work, known: Standing, target: Target, services: Services, batch: _Batch) -> Write:
    """The partial update. An update merges objects, so what an earlier one left and is no more is set to null."""
    key, schema = item.product.id, target.schema
    gone = [name for s in schema.spaces if s.searched for name in (s.name, *([s.parts_name] if s.has_parts else []))]
    nothing = dict.fromkeys(gone) if known.own else {}
    own = {**nothing, **document(item, target, services)[schema.object_field], "key": batch.keys[key]}
    return Write(key, "update", {"doc": {schema.object_field: own}}, known.version)
