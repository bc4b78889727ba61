"""Index versions behind an alias: `shop-20261124t081000` behind `shop`. Searches use the alias, jobs its write version."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from pydantic import ValidationError

from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.schema import FIELD, IndexSchema, Level, Space, vector_properties

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,199}")
_VERSION = re.compile(r".*-\d{8}t\d{6}")


def read_mapping_file(path: Path) -> dict[str, Any]:
    """An index body ({"settings": ..., "mappings": ...}) from a JSON file. Raises InputError naming the file and the place."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", code="mapping.unreadable", field="mapping") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.", code="mapping.invalid", field="mapping") from error
    if not isinstance(body, dict) or not isinstance(body.get("mappings"), dict):
        raise InputError(
            f"{path} has no object 'mappings'.",
            code="mapping.invalid",
            field="mappings",
            remedy="See mappings/products.json for the form.",
        )
    return body


def index_body(base: Mapping[str, Any], schema: IndexSchema) -> dict[str, Any]:
    """The body that creates an index version: the user's `base` plus our object field and our `_meta`. Pure.

    Raises InputError if the body's `_meta.triptych` has not the form of mappings/products.json.
    """
    mappings = dict(base["mappings"])
    meta = mappings.get("_meta", {})
    given = meta.get(FIELD, {}) if isinstance(meta, dict) else None
    fields = given.get("lexical_fields", []) if isinstance(given, dict) else None
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise InputError(
            f"_meta.{FIELD}.lexical_fields is not a list of field names.",
            code="mapping.invalid",
            field=f"mappings._meta.{FIELD}.lexical_fields",
            remedy="See mappings/products.json for the form.",
        )
    merged = schema.model_copy(update={"lexical_fields": tuple(fields)})  # all else is the encoders' to say
    mappings["properties"] = {**mappings.get("properties", {}), FIELD: vector_properties(schema.spaces)}
    mappings["_meta"] = {**meta, FIELD: merged.model_dump(mode="json")}
    return {**base, "mappings": mappings}


def check_name(name: str, *, reserved: str | None = None) -> None:
    """Raise InputError for a name that is no single index: patterns, lists and what Elasticsearch refuses.

    `reserved` is the prefix of Triptych's own indices.
    """
    if not _NAME.fullmatch(name) or (reserved is not None and name.startswith(reserved)):
        raise InputError(
            f"{name[:100]!r} cannot name an index.",
            code="index.bad_name",
            field="index",
            remedy="Use lower-case letters, digits, '-', '_' and '.', starting with a letter or digit"
            + (f", and not with {reserved!r}, which is Triptych's own." if reserved else "."),
        )


def check_new(client: Elasticsearch, alias: str, *, reserved: str = "triptych-") -> None:
    """Raise InputError if the name is not one Elasticsearch takes, looks like a version's, or is taken."""
    check_name(alias, reserved=reserved)
    if _VERSION.fullmatch(alias):
        raise InputError(
            f"{alias!r} ends as the name of an index version does.",
            code="index.bad_name",
            field="index",
            remedy="Leave off the time.",
        )
    with translated():
        if client.indices.exists(index=alias):
            raise InputError(
                f"There is an index or alias {alias!r} already.",
                code="index.exists",
                field="index",
                remedy="Choose another name.",
            )


def create_version(
    client: Elasticsearch, alias: str, base: Mapping[str, Any], schema: IndexSchema, *, reserved: str = "triptych-"
) -> str:
    """Create the first index version of `alias` and point the alias at it. Returns the version's name.

    Raises InputError if the name is not one Elasticsearch takes or is taken.
    """
    check_new(client, alias, reserved=reserved)
    with translated():
        version = f"{alias}-{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S}"
        body = index_body(base, schema)
        aliases = {alias: {"is_write_index": True}}
        client.indices.create(index=version, mappings=body["mappings"], settings=body.get("settings"), aliases=aliases)
    return version


