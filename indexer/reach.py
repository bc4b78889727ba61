"""Whether a kNN search reaches a space's products at all. The graph (HNSW) that it walks promises nothing: a part of it can be
cut off from where walks begin, and then no query finds what lies there, while every other figure looks well.

Each sampled product is asked for by its own vector, with the window and the candidates that a search has by default: what
comes first must be as near as the product itself is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from indexer.levels import ENOUGH, to_score
from triptych.domain import Vector, Vectors
from triptych.elastic.engine import msearch, pack
from triptych.errors import ElasticsearchError
from triptych.schema import LEAST_REACHED, Space
from triptych.services import Services

log = logging.getLogger(__name__)

_WINDOW, _CANDIDATES = 100, 150
_AT_ONCE = 64  # searches of one request: a cold node must answer within the client's time
_NEAR = 1e-4  # float32 sums differ by less


def reached(services: Services, index: str, space: Space, drawn: Sequence[Vectors]) -> float | None:
    """The share of products that a search finds by their own vector, or something as near; None where every vector is looked
    at (flat), or fewer than ten products tell. Raises ElasticsearchError.

    `drawn` are the vectors of sampled products, of shape (dims,), or of several parts (parts, dims), of which the first asks.
    """
    if space.index_type.endswith("flat") or len(drawn) < ENOUGH:
        return None
    queries = [np.atleast_2d(vectors)[:1] for vectors in drawn]
    bodies = [_body(services, space, query[0], several=vectors.ndim > 1) for query, vectors in zip(queries, drawn, strict=True)]
    best = [max((float(hit["_score"]) for hit in hits), default=-np.inf) for hits in hits_of(services, index, bodies)]
    own = [float(to_score(query, query, space.similarity)[0, 0]) for query in queries]
    found = [score >= least - _NEAR for score, least in zip(best, own, strict=True)]
    share = float(np.mean(found))
    if share < LEAST_REACHED:
        log.warning(
            "searches of the space %s in %s reach %.0f %% of %d sampled products: a part of its graph cannot be reached."
            " Have it built anew: POST /%s/_forcemerge?max_num_segments=1 where it has several segments, or a new version with"
            " index: flat in the profile",
            space.name,
            index,
            100 * share,
            len(drawn),
            index,
        )
    return share


def _body(services: Services, space: Space, query: Vector, *, several: bool) -> dict[str, Any]:
    clause: dict[str, Any] = {
        "field": space.parts_vector if several else space.field,
        "query_vector": pack(query, services.server),
        "k": _WINDOW,
        "num_candidates": _CANDIDATES,
    }
    if space.quantised and not several:
        clause["rescore_vector"] = {"oversample": _CANDIDATES / _WINDOW}
    return {"knn": clause, "size": 1, "_source": False, "track_total_hits": False}


def hits_of(services: Services, index: str, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The hits of each search, some searches a request. Raises the error of one that failed."""
    for at in range(0, len(bodies), _AT_ONCE):
        for answer in msearch(services.elasticsearch, index, bodies[at : at + _AT_ONCE]):
            if isinstance(answer, ElasticsearchError):
                raise answer
            yield answer.hits
