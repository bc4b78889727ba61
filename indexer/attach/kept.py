"""Which vectors documents still have.

From 9.2 on Elasticsearch shows a document with our bookkeeping but without its vectors. Who writes back what he was shown takes
them away, and the bookkeeping says as before that they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from indexer.work import Work
from triptych.elastic.bulk import Version
from triptych.elastic.client import Client
from triptych.elastic.engine import msearch
from triptych.errors import ElasticsearchError
from triptych.schema import IndexSchema, Space

_PAGE: Final = 100
"""Documents asked for at once: the owner may allow few."""


def spaces_of(
    client: Client, index: str, documents: Mapping[str, Version | None], schema: IndexSchema
) -> dict[str, frozenset[str]]:
    """The spaces that each document has a vector in.

    Left out is a document that searches do not see as `documents` says: it was changed a moment ago, so the watcher comes to it
    again. Raises ElasticsearchError.
    """
    ids = list(documents)
    having = [_having(space) for space in schema.spaces if space.searched]
    some = {"seq_no_primary_term": True, "track_total_hits": False, "_source": False}
    bodies = [
        {"query": {"bool": {"filter": [{"ids": {"values": part}}], "should": having}}, "size": len(part), **some}
        for part in (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))
    ]
    there: dict[str, frozenset[str]] = {}
    for found in msearch(client, index, bodies):
        if isinstance(found, ElasticsearchError):
            raise found
        for hit in found.hits:
            if documents[hit["_id"]] == Version(hit["_seq_no"], hit["_primary_term"]):
                there[str(hit["_id"])] = frozenset(hit.get("matched_queries", ()))
    return there


def _having(space: Space) -> dict[str, Any]:
    """The query for documents with a vector in a space, named after it."""
    ways: list[dict[str, Any]] = [{"exists": {"field": space.field}}]
    if space.has_parts:
        ways.append({"nested": {"path": space.parts_field, "query": {"exists": {"field": space.parts_vector}}}})
    return {"bool": {"should": ways, "_name": space.name}}


def has_all(item: Work, has: frozenset[str] | None, schema: IndexSchema) -> bool:
    """Whether a document has a vector in each space its product is embedded in; also where it is not known (None). Pure."""
    modalities = {*(media.modality for media in item.product.media), *(("text",) if any(item.product.texts.values()) else ())}
    embedded = (space for space in schema.spaces if space.searched and space.kind == "encoded")
    return has is None or all(space.name in has for space in embedded if space.document_modality in modalities)


def has_made(item: Work, has: frozenset[str] | None, schema: IndexSchema) -> bool:
    """Whether a document has all the vectors that were made for it just now; also where it is not known. Pure."""
    return has is None or all(space.name in has for space in schema.spaces if space.searched and space.name in item.vectors)
