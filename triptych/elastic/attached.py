"""What attached indices say of themselves, kept in an index of Triptych's own: their owners' mappings stay as they are.

The mapping of our object field leads there: its keyword `key` has `meta: {"triptych": "<index of our own>"}`, so whoever reads
the mapping of an attached index needs no settings to find the rest. `_id` is the index's name.
https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-field-meta

While its encoders are changed an index has two object fields of ours, each with a schema: that of the field that searches read,
and that of the one that waits. One write of the entry decides which is which. A field is called by index and name,
`products#triptych_v2`, as a version of an index of our own is called by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from elasticsearch import Elasticsearch
from pydantic import ValidationError

from triptych.elastic import own
from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.schema import FIELD, MARK, IndexSchema, vector_properties

LONGEST_MARK: Final = 50
"""Characters of a value in a field's `meta`, by Elasticsearch's own limit."""

_READ: Final = "schema"
_WAITS: Final = "waiting"
"""The parts of an entry: the schema of the field that searches read, and that of the one that waits."""

_MAPPINGS: Final = {"dynamic": False, "properties": {"index": {"type": "keyword"}}}


def home_of(prefix: str) -> str:
    """The index of Triptych's own that keeps schemas; `prefix` is that of Triptych's indices."""
    return f"{prefix}attached"


SEPARATOR: Final = "#"
"""Between an index and our field in it; no index can be named so."""

_TRIES: Final = 20


def version_of(index: str, field: str) -> str:
    """The name of our object field in an attached index. Pure."""
    return f"{index}{SEPARATOR}{field}"


def index_of(version: str) -> str:
    """The index of such a name, and of any other the name itself. Pure."""
    return version.partition(SEPARATOR)[0]


def field_of(version: str) -> str | None:
    """The field of such a name, None where it is that of an index. Pure."""
    return version.partition(SEPARATOR)[2] or None


def marks_of(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Our object fields and where their schemas are kept, as a mapping says it; none where the index is not attached. Pure.

    The mapping is its owner's to write, so a mark that leads to an index that cannot be such a home is none. A field whose
    values were dropped keeps its mark: it is ours as long as the index is attached.
    """
    marks = {}
    for name, field in mapping.get("properties", {}).items():
        home = field.get("properties", {}).get("key", {}).get("meta", {}).get(MARK)
        if home is not None and str(home).endswith(home_of("")):
            marks[name] = str(home)
    return marks


def home_in(mapping: Mapping[str, Any]) -> str | None:
    """Where the schemas of an index are kept, as its mapping says it; None where it is not attached. Pure."""
    return next(iter(marks_of(mapping).values()), None)


def fields_of_ours(client: Elasticsearch, index: str) -> set[str]:
    """The names our object field has in an index (a name, alias or pattern), of our own or attached."""
    with translated():
        bodies = client.indices.get_mapping(index=index).values()
    return {name for body in bodies for name in marks_of(body["mappings"]) or {FIELD: ""}}


def no_catalogue(index: str) -> InputError:
    """The error of who submits a catalogue to an attached index."""
    return InputError(
        f"The index {index!r} is attached: its owner writes its documents, a catalogue cannot.",
        code="attach.no_catalogue",
        field="index",
        remedy="Write to the index as ever; `triptych attached watch` keeps up.",
    )


def object_mapping(schema: IndexSchema, home: str) -> dict[str, Any]:
    """The mapping of our object field in an attached index. Pure."""
    field = vector_properties(schema.spaces)
    properties = field["properties"]
    return {**field, "properties": {**properties, "key": {**properties["key"], "meta": {MARK: home}}}}


def read(client: Elasticsearch, home: str, index: str, field: str | None = None) -> IndexSchema | None:
    """The schema of the field that searches read, or of another `field`; None where the index has none such any more.

    Raises ElasticsearchError `index.damaged`.
    """
    kept = _get(client, home, index)
    return None if kept is None else _chosen(kept, home, index, field)


def both(client: Elasticsearch, home: str, index: str) -> tuple[IndexSchema, ...]:
    """The schemas of an attached index: of the field that searches read, and of the one that waits, if one does."""
    kept = _get(client, home, index) or {}
    return tuple(_schemas(kept, home, index))


def attach(client: Elasticsearch, home: str, index: str, schema: IndexSchema) -> None:
    """Keep the schema of an attached index, in place of what was kept."""
    own.ensure(client, home, _MAPPINGS)
    with translated():
        client.index(index=home, id=index, document={"index": index, _READ: _plain(schema)}, refresh=True)


def change(client: Elasticsearch, home: str, index: str, field: str | None, changes: Mapping[str, Any]) -> IndexSchema:
    """Change parts of a field's schema, whatever others change beside it. Raises NotFoundError where there is none any more."""

    def changed(kept: dict[str, Any]) -> dict[str, Any] | None:
        for name in (_READ, _WAITS):
            schema = _schema(kept[name], home, index) if kept.get(name) else None
            if schema is not None and field in (None, schema.object_field):
                return {**kept, name: _plain(schema.model_copy(update=dict(changes)))}
        return None

    kept = _change(client, home, index, changed)
    found = None if kept is None else _chosen(kept, home, index, field)
    if found is None:
        raise not_attached(index)
    return found


