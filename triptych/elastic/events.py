"""What users do with answers, kept in one index for each day: `<prefix>events-2026.11.29`.

Days are deleted whole when they are older than TRIPTYCH_EVENTS_DAYS, which costs Elasticsearch next to nothing. Not a data
stream with a life cycle: both are modules that a small Elasticsearch (that of `triptych up`, too) may lack (docs/adr/0023).
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from elasticsearch import Elasticsearch

from triptych.elastic import own
from triptych.elastic.bulk import Limits, Write, bulk
from triptych.elastic.client import translated
from triptych.elastic.scan import scan
from triptych.errors import ElasticsearchError
from triptych.settings import Settings

log = logging.getLogger(__name__)

EventKind = Literal["view", "click", "cart", "purchase", "dismiss"]
"""`view`: the product came into sight in an answer; `dismiss`: the user does not want it."""

SHOWN: Final = "shown"
"""The kind of an entry that says what an answer showed."""

_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_MAPPINGS: Final = {
    "dynamic": False,
    "properties": {
        "at": {"type": "date"}, "kind": _KEYWORD, "index": _KEYWORD, "query_id": _KEYWORD, "product": _KEYWORD,
        "session": _KEYWORD,
    },
}  # fmt: skip
_SETTINGS: Final = {"number_of_shards": 1, "auto_expand_replicas": "0-1", "codec": "best_compression"}

_LIMITS: Final = Limits(patience=3.0)
"""Somebody waits for the answer."""

_SLICES: Final = 4


@dataclass(frozen=True, slots=True)
class Event:
    """What a user did with a product of an index. `session` is a pseudonym; `position` counts from 1 over all pages."""

    kind: EventKind
    index: str
    product: str
    session: str
    query_id: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page of an answer showed: `products` from position `offset` + 1 on. `words` is None where they are not kept."""

    query_id: str
    index: str
    products: Sequence[str]
    offset: int = 0
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """One day's index, and how many entries of each kind it has."""

    name: str
    date: str
    kinds: Mapping[str, int]


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


class EventStore:
    """Writes, reads and deletes events. Share one between threads."""

    def __init__(self, client: Elasticsearch, settings: Settings, today: Callable[[], dt.date] = _today) -> None:
        self._client, self._settings, self._today = client, settings, today
        self._prefix = f"{settings.system_prefix}events-"
        self._name = re.compile(re.escape(self._prefix) + r"(\d{4})\.(\d\d)\.(\d\d)")
        self._made: str | None = None

    @property
    def pattern(self) -> str:
        """All days, as Elasticsearch takes it."""
        return f"{self._prefix}*"

    def write(self, entries: Sequence[Event | Shown]) -> None:
        """Keep `entries`, under today's date (UTC). Raises ElasticsearchError."""
        name = f"{self._prefix}{self._today():%Y.%m.%d}"
        self._make(name)
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        done = bulk(self._client, name, [Write(uuid.uuid4().hex, "create", _document(one, at)) for one in entries], _LIMITS)
        refused = next((written.reason for written in done.values() if written.reason is not None), None)
        if refused is not None:
            raise ElasticsearchError(f"An event could not be kept: {refused}")

    def dates(self) -> dict[str, dt.date]:
        """The days' indices and their dates, the oldest first."""
        with translated():
            names = self._client.indices.get_alias(index=self.pattern, allow_no_indices=True).body
        found = {name: dt.date(*map(int, date.groups())) for name in names if (date := self._name.fullmatch(name))}
        return dict(sorted(found.items(), key=lambda pair: pair[1]))

    def expire(self) -> list[str]:
        """Delete the days that are older than TRIPTYCH_EVENTS_DAYS; returns their indices. Raises ElasticsearchError."""
        last = self._today() - dt.timedelta(days=self._settings.events_days)
        old = [name for name, date in self.dates().items() if date < last]
        for name in old:
            with translated():
                self._client.options(ignore_status=404).indices.delete(index=name)
        return old

    def days(self) -> list[Day]:
        """What is kept, the oldest day first."""
        dates = self.dates()
        if not dates:
            return []
        self.refresh()
        inner = {"kinds": {"terms": {"field": "kind", "size": 10}}}
        found = self.search(size=0, aggregations={"days": {"terms": {"field": "_index", "size": 10_000}, "aggs": inner}})
        counted = {
            day["key"]: {kind["key"]: kind["doc_count"] for kind in day["kinds"]["buckets"]}
            for day in found["aggregations"]["days"]["buckets"]
        }
        return [Day(name, date.isoformat(), counted.get(name, {})) for name, date in dates.items()]

    def forget(self, sessions: Sequence[str]) -> int:
        """Delete the events of sessions (their pseudonyms); how many there were. Not by `_delete_by_query`: it is a module."""
        self.refresh()
        number = 0
        for name in self.dates() if sessions else ():
            with closing(scan(self._client, name, query={"terms": {"session": list(sessions)}}, includes=())) as hits:
                writes = [Write(str(hit["_id"]), "delete") for hit in hits]
            done = bulk(self._client, name, writes, _LIMITS)
            failed = next((w.reason for w in done.values() if w.reason is not None and not w.conflict), None)
            if failed is not None:
                raise ElasticsearchError(f"An event could not be deleted: {failed}")
            number += len(done)
        if number:
            self.refresh()  # what is forgotten must not be found any more
        return number

    def entries(self, index: str, *, since: dt.date | None = None) -> Generator[Mapping[str, Any], None, None]:
        """All that is kept of an index since a day, as it is now, in no order; with `kind`, `query_id` and the rest."""
        if not self.dates():
            return
        self.refresh()
        filters: list[Mapping[str, Any]] = [{"term": {"index": index}}]
        if since is not None:
            filters.append({"range": {"at": {"gte": since.isoformat()}}})
        query = {"bool": {"filter": filters}}
        with closing(scan(self._client, self.pattern, query=query, slices=_SLICES)) as hits:
            for hit in hits:
                yield hit["_source"]

    def search(self, *, seconds: float | None = None, **body: Any) -> Mapping[str, Any]:
        """A search over all days, as the client takes it; empty where no day is kept. `seconds`: give it up after so long.

        Raises ElasticsearchError.
        """
        client = self._client
        if seconds is not None:
            client = client.options(request_timeout=max(seconds, 0.01), max_retries=0)
        with translated():
            return dict(client.search(index=self.pattern, allow_no_indices=True, **body))

    def refresh(self) -> None:
        """Let what was written be found."""
        with translated():
            self._client.indices.refresh(index=self.pattern, allow_no_indices=True)

    def _make(self, name: str) -> None:
        """Make a day's index where it is missing; then it is time to delete old days."""
        if self._made == name:
            return
        if own.ensure(self._client, name, _MAPPINGS):
            try:
                self.expire()
            except ElasticsearchError as error:  # the worker, or `triptych events expire`, may have the right to
                log.warning("old events were not deleted: %s", error)
        self._made = name


def _document(entry: Event | Shown, at: str) -> dict[str, Any]:
    kind = {"kind": SHOWN} if isinstance(entry, Shown) else {}
    given = {name: value for name, value in asdict(entry).items() if value is not None}
    return {"at": at, **kind, **given}
