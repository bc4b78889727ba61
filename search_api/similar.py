"""Products like a product, for its page: the flow of a search by its vectors, and then a choice among the best.

    SimilarRequest -> Searcher.search (products=[id], all legs completed) -> the best of the window
        -> their vectors and values, in two requests -> chosen (MMR, caps) -> SimilarResult, with what is bought together

Maximal marginal relevance (Carbonell and Goldstein 1998, doi:10.1145/290941.291025): each next product is the one of the
greatest (1 - diversity) x its score - diversity x the greatest score that it would have as the like of one chosen before. Both
are scores of the same legs, floors and weights, so `diversity` means the same in every catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from search_api.answer import Degraded, Hit
from search_api.arrange import COLLAPSE
from search_api.asking import name_of, named_so
from search_api.complementary import Bought, Complementary
from search_api.deadline import Deadline
from search_api.filters import Use, kind_of
from search_api.query import DEFAULT_SIZE, DEFAULT_WINDOW, QueryInput, SearchRequest, check_size
from search_api.wellformed import check_form
from triptych.domain import Vector
from triptych.elastic.engine import search, unpack
from triptych.elastic.lifecycle import IndexInfo
from triptych.elastic.products import vectors_of
from triptych.errors import ElasticsearchError, QueryError
from triptych.schema import Space
from triptych.services import Services

if TYPE_CHECKING:
    from search_api.searcher import Searcher

Floats = npt.NDArray[np.float64]

MOST_SIMILAR: Final = 100
MOST_BOUGHT: Final = 50

_POOL: Final = 5
"""Products to choose among, in multiples of those asked for."""

_LEAST_POOL: Final = 50

CAP: Final = Use(COLLAPSE.kinds, "capped by", "query.bad_cap")


@dataclass(frozen=True, slots=True)
class SimilarRequest:
    """Products like `product`. `spaces` are those that may say so, by default all; `weights` are legs' shares, as of a search.

    `diversity`, 0 to 1, is how much a product loses for being like one above it. At most `cap` products have the same value of
    `cap_field`. `complementary` is how many products are told that are bought together with this one.
    """

    index: str
    product: str
    size: int = DEFAULT_SIZE
    window: int = DEFAULT_WINDOW
    spaces: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    min_relevance: float = 0.0
    diversity: float = 0.0
    cap: int | None = None
    cap_field: str | None = None
    fields: tuple[str, ...] | None = None
    complementary: int = 0


@dataclass(frozen=True, slots=True)
class SimilarResult:
    """The answer: `hits` as of a search, in the order chosen. `complementary` is None where none were asked for.

    `degraded` also names `diversity`, `cap` and `complementary` where Elasticsearch did not answer what they need; the hits are
    then as found.
    """

    id: str
    index: str
    query_id: str
    took_ms: float
    hits: tuple[Hit, ...]
    degraded: tuple[Degraded, ...] = ()
    complementary: Bought | None = None


def similar(searcher: Searcher, services: Services, request: SimilarRequest, complementary: Complementary) -> SimilarResult:
    """Raises as a search does; NotFoundError `product.not_found` for the product, QueryError for options that are none."""
    deadline = Deadline()
    _check(request)
    info = searcher.info(request.index)
    chooses = request.diversity > 0 or request.cap is not None
    pool = max(request.size, min(request.window, max(_POOL * request.size, _LEAST_POOL))) if chooses else request.size
    if request.cap_field is not None:
        kind_of(request.cap_field, info, CAP, where="cap_field")
    asked = SearchRequest(
        index=request.index,
        inputs=(QueryInput("products", products=(request.product,), where="id"),),
        weights={**_others(request, info), **request.weights},
        filters=request.filters,
        min_relevance=request.min_relevance,
        size=pool,
        window=max(request.window, pool),
        fields=request.fields,
    )
    found = searcher.search(asked)
    hits, degraded = found.hits, list(found.degraded)
    if chooses and len(hits) > 1:
        ids = [hit.id for hit in hits]
        likeness, values = np.zeros((len(hits), len(hits))), {}
        if request.diversity > 0:
            with _left_out("diversity", degraded):
                likeness = _likeness(services, info, hits)
        if request.cap_field is not None:
            with _left_out("cap", degraded):
                values = _values(services, info, ids, request.cap_field)
        scores = np.array([hit.score for hit in hits])
        order = chosen(scores, likeness, [values.get(key, ()) for key in ids], request)
        hits = tuple(hits[place] for place in order)
    bought = None
    if request.complementary:
        with _left_out("complementary", degraded):
            bought = complementary.find(info, request)
    return SimilarResult(
        request.product,
        request.index,
        found.query_id,
        round(deadline.took * 1000, 1),
        hits[: request.size],
        tuple(degraded),
        bought,
    )


@contextmanager
def _left_out(name: str, degraded: list[Degraded]) -> Iterator[None]:
    """What Elasticsearch does not answer is left out, and said."""
    try:
        yield
    except ElasticsearchError as error:
        degraded.append(Degraded(name, error.code, error.message))


def chosen(scores: Floats, likeness: Floats, values: Sequence[Sequence[object]], request: SimilarRequest) -> list[int]:
    """The places of the products to show, in order. Pure.

    `scores` (n,), best first; `likeness` (n, n): the score that each has as the like of each other; `values` of `cap_field`.
    Of equal ones the better in the search comes first. A product of several values is left out if one of them is full.
    """
    left = list(range(len(scores)))
    taken: list[int] = []
    used: Counter[object] = Counter()
    nearest = np.zeros(len(scores))
    while left and len(taken) < request.size:
        gains = (1 - request.diversity) * scores[left] - request.diversity * nearest[left]
        best = left[int(np.argmax(gains))]
        left.remove(best)
        if request.cap is not None and any(used[value] >= request.cap for value in values[best]):
            continue
        taken.append(best)
        used.update(set(values[best]))
        nearest = np.maximum(nearest, likeness[best])
    return taken


def likeness_of(hits: Sequence[Hit], vectors: Mapping[str, Mapping[str, Vector]], spaces: Sequence[Space]) -> Floats:
    """The score (n, n) that each hit would have as the like of each other, by the legs, floors and tops of the search. Pure.

    Between two products only spaces count that both have, by the mean of their legs' weights; without one it is 0.
    """
    whole = np.zeros((len(hits), len(hits)))
    shares = np.zeros_like(whole)
    for space in spaces:
        parts = [hit.legs.get(f"products.{space.name}") for hit in hits]
        have = np.array([space.name in vectors.get(hit.id, {}) for hit in hits])
        if not have.any() or all(part is None for part in parts):
            continue
        known = next(part for part in parts if part is not None)
        weight = np.array([max(part.weight, 0.0) if part is not None else 0.0 for part in parts])
        rows = np.zeros((len(hits), space.dims))
        for place in (int(one) for one in np.flatnonzero(have)):
            rows[place] = vectors[hits[place].id][space.name]
        share = (weight[:, None] + weight[None, :]) / 2 * (have[:, None] & have[None, :])
        whole += share * np.clip((_raw(rows, space) - known.floor) / max(known.top - known.floor, 1e-6), 0.0, 1.0)
        shares += share
    return np.divide(whole, shares, out=np.zeros_like(whole), where=shares > 0)


def _raw(rows: Floats, space: Space) -> Floats:
    """Elasticsearch's score between all rows (n, dims): (n, n).

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector#dense-vector-similarity
    """
    if space.similarity == "l2_norm":
        squares = (rows**2).sum(axis=1)
        distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0.0)
        return np.asarray(1 / (1 + distances))
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    unit = rows / lengths
    return np.asarray((1 + unit @ unit.T) / 2)


def _likeness(services: Services, info: IndexInfo, hits: Sequence[Hit]) -> Floats:
    ids = [hit.id for hit in hits]
    packed = vectors_of(services.elasticsearch, info.index, ids, info.schema, services.server)
    vectors = {key: {space: unpack(value) for space, value in some.items()} for key, some in packed.items()}
    return likeness_of(hits, vectors, [space for space in info.schema.spaces if space.searched])


def _values(services: Services, info: IndexInfo, ids: Sequence[str], name: str) -> dict[str, Sequence[object]]:
    """The values of a field, by product."""
    body = {
        "query": named_so(ids, info.schema),
        "size": len(ids),
        "_source": False,
        "docvalue_fields": [info.schema.key_field, name],
        "track_total_hits": False,
    }
    found = search(services.elasticsearch, info.index, body).hits
    return {name_of(hit, info.schema): hit.get("fields", {}).get(name, ()) for hit in found}


def _others(request: SimilarRequest, info: IndexInfo) -> dict[str, float]:
    """A weight of 0 for the legs of the spaces that were not named. Raises QueryError for one that there is not."""
    able = [space.name for space in info.schema.spaces if space.searched]
    for name in request.spaces:
        if name not in able:
            raise QueryError(
                f"The index {request.index!r} has no space {name!r} that is searched.",
                code="query.unknown_space",
                field="spaces",
                remedy=f"Spaces: {', '.join(able) or 'none'}.",
            )
    return {f"products.{name}": 0.0 for name in able if request.spaces and name not in request.spaces}


def _check(request: SimilarRequest) -> None:
    check_form(request)
    check_size(request.size, MOST_SIMILAR)
    if not 0 <= request.diversity <= 1:
        raise QueryError("diversity is 0 to 1.", code="query.bad_diversity", field="diversity")
    if (request.cap is None) != (request.cap_field is None) or (request.cap is not None and request.cap < 1):
        raise QueryError(
            "A cap is a number from 1 up and the field whose values it holds for.", code="query.bad_cap", field="cap"
        )
    if not 0 <= request.complementary <= MOST_BOUGHT:
        raise QueryError(f"complementary is 0 to {MOST_BOUGHT}.", code="query.bad_size", field="complementary")
