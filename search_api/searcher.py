"""THE flow of searching:

    SearchRequest -> spoken words recognised -> the query's inputs embedded (fingerprints checked against the index)
        -> legs.body per leg -> one _msearch -> scores per leg
        -> complete (exact scores for what a leg did not return) -> normalise -> fuse -> hydrate -> SearchResult

Three round trips: the legs, the completion, the products of the page. A leg that fails is dropped, the weights of the others
are renormalised, and the answer names it in `degraded`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_api import fusion, normalise
from search_api.completion import complete, scores_of
from search_api.embed import QueryEmbedder
from search_api.legs import Leg, body, completion_body, filter_clauses, wanted
from search_api.query import LARGEST_WINDOW, Hit, SearchRequest, SearchResult
from triptych.elastic.engine import Found, mget, msearch
from triptych.elastic.lifecycle import IndexInfo, describe
from triptych.errors import ElasticsearchError, NotFoundError, QueryError, TriptychError
from triptych.schema import FIELD, LEXICAL
from triptych.services import Services

INFO_SECONDS = 5.0
"""How long an index's mapping is taken as known: a switched alias or new levels are seen at the latest after so long."""

MOST_INFOS = 100
"""Indices remembered at once."""

LONGEST_TEXT = 10_000


@dataclass(slots=True)
class _Run:
    """One search on its way through the flow: what later steps and `explain` need of earlier ones."""

    request: SearchRequest
    info: IndexInfo
    weights: dict[str, float]
    query_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    degraded: dict[str, ElasticsearchError] = field(default_factory=dict)
    lexical_total: int = 0


