"""What one query asks of Elasticsearch: all legs in one `_msearch`, their completion in another, the page's products."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from search_api.answer import Degraded, MatchedMedia
from search_api.breakers import Breakers
from search_api.candidates import (
    NO_MATCH,
    NOT_RETRIEVED,
    Candidates,
    LegHits,
    complete,
    gather,
    hits_of,
    joined,
    media_of,
    together,
)
from search_api.classify import Classified
from search_api.deadline import HUNG_SECONDS, Deadline
from search_api.degrading import nothing_answered, nothing_left, words_refused
from search_api.legs import Asked, Leg, Planned, best_part_body, body, completion_body, counting_body, highlighting
from search_api.metrics import leg_took, timed
from search_api.query import SearchRequest
from triptych import traces
from triptych.elastic.client import Client, Server, within
from triptych.elastic.engine import Found, Moment, close_point_in_time, mget, msearch, open_point_in_time, search
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, TriptychError
from triptych.schema import BOOKKEEPING, IndexSchema
from triptych.services import Services

AT_ONCE = 2000
"""Products whose scores one search completes; a kNN search takes at most 10,000."""


@dataclass(slots=True)
class Run:
    """One query on its way through the flow: what later steps and `explain` need of earlier ones."""

    request: SearchRequest
    info: IndexInfo
    deadline: Deadline
    plan: list[Planned] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)
    filters: list[Mapping[str, Any]] = field(default_factory=list)
    values: Sequence[Any] = ()
    aggregations: Mapping[str, Any] = field(default_factory=dict)
    query_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    pit: str | None = None
    degraded: list[Degraded] = field(default_factory=list)
    errors: list[TriptychError] = field(default_factory=list)
    classified: Classified | None = None
    total: int = 0
    found: Mapping[str, Any] | None = None

    def fail(self, name: str, error: TriptychError) -> None:
        """A leg or a service is left out of the answer."""
        self.degraded.append(Degraded(name, error.code, error.message))
        self.errors.append(error)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows beside scores, by product id: the products, marked words, and the best of several media by leg."""

    products: Mapping[str, Mapping[str, Any]]
    highlights: Mapping[str, Mapping[str, Sequence[str]]]
    media: Mapping[str, Mapping[str, MatchedMedia]]


