"""Leg scores of judged queries, kept on disk: comparing thirty fusions asks Elasticsearch once.

    queries -> Searcher (all legs, completed) -> a Session per query -> <data folder>/evaluation/<version>/<state>/<query>.json

The scores of a query follow from the index's content, the encoders and the query, so a file is named after all three. The
content is told by each shard's highest sequence number, its meaning by the mapping and the analysis: any change makes a new
state, and the files of older states of the version are deleted. Weights, floors and fusions are no part of a file: they are
chosen when the scores are read (docs/adr/0019). Files are JSON, the form in which the API keeps sessions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from evaluation.runs import Query
from search_api import session as sessions
from search_api.candidates import Candidates
from search_api.fusion import FusedLeg
from search_api.legs import Planned
from search_api.query import DEFAULT_WINDOW, QueryClass, SearchRequest
from search_api.searcher import Searcher
from search_api.session import Session
from search_api.weights import class_of, default_weights
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, NotFoundError, QueryError, TriptychError
from triptych.schema import IndexSchema
from triptych.services import Services

_FORM = 1
"""Raise it when a file's meaning changes."""

Progress = Callable[[int, int], None]
"""Told how many queries are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A query with the exact scores of its candidates in every leg it has.

    `legs` have the levels that the index has now, and weights of 0. `words` are those typed or recognised.
    """

    query: Query
    candidates: Candidates
    legs: tuple[FusedLeg, ...]
    words: str = ""

    @property
    def query_class(self) -> QueryClass:
        return class_of(self.words) if self.words else "none"

    def defaults(self, schema: IndexSchema, query_class: QueryClass | None = None) -> dict[str, float]:
        """The weights a user gets who gives none, or those of another class of query."""
        plan = [Planned(leg.name, leg.source, leg.base, ()) for leg in self.legs]
        return default_weights(plan, schema.levels, query_class=query_class or self.query_class)


