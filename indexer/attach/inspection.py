"""What is read of an index before it is attached. Nothing is written; what it means is decided in plan.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from triptych.elastic import attached
from triptych.elastic.client import Client, Server, translated
from triptych.errors import ElasticsearchError, NotFoundError
from triptych.schema import IndexSchema

SAMPLE: Final = 50
"""Documents that are looked at."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """An index as it is. `name` is what was asked for, `indices` what it leads to, `index` the one that is meant.

    `settings` are flat, with the defaults of those that matter; `documents` are hits with `_source` and `_version`; `count` is
    of documents, `size` in bytes with copies. `routed` tells of documents with a routing of their own, `several` of names
    (values of the id field) that more than one document has. `under` is our field that is read, where it is attached,
    `operations` how many writes its shards have numbered (None: they do not tell), `profile` and `made_by` are the profile and
    the fingerprints of the spaces in our field.
    """

    name: str
    index: str
    indices: tuple[str, ...]
    data_stream: bool
    mapping: Mapping[str, Any]
    settings: Mapping[str, Any]
    documents: Sequence[Mapping[str, Any]]
    count: int
    size: int
    server: Server
    routed: bool = False
    several: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    under: str | None = None
    operations: int | None = None
    profile: str | None = None
    made_by: Mapping[str, str] = field(default_factory=dict)


def inspect(client: Client, name: str, server: Server, *, id_field: str | None = None) -> Inspected:
    """Read an index, or what an alias leads to. Raises NotFoundError `index.not_found`, and ElasticsearchError."""
    if not name.strip():
        raise NotFoundError("An index has a name.", code="index.not_found", field="index")
    try:
        with translated():
            found = client.indices.get(index=name, flat_settings=True, include_defaults=False).body
    except ElasticsearchError as error:
        if error.code == "elasticsearch.not_found":
            raise NotFoundError(f"There is no index {name!r}.", code="index.not_found", field="index") from error
        raise
    indices = tuple(sorted(found))
    writers = [one for one in indices if found[one].get("aliases", {}).get(name, {}).get("is_write_index")]
    index = (writers or list(indices))[0]
    body = found[index]
    with translated():
        stats = client.indices.stats(index=index, metric=["docs", "store"], level="shards")["indices"].get(index, {})
        hits = client.search(index=index, size=SAMPLE, version=True, source=_whole(server), track_total_hits=True)
        routed = client.count(index=index, query={"exists": {"field": "_routing"}})["count"] > 0
    kinds = types_of(body.get("mappings", {}))
    ours = _ours(client, index, body.get("mappings", {}))
    return Inspected(
        name=name,
        index=index,
        indices=indices,
        data_stream="data_stream" in body,
        mapping=body.get("mappings", {}),
        settings=body.get("settings", {}),
        documents=hits["hits"]["hits"],
        count=int(hits["hits"]["total"]["value"]),
        size=int(stats.get("total", {}).get("store", {}).get("size_in_bytes", 0)),
        server=server,
        routed=routed,
        several=_several(client, index, id_field, kinds),
        kinds=kinds,
        operations=_operations(stats),
        under=None if ours is None else ours.object_field,
        profile=None if ours is None else ours.profile,
        made_by={} if ours is None else {space.name: space.fingerprint for space in ours.spaces},
    )


def _operations(stats: Mapping[str, Any]) -> int | None:
    primaries = [one for copies in stats.get("shards", {}).values() for one in copies if one["routing"]["primary"]]
    numbers = [one["seq_no"]["max_seq_no"] + 1 for one in primaries if "seq_no" in one]
    return sum(numbers) if numbers and len(numbers) == len(primaries) else None


def _ours(client: Client, index: str, mapping: Mapping[str, Any]) -> IndexSchema | None:
    home = attached.home_in(mapping)
    return attached.read(client, home, index) if home is not None else None


def _whole(server: Server) -> Any:
    return {"includes": ["*"], "exclude_vectors": True} if server.hides_vectors else True


def _several(client: Client, index: str, id_field: str | None, kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Some names that more than one document has: all of them on one shard, those that a shard sees twice on several."""
    if id_field is None or kinds.get(id_field) not in NAMES:
        return ()
    terms = {"field": id_field, "min_doc_count": 2, "size": 3}
    with translated():
        answer = client.search(index=index, size=0, aggregations={"several": {"terms": terms}})
    return tuple(str(one["key"]) for one in answer["aggregations"]["several"]["buckets"])


NAMES: Final = frozenset({"keyword", "long", "integer", "short", "constant_keyword", "unsigned_long"})
"""Types of fields that can name a product."""


def types_of(mapping: Mapping[str, Any]) -> dict[str, str]:
    """The type of each field, objects and multi-fields included, and of runtime fields as `runtime`. Pure."""
    found = dict(_types(mapping.get("properties", {}), ""))
    return {**found, **dict.fromkeys(mapping.get("runtime", {}), "runtime")}


def _types(properties: Mapping[str, Any], prefix: str) -> Any:
    for name, one in properties.items():
        path = prefix + name
        yield path, one.get("type", "object")
        yield from _types(one.get("properties", {}), path + ".")
        for sub, inner in one.get("fields", {}).items():
            yield f"{path}.{sub}", inner.get("type", "object")
