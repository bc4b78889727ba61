"""Carry documents from one version of an index to the other, one batch at a time:

    ids -> what the version written to has of each -> the documents of the version read
        -> gone there: deleted here | as it was carried before: unchanged
        -> vectors of equal fingerprint are copied, the others made (pipeline.fill_digested)
        -> bulk write, on condition of the version looked up -> Outcome per record

What is written to is looked up first: whoever read an older state of a document then finds it changed, and reads again. A
document keeps the job and line that wrote it, so jobs that write to either version are ordered as ever (standing.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from indexer import documents, pipeline
from indexer.records import OPERATION, RawRecord, parse
from indexer.standing import Standing
from indexer.upgrade.copying import alike, copy, needs
from indexer.work import Target, Work
from indexer.writing import document, outcome
from triptych.domain import DeadLetter, Media, Operation, Outcome, Product
from triptych.elastic.bulk import Write, bulk
from triptych.elastic.engine import mget_versions
from triptych.elastic.lifecycle import read_schema
from triptych.elastic.products import whole
from triptych.errors import ElasticsearchError, MediaError, NotFoundError
from triptych.schema import FIELD, IndexSchema, Space
from triptych.services import Services

CARRY: Final = "carry"
"""The operation of records that name a document of the other version; a catalogue cannot ask for it."""

ROUNDS: Final = 6
PIECE: Final = 100
"""Documents in memory at once, with all their vectors."""

_READ: Final = ("hash", "job", "seen", "line", "outcome")
_MARKS: Final = ("job", "line", "seen")
"""What the accounting knows a document by, beside its content."""


@dataclass(slots=True)
class _Way:
    """From where to where a batch goes, and how its records ended so far."""

    source: str
    origin: IndexSchema
    target: Target
    services: Services
    copies: Mapping[str, Space]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    roots: dict[str, Path] = field(default_factory=dict)

    def bury(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        self.outcomes[letter.line] = Outcome.DEAD

    def end(self, item: Work, how: Outcome | DeadLetter) -> None:
        if isinstance(how, DeadLetter):
            self.bury(how)
        else:
            self.outcomes[item.line] = how
        if how is not Outcome.UNCHANGED:
            self.letters.extend(item.errors)

    def root_of(self, own: Mapping[str, Any]) -> Path:
        """The folder that a document's media are relative to: the one given, else that of the job that wrote it."""
        if self.target.root != Path(os.devnull):
            return self.target.root
        job = str(own.get("job", ""))
        if job not in self.roots:
            try:
                self.roots[job] = Path(self.services.jobs.get(job).root)
            except NotFoundError:
                self.roots[job] = self.target.root
        return self.roots[job]


@dataclass(frozen=True, slots=True)
class _Item:
    """A document on its way: what is written of it, our bookkeeping where it is read, and what is there already."""

    work: Work
    own: Mapping[str, Any]
    known: Standing

    @property
    def marks(self) -> dict[str, Any]:
        return {name: self.own[name] for name in _MARKS if name in self.own}

    def as_before(self) -> bool:
        """Whether the content that is there is this one."""
        there = self.known.own
        whole_ = there.get("outcome") == Outcome.WRITTEN and not self.work.errors
        return whole_ and there.get("hash") == self.work.digest

    def marked(self) -> bool:
        return all(self.known.own.get(name) == self.own.get(name) for name in _MARKS)


def record_of(key: str, line: int, holds: Mapping[str, Any]) -> RawRecord:
    """The record that names a document; `holds` says what of it must be embedded, by which batches are cut and routed."""
    return {"line": line, "text": orjson.dumps({"id": key, OPERATION: CARRY, **holds}).decode()}


def run(
    records: Sequence[RawRecord],
    target: Target,
    services: Services,
    *,
    source: str,
    still_ours: Callable[[], bool] = lambda: True,
) -> pipeline.Result:
    """Take one batch of `record_of` from the version `source` to the target's; outcomes, errors and `still_ours` are those of
    `pipeline.run`.
    """
    origin = read_schema(services.elasticsearch, source)
    way = _Way(source, origin, target, services, alike(origin, target.schema))
    ids = iter(_ids(records, way).items())
    while piece := dict(islice(ids, PIECE)):
        for _ in range(ROUNDS):
            piece = _carry(piece, way, still_ours)
            if not piece:
                break
        else:
            message = f"{len(piece)} documents, such as {next(iter(piece))!r}, were changed by others each time."
            raise ElasticsearchError(message, code="elasticsearch.conflict", retryable=True)
    return pipeline.Result([way.outcomes[record["line"]] for record in records], way.letters)


def _ids(records: Iterable[RawRecord], way: _Way) -> dict[str, int]:
    """The line of each document that is named. A record of a catalogue is refused: only this flow may write here."""
    lines: dict[str, int] = {}
    for record in records:
        data = orjson.loads(record.get("text", "null")) if "code" not in record else None
        if not isinstance(data, dict) or data.get(OPERATION) != CARRY or not isinstance(data.get("id"), str):
            message = record.get("message", f"{way.target.index!r} is not in use yet: a catalogue cannot be written to it.")
            way.bury(DeadLetter("upgrade.no_catalogue", message, "parse", record["line"], record.get("product_id")))
        elif data["id"] in lines:
            way.outcomes[record["line"]] = Outcome.UNCHANGED
        else:
            lines[data["id"]] = record["line"]
    return lines