def put_beside(client: Elasticsearch, home: str, index: str, schema: IndexSchema) -> None:
    """Keep the schema of a field that waits beside the one that is read. Raises NotFoundError where the index is not attached.

    Nothing happens where it is kept already: it may have levels by now.
    """

    def beside(kept: dict[str, Any]) -> dict[str, Any] | None:
        there = _chosen(kept, home, index, schema.object_field)
        return None if there is not None else {**kept, _WAITS: _plain(schema)}

    if _change(client, home, index, beside) is None and read(client, home, index, schema.object_field) is None:
        raise not_attached(index)


def serve(client: Elasticsearch, home: str, index: str, field: str) -> None:
    """Let searches read the field that waits, and the other one wait, in one write. Nothing happens where they read it.

    Raises NotFoundError where there is no such field.
    """

    def swapped(kept: dict[str, Any]) -> dict[str, Any] | None:
        waits = kept.get(_WAITS)
        return {**kept, _READ: waits, _WAITS: kept[_READ]} if waits and waits["object_field"] == field else None

    if _change(client, home, index, swapped) is None:
        there = read(client, home, index)
        if there is None or there.object_field != field:
            raise not_attached(index)


def drop_beside(client: Elasticsearch, home: str, index: str, field: str) -> None:
    """Forget the field that waits, so that nobody writes it from now on; nothing happens if it does not wait."""

    def dropped(kept: dict[str, Any]) -> dict[str, Any] | None:
        waits = kept.get(_WAITS)
        return {**kept, _WAITS: None} if waits and waits["object_field"] == field else None

    _change(client, home, index, dropped)


def not_attached(name: str) -> NotFoundError:
    """The error of who asks for an attached index where there is none."""
    return NotFoundError(f"The index {name!r} is not attached.", code="attach.not_attached", field="index")


def _chosen(kept: Mapping[str, Any], home: str, index: str, field: str | None) -> IndexSchema | None:
    if field is None:
        return _schema(kept.get(_READ), home, index)
    return next((schema for schema in _schemas(kept, home, index) if schema.object_field == field), None)


def _schemas(kept: Mapping[str, Any], home: str, index: str) -> Iterator[IndexSchema]:
    return (_schema(kept[name], home, index) for name in (_READ, _WAITS) if kept.get(name))


def _schema(data: Any, home: str, index: str) -> IndexSchema:
    try:
        return IndexSchema.model_validate(data)
    except ValidationError as error:
        raise ElasticsearchError(f"What {home} keeps of {index!r} is damaged: {error}", code="index.damaged") from error


def _plain(schema: IndexSchema) -> dict[str, Any]:
    """A schema as it is kept. The mapping tells which other fields there are."""
    return schema.model_dump(mode="json", exclude={"others"})


def _change(
    client: Elasticsearch, home: str, index: str, decide: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Write an entry as `decide` makes it of what is there, in one step; None where it is not there, or stays as it is."""
    for _ in range(_TRIES):
        with translated():
            found = client.options(ignore_status=404).get(index=home, id=index).body
        new = decide(dict(found["_source"])) if found.get("found") else None
        if new is None:
            return None
        at = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        with translated():
            answer = client.options(ignore_status=(404, 409)).index(index=home, id=index, document=new, refresh=True, **at)
        if "error" not in answer.body:
            return new
    raise ElasticsearchError(f"What {home} keeps of {index!r} is changed all the time.", code="elasticsearch.conflict")


def forget(client: Elasticsearch, home: str, index: str) -> None:
    """Drop all that is kept of an index; nothing happens where nothing is."""
    with translated():
        for key in (index, _seen_id(index)):
            client.options(ignore_status=404).delete(index=home, id=key, refresh=True)


def names(client: Elasticsearch, home: str) -> list[str]:
    """The indices that are attached."""
    with translated():
        if not client.indices.exists(index=home):
            return []
        answer = client.search(index=home, query={"exists": {"field": "index"}}, size=1000, source=False, sort="index")
    return [str(hit["_id"]) for hit in answer["hits"]["hits"]]


def seen(client: Elasticsearch, home: str, index: str) -> dict[str, int]:
    """Up to which sequence number each shard of an index was looked through; none where it never was."""
    kept = _get(client, home, _seen_id(index))
    return dict(kept["shards"]) if kept else {}


def write_seen(client: Elasticsearch, home: str, index: str, shards: Mapping[str, int]) -> None:
    """Keep up to which sequence number each shard was looked through."""
    with translated():
        client.index(index=home, id=_seen_id(index), document={"shards": dict(shards)})


def _seen_id(index: str) -> str:
    return f"{index}#seen"  # no index can be named so


def _get(client: Elasticsearch, home: str, key: str) -> dict[str, Any] | None:
    with translated():
        answer = client.options(ignore_status=404).get(index=home, id=key)
    return dict(answer["_source"]) if answer.body.get("found") else None
