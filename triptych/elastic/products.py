"""The vectors of products, read back from their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from elasticsearch import Elasticsearch

from triptych.elastic.client import Server, translated
from triptych.elastic.engine import unpack
from triptych.schema import FIELD, KEY_FIELD, IndexSchema, Space

Packed = str | Sequence[float]
"""A vector as Elasticsearch gives it back (see engine.pack)."""


def vectors_of(
    client: Elasticsearch, index: str, ids: Sequence[str], schema: IndexSchema, server: Server
) -> dict[str, dict[str, Any]]:
    """The vectors of each product that exists, by space; of a product with several pictures the mean of theirs."""
    spaces = [space for space in schema.spaces if space.searched]
    fields = [f for space in spaces for f in (space.field, *([space.parts_vector] if space.has_parts else []))]
    source: dict[str, Any] = {"includes": [KEY_FIELD, *fields]}
    if server.hides_vectors:
        source["exclude_vectors"] = False
    with translated():
        answer = client.search(index=index, query={"terms": {KEY_FIELD: list(ids)}}, size=len(ids), source=source)
    found = {hit["_id"]: hit["_source"].get(FIELD, {}) for hit in answer["hits"]["hits"]}
    return {key: {s.name: packed for s in spaces if (packed := _of(own, s)) is not None} for key, own in found.items()}


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
            found[key] = answer.body["_source"].get(FIELD, {})
    return found


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
