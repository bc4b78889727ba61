"""The ledger's indices, and how an entry in them is read and changed. What lies in them: `store`, `batches`, `letters`,
`tombstones`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from triptych.elastic import own
from triptych.elastic.client import Client, translated
from triptych.errors import ElasticsearchError
from triptych.jobs.job import Counts
from triptych.settings import Settings

STAMP: Final = "%Y%m%dt%H%M%S"
"""The time, in UTC, that the ids of jobs and of uploads begin with: they sort by it."""

_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_KEPT: Final = {"type": "object", "enabled": False}
_MAPPINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "jobs": {
        "id": _KEYWORD, "index": _KEYWORD, "alias": _KEYWORD, "catalogue": _KEYWORD, "root": _KEYWORD,
        "submitted_at": {"type": "date"}, "finished_at": {"type": "date"}, "reading": {"type": "boolean"},
        "error": _KEYWORD, "wanted": _KEYWORD, "paused_because": _KEYWORD, "key": _KEYWORD, "redrive_of": _KEYWORD,
        "reader": _KEYWORD, "source": _KEPT, "stamp": _KEPT,
    },
    "keys": {"job": _KEYWORD, "entry": _KEPT},
    "batches": {
        "job": _KEYWORD, "number": {"type": "long"}, "state": _KEYWORD, "owner": _KEYWORD, "attempts": {"type": "integer"},
        "last_line": {"type": "long"}, "kind": _KEYWORD, **{name: {"type": "long"} for name in Counts.__dataclass_fields__},
    },
    "records": {"job": _KEYWORD, "number": {"type": "long"}, "products": _KEYWORD, "records": _KEPT, "packed": _KEPT},
    "deleted": {"index": _KEYWORD, "job": _KEYWORD},
    "upgrades": {"alias": _KEYWORD, "versions": _KEYWORD, "state": _KEYWORD},
    "dead-letters": {
        "job": _KEYWORD, "index": _KEYWORD, "code": _KEYWORD, "message": {"type": "text"}, "stage": _KEYWORD,
        "line": {"type": "long"}, "product_id": _KEYWORD, "modality": _KEYWORD, "reference": _KEYWORD,
        "record": {"type": "keyword", "index": False, "doc_values": False}, "at": {"type": "date"},
        "attempt": {"type": "integer"},
    },
}  # fmt: skip

_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {"records": {"codec": "best_compression"}}
"""Large records take Elasticsearch half as long by zstd as by its default, LZ4 in Java, and three quarters of the disk."""

_TRIES: Final = 20
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was read, with its place in the order of changes. Whoever changes it says which one they read."""

    id: str
    source: Mapping[str, Any]
    seq_no: int
    primary_term: int


class Ledger:
    """Reads and writes entries. The client is safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        prefix = settings.system_prefix
        self._jobs, self._batches, self._dead = (prefix + name for name in ("jobs", "batches", "dead-letters"))
        self._keys, self._records, self._deleted = prefix + "keys", prefix + "records", prefix + "deleted"

    def prepare(self) -> None:
        """Create the ledger's indices where they are missing, and the fields that an older version's lack.

        Raises ElasticsearchError.
        """
        for name, properties in _MAPPINGS.items():
            index = self._settings.system_prefix + name
            if not own.ensure(self._client, index, {"dynamic": False, "properties": dict(properties)}, _SETTINGS.get(name)):
                with translated():
                    self._add_fields(index, properties)

    def _add_fields(self, index: str, properties: Mapping[str, Any]) -> None:
        there = self._client.indices.get_mapping(index=index)[index]["mappings"].get("properties", {})
        missing = {name: mapping for name, mapping in properties.items() if name not in there}
        if missing:
            self._client.indices.put_mapping(index=index, properties=missing)

    def _read(self, index: str, key: str) -> Entry:
        with translated():
            found = self._client.get(index=index, id=key)
        return Entry(found["_id"], found["_source"], found["_seq_no"], found["_primary_term"])

    def _create(self, index: str, key: str, document: Mapping[str, Any], *, refresh: bool = False) -> bool:
        """Write a new entry; False if there is one of that id."""
        try:
            with translated():
                self._client.create(index=index, id=key, document=dict(document), refresh=refresh)
        except ElasticsearchError as error:
            if error.code == "elasticsearch.conflict":
                return False
            raise
        return True

    def _write(self, index: str, found: Entry, changes: Mapping[str, Any], *, refresh: bool = False) -> Entry | None:
        """Write an entry with `changes`, and give it as it then is; None if somebody changed it since it was read."""
        document = {**found.source, **changes}
        try:
            with translated():
                written = self._client.index(
                    index=index,
                    id=found.id,
                    document=document,
                    if_seq_no=found.seq_no,
                    if_primary_term=found.primary_term,
                    refresh=refresh,
                )
        except ElasticsearchError as error:
            if error.code in ("elasticsearch.conflict", "elasticsearch.not_found"):
                return None
            raise
        return Entry(found.id, document, written["_seq_no"], written["_primary_term"])

    def _change(
        self, index: str, key: str, decide: Callable[[Mapping[str, Any]], Mapping[str, Any] | None], *, refresh: bool = False
    ) -> bool:
        """Change an entry by what `decide` says of it as it is now, however many others change it too; None: leave it."""
        for _ in range(_TRIES):
            found = self._read(index, key)
            changes = decide(found.source)
            if changes is None:
                return False
            if self._write(index, found, changes, refresh=refresh) is not None:
                return True
        raise ElasticsearchError(f"The entry {key} of the ledger is changed all the time.", code="elasticsearch.conflict")

    def _search(self, index: str, query: Mapping[str, Any], *, size: int, sort: str, **more: Any) -> list[dict[str, Any]]:
        with translated():
            answer = self._client.search(index=index, query=query, size=size, sort=sort, ignore_unavailable=True, **more)
        return list(answer["hits"]["hits"])

    def _delete_all(self, index: str, query: Mapping[str, Any]) -> int:
        """Delete the entries that `query` finds; how many there were. Not by `_delete_by_query`: it is a module of its own."""
        number = 0
        while True:
            self._refresh(index)
            hits = self._search(index, query, size=_AT_ONCE, sort="_doc", source=False)
            if not hits:
                return number
            with translated():
                answer = self._client.bulk(index=index, operations=[{"delete": {"_id": hit["_id"]}} for hit in hits])
            failed = [one["delete"] for one in answer["items"] if "error" in one["delete"]]
            if failed:
                raise ElasticsearchError(f"An entry could not be deleted: {failed[0]['error']}", code="ledger.refused")
            number += len(hits)

    def _refresh(self, index: str) -> None:
        with translated():
            self._client.indices.refresh(index=index, ignore_unavailable=True)


def every(*filters: Mapping[str, Any], but: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The query for what all `filters` and none of `but` hold for."""
    return {"bool": {"filter": list(filters), "must_not": list(but)}}


def term(field: str, value: object) -> dict[str, Any]:
    """The filter for one value of a field."""
    return {"term": {field: value}}


def exists(field: str) -> dict[str, Any]:
    """The filter for entries that have a value in a field."""
    return {"exists": {"field": field}}


def now() -> str:
    """This moment in UTC, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
