"""Why an index cannot be attached. Pure; each refusal has a code and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from indexer.attach import reading
from indexer.attach.inspection import NAMES, Inspected
from indexer.attach.wanted import Finding, Wanted, name_of
from triptych.elastic.attached import LONGEST_MARK, marks_of, object_mapping
from triptych.schema import FIELD, IndexSchema

_WORDS: Final = frozenset({"text", "match_only_text", "keyword", "search_as_you_type", "wildcard", "constant_keyword"})
_FIELD_LIMIT: Final = 1000


def refusals_of(found: Inspected, wanted: Wanted, schema: IndexSchema, home: str) -> tuple[Finding, ...]:
    """All that stands against attaching."""
    return (*_of_index(found), *_of_mapping(found, schema), *_of_room(found, schema, home), *_of_fields(found, wanted))


def refusals_beside(found: Inspected, schema: IndexSchema, home: str) -> tuple[Finding, ...]:
    """All that stands against one more object field of ours in an index that is attached."""
    return (*_of_index(found), *_of_source(found.mapping), *_of_room(found, schema, home))


def _of_index(found: Inspected) -> Iterable[Finding]:
    """What about the index itself cannot work."""
    if found.data_stream:
        yield Finding(
            code="attach.data_stream",
            message=f"{found.name!r} is a data stream, or an index of one: it takes new documents only, into ever new indices.",
            remedy="Copy what shall be searched into an index: triptych index add NAME elasticsearch:" + found.name,
        )
    if len(found.indices) > 1:
        some = ", ".join(found.indices[:5])
        message = f"The alias {found.name!r} leads to {len(found.indices)} indices: {some}."
        yield Finding(
            code="attach.several_indices",
            message=message,
            remedy="Attach one of them by its own name; each is searched by itself.",
        )
    blocks = [name for name in _BLOCKS if str(found.settings.get(name, "false")) == "true"]
    if blocks or found.settings.get("index.store.type") == "snapshot":
        message = f"{found.index!r} cannot be written to: {', '.join(blocks) or 'it is a searchable snapshot'}."
        yield Finding(code="attach.read_only", message=message, remedy="Lift the block while it is attached and filled.")
    if found.settings.get("index.mode") == "time_series":
        message = f"{found.index!r} is a time series: its documents cannot be updated."
        remedy = "Copy it: triptych index add NAME elasticsearch:" + found.index
        yield Finding(code="attach.time_series", message=message, remedy=remedy)
    required = found.mapping.get("_routing", {}).get("required") is True
    if found.routed or required:
        have = "must have" if required else "have"
        message = f"Documents {have} a routing of their own, without which they cannot be updated."
        yield Finding(
            code="attach.routing",
            message=message,
            remedy="Copy the index: triptych index add NAME elasticsearch:" + found.index,
        )


_BLOCKS: Final = (
    "index.blocks.write",
    "index.blocks.read_only",
    "index.blocks.read_only_allow_delete",
    "index.blocks.metadata",
)


def _of_source(mapping: Mapping[str, Any]) -> Iterable[Finding]:
    """What about the kept documents cannot work."""
    source = mapping.get("_source", {})
    if source.get("enabled") is False or source.get("mode") == "disabled":
        message = "Documents are not kept (`_source` is off): they can be neither read nor updated."
        yield Finding(code="attach.no_source", message=message, remedy="Index them anew with `_source`.")
    elif source.get("excludes") or source.get("includes"):
        parts = ", ".join(str(one) for one in (*source.get("excludes", ()), *source.get("includes", ())))
        yield Finding(
            code="attach.partial_source",
            message=f"`_source` keeps only a part of each document ({parts}). An update is made from `_source`: "
            "what it lacks would be lost from the index.",
            remedy="Index the documents anew with the whole `_source`, or into an index of Triptych's.",
        )


def _of_mapping(found: Inspected, schema: IndexSchema) -> Iterable[Finding]:
    """What about the mapping cannot work."""
    yield from _of_source(found.mapping)
    if FIELD in found.mapping.get("_meta", {}):
        yield Finding(code="attach.is_ours", message=f"{found.index!r} was made by Triptych.", remedy="Search it as it is.")
    under = found.under or next(iter(marks_of(found.mapping)), schema.object_field)
    if under != schema.object_field:
        message = f"{found.index!r} is attached already, under {under!r}."
        yield Finding(
            code="attach.attached",
            message=message,
            remedy=f"Give --name {under}, or detach it first: triptych detach {found.index}",
        )
    others = [one.name for one in schema.spaces if found.made_by.get(one.name, one.fingerprint) != one.fingerprint]
    if under == schema.object_field and others:
        yield Finding(
            code="attach.other_encoders",
            message=f"{found.index!r} is attached with the profile {found.profile!r}, whose vectors of {', '.join(others)} are "
            "others: for a time searches would compare what cannot be compared.",
            remedy=("Fill" if found.profile == schema.profile else f"Give --profile {found.profile}, or fill")
            + f" a second field beside it: triptych reindex start {found.index} --profile {schema.profile}",
        )


def _of_room(found: Inspected, schema: IndexSchema, home: str) -> Iterable[Finding]:
    """Why our object field has no room in the mapping."""
    mapping, name = found.mapping, schema.object_field
    there = mapping.get("properties", {}).get(name)
    if there is not None:
        yield from _of_field_there(there, schema)
    new = count_fields({"properties": {name: object_mapping(schema, home)}})
    limit = int(found.settings.get("index.mapping.total_fields.limit", _FIELD_LIMIT))
    used = count_fields(mapping)
    if there is None and used + new > limit:
        message = f"The mapping has {used} fields and we add {new}, but the limit is {limit}."
        remedy = f'Raise it: PUT {found.index}/_settings {{"index.mapping.total_fields.limit": {used + new}}}'
        yield Finding(code="attach.field_limit", message=message, remedy=remedy)
    yield from _of_depth(found, {name: object_mapping(schema, home)})
    if "index.sort.field" in found.settings and any(space.has_parts for space in schema.spaces):
        message = "The index is sorted, which forbids nested fields, and the profile keeps several pictures apart (nested)."
        yield Finding(code="attach.sorted_index", message=message, remedy="Take a profile without `several: best`.")
    if len(home) > LONGEST_MARK:
        yield Finding(
            code="attach.bad_option",
            message=f"{home!r} is longer than {LONGEST_MARK} characters.",
            remedy="Shorten the prefix.",
        )


def _of_depth(found: Inspected, ours: Mapping[str, Any]) -> Iterable[Finding]:
    """Why our object field cannot lie where it would: objects, and nested ones, are not allowed or bounded."""
    if str(found.mapping.get("subobjects", True)).lower() in {"false", "auto"}:
        yield Finding(
            code="attach.no_objects",
            message="The mapping says `subobjects`: objects are taken apart into fields with dots, and ours is an object.",
            remedy="Copy the index: triptych index add NAME elasticsearch:" + found.index,
        )
    properties = {**found.mapping.get("properties", {}), **ours}
    nested, depth = _count_nested(properties), _depth(properties)
    for setting, needed in (("nested_fields", nested), ("depth", depth)):
        limit = found.settings.get(f"index.mapping.{setting}.limit")
        if limit is not None and needed > int(limit):
            message = f"With our fields the mapping needs index.mapping.{setting}.limit of {needed}, but it is {limit}."
            remedy = f'Raise it: PUT {found.index}/_settings {{"index.mapping.{setting}.limit": {needed}}}'
            yield Finding(code="attach.field_limit", message=message, remedy=remedy)


def _count_nested(properties: Mapping[str, Any]) -> int:
    return sum((one.get("type") == "nested") + _count_nested(one.get("properties", {})) for one in properties.values())


def _depth(properties: Mapping[str, Any]) -> int:
    """How deep objects lie within one another; 1 where there is none."""
    return 1 + max((_depth(one["properties"]) for one in properties.values() if "properties" in one), default=0)


def _of_field_there(there: Mapping[str, Any], schema: IndexSchema) -> Iterable[Finding]:
    name = schema.object_field
    other = "Give another --name."
    known = there.get("properties", {})
    if known.get("key", {}).get("type") != "keyword" or "hash" not in known:
        yield Finding(code="attach.field_taken", message=f"The owner has a field {name!r} already.", remedy=other)
        return
    for space in (space for space in schema.spaces if space.searched and space.name in known):
        old = known[space.name]
        same = (old.get("dims"), old.get("similarity")) == (space.dims, space.similarity)
        if not same or old.get("index_options", {}).get("type") != space.index_type:
            message = f"{space.field} is left from an earlier attachment and has another size or kind than the profile's."
            yield Finding(code="attach.field_differs", message=message, remedy=other)


def _of_fields(found: Inspected, wanted: Wanted) -> Iterable[Finding]:
    """Which of the named fields cannot be used so."""
    named = [(name_of(one), "text") for one in wanted.text]
    named += [(one, "image") for one in wanted.image] + [(one, "audio") for one in wanted.audio]
    for field, use in named:
        kind = _kind(field, found)
        nested = next((p for p in _above(field) if found.kinds.get(p) == "nested"), None)
        if kind is None:
            yield Finding(code="attach.unknown_field", message=f"The index has no field {field!r}.", remedy=_near(found, use))
        elif kind == "runtime" or (nested is not None and use == "text"):
            what = f"lies in {nested!r}, which is nested" if nested else "is made when it is asked for (runtime)"
            yield Finding(
                code="attach.bad_field",
                message=f"The field {field!r} {what}: it cannot be read or searched so.",
                remedy="Name another.",
            )
        elif use == "text" and kind not in _WORDS and kind != "flattened":
            yield Finding(
                code="attach.bad_field",
                message=f"The field {field!r} is of type {kind}, not of words.",
                remedy=_near(found, use),
            )
    if wanted.id is not None:
        kind = found.kinds.get(wanted.id)
        if kind not in NAMES:
            message = f"The field {wanted.id!r} cannot name a product: it is {kind or 'not there'}."
            yield Finding(
                code="attach.bad_field",
                message=message,
                remedy="Name a keyword or a whole number, or leave --id out: then it is `_id`.",
            )
        elif found.several:
            message = f"More than one document has the same {wanted.id!r}: {', '.join(found.several)}."
            yield Finding(
                code="attach.id_not_unique", message=message, remedy="Leave --id out: then a product is named by its `_id`."
            )


def _kind(field: str, found: Inspected) -> str | None:
    """The type of a field; of one that is not mapped `unmapped` where a document of the sample has it."""
    if field in found.kinds:
        return found.kinds[field]
    if any(found.kinds.get(parent) == "flattened" for parent in _above(field)):
        return "flattened"
    there = any(list(reading.references_at(hit.get("_source", {}), [field])) for hit in found.documents)
    return "unmapped" if there else None


def _above(field: str) -> list[str]:
    parts = field.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _near(found: Inspected, use: str) -> str:
    able = sorted(name for name, kind in found.kinds.items() if kind in _WORDS)
    return f"Fields that may be {use}: {', '.join(able[:20]) or 'none'}{' ...' if len(able) > 20 else '.'}"  # noqa: PLR2004


def count_fields(mapping: Mapping[str, Any]) -> int:
    """Fields as Elasticsearch counts them for its limit: objects, multi-fields and runtime fields too."""

    def inside(properties: Mapping[str, Any]) -> int:
        return sum(1 + inside(one.get("properties", {})) + len(one.get("fields", {})) for one in properties.values())

    return inside(mapping.get("properties", {})) + len(mapping.get("runtime", {}))
