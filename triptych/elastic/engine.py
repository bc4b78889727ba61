"""The requests both halves send: one `_msearch` for many searches, one `_mget` for many ids (writing: bulk.py)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
from elasticsearch import Elasticsearch

from triptych.domain import Vector
from triptych.elastic.bulk import Version
from triptych.elastic.client import RETRYABLE_STATUS, Server, decoded_by, reason_of, translated
from triptych.errors import ElasticsearchError

log = logging.getLogger(__name__)


class Scored(msgspec.Struct, gc=False):
    """A hit of which only the score and the doc values are wanted."""

    score: float = msgspec.field(name="_score")
    fields: dict[str, list[Any]] = {}


class _Hits(msgspec.Struct):
    hits: list[Scored]
    total: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    """One search of an `_msearch`, or why it failed."""

    status: int
    hits: _Hits | None = None
    shards: dict[str, Any] | None = msgspec.field(name="_shards", default=None)
    timed_out: bool = False
    aggregations: dict[str, Any] | None = None
    error: Any = None


class _Answers(msgspec.Struct):
    responses: list[_Answer]


_SCORED: msgspec.json.Decoder[_Answers] = msgspec.json.Decoder(_Answers)
"""A thousand hits take half of the time that dicts of all they have take."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to one search of an `_msearch`: `hits` as Elasticsearch gives them, or `scored` where those were wanted."""

    hits: Sequence[Mapping[str, Any]]
    total: int
    aggregations: Mapping[str, Any] | None = None
    scored: Sequence[Scored] = ()


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
        return base64.b64encode(vector.astype(">f4").tobytes()).decode("ascii")
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
    scored: bool = False,
) -> list[Found | ElasticsearchError]:
    """Run all `bodies` against `index` in one request. A search that failed is an error in its place, not an exception.

    `scored`: of each hit only the score and the doc values are kept, as `Scored`.

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
    lines: list[Any] = []
    for body in bodies:
        lines += [first, orjson.dumps({**body, **moment.to_body()} if moment else body)]
    if seconds is not None:
        client = client.options(request_timeout=max(seconds, 0.01), max_retries=0)
    with translated(), decoded_by(_SCORED if scored else None):
        answer = client.msearch(index=None if moment else index, searches=lines).body
    if isinstance(answer, _Answers):
        return [_scored(one) for one in answer.responses]
    if scored or not isinstance(answer, dict) or "responses" not in answer:
        raise ElasticsearchError(
            f"Elasticsearch's answer to a search has not the form it should have: {str(answer)[:200]}",
            code="elasticsearch.unavailable",
            retryable=True,
            remedy="Check that TRIPTYCH_ELASTICSEARCH_URL leads to Elasticsearch.",
        )
    return [_found(one) for one in answer["responses"]]


def search(client: Elasticsearch, index: str, body: Mapping[str, Any], *, seconds: float | None = None) -> Found:
    """One search. Raises ElasticsearchError."""
    if seconds is not None:
        client = client.options(request_timeout=max(seconds, 0.01), max_retries=0)
    with translated():
        answer = client.search(index=index, body=dict(body))
    found = _found(answer.body)
    if isinstance(found, ElasticsearchError):
        raise found
    return found


def open_point_in_time(client: Elasticsearch, index: str, *, seconds: int) -> str:
    """Keep what searches see of an index as it is now. https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-open-point-in-time"""
    with translated():
        return str(client.open_point_in_time(index=index, keep_alive=f"{seconds}s")["id"])


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
    return Found(response["hits"]["hits"], total, response.get("aggregations"))


def _scored(answer: _Answer) -> Found | ElasticsearchError:
    if answer.hits is None or answer.shards is None:
        return _failed(answer.status, {"error": answer.error})
    incomplete = _incomplete(answer.shards, timed_out=answer.timed_out)
    if incomplete is not None:
        return incomplete
    hits = answer.hits.hits
    return Found((), (answer.hits.total or {}).get("value", len(hits)), answer.aggregations, hits)


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
