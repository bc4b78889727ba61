"""What is bought together with a product, from the purchases of the same sessions (`triptych.elastic.events`).

Ranked by Dunning's log-likelihood ratio (1993, "Accurate Methods for the Statistics of Surprise and Coincidence"), which asks
how surely two things go together: lift alone puts first what was bought once, counts alone what everybody buys.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from search_api.asking import name_of, named_so
from search_api.filters import clauses
from triptych.elastic.engine import search
from triptych.elastic.events import EventStore
from triptych.elastic.lifecycle import IndexInfo
from triptych.services import Services

if TYPE_CHECKING:
    from search_api.similar import SimilarRequest

LEAST_SESSIONS: Final = 3
"""Sessions that must have bought both: fewer are chance, and may be somebody's."""

KNOWN_SECONDS: Final = 60.0
"""How old counts may be."""

_MOST_KNOWN: Final = 10_000
_MOST_SESSIONS: Final = 10_000
_MOST_BESIDE: Final = 200
_EXACT: Final = 40_000
"""Sessions up to which Elasticsearch counts them exactly."""

_COUNTED: Final = {"sessions": {"cardinality": {"field": "session", "precision_threshold": _EXACT}}}


@dataclass(frozen=True, slots=True)
class Together:
    """A product that is bought together with another: by `sessions` of them, a `share` of those that bought the other.

    `lift`: how many times as often as if the two had nothing to do with each other.
    """

    id: str
    sessions: int
    share: float
    lift: float
    product: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bought:
    """What is bought together with a product, the surest first; where there is nothing, `reason` and `message` say why:
    `not_bought` (no session did), `few_sessions` (too few bought the same beside it), `filtered` (the filters let none pass).
    """

    products: tuple[Together, ...] = ()
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sessions that bought `both`, one (`first`), the other (`second`), and anything at all (`whole`)."""

    both: int
    first: int
    second: int
    whole: int

    @property
    def lift(self) -> float:
        return self.both * self.whole / (self.first * self.second)

    @property
    def surety(self) -> float:
        """Dunning's log-likelihood ratio: 0 where the two are bought independently."""
        rest = self.whole - self.first - self.second + self.both
        cells = (self.both, self.first - self.both, self.second - self.both, rest)
        rows, columns = (self.first, self.whole - self.first), (self.second, self.whole - self.second)
        return 2 * (_entropy(cells, self.whole) - _entropy(rows, self.whole) - _entropy(columns, self.whole))


def _entropy(cells: Sequence[int], whole: int) -> float:
    """The sum of n log(n / whole)."""
    return sum(n * math.log(n / whole) for n in cells if n > 0)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is bought more often with a product than by chance, whatever the index has of it: `ids`, the surest first.

    Where there is nothing, `none` says why.
    """

    sessions: int = 0
    counts: Mapping[str, Counts] = field(default_factory=dict)
    ids: Sequence[str] = ()
    none: Bought | None = None


class Complementary:
    """What is bought together with products. Counts are kept for KNOWN_SECONDS. Share one between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: dict[tuple[str, str], tuple[float, Beside]] = {}

    def find(self, info: IndexInfo, request: SimilarRequest) -> Bought:
        """What is bought together with the request's product and passes its filters. Raises ElasticsearchError."""
        beside = self._beside(request.index, request.product)
        if beside.none is not None:
            return beside.none
        there = _products(self._services, info, beside.ids, request)
        found = [_together(key, beside, there[key]) for key in beside.ids if key in there]
        if not found:
            message = (
                "What was bought together with it is not in the index, does not pass the filters, or is bought with anything."
            )
            return Bought(reason="filtered", message=message)
        return Bought(tuple(found[: request.complementary]))

    def _beside(self, index: str, product: str) -> Beside:
        known = self._known.get((index, product))
        if known is None or time.monotonic() - known[0] > KNOWN_SECONDS:
            store = EventStore(self._services.elasticsearch, self._services.settings)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[index, product] = (time.monotonic(), bought_beside(store, index, product))
        return known[1]


def _together(key: str, beside: Beside, product: Mapping[str, Any]) -> Together:
    counts = beside.counts[key]
    return Together(key, counts.both, round(counts.both / beside.sessions, 4), round(counts.lift, 3), product)


def bought_beside(store: EventStore, index: str, product: str) -> Beside:
    """Count the sessions that bought a product, and what else they bought. Raises ElasticsearchError."""
    bought = [{"term": {"index": index}}, {"term": {"kind": "purchase"}}]
    sessions, whole = _sessions(store, bought, product)
    if not sessions:
        return Beside(none=Bought(reason="not_bought", message="No session of those that are kept bought it."))
    beside = _beside(store, [*bought, {"terms": {"session": sessions}}], product)
    both = {key: number for key, number in beside.items() if number >= LEAST_SESSIONS}
    if not both:
        message = f"{len(sessions)} sessions bought it, and nothing else was bought by {LEAST_SESSIONS} of them."
        return Beside(none=Bought(reason="few_sessions", message=message))
    each = _beside(store, [*bought, {"terms": {"product": list(both)}}], product)
    counts = {key: Counts(n, len(sessions), max(each.get(key, n), n), whole) for key, n in both.items()}
    better = sorted((key for key in counts if counts[key].lift > 1), key=lambda key: (-counts[key].surety, key))
    return Beside(len(sessions), counts, better)


def _sessions(store: EventStore, bought: Sequence[Mapping[str, Any]], product: str) -> tuple[list[str], int]:
    """The sessions that bought a product, and how many bought anything."""
    mine = {"terms": {"field": "session", "size": _MOST_SESSIONS}}
    aggregations = {**_COUNTED, "mine": {"filter": {"term": {"product": product}}, "aggs": {"names": mine}}}
    found = store.search(query={"bool": {"filter": list(bought)}}, size=0, aggregations=aggregations)
    counted = found.get("aggregations")
    if counted is None:
        return [], 0
    return [bucket["key"] for bucket in counted["mine"]["names"]["buckets"]], int(counted["sessions"]["value"])


def _beside(store: EventStore, filters: Sequence[Mapping[str, Any]], product: str) -> dict[str, int]:
    """The products of these purchases but one, and by how many sessions each was bought."""
    query = {"bool": {"filter": list(filters), "must_not": {"term": {"product": product}}}}
    terms = {"field": "product", "size": _MOST_BESIDE, "min_doc_count": LEAST_SESSIONS}
    found = store.search(query=query, size=0, aggregations={"beside": {"terms": terms, "aggs": _COUNTED}})
    buckets = found.get("aggregations", {"beside": {"buckets": []}})["beside"]["buckets"]
    return {bucket["key"]: int(bucket["sessions"]["value"]) for bucket in buckets}


def _products(services: Services, info: IndexInfo, ids: Sequence[str], request: SimilarRequest) -> dict[str, Mapping[str, Any]]:
    """Those of the products that the index has and the filters let pass."""
    if not ids:
        return {}
    source: dict[str, Any] = {"excludes": [*info.schema.object_fields]}
    body = {
        "query": {"bool": {"filter": [named_so(ids, info.schema), *clauses(request.filters, info)]}},
        "size": len(ids),
        "_source": source | ({"includes": list(request.fields)} if request.fields else {}),
        "docvalue_fields": [info.schema.key_field],
        "track_total_hits": False,
    }
    hits = search(services.elasticsearch, info.index, body).hits
    return {name_of(hit, info.schema): hit.get("_source", {}) for hit in hits}
