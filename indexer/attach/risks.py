"""What an owner should know before an index of his is attached. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from indexer.attach.inspection import Inspected
from indexer.attach.wanted import Finding
from triptych.schema import IndexSchema

_LIKE_TIME: Final = 1_000_000
"""Versions from here on are hardly counted writes; they are the owner's own numbers."""


def risks_of(found: Inspected, schema: IndexSchema) -> tuple[Finding, ...]:
    """What works, but may surprise."""
    return (*_of_writes(found), *_of_index(found, schema))


def _of_index(found: Inspected, schema: IndexSchema) -> Iterable[Finding]:
    name = schema.object_field
    if found.name != found.index:
        message = (
            f"{found.name!r} is an alias of {found.index!r}. When it is switched to another index, that one is not attached."
        )
        yield Finding("alias", message, "Attach the new index before the alias is switched.")
    policy = found.settings.get("index.lifecycle.name")
    if policy:
        message = (
            f"The lifecycle policy {policy!r} may roll it over, shrink it or make it read-only: a new index is not attached."
        )
        yield Finding("lifecycle", message)
    if not found.server.hides_vectors:
        message = f"This server gives vectors back with `_source`: the owner's own searches would carry ours ({name})."
        yield Finding("vectors_in_source", message, f"Leave them out there: _source_excludes={name}")
    if any(space.has_parts for space in schema.spaces):
        message = "Several pictures of a product are kept as nested documents: _cat/indices counts those too."
        yield Finding("nested", message)
    if any(space.quantised for space in schema.spaces) and found.count > _LIKE_TIME:
        yield Finding("large", f"{found.count} documents make a graph of vectors that merges take long to build.")


def _of_writes(found: Inspected) -> Iterable[Finding]:
    if _versioned(found):
        message = (
            "Its documents seem to have versions of the owner's own (version_type=external). Each update raises it by one."
        )
        yield Finding("external_versions", message, "See that the next version is greater by more than one, such as a time.")
    pipeline = found.settings.get("index.final_pipeline")
    if pipeline and pipeline != "_none":
        message = f"The final pipeline {pipeline!r} does not run for our updates, but would for a document written whole:"
        yield Finding("final_pipeline", f"{message} detach leaves an empty field instead of taking it out.")
    default = found.settings.get("index.default_pipeline")
    if default and default != "_none":
        yield Finding(
            "default_pipeline", f"The default pipeline {default!r} does not run for our updates; nothing of it changes."
        )


def _versioned(found: Inspected) -> bool:
    """Whether the versions of documents are no counts of writes: greater than any could be, or more than there were writes."""
    versions = [int(hit.get("_version", 1)) for hit in found.documents]
    least = sum(versions) + found.count - len(versions)  # each of the others was written once, or more often
    return max(versions, default=0) >= _LIKE_TIME or (found.operations is not None and least > found.operations)


def notes_of(found: Inspected, schema: IndexSchema) -> tuple[Finding, ...]:
    """What looks like a risk and is none, and what cannot be undone."""
    return tuple(_notes(found, schema))


def _notes(found: Inspected, schema: IndexSchema) -> Iterable[Finding]:
    name = schema.object_field
    if str(found.mapping.get("dynamic", "true")) in {"strict", "false"}:
        yield Finding("dynamic", f"dynamic: {found.mapping['dynamic']} is no hindrance: {name} is mapped before it is written.")
    if (
        found.settings.get("index.mapping.source.mode") == "synthetic"
        or found.mapping.get("_source", {}).get("mode") == "synthetic"
    ):
        message = "`_source` is synthetic: made from the fields whenever it is asked for, before an update as after it."
        yield Finding("synthetic_source", message)
    message = (
        "An update is written by Elasticsearch in its own notation: values, their order and kinds stay, spaces and 1e3 do not."
    )
    yield Finding("notation", message)
    yield Finding("mapping_stays", f"No mapping can lose a field again: after detach {name} stays in it, empty.")
