"""The requests both halves send: one `_msearch` for many searches, one `_mget` for many ids (writing: bulk.py)."""

from __future__ import annotations

import base64
import binascii
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec
import numpy as np
import orjson
from elasticsearch import Elasticsearch

from triptych.domain import Vector
from triptych.elastic.bulk import Version
from triptych.elastic.client import RETRYABLE_STATUS, Server, decoded_by, malformed, post, translated
from triptych.elastic.reasons import reason_of
from triptych.errors import ElasticsearchError

log = logging.getLogger(__name__)


_Hit = TypeVar("_Hit")


class _Hits(msgspec.Struct, Generic[_Hit]):
    hits: list[_Hit]
    total: dict[str, Any] | None = None


class _Answer(msgspec.Struct, Generic[_Hit]):
    """One search of an `_msearch`, or why it failed."""

    status: int
    hits: _Hits[_Hit] | None = None
    shards: dict[str, Any] | None = msgspec.field(name="_shards", default=None)
    timed_out: bool = False
    aggregations: dict[str, Any] | None = None
    error: Any = None
    took: int = 0


class _Answers(msgspec.Struct, Generic[_Hit]):
    responses: list[_Answer[_Hit]]


class _Valued(msgspec.Struct, gc=False):
    """A hit of which only the score and the doc values are wanted."""

    score: float = msgspec.field(name="_score")
    fields: dict[str, list[Any]] = {}


@functools.lru_cache(maxsize=200)
def _decoder(key: str, *, values: bool) -> msgspec.json.Decoder[_Answers[Any]]:
    """What reads hits' scores and doc values, or without `values` of these the `key` alone.

    A thousand hits, with their ids and scores taken out, cost .23 ms of CPU as dicts of their doc values, .18 so.
    """
    if values:
        return msgspec.json.Decoder(_Answers[_Valued])
    named = msgspec.defstruct("_Named", [("key", list[Any], msgspec.field(name=key))], gc=False)
    keyed = msgspec.defstruct("_Keyed", [("score", float, msgspec.field(name="_score")), ("fields", named)], gc=False)
    return msgspec.json.Decoder(_Answers[keyed])  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to one search of an `_msearch`: `hits` as Elasticsearch gives them, or where only those are wanted the hits'
    `ids` and `scores`, and their `values`.

    `took` is in milliseconds, by Elasticsearch's own clock.
    """

    hits: Sequence[Mapping[str, Any]]
    total: int
    aggregations: Mapping[str, Any] | None = None
    ids: tuple[Any, ...] = ()
    scores: tuple[float, ...] = ()
    values: Sequence[Mapping[str, Sequence[Any]]] = ()
    took: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time of an index, kept for so many seconds after each search of it."""

    pit: str
    seconds: int

    def to_body(self) -> dict[str, Any]:
        return {"pit": {"id": self.pit, "keep_alive": f"{self.seconds}s"}}


def pack(vector: Vector, server: Server) -> str | list[float]:
    """A vector as the server takes it best: base64 of big-endian float32 from 9.3 on, a list of numbers before.

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector
    """
    if server.base64_vectors:
        return binascii.b2a_base64(vector.astype(">f4").tobytes(), newline=False).decode("ascii")
    return [float(x) for x in vector]


