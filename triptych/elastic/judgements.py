"""Judgements that people make over HTTP: one document for each query and product, in `<prefix>judgements`.

A document has the query too, so that two people who grade products of one query never write the same document unless they
grade the same product, and then the later grade counts.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from triptych.elastic import own
from triptych.elastic.bulk import Limits, Write, bulk
from triptych.elastic.client import Client, translated
from triptych.elastic.scan import scan
from triptych.errors import ElasticsearchError
from triptych.settings import Settings

_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_MAPPINGS: Final = {
    "dynamic": False,
    "properties": {"at": {"type": "date"}, "index": _KEYWORD, "qid": _KEYWORD, "product": _KEYWORD, "grade": {"type": "byte"}},
}
_LIMITS: Final = Limits(patience=3.0)
"""Somebody waits for the answer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A query, as a line of queries.jsonl has it, and the grades of products; None takes a grade back."""

    query: Mapping[str, Any]
    grades: Mapping[str, int | None]

    @property
    def qid(self) -> str:
        return str(self.query["qid"])


class JudgementStore:
    """Writes and reads judgements. Share one between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._name = f"{settings.system_prefix}judgements"

    def write(self, index: str, judged: Sequence[Judged]) -> None:
        """Keep grades of products of an index, in place of older ones. Raises ElasticsearchError; then some may be kept."""
        own.ensure(self._client, self._name, _MAPPINGS)
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        writes = []
        for one in judged:
            for product, grade in one.grades.items():
                key = _id(index, one.qid, product)
                document = {
                    "at": at,
                    "index": index,
                    "qid": one.qid,
                    "query": dict(one.query),
                    "product": product,
                    "grade": grade,
                }
                writes.append(Write(key, "delete") if grade is None else Write(key, "index", document))
        done = bulk(self._client, self._name, writes, _LIMITS)
        refused = next((written.reason for written in done.values() if written.reason is not None), None)
        if refused is not None:
            raise ElasticsearchError(f"A judgement could not be kept: {refused}")
        with translated():
            self._client.indices.refresh(index=self._name)  # here, for who may only read them may not

    def read(self, index: str) -> list[Judged]:
        """All queries that were judged on an index, by their ids; of one that was written in several ways the latest. Raises
        ElasticsearchError.
        """
        with translated():
            if not self._client.indices.exists(index=self._name):  # nobody judged anything yet
                return []
        with closing(scan(self._client, self._name, query={"term": {"index": index}})) as found:
            hits = [hit["_source"] for hit in found]
        queries: dict[str, Mapping[str, Any]] = {}
        grades: dict[str, dict[str, int | None]] = {}
        for one in sorted(hits, key=lambda one: (one["qid"], one["at"], one["product"])):
            queries[one["qid"]] = one["query"]
            grades.setdefault(one["qid"], {})[one["product"]] = one["grade"]
        return [Judged(query, dict(sorted(grades[qid].items()))) for qid, query in queries.items()]


def _id(*parts: str) -> str:
    """Ids of products and queries may be longer together than Elasticsearch takes."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
