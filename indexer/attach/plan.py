"""What attaching an index would come to: the fields that are added, what it costs, what is risky, and what cannot work. Pure.

Inspected + Wanted -> Plan. Each refusal has a code and a remedy; with one of them nothing is attached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from indexer.attach import reading
from indexer.attach.inspection import Inspected
from indexer.attach.refusals import refusals_of
from indexer.attach.risks import notes_of, risks_of
from indexer.attach.wanted import Finding, Wanted, check
from triptych.elastic.attached import object_mapping
from triptych.errors import InputError
from triptych.schema import Attachment, IndexSchema, IndexType, Space

GRAPH_BYTES: Final = 128
"""An HNSW graph of m = 16: 32 neighbours on its lowest level, 4 bytes each."""

_SHORTENED: Final = (("int8", 1.0), ("int4", 0.5), ("bbq", 0.125))


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes: `documents` to embed, how many of the sample have each modality, and the bytes of vectors for all.

    `disk_bytes` are of one copy, `memory_bytes` what the searched part of the vectors fills in the file cache of each copy.
    `seconds` of one worker process on this machine, from `timed` documents; None where none was tried.
    """

    documents: int
    sampled: int
    having: Mapping[str, int]
    disk_bytes: int
    memory_bytes: int
    seconds: float | None = None
    timed: int = 0
    bad_media: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it. `schema` is what is kept of the index, `mapping` what is put into its mapping, and nothing else is."""

    index: str
    schema: IndexSchema
    mapping: Mapping[str, Any]
    encoders: Mapping[str, str]
    cost: Cost
    refusals: tuple[Finding, ...]
    risks: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        data = {name: asdict(getattr(self, name)) for name in ("cost",)}
        found = {name: [asdict(one) for one in getattr(self, name)] for name in ("refusals", "risks", "notes")}
        how = self.schema.attachment
        return {
            "index": self.index,
            "object_field": self.schema.object_field,
            "lexical_fields": list(self.schema.lexical_fields),
            "reads": how.model_dump() if how else None,
            "profile": self.schema.profile,
            "encoders": dict(self.encoders),
            "mapping": dict(self.mapping),
            **data,
            **found,
        }

    def check(self) -> None:
        """Raise InputError for the first refusal."""
        if self.refusals:
            first = self.refusals[0]
            raise InputError(first.message, code=first.code, field="index", remedy=first.remedy)


def plan(found: Inspected, wanted: Wanted, base: IndexSchema, home: str) -> Plan:
    """What attaching comes to; `base` are the profile's spaces, `home` is where schemas are kept.

    Raises InputError `attach.bad_option` for a wish that no index could follow.
    """
    check(wanted)
    how = _stored(wanted.attachment, found)
    schema = placed(base, wanted.object_field, wanted.text, how)
    mapping = {"properties": {wanted.object_field: object_mapping(schema, home)}}
    return Plan(
        index=found.index,
        schema=schema,
        mapping=mapping,
        encoders={space.name: space.encoder for space in schema.spaces},
        cost=cost_of(found, schema),
        refusals=refusals_of(found, wanted, schema, home),
        risks=risks_of(found, schema),
        notes=notes_of(found, schema),
    )


def placed(base: IndexSchema, field: str, words: tuple[str, ...], how: Attachment) -> IndexSchema:
    """The schema of our object field in an attached index: the spaces of `base`, which lie in it. Pure."""
    spaces = tuple(space.model_copy(update={"under": field}) for space in base.spaces)
    return base.model_copy(update={"spaces": spaces, "lexical_fields": words, "object_field": field, "attachment": how})


def _stored(how: Attachment, found: Inspected) -> Attachment:
    """The fields as they stand in documents: of `title.raw`, a field within another, the outer one."""
    fields = {name: tuple(source_path(one, found.mapping) for one in getattr(how, name)) for name in ("text", "image", "audio")}
    return how.model_copy(update={**fields, "id": source_path(how.id, found.mapping) if how.id else None})


def timed(made: Plan, *, seconds: float, documents: int, bad_media: Mapping[str, int]) -> Plan:
    """The plan with what was found by embedding some documents: `seconds` for each of them."""
    cost = replace(made.cost, seconds=seconds * made.cost.documents, timed=documents, bad_media=dict(bad_media))
    return replace(made, cost=cost)


def source_path(field: str, mapping: Mapping[str, Any]) -> str:
    """Where a field's value stands in `_source`: that of a multi-field (`title.raw`) at its parent."""
    parts = field.split(".")
    node: Mapping[str, Any] = mapping
    for number, part in enumerate(parts):
        inner = node.get("properties", {}).get(part)
        if inner is None:
            return ".".join(parts[:number]) if part in node.get("fields", {}) else field
        node = inner
    return field


def cost_of(found: Inspected, schema: IndexSchema) -> Cost:
    """Bytes of vectors for all documents, from how many of the sample have which modality. Pure."""
    how = schema.attachment
    read = [reading.read(str(hit["_id"]), hit.get("_source", {}), how).product for hit in found.documents] if how else []
    having = {
        "text": sum(1 for product in read if any(product.texts.values())),
        "image": sum(1 for product in read if any(media.modality == "image" for media in product.media)),
        "audio": sum(1 for product in read if any(media.modality == "audio" for media in product.media)),
    }
    disk = memory = 0.0
    for space in (space for space in schema.spaces if space.searched):
        share = having.get(str(space.document_modality), len(read)) / max(len(read), 1)
        whole, searched = vector_bytes(space)
        disk += found.count * share * whole
        memory += found.count * share * searched
    return Cost(found.count, len(read), having, round(disk), round(memory))


def vector_bytes(space: Space) -> tuple[float, float]:
    """Bytes of one vector on disk, and of what a search reads of it: the shortened copy where there is one, and the graph."""
    kind: IndexType = space.index_type
    shortened = next((share for name, share in _SHORTENED if kind.startswith(name)), 0.0) * space.dims
    graph = GRAPH_BYTES if kind.endswith("hnsw") else 0
    return space.dims * 4 + shortened + graph, (shortened or space.dims * 4) + graph