@dataclass(frozen=True, slots=True)
class Asked:
    """All queries asked of an index version. `refused` says why a query has no answer (no word was recognised, say), and
    `unanswered` has these queries.

    `from_disk` counts the queries for which Elasticsearch was not asked, `absent` are judged products that the index lacks.
    """

    alias: str
    version: str
    schema: IndexSchema
    scored: tuple[Scored, ...]
    refused: Mapping[str, str]
    from_disk: int = 0
    unanswered: tuple[Query, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def queries(self) -> list[Query]:
        """All that were asked, those first that have an answer."""
        return [*(one.query for one in self.scored), *self.unanswered]


class Kept:
    """Asks queries and keeps their leg scores. `folder` is where; by default the data folder's `evaluation`. A `fresh` one
    reads none that are there.
    """

    def __init__(self, services: Services, searcher: Searcher, *, folder: Path | None = None, fresh: bool = False) -> None:
        self._services, self._searcher, self._fresh = services, searcher, fresh
        self._folder = folder or services.settings.data_dir / "evaluation"

    def ask(
        self,
        alias: str,
        queries: Sequence[Query],
        *,
        window: int = DEFAULT_WINDOW,
        progress: Progress = lambda _done, _of: None,
    ) -> Asked:
        """The scores of all queries, from disk where they are there.

        Raises NotFoundError for the index, TriptychError `evaluation.degraded` where a leg failed, QueryError for a query whose
        picture or sound cannot be read.
        """
        info = self._searcher.info(alias)
        folder = self._state_folder(info)
        scored: list[Scored] = []
        refused: dict[str, str] = {}
        known = 0
        for number, query in enumerate(queries):
            progress(number, len(queries))
            asking = request(alias, query, info, window=window)
            path = folder / f"{key_of(query, asking, info.schema, speech=self._speech(query))}.json"
            session = None if self._fresh else _read(path)
            known += session is not None
            if session is None:
                try:
                    session = self._asked(asking, query)
                except QueryError as error:
                    refused[query.id] = error.code
                    continue
                _write(path, session)
            scored.append(_scored(query, session, info.schema))
        progress(len(queries), len(queries))
        lost = tuple(query for query in queries if query.id in refused)
        return Asked(alias, info.version, info.schema, tuple(scored), refused, known, lost)

    def _speech(self, query: Query) -> str | None:
        """The model that hears a query's words; None where none are heard."""
        speech = self._services.profile.speech
        return speech.model if speech is not None and query.audio is not None and query.audio_as != "sound" else None

    def _asked(self, asking: SearchRequest, query: Query) -> Session:
        session = self._searcher.scored(*self._searcher.planned(asking))
        if session.degraded:
            lost = session.degraded[0]
            raise TriptychError(
                f"The query {query.id!r} was answered without {lost.name}: {lost.message}",
                code="evaluation.degraded",
                remedy="Mend that first: what is measured must be whole.",
                retryable=True,
            )
        return replace(session, options={}, aggregations=None, asked=None)

    def _state_folder(self, info: IndexInfo) -> Path:
        """The folder of the index's content as it is now; those of older content are deleted."""
        mine = self._folder / info.version
        state = mine / self._state(info.index)
        for old in mine.iterdir() if mine.is_dir() else ():
            if old != state:
                shutil.rmtree(old, ignore_errors=True)
        state.mkdir(parents=True, exist_ok=True)
        return state

    def _state(self, index: str) -> str:
        """Digits that change with every write and with the mapping; new ones each time where the server does not tell (a user
        who may only read).
        """
        client = self._services.elasticsearch
        try:
            with translated():
                client.indices.refresh(index=index)
                answer = client.indices.stats(index=index, metric=["docs"], level="shards")
                described = client.indices.get(index=index, features=["mappings", "settings"])[index]
        except NotFoundError:
            raise
        except ElasticsearchError:
            return uuid.uuid4().hex[:16]
        found = answer["indices"][index]
        numbers = {
            shard: copy["seq_no"]["max_seq_no"]
            for shard, copies in found["shards"].items()
            for copy in copies
            if copy["routing"]["primary"]
        }
        return _digest([found["uuid"], numbers, meaning_of(described)])[:16]


def meaning_of(described: Mapping[str, Any]) -> list[Any]:
    """What scores follow from beside the documents: the mapping without `_meta` (levels, sets), analysis and similarity."""
    settings = described["settings"]["index"]
    mapping = {name: value for name, value in described["mappings"].items() if name != "_meta"}
    return [mapping, settings.get("analysis"), settings.get("similarity")]


def request(alias: str, query: Query, info: IndexInfo, *, window: int) -> SearchRequest:
    """The search that gives every leg's scores: all legs weigh the same, for one that weighs nothing is not asked."""
    return SearchRequest(
        alias,
        text=query.text,
        image=_bytes(query, "image", query.image),
        audio=_bytes(query, "audio", query.audio),
        audio_as=query.audio_as,
        weights=dict.fromkeys(info.schema.legs, 1.0),
        size=1,
        window=window,
    )


def _bytes(query: Query, kind: str, path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        message = f"{path} of the query {query.id!r} cannot be read: {error.strerror}."
        raise TriptychError(message, code="evaluation.unreadable_file", field=kind) from error


def key_of(query: Query, asking: SearchRequest, schema: IndexSchema, *, speech: str | None = None) -> str:
    """64 hex digits that stand for all that a query's leg scores follow from, beside the content of the index. `speech` is the
    model that hears its words.
    """
    media = [None if data is None else hashlib.sha256(data).hexdigest() for data in (asking.image, asking.audio)]
    spaces = [[space.name, space.fingerprint, space.fitted, space.legs] for space in schema.spaces]
    return _digest([_FORM, query.text, media, query.audio_as, asking.window, spaces, schema.lexical_fields, speech])


def _digest(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()


def _read(path: Path) -> Session | None:
    """A session from disk; None where there is none, or what is there is damaged."""
    try:
        return sessions.from_bytes(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, session: Session) -> None:
    beside = path.with_suffix(f".{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)  # another process may have deleted the folder: the index has a new state
    beside.write_bytes(sessions.to_bytes(session))
    beside.replace(path)


def _scored(query: Query, session: Session, schema: IndexSchema) -> Scored:
    legs = tuple(FusedLeg(leg.name, leg.source, leg.base, 0.0, schema.levels.get(leg.base)) for leg in session.legs)
    heard = next(iter(session.recognised.values()), None)
    words = query.text or ("" if heard is None else heard.text.strip())
    return Scored(query, session.candidates, legs, words)