class Searcher:
    """Answers queries. Share one between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._embedder = QueryEmbedder(services)
        self._infos: dict[str, tuple[float, IndexInfo]] = {}

    def warm(self) -> None:
        """Load the encoders now, by one query each, instead of at the first user's."""
        self._embedder.warm()

    def search(self, request: SearchRequest) -> SearchResult:
        """The products that fit `request` best.

        Raises QueryError or MediaError naming the field, NotFoundError for the index, EncoderError if the index was built with
        other encoders, ElasticsearchError if no leg could be asked.
        """
        started = time.perf_counter()
        check(request)
        info = self.info(request.index)
        request, recognised = self._embedder.words_of(request, info)
        plan = wanted(request, info.schema)
        clauses = filter_clauses(request.filters, info)
        defaults = fusion.default_weights([(p.name, p.source) for p in plan], info.schema.levels)
        run = _Run(request, info, fusion.share(request.weights, defaults, info.schema.legs))
        legs = self._embedder.legs(request, info.schema, [p for p in plan if run.weights[p.name] > 0])
        retrieved = self._ask(run, legs, clauses)
        legs = [leg for leg in legs if leg.name in retrieved]
        scores, failed = complete(legs, retrieved, lambda gaps: self._complete(run, legs, gaps))
        run.degraded.update(failed)
        if not scores:
            raise _nothing_answered(run)
        levels = info.schema.levels
        scales = {
            name: normalise.calibrated(name, (s.raw for s in leg.values() if s.raw is not None), levels.get(name))
            for name, leg in scores.items()
        }
        weights = fusion.without(run.weights, [name for name in run.weights if name not in scores])
        fused = fusion.fuse(scores, scales, weights)
        hits = self._hydrate(run, fused[: request.size])
        only_vectors = sum(1 for f in fused if LEXICAL not in f.legs or f.legs[LEXICAL].raw == 0)
        return SearchResult(
            query_id=run.query_id,
            took_ms=round((time.perf_counter() - started) * 1000, 1),
            total_matched=run.lexical_total + only_vectors if LEXICAL in scores else len(fused),
            hits=hits,
            degraded=tuple(run.degraded),
            recognised=recognised,
            explain=explanation(run, scales, weights, len(fused)) if request.explain else None,
        )

    def info(self, index: str) -> IndexInfo:
        """What is known of `index`, at most INFO_SECONDS old."""
        known = self._infos.get(index)
        if known is None or time.monotonic() - known[0] > INFO_SECONDS:
            info = describe(self._services.elasticsearch, index)
            self._services.check(info.schema)
            if len(self._infos) >= MOST_INFOS:
                self._infos.clear()
            known = self._infos[index] = (time.monotonic(), info)
        return known[1]

    def product(self, index: str, product_id: str) -> dict[str, Any]:
        """One product by id: {"id", "product"}, without our own field. Raises NotFoundError."""
        found = mget(self._services.elasticsearch, self.info(index).version, [product_id], excludes=[FIELD])
        if product_id not in found:
            raise NotFoundError(f"There is no product {product_id!r} in {index!r}.", code="product.not_found", field="id")
        return {"id": product_id, "product": found[product_id]}

    def _ask(self, run: _Run, legs: list[Leg], clauses: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
        """Scores by product of each leg that answered."""
        bodies = [body(leg, clauses, window=run.request.window, server=self._services.server) for leg in legs]
        answers = msearch(self._services.elasticsearch, run.info.version, bodies, preference=run.query_id)
        retrieved = {}
        for leg, answer in zip(legs, answers, strict=True):
            if isinstance(answer, ElasticsearchError):
                run.degraded[leg.name] = answer
                continue
            retrieved[leg.name] = scores_of(answer)
            if leg.name == LEXICAL:
                run.lexical_total = answer.total
        return retrieved

    def _complete(self, run: _Run, legs: list[Leg], gaps: Mapping[str, list[str]]) -> dict[str, Found | ElasticsearchError]:
        asked = [leg for leg in legs if leg.name in gaps]
        bodies = [completion_body(leg, gaps[leg.name], server=self._services.server) for leg in asked]
        answers = msearch(self._services.elasticsearch, run.info.version, bodies, preference=run.query_id)
        return {leg.name: answer for leg, answer in zip(asked, answers, strict=True)}

    def _hydrate(self, run: _Run, page: list[fusion.Fused]) -> tuple[Hit, ...]:
        """The products of a page, without our own field. One that was deleted meanwhile is left out."""
        found = mget(self._services.elasticsearch, run.info.version, [f.id for f in page], excludes=[FIELD])
        return tuple(Hit(f.id, f.score, found[f.id], f.legs) for f in page if f.id in found)


def check(request: SearchRequest) -> None:
    """Raise QueryError for a request that no index could answer."""
    if request.fusion not in fusion.FUSIONS:
        raise QueryError(
            f"There is no fusion {request.fusion!r}.",
            code="query.unknown_fusion",
            field="fusion",
            remedy=f"There is: {', '.join(fusion.FUSIONS)}.",
        )
    if not 1 <= request.window <= LARGEST_WINDOW:
        raise QueryError(f"A window is 1 to {LARGEST_WINDOW}.", code="query.bad_window", field="window")
    if not 1 <= request.size <= request.window:
        raise QueryError(
            f"size is 1 to window, which is {request.window}.", code="query.bad_size", field="size", remedy="Raise window too."
        )
    if request.audio_as != "sound" and request.audio is None:
        raise QueryError("audio_as is given without audio.", code="query.empty", field="audio", remedy="Give a sound.")
    if request.audio_as != "sound" and request.text is not None:
        raise QueryError(
            "The query has words both typed and spoken.", code="query.two_texts", field="audio_as", remedy="Give one of them."
        )
    if request.text is not None and not request.text.strip():
        raise QueryError("The text is empty.", code="query.empty", field="text", remedy="Leave it out or give words.")
    if request.text is not None and len(request.text) > LONGEST_TEXT:
        raise QueryError(f"The text is longer than {LONGEST_TEXT} characters.", code="query.too_long", field="text")


def _nothing_answered(run: _Run) -> TriptychError:
    """Why no leg answered: a filter whose value does not fit its field is the user's to mend."""
    errors = list(run.degraded.values())
    if run.request.filters and all(error.code == "elasticsearch.bad_request" for error in errors):
        return QueryError(f"A filter does not fit its field: {errors[0].message}", code="query.bad_filter", field="filters")
    return errors[0]


def explanation(
    run: _Run, scales: Mapping[str, normalise.Scale], weights: Mapping[str, float], candidates: int
) -> dict[str, Any]:
    """How the legs were used, for people who ask why."""
    levels = run.info.schema.levels
    legs = {
        name: {
            "weight": weights[name],
            "floor": scale.floor,
            "top": scale.top,
            "measured": scale.measured,
            "reliability": levels[name].reliability if name in levels else None,
        }
        for name, scale in scales.items()
    }
    failed = {name: str(error) for name, error in run.degraded.items()}
    return {
        "index": run.info.version, "fusion": run.request.fusion, "window": run.request.window,
        "candidates": candidates, "legs": legs, "failed": failed,
    }  # fmt: skip