class Elastic:
    """Asks Elasticsearch for a run. Share one between threads."""

    def __init__(self, services: Services, breakers: Breakers) -> None:
        self._services, self._breakers = services, breakers

    @timed("legs")
    def gathered(self, run: Run, *, window: int | None = None, extra: Sequence[str] = ()) -> Candidates:
        """The candidates of the legs within their window. Legs that fail are dropped from the run; raises if none is left."""
        window = window or run.request.window
        asked = self.asked(run, window)
        counts = counting_body(run.legs, asked) if window == run.request.window else None
        bodies = [body(leg, replace(asked, aggregations={}) if counts else asked) for leg in run.legs]
        try:
            answers = self.msearch(run, [*bodies, *([counts] if counts else [])], scored=True)
        except ElasticsearchError as error:
            if run.request.lexical_query is None:
                raise nothing_left(error) from error
            raise nothing_answered(run.request, error) from error  # a query it cannot even read costs the whole request
        if counts:
            self._counted(run, answers.pop())
        retrieved: dict[str, LegHits] = {}
        for leg, answer in zip(run.legs, answers, strict=True):
            if isinstance(answer, ElasticsearchError):
                own = leg.options.query is not None or leg.options.analyzer is not None
                if own and (refused := words_refused(run.request, answer)) is not None:
                    raise refused
                run.fail(leg.name, answer)
                continue
            leg_took(leg.name, answer.took)
            traces.passed(f"leg {leg.name}", milliseconds=answer.took, hits=len(answer.ids))
            retrieved[leg.name] = hits_of(answer, names_of(run.values))
            if leg.space is None and leg.seeks:
                run.total = max(run.total, answer.total)
                run.found = run.found or answer.aggregations
        self._drop(run, [leg.name for leg in run.legs if leg.name not in retrieved])
        seeking = [leg.name for leg in run.legs if leg.seeks]
        return gather([leg.name for leg in run.legs], retrieved, sources=seeking, full=window, extra=extra)

    @timed("completion")
    def completed(self, run: Run, candidates: Candidates) -> Candidates:
        """The candidates with every leg's exact score. A leg whose completion fails is dropped: its scores would be untrue.

        Words that fewer products match than the window holds are not asked for again: their list is all there is.
        """
        gaps = candidates.missing()
        if not gaps:
            return candidates
        late = {leg.name: LegHits() for leg in run.legs if leg.space is None and leg.seeks and candidates.ended(leg.name)}
        legs = [leg for leg in run.legs if leg.name in gaps and leg.name not in late]
        asked = self.asked(run, 0)
        slices = [(leg, gaps[leg.name][at : at + AT_ONCE]) for leg in legs for at in range(0, len(gaps[leg.name]), AT_ONCE)]
        try:
            answers = self.msearch(run, [completion_body(leg, ids, asked) for leg, ids in slices], scored=True)
        except ElasticsearchError as error:
            run.fail("completion", error)
            return candidates
        lost: list[str] = []
        for (leg, _), answer in zip(slices, answers, strict=True):
            if not isinstance(answer, ElasticsearchError):
                late[leg.name] = together(late.get(leg.name), hits_of(answer, names_of(run.values)))
            elif leg.name not in lost:
                lost.append(leg.name)
                run.fail(leg.name, answer)
        self._drop(run, lost)
        words = [leg.name for leg in run.legs if leg.space is None]
        return complete(candidates.without(lost), late, words=words)

    def widened(self, run: Run, candidates: Candidates, *, window: int, behind: bool) -> Candidates:
        """The candidates with those of a wider window, completed."""
        more = self.gathered(run, window=window, extra=candidates.ids)
        lost = [name for name in candidates.legs if name not in more.legs]
        both = joined(candidates.without(lost), more, behind=behind)
        return self.completed(run, both) if run.request.complete else both

    @timed("products")
    def page(self, run: Run, ids: Sequence[str], *, fields: Sequence[str] | None, with_vectors: bool, highlight: bool) -> Page:
        """The products of a page, as `source_of` shows them; none of one deleted meanwhile.

        The best of several media is named in the same request.
        """
        source = source_of(run.info, self._services.server, fields, with_vectors=with_vectors)
        schema = run.info.schema
        shown: dict[str, Any] = {"query": named_so(ids, schema), "size": len(ids), "_source": source, "track_total_hits": False}
        shown["docvalue_fields"] = [schema.key_field]
        if schema.attachment is not None and schema.attachment.id is not None:  # the owner's documents may share an id by now
            shown["collapse"] = {"field": schema.key_field}
        words = [leg for leg in run.legs if leg.space is None and leg.seeks]
        if highlight and words:
            shown["highlight"] = highlighting(words, run.info.most_marked)
        several = [leg for leg in run.legs if leg.space is not None and leg.space.has_parts]
        asked = self.asked(run, len(ids))
        bodies = [shown, *(best_part_body(leg, ids, asked) for leg in several)]
        found, *named = self.msearch(run, bodies) if several else [self._alone(run, shown, preference=run.query_id)]
        if isinstance(found, ElasticsearchError):
            raise found
        media: dict[str, dict[str, MatchedMedia]] = {}
        for leg, answer in zip(several, named, strict=True):
            if isinstance(answer, Found) and leg.space is not None:
                for key, best in media_of(answer, leg.space).items():
                    media.setdefault(key, {})[leg.name] = best
        hits = {name_of(hit, schema): hit for hit in found.hits}
        products = {key: hit.get("_source", {}) for key, hit in hits.items()}
        return Page(products, {key: hit.get("highlight", {}) for key, hit in hits.items()}, media)

    def holds(self, run: Run, product: str) -> tuple[bool, bool]:
        """Whether the index has a product, and whether the query's filters let it pass."""
        among = {"terms": {run.info.schema.key_field: [product]}}
        bodies = [{"query": {"bool": {"filter": [among, *some]}}, "size": 0} for some in (run.info.among, run.filters)]
        there, passing = self.msearch(run, bodies)
        if isinstance(there, ElasticsearchError):
            raise there
        return there.total > 0, not isinstance(passing, ElasticsearchError) and passing.total > 0

    def msearch(
        self, run: Run, bodies: Sequence[Mapping[str, Any]], *, scored: bool = False
    ) -> list[Found | ElasticsearchError]:
        with self._breakers.asking(run.deadline):
            return msearch(
                self._client,
                run.info.index,
                bodies,
                preference=run.query_id,
                every_shard=run.info.shards > 1,
                moment=self._moment(run),
                seconds=run.deadline.request_seconds,
                key=run.info.schema.key_field if scored else None,
                values=bool(run.values),
            )

    def search(self, run: Run, body: Mapping[str, Any]) -> Found:
        """One search, for `native`: no other leg answers where Elasticsearch refuses it."""
        try:
            return self._alone(run, body)
        except ElasticsearchError as error:
            raise nothing_answered(run.request, error) from error

    def _alone(self, run: Run, body: Mapping[str, Any], *, preference: str | None = None) -> Found:
        with self._breakers.asking(run.deadline):
            return search(
                self._client,
                run.info.index,
                body,
                preference=preference,
                moment=self._moment(run),
                seconds=run.deadline.request_seconds,
            )

    def _moment(self, run: Run) -> Moment | None:
        return None if run.pit is None else Moment(run.pit, self._services.settings.session_seconds)

    @contextmanager
    def moment(self, run: Run) -> Iterator[None]:
        """All that is asked meanwhile is asked of one point in time. It stays open for the pages of a deep request."""
        hurried = within(self._client, run.deadline.request_seconds)
        with self._breakers.asking(run.deadline):
            run.pit = open_point_in_time(hurried, run.info.index, seconds=self._services.settings.session_seconds)
        kept = False
        try:
            yield
            kept = run.request.deep
        finally:
            if not kept:
                close_point_in_time(within(self._client, run.deadline.request_seconds), run.pit)
                run.pit = None

    @cached_property
    def _client(self) -> Any:
        """A search is given up earlier than other requests: where Elasticsearch hangs, each holds a thread of the API."""
        seconds = min(self._services.settings.elasticsearch_timeout_seconds, HUNG_SECONDS)
        return self._services.elasticsearch.options(request_timeout=seconds)

    def asked(self, run: Run, window: int) -> Asked:
        return Asked(
            self._services.server,
            window,
            run.filters,
            run.values,
            exact=run.request.exact,
            timeout_ms=run.deadline.leg_ms,
            aggregations=run.aggregations,
            key=run.info.schema.key_field,
            completes=run.request.complete,
        )

    def _counted(self, run: Run, answer: Found | ElasticsearchError) -> None:
        if isinstance(answer, ElasticsearchError):
            run.fail("facets" if run.aggregations else "total_matched", answer)
        else:
            run.total, run.found = answer.total, answer.aggregations

    def _drop(self, run: Run, lost: Sequence[str]) -> None:
        run.legs = [leg for leg in run.legs if leg.name not in lost]
        if not any(leg.seeks for leg in run.legs):
            raise nothing_answered(run.request, run.errors[-1])


