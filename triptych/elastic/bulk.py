"""Writing many documents: requests bounded in bytes and documents, smaller and later ones where the server has too much to do.

writes -> lines -> pieces -> `_bulk` -> what became of each: written | refused | conflict (somebody was quicker)
                      ^-- half as many at once <-- 413 at once; 429, 503 after a wait with jitter
                      ^-- as many, after a wait <-- the index is closed or blocked: no document's fault
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import msgspec
import orjson
from elasticsearch import ApiError, Elasticsearch

from triptych.elastic.client import decoded_by, malformed, translated
from triptych.elastic.reasons import reason_of, shut
from triptych.errors import ElasticsearchError

log = logging.getLogger(__name__)

Action = Literal["index", "create", "update", "delete"]

_BUSY = {429, 503}
_TOO_LARGE = 413
_CONFLICT = 409
_MISSING = 404


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one `_bulk` may hold, and how long a server that has too much to do is waited for.

    `size` in bytes; one larger document goes alone. `patience`, `first_wait` and `longest_wait` in seconds.
    """

    size: int = 5_000_000
    documents: int = 1000
    patience: float = 60.0
    first_wait: float = 0.4
    longest_wait: float = 10.0


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of a document was read. Elasticsearch refuses a write that names an older one."""

    seq_no: int
    primary_term: int


@dataclass(frozen=True, slots=True)
class Lines:
    """A document's lines of a `_bulk`, each with its line break."""

    id: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """One line of a `_bulk`: `create` fails where the id is there, and with `version` the others where it was changed since.

    `routing` is the document's own, which it would lose without.
    """

    id: str
    action: Action
    body: Mapping[str, Any] | orjson.Fragment | None = None
    version: Version | None = None
    routing: str | None = None

    def lines(self) -> Lines:
        """As `_bulk` takes it."""
        meta: dict[str, Any] = {"_id": self.id}
        if self.version is not None:
            meta |= {"if_seq_no": self.version.seq_no, "if_primary_term": self.version.primary_term}
        if self.routing is not None:
            meta["routing"] = self.routing
        text = orjson.dumps({self.action: meta}) + b"\n"
        return Lines(self.id, text if self.body is None else text + orjson.dumps(self.body) + b"\n")


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one document; `reason` is None where it was written or is gone.

    `shut`: the index takes no document at all, because it is closed or blocked.
    """

    id: str
    status: int
    reason: str | None = None
    shut: ElasticsearchError | None = None

    @property
    def conflict(self) -> bool:
        """Whether the document is not as it was when it was read: somebody wrote or deleted it since."""
        return self.status in {_CONFLICT, _MISSING}


class _Pace:
    """How many documents go at once, and how long to wait before the next request."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._until: float | None = None
        self._wait = limits.first_wait
        self.documents = limits.documents

    def shrink(self, sent: int) -> None:
        """Half as many as were sent, at least one."""
        self.documents = max(1, sent // 2)

    def rest(self, waiting: int, shut: ElasticsearchError | None = None) -> None:
        """Wait, longer each time, for load to pass or what is `shut` to open.

        Raises ElasticsearchError, retryable, when patience is over.
        """
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._limits.patience
        wait = self._wait * random.uniform(0.5, 1)  # noqa: S311  workers must not come back all at once
        if now + wait > self._until and shut is not None:
            raise shut
        if now + wait > self._until:
            message = f"Elasticsearch stayed too busy to write {waiting} documents."
            raise ElasticsearchError(message, code="elasticsearch.busy", retryable=True)
        log.warning("%s %d documents wait %.1f s", shut or "Elasticsearch is too busy to write;", waiting, wait)
        time.sleep(wait)
        self._wait = min(self._wait * 2, self._limits.longest_wait)


def bulk(
    client: Elasticsearch, index: str, writes: Iterable[Write], limits: Limits | None = None, *, pipeline: str | None = None
) -> dict[str, Written]:
    """Send `writes`, each of another id, in as many requests as the limits ask for. Returns what became of each id.

    `pipeline` takes the place of the index's own for documents that are written whole; `_none`: no pipeline.

    Raises ElasticsearchError: retryable when the server was away or stayed too busy. Then any of them may have been written.
    """
    return send(client, index, [write.lines() for write in writes], limits, pipeline=pipeline)


def send(
    client: Elasticsearch, index: str, lines: Iterable[Lines], limits: Limits | None = None, *, pipeline: str | None = None
) -> dict[str, Written]:
    """`bulk`, of writes whose lines are made already."""
    limits = limits or Limits()
    pace = _Pace(limits)
    waiting = deque(lines)
    done: dict[str, Written] = {}
    while waiting:
        piece = [waiting.popleft() for _ in range(fitting(waiting, pace.documents, limits.size))]
        answers = _answered(client, index, piece, pipeline)
        alone = len(piece) == 1
        busy = any(answer.status in _BUSY for answer in answers)
        closed = next((answer.shut for answer in answers if answer.shut is not None), None)
        again = []
        for item, answer in zip(piece, answers, strict=True):
            if answer.status in _BUSY or answer.shut is not None or (answer.status == _TOO_LARGE and not alone):
                again.append(item)
            else:
                done[item.id] = answer
        if again:
            if closed is None:
                pace.shrink(len(piece))
            waiting.extendleft(reversed(again))
        if busy or closed is not None:
            pace.rest(len(waiting), closed)
    return done


def bulk_index(client: Elasticsearch, index: str, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Written]:
    """Write `documents` (by id) whatever is there. Returns what became of each id; raises as `bulk` does."""
    return bulk(client, index, [Write(key, "index", document) for key, document in documents.items()])


def fitting(waiting: Iterable[Lines], documents: int, size: int) -> int:
    """How many of the first go in one request of so many documents and bytes: at least one where there is any. Pure."""
    number = total = 0
    for item in waiting:
        total += len(item.text)
        if number == documents or (number and total > size):
            break
        number += 1
    return number


class _Item(msgspec.Struct):
    """What an answer says of a document."""

    status: int
    error: Any = None


class _Answer(msgspec.Struct):
    items: list[dict[str, _Item]]


_DECODER: Final = msgspec.json.Decoder(_Answer)


def _answered(client: Elasticsearch, index: str, piece: Sequence[Lines], pipeline: str | None = None) -> list[Written]:
    """One request. Where it is refused as a whole for load or size, each of its documents is."""
    text = b"".join([item.text for item in piece])
    more: dict[str, Any] = {} if pipeline is None else {"pipeline": pipeline}
    try:
        with translated(), decoded_by(_DECODER):
            answer = client.options(retry_on_status=()).bulk(index=index, operations=cast("Any", text), **more).body
    except ElasticsearchError as error:
        cause = error.__cause__
        if isinstance(cause, ApiError) and cause.status_code in {*_BUSY, _TOO_LARGE}:
            return [Written(item.id, cause.status_code, error.message) for item in piece]
        raise
    if not isinstance(answer, _Answer):
        raise malformed(answer, "a bulk")
    found = [one for item in answer.items for one in item.values()]
    return [_written(item, one) for item, one in zip(piece, found, strict=True)]


def _written(item: Lines, found: _Item) -> Written:
    if found.error is None:
        return Written(item.id, found.status)
    error = {"error": found.error}
    return Written(item.id, found.status, reason_of(error), None if found.status in _BUSY else shut(error))