def unpack(value: str | Sequence[float]) -> Vector:
    """The inverse of `pack`, for vectors read back from `_source`."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), dtype=">f4").astype(np.float32)
    return np.asarray(value, dtype=np.float32)


def msearch(  # noqa: PLR0913
    client: Elasticsearch,
    index: str,
    bodies: Sequence[Mapping[str, Any]],
    *,
    preference: str | None = None,
    every_shard: bool = False,
    moment: Moment | None = None,
    seconds: float | None = None,
    key: str | None = None,
    values: bool = False,
) -> list[Found | ElasticsearchError]:
    """Run all `bodies` against `index` in one request. A search that failed is an error in its place, not an exception.

    `key`: of each hit only the score and this doc value, its id, are kept, and all doc values if `values`.

    Requests of one `preference` (any text) go to the same copies of the shards, whose idf may differ from other copies'; with
    `every_shard` words are counted over all shards first, so that a score does not depend on the shard a document lies in
    (dfs_query_then_fetch). `moment`: search this point in time instead. `seconds`: give the request up after so long.
    Raises ElasticsearchError if the request itself failed.
    """
    if not bodies:
        return []
    header: dict[str, Any] = {"search_type": "dfs_query_then_fetch"} if every_shard else {}
    if preference and moment is None:
        header["preference"] = preference
    first = orjson.dumps(header)
    lines: list[bytes] = []
    for body in bodies:
        lines += [first, orjson.dumps({**body, **moment.to_body()} if moment else body)]
    sent, path = b"\n".join([*lines, b""]), "/_msearch" if moment else f"/{_named(index)}/_msearch"
    with translated(), decoded_by(None if key is None else _decoder(key, values=values)):
        answer = post(client, path, sent, lines=True, seconds=_at_least(seconds))
    if isinstance(answer, _Answers):
        return [_scored(one, str(key), values=values) for one in answer.responses]
    if key is not None or not isinstance(answer, dict) or "responses" not in answer:
        raise malformed(answer, "a search")
    return [_found(one) for one in answer["responses"]]


def search(
    client: Elasticsearch,
    index: str,
    body: Mapping[str, Any],
    *,
    preference: str | None = None,
    moment: Moment | None = None,
    seconds: float | None = None,
) -> Found:
    """One search; its options are those of `msearch`, which takes a tenth longer for it. Raises ElasticsearchError."""
    sent = orjson.dumps({**body, **moment.to_body()} if moment else body)
    path = "/_search" if moment else f"/{_named(index)}/_search"
    if preference and moment is None:
        path += f"?preference={quote(preference)}"
    with translated():
        answer = post(client, path, sent, seconds=_at_least(seconds))
    found = _found(answer)
    if isinstance(found, ElasticsearchError):
        raise found
    return found


def _named(index: str) -> str:
    """An index, or several with commas between them, as a part of a path."""
    return quote(index, safe=",*")


def _at_least(seconds: float | None) -> float | None:
    """libcurl takes 0 for no time-out."""
    return None if seconds is None else max(seconds, 0.01)


def open_point_in_time(client: Elasticsearch, index: str, *, seconds: int, shard: int | None = None) -> str:
    """Keep what searches see of an index, or of one `shard` of it, as it is now. https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-open-point-in-time"""
    with translated():
        only = None if shard is None else f"_shards:{shard}"
        return str(client.open_point_in_time(index=index, keep_alive=f"{seconds}s", preference=only)["id"])


def close_point_in_time(client: Elasticsearch, pit: str) -> None:
    """Let a point in time go; one that is gone already is no error."""
    try:
        with translated():
            client.close_point_in_time(id=pit)
    except ElasticsearchError as error:
        log.debug("a point in time was not closed: %s", error)


def _found(response: Mapping[str, Any]) -> Found | ElasticsearchError:
    if "error" in response:
        return _failed(response["status"], response)
    incomplete = _incomplete(response["_shards"], timed_out=response["timed_out"])
    if incomplete is not None:
        return incomplete
    total = response["hits"].get("total", {}).get("value", len(response["hits"]["hits"]))
    return Found(response["hits"]["hits"], total, response.get("aggregations"), took=response["took"])


def _scored(answer: _Answer[Any], key: str, *, values: bool) -> Found | ElasticsearchError:
    if answer.hits is None or answer.shards is None:
        return _failed(answer.status, {"error": answer.error})
    incomplete = _incomplete(answer.shards, timed_out=answer.timed_out)
    if incomplete is not None:
        return incomplete
    hits = answer.hits.hits
    total = (answer.hits.total or {}).get("value", len(hits))
    ids = tuple([hit.fields[key][0] for hit in hits] if values else [hit.fields.key[0] for hit in hits])
    scores = tuple([hit.score for hit in hits])
    fields = [hit.fields for hit in hits] if values else ()
    return Found((), total, answer.aggregations, ids, scores, fields, answer.took)


def _failed(status: int, body: Mapping[str, Any]) -> ElasticsearchError:
    away = status in RETRYABLE_STATUS
    known = {400: "elasticsearch.bad_request", 404: "elasticsearch.not_found"}
    code = "elasticsearch.busy" if away else known.get(status, "elasticsearch.refused")
    return ElasticsearchError(f"A search failed (HTTP {status}): {reason_of(dict(body))}", code=code, retryable=away)


def _incomplete(shards: Mapping[str, Any], *, timed_out: bool) -> ElasticsearchError | None:
    failed = shards["failed"]
    if not failed and not timed_out:
        return None
    what = f"{failed} shards failed" if failed else "it timed out"
    return ElasticsearchError(f"A search is incomplete: {what}.", code="elasticsearch.incomplete", retryable=True)


def mget(
    client: Elasticsearch, index: str, ids: Sequence[str], *, includes: Sequence[str] = (), excludes: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """The `_source` of each id that exists, in one request."""
    if not ids:
        return {}
    with translated():
        answer = client.mget(
            index=index, ids=list(ids), source_includes=list(includes) or None, source_excludes=list(excludes) or None
        )
    return {d["_id"]: d["_source"] for d in _there(answer["docs"])}


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it was read: what was asked of its `_source`, and its version."""

    source: Mapping[str, Any]
    version: Version


def mget_versions(client: Elasticsearch, index: str, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Stored]:
    """Each id of `wanted` that exists, in one request; the values are `_source` filters (`includes`, `excludes`)."""
    if not wanted:
        return {}
    with translated():
        answer = client.mget(index=index, docs=[{"_id": key, "_source": dict(some)} for key, some in wanted.items()])
    return {d["_id"]: Stored(d["_source"], Version(d["_seq_no"], d["_primary_term"])) for d in _there(answer["docs"])}


def _there(docs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    broken = next((d for d in docs if "error" in d), None)
    if broken is not None:
        # after a restart the shard may not be assigned yet: HTTP 200 with an error per document
        away = broken["error"].get("type") != "index_not_found_exception"
        message = f"Reading {broken['_id']} failed: {reason_of(dict(broken))}"
        raise ElasticsearchError(message, code="elasticsearch.read_failed", retryable=away)
    return [d for d in docs if d["found"]]
