"""Documents as their bytes, for writing them back without one field: no number changes its notation on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from elasticsearch import Elasticsearch

from triptych.elastic.bulk import Version
from triptych.elastic.client import Server, decoded_by, translated
from triptych.elastic.engine import close_point_in_time, open_point_in_time
from triptych.errors import ElasticsearchError

_PAGE: Final = 100
_KEPT_SECONDS: Final = 300


class _Hit(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    seq_no: int = msgspec.field(name="_seq_no")
    primary_term: int = msgspec.field(name="_primary_term")
    source: msgspec.Raw = msgspec.field(name="_source")
    sort: list[Any] = []
    routing: str | None = msgspec.field(name="_routing", default=None)


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Answer(msgspec.Struct):
    hits: _Hits
    shards: dict[str, Any] = msgspec.field(name="_shards")


_ANSWER: Final[msgspec.json.Decoder[_Answer]] = msgspec.json.Decoder(_Answer)
_FIELDS: Final[msgspec.json.Decoder[dict[str, msgspec.Raw]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as Elasticsearch gives it, with all of its vectors, its version, and its routing where it has one."""

    id: str
    source: bytes
    version: Version
    routing: str | None = None


def scan_raw(client: Elasticsearch, index: str, query: Mapping[str, Any], server: Server) -> Iterator[list[RawDocument]]:
    """All documents that `query` finds as the index is now, in pages. Raises ElasticsearchError."""
    pit = open_point_in_time(client, index, seconds=_KEPT_SECONDS)
    body: dict[str, Any] = {
        "size": _PAGE,
        "query": dict(query),
        "sort": ["_shard_doc"],
        "track_total_hits": False,
        "seq_no_primary_term": True,
        "pit": {"id": pit, "keep_alive": f"{_KEPT_SECONDS}s"},
        "_source": {"exclude_vectors": False} if server.hides_vectors else True,
    }
    try:
        while True:
            with translated(), decoded_by(_ANSWER):
                answer = client.search(body=body).body
            if not isinstance(answer, _Answer) or answer.shards["failed"]:
                raise ElasticsearchError("A search is incomplete.", code="elasticsearch.incomplete", retryable=True)
            found = answer.hits.hits
            if found:
                yield [RawDocument(h.id, bytes(h.source), Version(h.seq_no, h.primary_term), h.routing) for h in found]
            if len(found) < _PAGE:
                return
            body["search_after"] = found[-1].sort
    finally:
        close_point_in_time(client, pit)


def without(source: bytes, *fields: str) -> bytes:
    """A JSON object without some of its outermost fields; the others keep their order and every byte of their values. Pure.

    But line feeds, which end a line of a `_bulk`: within JSON they only stand between values, and become blanks.
    """
    kept = [(name, bytes(value).replace(b"\n", b" ")) for name, value in _FIELDS.decode(source).items() if name not in fields]
    return b"{" + b",".join(orjson.dumps(name) + b":" + value for name, value in kept) + b"}"
