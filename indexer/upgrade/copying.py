"""Which vectors of one index version are those of another, and how they come into a product. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexer.work import Embedded, Work
from triptych.domain import Modality, Outcome
from triptych.elastic.engine import unpack
from triptych.encoders import fused
from triptych.schema import IndexSchema, Space


def alike(source: IndexSchema, target: IndexSchema) -> dict[str, Space]:
    """The space of `source` whose vectors are those of a space of `target`, by the latter's name.

    Those of one encoder, by its fingerprint, of one kind of media, and where the best of several counts, cut in one way.
    """
    found: dict[str, Space] = {}
    for space in target.spaces:
        able = [other for other in source.spaces if other.searched and space.searched and _made_as(other) == _made_as(space)]
        if able:
            found[space.name] = next((other for other in able if other.name == space.name), able[0])
    return found


def _made_as(space: Space) -> tuple[object, ...]:
    parts = (space.segment_seconds,) if space.has_parts else ()
    return (space.fingerprint, space.kind, space.document_modality, space.several, *parts)


def copy(item: Work, own: Mapping[str, Any], copies: Mapping[str, Space], schema: IndexSchema) -> None:
    """Take the vectors of `own`, a document's bookkeeping and vectors, into a product.

    Of a product that was partial nothing is taken: what it lacked is tried again.
    """
    if own.get("outcome") != Outcome.WRITTEN:
        return
    for name, space in copies.items():
        plain, parts = own.get(space.name), own.get(space.parts_name)
        if plain is not None:
            item.vectors[name] = unpack(plain)
        elif parts is not None:
            some = [
                Embedded(unpack(one["vector"]), one.get("reference"), one.get("start"))
                for one in (parts if isinstance(parts, list) else [parts])
            ]
            item.vectors[name] = fused.mean([one.vector for one in some])
            item.nested[name] = some
        item.copied.add(name)
    item.copied |= {space.name for space in schema.spaces if _is_only_a_part(space, item, schema)}


def _is_only_a_part(space: Space, item: Work, schema: IndexSchema) -> bool:
    """Whether a space has no field of its own, and all that are made of it are there."""
    wholes = [other.name for other in schema.spaces if other.kind == "fused" and space.name in other.parts]
    return not space.searched and all(name in item.copied for name in wholes)


def needs(item: Work, modality: Modality, schema: IndexSchema) -> bool:
    """Whether a vector must be made of the product's media of this modality."""
    return any(
        space.kind == "encoded" and space.document_modality is modality and space.name not in item.copied
        for space in schema.spaces
    )


def holds(source: Mapping[str, Any], made: frozenset[Modality]) -> dict[str, Any]:
    """What of a document must be embedded, as a record says it (triptych.jobs.routing.holds)."""
    found: dict[str, Any] = {}
    if Modality.TEXT in made:
        found["title"] = "..."
    for name, modality in (("images", Modality.IMAGE), ("audio", Modality.AUDIO)):
        if modality in made and source.get(name):
            found[name] = ["..."]
    return found


def made_anew(source: IndexSchema, target: IndexSchema) -> frozenset[Modality]:
    """What of a product must be embedded for a space of `target` that cannot be copied from `source`."""
    copied = alike(source, target)
    kinds = {s.document_modality for s in target.spaces if s.kind == "encoded" and s.name not in copied}
    return frozenset(kind for kind in kinds if kind is not None)