def _carry(lines: Mapping[str, int], way: _Way, still_ours: Callable[[], bool]) -> dict[str, int]:
    """Carry some documents; the lines of those that others changed meanwhile, by id."""
    client, index = way.services.elasticsearch, way.target.index
    ours = {"includes": [f"{FIELD}.{name}" for name in _READ]}
    there = mget_versions(client, index, dict.fromkeys(lines, ours))
    known = {key: Standing(one.version, one.source.get(FIELD, {})) for key, one in there.items()}
    unread = [name for s in way.origin.spaces if s not in way.copies.values() for name in (s.field, s.parts_field)]
    found = whole(client, way.source, list(lines), way.services.server, excludes=unread)
    items: list[_Item] = []
    for key, line in lines.items():
        item = _item(key, line, found.get(key), known.get(key, Standing()), way)
        if item is not None:
            items.append(item)
    _make([item for item in items if item.work.product.operation is Operation.PUT], way)
    waiting = [item for item in items if item.work.line not in way.outcomes]
    if not still_ours():
        raise pipeline.LeaseLostError
    done = bulk(client, index, [_write_of(item, way) for item in waiting])
    left: dict[str, int] = {}
    for item in waiting:
        key = item.work.product.id
        if done[key].conflict:
            left[key] = item.work.line
        else:
            way.end(item.work, outcome(item.work, done[key]))
    return left


def _item(key: str, line: int, source: Mapping[str, Any] | None, known: Standing, way: _Way) -> _Item | None:
    """What is to be done with a document; None where it has ended."""
    if source is None:
        if known.version is None:
            way.outcomes[line] = Outcome.UNCHANGED
            return None
        return _Item(Work(line, Product(key, {}, {}, operation=Operation.DELETE)), {}, known)
    fields = {name: value for name, value in source.items() if name != FIELD}
    own = source.get(FIELD, {})
    parsed = parse({"line": line, "text": orjson.dumps(fields).decode()})
    if isinstance(parsed, DeadLetter) or parsed.id != key:
        code, message = (
            (parsed.code, parsed.message) if isinstance(parsed, DeadLetter) else ("record.invalid", "Its id is not its own.")
        )
        way.bury(DeadLetter(code, message, "parse", line, key))
        return None
    item = Work(line, parsed)
    copy(item, own, way.copies, way.target.schema)
    return _Item(item, own, known)


def _make(items: Sequence[_Item], way: _Way) -> None:
    """The digests and vectors of what must be written; what stays as it is has ended. Media are fetched folder by folder."""
    folders: dict[Path, list[_Item]] = {}
    for item in items:
        folders.setdefault(way.root_of(item.own), []).append(item)
    for root, mine in folders.items():
        with way.services.fetcher.batch(root) as media:
            kept = {item.work.product.id: _kept(item, way.target.schema) for item in mine}
            fresh = media.digests(m for i in mine for m in i.work.product.media if m not in kept[i.work.product.id])
            for item in mine:
                _digested(item, {**fresh, **kept[item.work.product.id]}, way)
            new = [item for item in mine if item.work.line not in way.outcomes and item.work.stays_as is None]
            standing = {item.work.product.id: item.known for item in new}
            pipeline.fill_digested([item.work for item in new], standing, way.target, way.services, media)


def _kept(item: _Item, schema: IndexSchema) -> dict[Media, str | MediaError]:
    """The digests of media that need not be fetched, as nothing is made of them; they are known where they were read."""
    read = Standing(own=item.own)
    kept: dict[Media, str | MediaError] = {}
    for media in item.work.product.media:
        digest = read.digest_of(media)
        if digest is not None and not needs(item.work, media.modality, schema):
            kept[media] = digest
    return kept


def _digested(item: _Item, digests: Mapping[Media, str | MediaError], way: _Way) -> None:
    work = item.work
    pipeline.take_digests(work, digests, Standing(own=item.own))
    work.made = documents.made_of(work.product, work.digests, way.target.schema.spaces)
    work.digest = documents.hash_of(work.product.fields, work.made["hash"])
    if item.as_before():
        if item.marked():
            way.end(work, Outcome.UNCHANGED)
        else:
            work.stays_as = Outcome.UNCHANGED


def _write_of(item: _Item, way: _Way) -> Write:
    work, version = item.work, item.known.version
    key = work.product.id
    if work.product.operation is Operation.DELETE:
        return Write(key, "delete", None, version)
    if work.stays_as is not None:
        return Write(key, "update", {"doc": {FIELD: item.marks}}, version)
    made = document(work, way.target, way.services)
    return Write(key, "create" if version is None else "index", {**made, FIELD: {**made[FIELD], **item.marks}}, version)
