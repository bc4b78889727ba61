"""Index versions behind an alias: `shop-20261124t081000` behind `shop`. Searches use the alias, jobs its write version.

An index of somebody else's that is attached is its own version; what it says of itself is kept by `attached`.
"""

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

from triptych.elastic import attached
from triptych.elastic.bodies import SAID, index_body
from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.schema import FIELD, IndexSchema, Level, Space

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,199}")
_VERSION = re.compile(r".*-\d{8}t\d{6}")
_VECTORS = {"dense_vector", "sparse_vector", "rank_vectors"}
_MOST_MARKED = 1_000_000  # characters, Elasticsearch's own index.highlight.max_analyzed_offset
_OF_ONE_INDEX = {"uuid", "provided_name", "creation_date", "version", "resize", "blocks", "history"}
"""Settings that say which index it is, and are no other's."""


def read_mapping_file(path: Path) -> dict[str, Any]:
    """An index body ({"settings": ..., "mappings": ...}) from a JSON file, or that of an index template.

    Raises InputError naming the file and the place.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", code="mapping.unreadable", field="mapping") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.", code="mapping.invalid", field="mapping") from error
    if isinstance(body, dict) and isinstance(body.get("template"), dict):
        body = body["template"]
    if not isinstance(body, dict) or not isinstance(body.get("mappings"), dict):
        raise InputError(
            f"{path} has no object 'mappings'.",
            code="mapping.invalid",
            field="mappings",
            remedy="See mappings/products.json for the form.",
        )
    return body


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
        version = new_name(client, alias)
        body = index_body(base, schema)
        aliases = {alias: {"is_write_index": True}}
        client.indices.create(index=version, mappings=body["mappings"], settings=body.get("settings"), aliases=aliases)
    return version


def new_name(client: Elasticsearch, alias: str) -> str:
    """A name for a further version of `alias` that no index has."""
    at = dt.datetime.now(dt.UTC)
    while True:
        version = f"{alias}-{at:%Y%m%dt%H%M%S}"
        with translated():
            if not client.indices.exists(index=version):
                return version
        at += dt.timedelta(seconds=1)


def body_of(client: Elasticsearch, version: str) -> dict[str, Any]:
    """The body that a version was made with and what its mapping has gained since, without our own field and `_meta`, as
    `index_body` takes it. Its words are searched in the same fields, and what a product lacks counts the same.
    """
    with translated():
        found = client.indices.get(index=version, features=["mappings", "settings"])[version]
    mappings = dict(found["mappings"])
    mappings["properties"] = {name: field for name, field in mappings.get("properties", {}).items() if name != FIELD}
    meta = dict(mappings.get("_meta", {}))
    ours = meta.get(FIELD, {})
    mappings["_meta"] = {**meta, FIELD: {name: ours[name] for name in SAID if name in ours}}
    settings = {name: value for name, value in found["settings"]["index"].items() if name not in _OF_ONE_INDEX}
    return {"settings": {"index": settings}, "mappings": mappings}


def create_beside(client: Elasticsearch, version: str, base: Mapping[str, Any], schema: IndexSchema) -> None:
    """Create an index version that no alias leads to yet; nothing happens where it is there."""
    body = index_body(base, schema)
    with translated():
        if not client.indices.exists(index=version):
            client.indices.create(index=version, mappings=body["mappings"], settings=body.get("settings"))


def switch(client: Elasticsearch, alias: str, old: str, new: str) -> None:
    """Let `alias` lead to the version `new` instead of `old`, in one step, with the alias's filter and routing as they were;
    in an attached index, let searches read our other field.

    Nothing happens where it leads there.
    """
    field = attached.field_of(new)
    if field is not None:
        index = attached.index_of(new)
        attached.serve(client, home_of(client, index), index, field)
        return
    with translated():
        found = client.indices.get_alias(name=alias)
        if old not in found:
            if new in found:
                return
            raise NotFoundError(f"The alias {alias!r} leads to neither version.", code="index.not_found", field="index")
        kept = {**found[old]["aliases"][alias], "is_write_index": True}
        remove = {"remove": {"index": old, "alias": alias, "must_exist": True}}
        client.indices.update_aliases(actions=[remove, {"add": {"index": new, "alias": alias, **kept}}])


def drop_version(client: Elasticsearch, version: str) -> bool:
    """Delete an index version; False if it was gone."""
    with translated():
        answer = client.options(ignore_status=404).indices.delete(index=version)
    return "error" not in answer.body


def current_version(client: Elasticsearch, alias: str) -> str:
    """The index version behind `alias` that is written to (an index's own name is its version).

    Of a name of our field in an attached index that name, with the index as it is really called.
    """
    field = attached.field_of(alias)
    index = _behind(client, attached.index_of(alias))[0]
    return index if field is None else attached.version_of(index, field)


def _behind(client: Elasticsearch, alias: str) -> tuple[str, Mapping[str, Any]]:
    """That index version, and what the alias says of itself there: nothing for an index's own name."""
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
    return str(names[0]), found[names[0]]["aliases"].get(alias, {})


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index version as a search needs it: its name, what it says of itself, the type of each field of its mapping, its
    shards, and the fields mapped without doc values, which Elasticsearch can neither sort by nor count.

    The version of an attached index is our field in it (`attached.version_of`); `index` is what Elasticsearch calls it.
    `among` are the clauses that every product must meet: the filter of the alias, where it has one (docs/tenants.md).
    `vectors` are the fields of vectors, ours and an owner's, whether they are searched or not. `most_marked` are the characters
    of a text that it allows to be read for highlights.
    """

    version: str
    schema: IndexSchema
    fields: Mapping[str, str]
    shards: int = 1
    no_doc_values: frozenset[str] = frozenset()
    among: tuple[Mapping[str, Any], ...] = ()
    vectors: tuple[str, ...] = ()
    most_marked: int = _MOST_MARKED

    @property
    def unasked(self) -> list[str]:
        """What is left out of a product that is shown: our object fields, and an owner's vectors."""
        ours = self.schema.object_fields
        return [*ours, *(name for name in self.vectors if not self.schema.is_ours(name))]

    @property
    def index(self) -> str:
        return attached.index_of(self.version)


def describe(client: Elasticsearch, alias: str) -> IndexInfo:
    """The index version that `alias` is searched in. Raises NotFoundError if there is none, or it is none of ours."""
    version, said = _behind(client, attached.index_of(alias))
    with translated():
        index = client.indices.get(index=version, features=["mappings", "settings"])[version]
    mapping = index["mappings"]
    settings = index["settings"]["index"]
    shards, marked = int(settings["number_of_shards"]), settings.get("highlight", {}).get("max_analyzed_offset", _MOST_MARKED)
    fields = dict(_fields(mapping.get("properties", {})))
    types = {name: str(field["type"]) for name, field in fields.items() if field.get("index") is not False}
    bare = frozenset(name for name, field in fields.items() if field.get("doc_values") is False)
    vectors = tuple(name for name, field in fields.items() if field["type"] in _VECTORS)
    among = (said["filter"],) if "filter" in said else ()
    schema = _schema(client, mapping, version, attached.field_of(alias))
    if schema.attachment is not None:
        version = attached.version_of(version, schema.object_field)
    return IndexInfo(version, schema, types, shards, bare, among, vectors, int(marked))


def _fields(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, field in properties.items():
        path = prefix + name
        if "type" in field:
            yield path, field
        yield from _fields(field.get("properties", {}), path + ".")
        yield from _fields(field.get("fields", {}), path + ".")


def is_empty(client: Elasticsearch, index: str) -> bool:
    """Whether searches find no document of an index. Raises ElasticsearchError."""
    with translated():
        return not client.search(index=index, size=0, track_total_hits=1)["hits"]["total"]["value"]


def read_schema(client: Elasticsearch, index: str) -> IndexSchema:
    """What an index version says of itself. Raises NotFoundError if the index is none of ours and not attached."""
    name = attached.index_of(index)
    return _schema(client, mapping_of(client, name), name, attached.field_of(index))


def _schema(client: Elasticsearch, mapping: Mapping[str, Any], index: str, field: str | None = None) -> IndexSchema:
    meta = mapping.get("_meta", {})
    if FIELD in meta and field is not None:
        check_name(attached.version_of(index, field))  # only attached indices have fields of ours by name
    if FIELD not in meta:
        marks = attached.marks_of(mapping)
        schema = attached.read(client, next(iter(marks.values())), index, field) if marks else None
        if schema is not None:
            return schema.model_copy(update={"others": tuple(name for name in marks if name != schema.object_field)})
        raise NotFoundError(
            f"The index {index!r} has no Triptych fields.",
            code="index.not_triptych",
            field="index",
            remedy="Create an index with `triptych index create`, or attach this one with `triptych attach`.",
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
    name = attached.index_of(index)
    mapping = mapping_of(client, name)
    home = attached.home_in(mapping)
    if home is not None and FIELD not in mapping.get("_meta", {}):
        return attached.change(client, home, name, attached.field_of(index), changes)
    schema = _schema(client, mapping, index).model_copy(update=dict(changes))
    meta = {**mapping["_meta"], FIELD: schema.model_dump(mode="json")}
    with translated():
        client.indices.put_mapping(index=index, meta=meta)
    return schema


def mapping_of(client: Elasticsearch, index: str) -> dict[str, Any]:
    """The mapping of an index version."""
    with translated():
        mapping = client.indices.get_mapping(index=index)
    return dict(next(iter(mapping.values()))["mappings"])


def home_of(client: Elasticsearch, index: str) -> str:
    """Where the schemas of an attached index are kept. Raises NotFoundError where it is not attached."""
    home = attached.home_in(mapping_of(client, index))
    if home is None:
        raise attached.not_attached(index)
    return home


def spaces_schema(spaces: Sequence[Space], version: str, *, profile: str | None = None) -> IndexSchema:
    """The schema of a new index with `spaces` of a `profile`, made by Triptych `version`."""
    return IndexSchema(spaces=tuple(spaces), created_with=f"triptych {version}", profile=profile)