def current_version(client: Elasticsearch, alias: str) -> str:
    """The index version behind `alias` that is written to (an index's own name is its version)."""
    check_name(alias)
    try:
        with translated():
            found = client.indices.get_alias(index=alias)
    except ElasticsearchError as error:
        if error.code == "elasticsearch.not_found":
            raise NotFoundError(
                f"There is no index {alias!r}.",
                code="index.not_found",
                field="index",
                remedy=f"Create it: triptych index create {alias} --mapping mappings/products.json",
            ) from error
        raise
    writers = [name for name, data in found.items() if data["aliases"].get(alias, {}).get("is_write_index")]
    names = writers or sorted(found)
    if len(names) != 1:
        raise InputError(
            f"The alias {alias!r} points at {len(names)} indices and none is the write index.",
            code="index.ambiguous",
            field="index",
        )
    return str(names[0])


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index version as a search needs it: its name, what it says of itself, the type of each field of its mapping, its
    shards, and the fields mapped without doc values, which Elasticsearch can neither sort by nor count.
    """

    version: str
    schema: IndexSchema
    fields: Mapping[str, str]
    shards: int = 1
    no_doc_values: frozenset[str] = frozenset()


def describe(client: Elasticsearch, alias: str) -> IndexInfo:
    """The index version that `alias` is searched in. Raises NotFoundError if there is none, or it is none of ours."""
    version = current_version(client, alias)
    with translated():
        index = client.indices.get(index=version, features=["mappings", "settings"])[version]
    mapping = index["mappings"]
    shards = int(index["settings"]["index"]["number_of_shards"])
    fields = dict(_fields(mapping.get("properties", {})))
    types = {name: str(field["type"]) for name, field in fields.items() if field.get("index") is not False}
    bare = frozenset(name for name, field in fields.items() if field.get("doc_values") is False)
    return IndexInfo(version, _schema(mapping, version), types, shards, bare)


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, field in properties.items():
        path = prefix + name
        if "type" in field:
            yield path, field
        yield from _fields(field.get("properties", {}), path + ".")
        yield from _fields(field.get("fields", {}), path + ".")


def read_schema(client: Elasticsearch, index: str) -> IndexSchema:
    """`_meta.triptych` of an index version. Raises NotFoundError if the index is none of ours."""
    return _schema(_mapping(client, index), index)


def _schema(mapping: Mapping[str, Any], index: str) -> IndexSchema:
    meta = mapping.get("_meta", {})
    if FIELD not in meta:
        raise NotFoundError(
            f"The index {index!r} has no Triptych fields.",
            code="index.not_triptych",
            field="index",
            remedy="Create an index with `triptych index create`.",
        )
    try:
        return IndexSchema.model_validate(meta[FIELD])
    except ValidationError as error:
        raise ElasticsearchError(f"_meta.{FIELD} of {index!r} is damaged: {error}", code="index.damaged") from error


def write_levels(client: Elasticsearch, index: str, levels: Mapping[str, Level]) -> IndexSchema:
    """Keep the measured levels in `_meta`, leaving the owner's part of `_meta` as it is."""
    return _rewrite(client, index, {"levels": dict(levels)})


def write_weight_sets(client: Elasticsearch, index: str, sets: Mapping[str, Mapping[str, float]]) -> IndexSchema:
    """Keep the named sets of weights in `_meta`."""
    return _rewrite(client, index, {"weight_sets": {name: dict(shares) for name, shares in sets.items()}})


def _rewrite(client: Elasticsearch, index: str, changes: Mapping[str, Any]) -> IndexSchema:
    mapping = _mapping(client, index)
    schema = _schema(mapping, index).model_copy(update=dict(changes))
    meta = {**mapping["_meta"], FIELD: schema.model_dump(mode="json")}
    with translated():
        client.indices.put_mapping(index=index, meta=meta)
    return schema


def _mapping(client: Elasticsearch, index: str) -> dict[str, Any]:
    with translated():
        mapping = client.indices.get_mapping(index=index)
    return dict(next(iter(mapping.values()))["mappings"])


def spaces_schema(spaces: Sequence[Space], version: str, *, profile: str | None = None) -> IndexSchema:
    """The schema of a new index with `spaces` of a `profile`, made by Triptych `version`."""
    return IndexSchema(spaces=tuple(spaces), created_with=f"triptych {version}", profile=profile)
