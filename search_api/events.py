"""Events taken, and what answers showed: the two halves that judgements are made of (`triptych evaluate from-clicks`).

POST /v1/events -> allowed? known products? -> a pseudonym for the session -> not too many? -> EventStore
an answer -> AnswerLog.put (a queue in memory; never waits) -> a thread -> EventStore
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from search_api.answer import SearchResult
from search_api.asking import name_of, named_so
from search_api.events_body import EventBody, EventsBody
from search_api.query import AUDIO_WORDS, SearchRequest
from search_api.searcher import Searcher
from triptych.elastic.engine import search
from triptych.elastic.events import Event, EventStore, Shown
from triptych.errors import InputError, TriptychError
from triptych.events import Pseudonyms, Rate
from triptych.services import Services

log = logging.getLogger(__name__)

_MOST_WAITING: Final = 2000
"""Answers that wait to be kept; more are not kept, so that a slow Elasticsearch costs memory no end."""

_TOGETHER: Final = 200
_EVERY: Final = 1.0
"""Seconds from one writing of what waits to the next."""

LONGEST_WORDS: Final = 100
"""Characters. Longer ones were pasted, and may be anything."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An event of a request that was not kept: its place, from 0, and why."""

    event: int
    code: str
    message: str


class Events:
    """Takes events and forgets them. Share one between threads."""

    def __init__(self, services: Services, searcher: Searcher) -> None:
        self._services, self._searcher = services, searcher
        self._store = EventStore(services.elasticsearch, services.settings)
        self._pseudonyms = Pseudonyms(services.redis, services.settings)
        self._rate = Rate(services.redis, services.settings)

    def record(self, given: EventsBody) -> list[Refused]:
        """Keep the events of known products; returns the others.

        Raises InputError `events.off`, NotFoundError for the index, TriptychError `events.too_many`, QueueError and
        ElasticsearchError; then nothing was kept, or of a busy Elasticsearch some.
        """
        if not self._services.settings.events:
            raise InputError(
                "No events are taken here.",
                code="events.off",
                field="events",
                remedy="Let the operator set TRIPTYCH_EVENTS, for the API.",
            )
        session = self._pseudonyms.of(given.session)
        self._rate.take(len(given.events), session)
        known = self._known(given.index, given.events)
        kept = [
            Event(one.kind, given.index, one.product, session, one.query_id, one.position)
            for one in given.events
            if one.product in known
        ]
        if kept:
            self._store.write(kept)
        return [
            Refused(number, "product.not_found", f"There is no product {one.product!r} in {given.index!r}.")
            for number, one in enumerate(given.events)
            if one.product not in known
        ]

    def forget(self, session: str) -> int:
        """Delete all events of a session that can still be told to be its; how many there were."""
        return self._store.forget(self._pseudonyms.known(session))

    def _known(self, index: str, events: Sequence[EventBody]) -> set[str]:
        """The products that the index has."""
        info = self._searcher.info(index)
        ids = sorted({one.product for one in events})
        body = {
            "query": named_so(ids, info.schema),
            "size": len(ids),
            "_source": False,
            "docvalue_fields": [info.schema.key_field],
            "track_total_hits": False,
        }
        return {name_of(hit, info.schema) for hit in search(self._services.elasticsearch, info.index, body).hits}


class AnswerLog:
    """Keeps what answers showed, by `write`, beside the answering. Share one between threads; its own starts with the first."""

    def __init__(self, write: Callable[[Sequence[Shown]], None]) -> None:
        self._write = write
        self._waiting: queue.Queue[Shown] = queue.Queue(_MOST_WAITING)
        self._lost = 0
        self._starting = threading.Lock()
        self._started = False

    def put(self, request: SearchRequest, result: SearchResult) -> None:
        """Let an answer be kept; one that showed nothing, or finds no room, is not. Returns at once."""
        products = [hit.id for hit in result.hits]
        if not products:
            return
        try:
            self._waiting.put_nowait(
                Shown(result.query_id, result.index, products, result.offset, words_to_keep(request, result))
            )
        except queue.Full:
            self._lost += 1
        if not self._started:
            self._start()

    def write(self) -> int:
        """Write what waits now; how many there were. What Elasticsearch does not take is lost, and said so in the log."""
        entries: list[Shown] = []
        if self._lost:
            log.warning("%d answers were not kept for learning: %d waited already", self._lost, _MOST_WAITING)
            self._lost = 0
        while len(entries) < _TOGETHER and not self._waiting.empty():
            entries.append(self._waiting.get_nowait())
        if entries:
            try:
                self._write(entries)
            except TriptychError as error:
                log.warning("%d answers were not kept for learning: %s", len(entries), error)
        return len(entries)

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                threading.Thread(target=self._run, name="answers", daemon=True).start()
                self._started = True

    def _run(self) -> None:
        while True:
            try:
                if self.write() < _TOGETHER:
                    time.sleep(_EVERY)
            except Exception:
                log.exception("keeping answers failed; it goes on")  # this thread must outlive any fault
                time.sleep(_EVERY)


def words_to_keep(request: SearchRequest, result: SearchResult) -> str | None:
    """The words that an answer is judged by: of a query that is nothing but words, typed or spoken. Pure.

    None for words that may be something personal: long ones, and such as hold an address.
    """
    inputs = request.all_inputs()
    if request.page is not None or len(inputs) != 1 or inputs[0].weight <= 0:
        return None
    one = inputs[0]
    spoken = one.kind == "audio" and one.audio_as == "words" and AUDIO_WORDS in result.recognised
    words = result.recognised[AUDIO_WORDS].text if spoken else one.text
    words = " ".join(words.split())
    return words if 0 < len(words) <= LONGEST_WORDS and "@" not in words else None


def refused_json(refused: Sequence[Refused], of: int) -> dict[str, Any]:
    """The answer to `of` events."""
    return {"accepted": of - len(refused), "refused": [asdict(one) for one in refused]}