def source_of(info: IndexInfo, server: Server, fields: Sequence[str] | None, *, with_vectors: bool) -> dict[str, Any]:
    """The part of a search that returns the products' fields, without our own and without vectors unless they are asked for."""
    if not with_vectors:
        return {"excludes": info.unasked, **({"includes": list(fields)} if fields else {})}
    schema = info.schema
    spaces = [space for space in schema.spaces if space.searched]
    vectors = [f for space in spaces for f in (space.field, *([space.parts_field] if space.has_parts else []))]
    source: dict[str, Any] = {"includes": [*(fields or ["*"]), *vectors]}
    source["excludes"] = [*(f"{schema.object_field}.{name}" for name in BOOKKEEPING), *schema.others]
    if server.hides_vectors:
        source["exclude_vectors"] = False
    return source


def named_so(ids: Sequence[str], schema: IndexSchema) -> dict[str, Any]:
    """The query of the products of these ids, which need not be those of their documents in an attached index."""
    by_field = schema.attachment is not None and schema.attachment.id is not None
    return {"terms": {schema.key_field: list(ids)}} if by_field else {"ids": {"values": list(ids)}}


def name_of(hit: Mapping[str, Any], schema: IndexSchema) -> str:
    """The id of the product that a hit is."""
    return str(hit.get("fields", {}).get(schema.key_field, (hit["_id"],))[0])


def product_of(client: Client, info: IndexInfo, product: str, *, includes: Sequence[str] = ()) -> Mapping[str, Any] | None:
    """One product's fields without our own and without vectors, or those of `includes`; None where there is none of that id."""
    schema = info.schema
    excludes = () if includes else info.unasked
    if not info.among and (schema.attachment is None or schema.attachment.id is None):
        return mget(client, info.index, [product], includes=includes, excludes=excludes).get(product)
    source = {"includes": list(includes)} if includes else {"excludes": list(excludes)}
    query = {"bool": {"filter": [named_so([product], schema), *info.among]}}
    hits = search(client, info.index, {"query": query, "size": 1, "_source": source}).hits
    return hits[0].get("_source", {}) if hits else None


def names_of(values: Sequence[Any]) -> list[str]:
    """The names of doc value fields, some of which come with a format."""
    return [value["field"] if isinstance(value, Mapping) else str(value) for value in values]


def keeps_legs(run: Run) -> bool:
    """Whether later pages need what was asked: to go deeper, to mark words, to name the best of several media."""
    return run.request.deep or run.request.highlight or any(leg.space and leg.space.has_parts for leg in run.legs)


def total_of(run: Run, candidates: Candidates) -> int:
    """Products that one of the texts matches, and those of which is known that only a vector leg found them."""
    words = [leg.name for leg in run.legs if leg.space is None and leg.seeks]
    if not words:
        return len(candidates)
    unmatched = np.ones(len(candidates), dtype=bool)
    for name in words:
        status = candidates.status[:, candidates.legs.index(name)]
        unmatched &= (status == NO_MATCH) | ((status == NOT_RETRIEVED) & candidates.ended(name))
    return max(len(candidates), run.total + int(unmatched.sum()))


def excluded(run: Run) -> list[dict[str, Any]]:
    """The filter that leaves out the products that the query gave: nobody looks for what is in his hand."""
    ids = [key for one in run.request.all_inputs() if one.kind == "products" for key in one.products]
    return [{"bool": {"must_not": {"terms": {run.info.schema.key_field: sorted(set(ids))}}}}] if ids else []
