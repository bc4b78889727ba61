"""The vectors of products, read back from their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from elasticsearch import Elasticsearch

from triptych.elastic.client import Server, translated
from triptych.elastic.engine import search, unpack
from triptych.schema import IndexSchema, Space

Packed = str | Sequence[float]
"""A vector as Elasticsearch gives it back (see engine.pack)."""


def vectors_of(
    client: Elasticsearch,
    index: str,
    ids: Sequence[str],
    schema: IndexSchema,
    server: Server,
    *,
    among: Sequence[Mapping[str, Any]] = (),
) -> dict[str, dict[str, Any]]:
    """The vectors of each product that exists, by space; of a product with several pictures the mean of theirs.

    Only products that meet the clauses `among` count as there.
    """
    spaces = [space for space in schema.spaces if space.searched]
    fields = [f for space in spaces for f in (space.field, *([space.parts_vector] if space.has_parts else []))]
    source: dict[str, Any] = {"includes": [schema.key_field, *fields]}
    if server.hides_vectors:
        source["exclude_vectors"] = False
    with translated():
        query = {"bool": {"filter": [{"terms": {schema.key_field: list(ids)}}, *among]}}
        answer = client.search(index=index, query=query, size=len(ids), source=source)
    found = [hit["_source"].get(schema.object_field, {}) for hit in answer["hits"]["hits"]]
    return {own["key"]: {s.name: packed for s in spaces if (packed := _of(own, s)) is not None} for own in found}


def own_fields(
    client: Elasticsearch, index: str, ids: Sequence[str], schema: IndexSchema, server: Server
) -> dict[str, dict[str, Any]]:
    """The vectors and parts of each product by their fields' names, as they are now and not as last refreshed."""
    fields = [f for space in schema.spaces if space.searched for f in (space.field, space.parts_field)]
    found: dict[str, dict[str, Any]] = {}
    for key in ids:
        path = f"/{quote(index, safe='')}/_doc/{quote(key, safe='')}"
        params: dict[str, Any] = {"_source_includes": ",".join(fields)}
        if server.hides_vectors:
            params["_source_exclude_vectors"] = "false"
        with translated():
            answer = client.options(ignore_status=404).perform_request(
                "GET", path, params=params, headers={"accept": "application/json"}
            )
        if answer.body.get("found"):
            found[key] = answer.body["_source"].get(schema.object_field, {})
    return found


def whole(
    client: Elasticsearch, index: str, ids: Sequence[str], server: Server, *, excludes: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """The `_source` of each document that exists, as last refreshed, with its vectors but those of `excludes`.

    Raises ElasticsearchError, also where a shard does not answer: its documents would seem to be gone.
    """
    source: dict[str, Any] = {"excludes": list(excludes)} | ({"exclude_vectors": False} if server.hides_vectors else {})
    found = search(client, index, {"query": {"ids": {"values": list(ids)}}, "size": len(ids), "_source": source})
    return {str(hit["_id"]): dict(hit["_source"]) for hit in found.hits}


def _of(own: Mapping[str, Any], space: Space) -> Packed | None:
    plain = own.get(space.name)
    if plain is not None:
        return plain  # type: ignore[no-any-return]
    parts = own.get(space.parts_name) or []
    vectors = [unpack(part["vector"]) for part in (parts if isinstance(parts, list) else [parts]) if "vector" in part]
    if not vectors:
        return None
    mean = np.mean(vectors, axis=0)
    length = float(np.linalg.norm(mean))
    return [float(x) for x in (mean / length if length and space.similarity != "l2_norm" else mean)]
