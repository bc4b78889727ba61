"""Write a batch's products, each on the condition that it is still as it was when it was decided on.

Standing -> Lines (prepare) -> send -> outcome
   ^------ conflict: look up and decide again, a few times
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from indexer import documents
from indexer.standing import Standing, decide, look_up, must_be_marked
from indexer.work import Target, Work
from triptych.domain import DeadLetter, Operation, Outcome
from triptych.elastic.bulk import Lines, Write, Written, send
from triptych.errors import ElasticsearchError
from triptych.schema import FIELD
from triptych.services import Services

ROUNDS = 6
"""Times a product is written before the batch is given back, where somebody else is quicker each time."""

Ended = Callable[[Work, Outcome | DeadLetter], None]
"""Told how each record ended."""


def prepare(work: Sequence[Work], standing: Mapping[str, Standing], target: Target, services: Services) -> list[Lines]:
    """The lines that write `work`. They are made before their turn has come, so that Elasticsearch need not wait for them."""
    return [_write_of(item, standing[item.product.id], target, services).lines() for item in work]


def write(work: Sequence[Work], lines: Sequence[Lines], target: Target, services: Services, ended: Ended) -> None:
    """Write `work` by its `lines`, and tell `ended` of each.

    Raises ElasticsearchError, retryable, when the server was away or busy, or others changed products faster.
    """
    for _ in range(ROUNDS):
        done = send(services.elasticsearch, target.index, lines)
        conflicts = [item for item in work if done[item.product.id].conflict]
        for item in work:
            if not done[item.product.id].conflict:
                ended(item, outcome(item, done[item.product.id]))
        if not conflicts:
            return
        standing = look_up(conflicts, replace(target, newer=True), services)  # one may have come since the batch began
        asked = frozenset(item.line for item in conflicts if item.product.operation is Operation.DELETE)
        target = replace(target, begun=target.begun | asked)  # the answer to the first try may have been lost
        work = []
        for item in conflicts:
            decided = decide(item, standing[item.product.id], target)
            if decided is None:
                if item.stays_as is not None:
                    raise _changed([item])  # its vectors were not made: the batch begins again
                work.append(item)
            elif isinstance(decided, Outcome) and must_be_marked(standing[item.product.id]):
                item.stays_as = decided
                work.append(item)
            else:
                ended(item, decided)
        if not work:
            return
        lines = prepare(work, standing, target, services)
    raise _changed(work)


def _changed(work: Sequence[Work]) -> ElasticsearchError:
    message = f"{len(work)} products, such as {work[0].product.id!r}, were changed by others each time they were to be written."
    return ElasticsearchError(message, code="elasticsearch.conflict", retryable=True)


def _write_of(item: Work, known: Standing, target: Target, services: Services) -> Write:
    key, version = item.product.id, known.version
    if item.stays_as is not None:
        return Write(key, "update", {"doc": {FIELD: {"seen": target.job}}}, version)
    if item.product.operation is Operation.DELETE:
        return Write(key, "delete", None, version)
    if item.product.operation is Operation.UPDATE:
        return Write(key, "update", {"doc": _changes(item, known, target)}, version)
    return Write(key, "create" if version is None else "index", document(item, target, services), version)


def _changes(item: Work, known: Standing, target: Target) -> dict[str, Any]:
    """What an update merges into the document; how the product itself ended stays as it was."""
    changes = documents.placed(known.fields, item.product.fields)
    new = documents.merged(known.fields, changes)
    digest = documents.hash_of(new, known.own.get("made", {}).get("hash", ""))
    return {**changes, FIELD: {"hash": digest, "job": target.job, "line": item.line}}


def document(item: Work, target: Target, services: Services) -> dict[str, Any]:
    """The document of a product with its vectors made."""
    failed = [letter.modality for letter in item.errors]
    own = documents.bookkeeping(digest=item.digest, job=target.job, line=item.line, failed=failed, made=item.made)
    searched = [space for space in target.schema.spaces if space.searched]
    vectors = {s.name: item.vectors[s.name] for s in searched if s.name in item.vectors and s.name not in item.nested}
    parts = {s.parts_name: item.nested[s.name] for s in searched if s.name in item.nested}
    under = target.schema.object_field
    return documents.build(item.product, vectors, own=own, server=services.server, parts=parts, under=under)


def outcome(item: Work, done: Written) -> Outcome | DeadLetter:
    """How a record ended whose write came to this. Pure."""
    if done.reason is not None:
        message = f"Elasticsearch refused it: {done.reason}"
        return DeadLetter("elasticsearch.rejected", message, "write", item.line, item.product.id)
    if item.stays_as is not None:
        return item.stays_as
    if item.product.operation is Operation.DELETE:
        return Outcome.DELETED
    return Outcome.PARTIAL if item.errors else Outcome.WRITTEN
