"""THE flow of searching:

    SearchRequest -> spoken words recognised -> legs planned and weighed -> inputs embedded (fingerprints checked), classified
        -> one _msearch of all legs -> the candidates -> one _msearch that completes them = a Session
        -> ranking.rank (fuse, cut off, vote, sort, collapse) -> the page's products -> SearchResult

Three round trips: the legs, the completion, the products of the page. Everything after the second follows from the session, so
further pages, other weights and explanations ask Elasticsearch for products at most. A leg that fails is dropped, the weights
of the others are scaled, and the answer names it in `degraded`. `native` is one round trip and no session.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from search_api import arrange, deepening, facets, ranking, similar, weights
from search_api.answer import Degraded, Recognised, SearchResult
from search_api.asking import Elastic, Run, excluded, keeps_legs, product_of, total_of
from search_api.breakers import Breakers
from search_api.candidates import Candidates
from search_api.complementary import Complementary
from search_api.deadline import Deadline
from search_api.degrading import unmeasured
from search_api.embed import Embedding, QueryEmbedder
from search_api.filters import clauses
from search_api.fusion import FusedLeg
from search_api.history import History
from search_api.infos import Infos
from search_api.legs import OF_PRODUCTS, quantised, wanted
from search_api.metrics import counted, timed
from search_api.native import natively
from search_api.page_hits import hits_of_page
from search_api.query import (
    LARGEST_WINDOW,
    SearchRequest,
    check,
    check_guard,
    check_method,
    check_missing,
    check_page_alone,
    check_relevance,
    check_size,
    not_alone,
)
from search_api.session import Session, Sessions, expired
from search_api.several import several
from search_api.similar import SimilarRequest, SimilarResult
from search_api.wellformed import check_text
from search_api.why import explanation, fell_short
from triptych.elastic.lexical import words_in
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, NotFoundError, QueryError, TriptychError
from triptych.schema import IndexSchema
from triptych.services import Services

_BESIDE = 8  # sessions that are put into Redis at once
_SHOWN = ("fields", "highlight", "with_vectors", "explain", "window", "complete", "exact")
"""The fields of a request that a session keeps to show its pages by."""


_ranked = timed("ranking")(ranking.rank)


class Searcher:
    """Answers queries. Share one between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._breakers = Breakers()
        self._embedder = QueryEmbedder(services, self._breakers)
        self._elastic = Elastic(services, self._breakers)
        self._sessions = Sessions(services, self._breakers)
        self._history = History(services, self._breakers)
        self._complementary = Complementary(services)
        self._infos = Infos(services, self._breakers)
        self._beside = ThreadPoolExecutor(_BESIDE, thread_name_prefix="sessions")

    def warm(self, schema: IndexSchema | None = None) -> None:
        """Load the encoders now, not at the first user's query; or, if given, those of an index that nobody asks yet."""
        self._embedder.warm(schema)

    @counted
    def search(self, request: SearchRequest) -> SearchResult:
        """The products that fit `request` best, or the next page of an answer.

        Raises QueryError or MediaError naming the field, NotFoundError for the index, EncoderError if the index was built with
        other encoders, ElasticsearchError if no leg could be asked.
        """
        if request.page is not None:
            check_page_alone(request)
            return self._page(request.page, request.index)
        run, options, recognised = self.planned(request)
        if request.fusion == "native":
            return natively(self._elastic, run, options, recognised)
        session = self.scored(run, options, recognised)
        return self._answer(run, session, options, offset=0, size=request.size, keep=True)

    def msearch(self, requests: Iterable[SearchRequest]) -> list[SearchResult | TriptychError]:
        """Several queries beside each other: in their order what `search` answers to each, or the error it raises."""
        return several(self.search, requests)

    def planned(self, request: SearchRequest) -> tuple[Run, ranking.Options, Mapping[str, Recognised]]:
        """A run up to its legs and their vectors."""
        check(request)
        deadline = Deadline(None if request.timeout_ms is None else request.timeout_ms / 1000)
        info = self.info(request.index, deadline)
        run = Run(request, info, deadline)
        options = ranking.read_options({name: getattr(request, name) for name in ranking.OPTION_NAMES}, info)
        run.filters = [*info.among, *clauses(request.filters, info), *excluded(run)]
        run.request, recognised = self._embedder.words_of(run)
        run.request = self._history.added(run)
        run.plan = wanted(run.request, info.schema)
        run.values = arrange.doc_value_fields(options.facets, options.sort, options.collapse, options.vote)
        run.aggregations = facets.aggregations(options.facets) if options.facets else {}
        run.weights = weights.of_query(run.request, run.plan, info.schema)
        asked = Embedding(info, run.request, run.deadline)
        check_method(request.fusion, request.mean, weights=run.weights.values())
        run.legs = self._embedder.legs(asked, [replace(p, weight=w) for p in run.plan if (w := run.weights[p.name])])
        live = {leg.name for leg in run.legs}
        heard = [p for p in run.plan if p.name in live or p.inputs[0].kind not in OF_PRODUCTS]
        if len(heard) < len(run.plan):  # a space that the products have no vector in leaves its share to their other spaces
            run.plan, run.weights = heard, weights.of_query(run.request, heard, info.schema)
        run.classified = self._embedder.classified(asked, options.vote)
        run.degraded += asked.failed
        run.errors += asked.errors
        return run, options, recognised

    def scored(
        self, run: Run, options: ranking.Options, recognised: Mapping[str, Recognised], *, extra: Sequence[str] = ()
    ) -> Session:
        """The session of a run: the exact scores of all its candidates, and of `extra` products."""
        request = run.request
        with self._elastic.moment(run) if request.deep or request.certify else nullcontext():
            candidates = self._elastic.gathered(run, extra=extra)
            if request.complete:
                candidates = self._elastic.completed(run, candidates)
            legs, proof = self._fused_legs(run, candidates), None
            if request.certify:
                candidates, proof = deepening.certified(self._elastic, run, candidates, legs, options.method)
                legs = self._fused_legs(run, candidates)
        return Session(
            id=run.query_id,
            index=request.index,
            version=run.info.version,
            candidates=candidates,
            legs=tuple(legs),
            options={name: getattr(request, name) for name in (*ranking.OPTION_NAMES, *_SHOWN)},
            words={leg.name: words_in(leg.text or "") for leg in run.legs if leg.space is None},
            total_matched=total_of(run, candidates),
            aggregations=run.found,
            recognised=recognised,
            degraded=tuple(run.degraded),
            certified=proof,
            classified=run.classified,
            asked=deepening.kept(run, proof["window"] if proof else request.window) if keeps_legs(run) else None,
        )

    def reweigh(
        self, query_id: str, given: Mapping[str, float], *, size: int, hydrate: bool = False, **changes: Any
    ) -> SearchResult:
        """The answer of an earlier query under other weights (and `fusion` ...), from its kept scores, with pages of its own.

        Elasticsearch is asked for nothing, unless `hydrate` asks for the products. A leg not named keeps its proportion.
        """
        deadline = Deadline()
        check_text(query_id, "query_id")
        check_size(size, LARGEST_WINDOW)
        session = self._sessions.get(query_id)
        info = self._infos.of_session(session) if hydrate else self._infos.last_of(session)
        legs = weights.again(session.legs, given)
        kept = {name: value for name, value in changes.items() if value is not None}
        changed = replace(session, id=uuid.uuid4().hex, legs=legs, options={**session.options, **kept}, certified=None)
        options = ranking.read_options(changed.options, info)
        check_method(options.method.fusion, options.method.mean, weights=[leg.weight for leg in legs])
        check_relevance(options.min_relevance)
        check_guard(options.method.guard, options.method.fusion if "guard" in kept else "calibrated")
        check_missing(kept.get("missing"))
        if options.method.fusion == "native":
            raise QueryError("native has no scores to weigh anew.", code="query.not_native", field="fusion")
        if changed.asked is not None and options.method.fusion != "calibrated":
            changed = replace(changed, asked={**changed.asked, "pit": None})  # going deeper would move what was shown
        run = _run_of(changed, info, deadline, size)
        return self._answer(run, changed, options, offset=0, size=size, keep=True, hydrate=hydrate)

    def explain(self, request: SearchRequest, product: str) -> dict[str, Any]:
        """Why `product` stands where it stands in the answer of `request`, or in none: see `why.fell_short`.

        A deep answer is explained by its first window, a certified one by the window it took. Raises NotFoundError if the index
        has no such product.
        """
        if request.fusion == "native":
            raise QueryError(
                "fusion native has no scores to explain.", code="query.not_native", field="fusion", remedy="Use another fusion."
            )
        check_text(product, "product")
        if request.page is not None:
            raise not_alone("product")
        run, options, recognised = self.planned(replace(request, deep=False))
        there, passes = self._elastic.holds(run, product)
        if not there:
            raise NotFoundError(
                f"There is no product {product!r} in {request.index!r}.", code="product.not_found", field="product"
            )
        session = self.scored(run, options, recognised, extra=[product])
        found = fell_short(session, options, product, passes=passes, size=request.size, deep=request.deep)
        return {**found, "quantised": {leg.name: quantised(leg, exact=request.exact) for leg in run.legs}}

    def similar(self, request: SimilarRequest) -> SimilarResult:
        """Products like a product, and those bought together with it; see `similar.similar`."""
        return similar.similar(self, self._services, request, self._complementary)

    def info(self, index: str, deadline: Deadline | None = None) -> IndexInfo:
        """What is known of `index`, a few seconds old at most."""
        return self._infos.of(index, deadline)

    def product(self, index: str, product_id: str) -> dict[str, Any]:
        """One product by id: {"id", "product"}, without our own field. Raises NotFoundError."""
        check_text(product_id, "id")
        info = self.info(index)
        found = product_of(self._services.elasticsearch, info, product_id)
        if found is None:
            raise NotFoundError(f"There is no product {product_id!r} in {index!r}.", code="product.not_found", field="id")
        return {"id": product_id, "product": found}

    def _fused_legs(self, run: Run, candidates: Candidates) -> list[FusedLeg]:
        """The legs that answered, with weights that add up to 1 again."""
        lost = [name for name in run.weights if name not in candidates.legs]
        left = weights.without(run.weights, lost)
        plan = {planned.name: planned for planned in run.plan}
        levels = run.info.schema.levels
        return [
            FusedLeg(name, one.source, one.base, left[name], levels.get(one.base), pushes=left[name] < 0)
            for name, one in ((name, plan[name]) for name in candidates.legs)
        ]

    def _page(self, token: str, index: str) -> SearchResult:
        """A further page: the same ranking, from the session."""
        deadline = Deadline()
        session, offset, size = self._sessions.paged(token)
        if index not in {"", session.index}:
            raise QueryError(
                f"The page is of the index {session.index!r}.", code="page.invalid", field="index", remedy="Leave index out."
            )
        info = self._infos.of_session(session)
        run = _run_of(session, info, deadline, size)
        if session.asked is not None:
            run.filters, run.pit = list(session.asked["filters"]), session.asked["pit"]
        options = ranking.read_options(session.options, info)
        try:
            if session.asked is not None and run.pit is not None:
                run.values = arrange.doc_value_fields(options.facets, options.sort, options.collapse, options.vote)
                session = deepening.deep_enough(self._elastic, run, session, options, offset + size)
                self._sessions.put(session)
            return self._answer(run, session, options, offset=offset, size=size, keep=False)
        except ElasticsearchError as error:
            if run.pit is None or error.code != "elasticsearch.not_found":
                raise
            raise expired("Elasticsearch has forgotten the moment of the first page.") from error

    def _answer(
        self, run: Run, session: Session, options: ranking.Options, *, offset: int, size: int, keep: bool, hydrate: bool = True
    ) -> SearchResult:
        """A page of a session. Products deleted meanwhile make room for the next ones."""
        ranked = _ranked(session, session.legs, options)
        kept = self._beside.submit(self._sessions.put, session) if keep else None  # while the page's products are asked for
        if hydrate:
            hits, at = hits_of_page(self._elastic, run, session, ranked, offset, size)
        else:
            at = min(offset + size, len(ranked.rows))
            hits = [ranking.hit(session, ranked, row, None) for row in ranked.rows[offset:at]]
        more = at < len(ranked.rows) or deepening.goes_on(session)
        degraded = [*session.degraded, *unmeasured(session.legs, options.min_relevance)]
        if kept is not None and (lost := _kept(kept, run.deadline)) is not None:
            degraded.append(lost)
        return SearchResult(
            query_id=session.id,
            took_ms=round(run.deadline.took * 1000, 1),
            total_matched=session.total_matched,
            hits=tuple(hits),
            reachable=len(ranked.rows),
            next=self._sessions.token(session.id, offset=at, size=size) if more else None,
            degraded=tuple(degraded),
            recognised=session.recognised,
            facets=ranked.facets,
            predicted=ranked.predicted,
            certified=session.certified,
            deep=deepening.cost(session),
            explain=explanation(session, ranked, options) if session.options.get("explain") else None,
            index_version=session.version,
            index=session.index,
            offset=offset,
        )


def _kept(done: Future[Degraded | None], deadline: Deadline) -> Degraded | None:
    """What is the matter with keeping a session, as far as the deadline lets it be waited for, and a little longer."""
    try:
        return done.result(deadline.request_seconds)
    except TimeoutError:
        return Degraded("redis", "queue.unavailable", "Redis did not answer within timeout_ms.")


def _run_of(session: Session, info: IndexInfo, deadline: Deadline, size: int) -> Run:
    """A run that shows products of a session, with the legs that mark words and name the best of several media."""
    shown = {name: session.options[name] for name in ("complete", "exact", "window")}
    run = Run(SearchRequest(session.index, size=size, **shown), info, deadline, query_id=session.id)
    if session.asked is not None:
        run.legs = deepening.legs_of(session.asked, info.schema)
    return run
