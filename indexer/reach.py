"""Whether a kNN search reaches a space's products at all. The graph (HNSW) that it walks promises nothing: a part of it can be
cut off from where walks begin, and then no query finds what lies there, while every other figure looks well.

Each sampled product is asked for by its own vector, with the window and the candidates that a search has by default: what
comes first must be as near as the product itself is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from indexer.levels import ENOUGH, to_score
from triptych.domain import Vector, Vectors
from triptych.elastic.engine import msearch, pack
from triptych.errors import ElasticsearchError
from triptych.schema import Space
from triptych.services import Services

log = logging.getLogger(__name__)

LEAST = 0.95
"""The share of products below which something is wrong: HNSW finds the nearest of a hundred nearly always."""

_WINDOW, _CANDIDATES = 100, 150
_AT_ONCE = 64
_NEAR = 1e-4  # float32 sums differ by less


class Drawn(Protocol):
    """A sampled product: its vectors by space, of shape (dims,), or of several parts (parts, dims); `first` gives one."""

    @property
    def vectors(self) -> Mapping[str, Vectors]: ...

    def first(self, space: str) -> Vector: ...


def reached(services: Services, index: str, space: Space, sample: Sequence[Drawn]) -> float | None:
    """The share of sampled products that a search finds by their own vector, or something as near; None where every vector is
    looked at (flat), or fewer than ten products tell. Raises ElasticsearchError.
    """
    having = [one for one in sample if space.name in one.vectors]
    if space.index_type.endswith("flat") or len(having) < ENOUGH:
        return None
    bodies = [_body(services, space, one) for one in having]
    found: list[bool] = []
    for at in range(0, len(bodies), _AT_ONCE):
        for one, answer in zip(having[at:], msearch(services.elasticsearch, index, bodies[at : at + _AT_ONCE]), strict=False):
            if isinstance(answer, ElasticsearchError):
                raise answer
            own = one.first(space.name)[None]
            best = max((float(hit["_score"]) for hit in answer.hits), default=-np.inf)
            found.append(best >= float(to_score(own, own, space.similarity)[0, 0]) - _NEAR)
    share = float(np.mean(found))
    if share < LEAST:
        log.warning(
            "searches of the space %s in %s reach %.0f %% of %d sampled products: a part of its graph cannot be reached."
            " Have it built anew: POST /%s/_forcemerge?max_num_segments=1, or a new version with index: flat in the profile",
            space.name,
            index,
            100 * share,
            len(having),
            index,
        )
    return share


def _body(services: Services, space: Space, one: Drawn) -> dict[str, Any]:
    clause: dict[str, Any] = {
        "field": space.field if one.vectors[space.name].ndim == 1 else space.parts_vector,
        "query_vector": pack(one.first(space.name), services.server),
        "k": _WINDOW,
        "num_candidates": _CANDIDATES,
    }
    if space.quantised and one.vectors[space.name].ndim == 1:
        clause["rescore_vector"] = {"oversample": _CANDIDATES / _WINDOW}
    return {"knn": clause, "size": 1, "_source": False, "track_total_hits": False}
