"""What this process measures of itself, for Prometheus: requests, stages and legs of a search, what answers left out.

Values live in this process; where `triptych serve` runs several they share files (prometheus_client's multi-process mode), and
whichever is asked answers for all. What the queue and the ledger say is asked for when somebody scrapes: `metrics_scrape`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from search_api.answer import SearchResult
from triptych import traces

_P = ParamSpec("_P")
_R = TypeVar("_R")

REGISTRY: Final = CollectorRegistry(auto_describe=False)

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of buckets, in seconds; a `native` query takes some 2 ms, one of four legs with an encoder on a CPU 50 to 100."""

REQUESTS: Final = Histogram(
    "triptych_http_request_seconds",
    "Requests by route and status; the time until the answer begins",
    ("route", "method", "status"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
STAGES: Final = Histogram(
    "triptych_search_stage_seconds",
    "The parts of a search: embedding, legs, completion, ranking, products",
    ("stage",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
LEGS: Final = Histogram(
    "triptych_search_leg_seconds",
    "What Elasticsearch says each leg took it",
    ("leg",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
ANSWERS: Final = Counter(
    "triptych_search_answers", "Answers of searches: full, empty (no hit), degraded", ("answer",), registry=REGISTRY
)
DEGRADED: Final = Counter(
    "triptych_search_degraded", "What was left out of answers, by what it was and why", ("name", "code"), registry=REGISTRY
)
CACHE: Final = Counter(
    "triptych_cache_lookups", "Vectors of queries that were looked for in the cache", ("found",), registry=REGISTRY
)
SESSIONS: Final = Counter(
    "triptych_sessions",
    "Sessions: kept, kept_here (Redis is away), found_here, found (in Redis), lost",
    ("what",),
    registry=REGISTRY,
)
BREAKERS: Final = Gauge(
    "triptych_breaker_open",
    "1 while a dependency is left alone after failures, by its name; 0.5 while it is tried",
    ("dependency",),
    multiprocess_mode="livemax",
    registry=REGISTRY,
)

CACHE_HIT: Final = CACHE.labels("yes")
CACHE_MISS: Final = CACHE.labels("no")
SESSION: Final[Mapping[str, Counter]] = {
    what: SESSIONS.labels(what) for what in ("kept", "kept_here", "found_here", "found", "lost")
}
_ANSWER: Final[Mapping[str, Counter]] = {what: ANSWERS.labels(what) for what in ("full", "empty", "degraded")}

_requests: dict[tuple[str, str, int], Histogram] = {}
_legs: dict[str, Histogram] = {}
_STATES: Final = {"closed": 0.0, "half-open": 0.5, "open": 1.0}


def register(app: Flask) -> None:
    """Measure every request of `app`; the first thing that is registered measures the most."""

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def stop(answer: Response) -> Response:
        took = time.perf_counter() - g.started
        asked = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  werkzeug's documented way, once
        rule = asked.url_rule
        # a stranger's method and path are names without end; what leads nowhere is counted as one
        key = (rule.rule, asked.method, answer.status_code) if rule is not None else ("none", "any", answer.status_code)
        child = _requests.get(key)
        if child is None:
            child = _requests[key] = REQUESTS.labels(*key)
        child.observe(took)
        return answer


def timed(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Measure each call of a function as a stage of a search, and trace it."""
    child = STAGES.labels(name)

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def measured(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            started = time.perf_counter()
            try:
                if not traces.on():
                    return function(*args, **kwargs)
                with traces.span(name):
                    return function(*args, **kwargs)
            finally:
                child.observe(time.perf_counter() - started)

        return measured

    return wrap


def counted(function: Callable[_P, SearchResult]) -> Callable[_P, SearchResult]:
    """Count the answers of a function, and what was left out of them."""

    @wraps(function)
    def counting(*args: _P.args, **kwargs: _P.kwargs) -> SearchResult:
        result = function(*args, **kwargs)
        answered(result)
        return result

    return counting


def answered(result: SearchResult) -> None:
    """Count an answer, and what was left out of it."""
    for lost in result.degraded:
        DEGRADED.labels(_base(lost.name), lost.code).inc()
    _ANSWER["degraded" if result.degraded else "full" if result.hits else "empty"].inc()


def leg_took(name: str, milliseconds: int) -> None:
    """Measure what Elasticsearch says that a leg took."""
    child = _legs.get(name)
    if child is None:
        child = _legs[name] = LEGS.labels(_base(name))
    child.observe(milliseconds / 1000)


def breaker_is(dependency: str, state: str) -> None:
    """A breaker's state: closed, open or half-open."""
    BREAKERS.labels(dependency).set(_STATES.get(state, 1.0))


def _base(name: str) -> str:
    """A leg's name without the number of its input, so that there are not more names than legs."""
    return name.partition("#")[0]
