"""What a visitor did lately as one more input of a query: products near to those lift what was found.

    session_id -> its pseudonyms (Redis) -> its latest events (Elasticsearch) -> a weight per product -> the input `history`

The input makes a leg `history.SPACE` in every space that the products have vectors in: the weighted mean of these. It reranks
what the query's other legs found and brings no candidates of its own, unless it is all there is. A query never needs it: where
nothing is known it is left out, and where Redis or Elasticsearch fails the answer says so in `degraded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from search_api.asking import Run
from search_api.breakers import Breakers
from search_api.query import QueryInput, SearchRequest
from triptych.elastic.events import EventStore
from triptych.errors import ElasticsearchError, QueueError, TriptychError
from triptych.events import Pseudonyms
from triptych.services import Services

HISTORY: Final = "history"

WEIGHT: Final = 0.2
"""Of the input, beside the 1 of each other: a sixth of the score of a query of words."""

GAINS: Final[Mapping[str, float]] = {"view": 0.3, "click": 1.0, "cart": 2.0, "purchase": 2.0}
"""What an event says of a visitor's taste; what was dismissed says nothing that a mean could hold."""

DECAY: Final = 0.8
"""What each product counts of the one after it: the fourth to last half of the last."""

_MOST_PRODUCTS: Final = 20
_MOST_EVENTS: Final = 100


class History:
    """Finds what sessions did. Share one between threads."""

    def __init__(self, services: Services, breakers: Breakers) -> None:
        self._services, self._breakers = services, breakers

    def added(self, run: Run) -> SearchRequest:
        """The run's request with the history of its session as an input, where there is one."""
        request = run.request
        if request.session_id is None:
            return request
        try:
            events = self._events(request.session_id, request.index, seconds=run.deadline.request_seconds)
        except TriptychError as error:
            run.fail(HISTORY, error)
            return request
        weights = weighed(events)
        if not weights:
            return request
        known = QueryInput("history", WEIGHT, products=tuple(weights), shares=tuple(weights.values()), where="session_id")
        return replace(request, inputs=(*request.inputs, known))

    def _events(self, session: str, index: str, *, seconds: float | None) -> Sequence[Mapping[str, Any]]:
        """The session's latest events in an index, the latest first."""
        with self._breakers.guarding("redis sessions", QueueError, "queue.unavailable"):
            names = Pseudonyms(self._services.hurried_redis, self._services.settings).known(session)
        if not names:
            return ()
        store = EventStore(self._services.elasticsearch, self._services.settings)
        filters = [{"terms": {"session": names}}, {"term": {"index": index}}]
        # a breaker of its own: a hurried query's time-out here must not rest the searches themselves
        with self._breakers.guarding("search for events", ElasticsearchError, "elasticsearch.unavailable"):
            found = store.search(
                seconds=seconds,
                query={"bool": {"filter": filters}},
                size=_MOST_EVENTS,
                sort=[{"at": "desc"}],
                track_total_hits=False,
            )
        return [hit["_source"] for hit in found["hits"]["hits"]]


def weighed(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What each product of a session's events counts, the latest first: by the strongest event, and less the longer ago. Pure.

    A product that was dismissed does not count.
    """
    gains: dict[str, float] = {}
    dismissed = set()
    for event in events:
        if event["kind"] == "dismiss":
            dismissed.add(event["product"])
        else:
            gains[event["product"]] = max(gains.get(event["product"], 0.0), GAINS[event["kind"]])
    kept = [product for product in gains if product not in dismissed][:_MOST_PRODUCTS]
    return {product: gains[product] * DECAY**place for place, product in enumerate(kept)}
