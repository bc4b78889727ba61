"""What stands around every request: how many one client may send, which sites' pages may ask, headers that browsers heed.

    proxies (X-Forwarded-For) -> key (access) -> limit -> view -> headers, CORS -> audit line (access_audit)

What is not set costs nothing.
"""

from __future__ import annotations

import ipaddress
import time
from typing import Final

import redis
from flask import Flask, Response, request
from flask_cors import CORS
from flask_limiter import Limiter, RateLimitExceeded
from werkzeug.middleware.proxy_fix import ProxyFix

from search_api.access import caller
from search_api.problems import problem
from triptych.settings import Settings

NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"
"""The content security policy of an answer that says none of its own: data, of which a browser may load nothing."""

_FREE: Final = frozenset({"health.live", "health.ready", "metrics.metrics"})
"""What may be asked for at any rate: what watches the process must not be told that it is not well."""

_REDIS_SECONDS: Final = 0.25
"""Time Redis has to count a request; then the process counts for itself, and tries Redis again later."""

_METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
_MAY_SEND: Final = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key")
_MAY_READ: Final = ("Location", "Retry-After", "WWW-Authenticate", "X-Request-Id")
_PREFLIGHT_SECONDS: Final = 600


def register(app: Flask, settings: Settings) -> None:
    """Put all of it around `app`, after `access.register`."""
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=settings.proxies)  # type: ignore[method-assign]
    if settings.rate_limit:
        _limit(app, settings)
    _headers(app, careful="cross-origin" if settings.origins else "same-origin")
    readers = _readers(settings)
    if readers:
        CORS(
            app,
            origins=readers,
            methods=_METHODS,
            allow_headers=_MAY_SEND,
            expose_headers=_MAY_READ,
            max_age=_PREFLIGHT_SECONDS,
        )


def _readers(settings: Settings) -> list[str]:
    """The origins whose pages may read answers. Without keys `*` is none of them: any page would read what its reader may."""
    return [origin for origin in settings.origins if settings.api_keys or origin != "*"]


def client_of(address: str | None) -> str:
    """Who an address is counted as: itself, of IPv6 its network of 64 bits, because one client has all of it. Pure."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False).network_address)


def _counted_as() -> str:
    """Whom the request at hand is counted for: of a key that many carry, as a shop front's in browsers, each for itself."""
    key, address = caller(), client_of(request.remote_addr)
    return f"address {address}" if key is None else f"key {key.id} at {address}"


def _limit(app: Flask, settings: Settings) -> None:
    """Count requests in Redis, for all processes together; while it is away in each process for itself."""
    pool = redis.ConnectionPool.from_url(
        settings.redis_address, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
    limiter = Limiter(
        _counted_as,
        app=app,
        application_limits=[settings.rate_limit or ""],
        application_limits_exempt_when=lambda: request.endpoint in _FREE,
        strategy="sliding-window-counter",
        storage_uri="redis://",
        storage_options={"connection_pool": pool, "key_prefix": f"{settings.queue}:limit"},  # type: ignore[dict-item]
        in_memory_fallback_enabled=True,
        swallow_errors=True,
    )

    @app.errorhandler(RateLimitExceeded)
    def too_many(error: RateLimitExceeded) -> Response:
        answer = problem(
            429,
            "access.too_many",
            "Too many requests.",
            detail=f"More than {error.description} from one client.",
            remedy="Send fewer, or let the operator raise TRIPTYCH_RATE_LIMIT.",
        )
        answer.headers["Retry-After"] = str(_seconds_left(limiter))
        return answer


def _seconds_left(limiter: Limiter) -> int:
    """Seconds until the client may send again, 1 where Redis no longer says."""
    try:
        reached = limiter.current_limit
        return max(1, round(reached.reset_at - time.time())) if reached is not None else 1
    except redis.RedisError:
        return 1


def _headers(app: Flask, *, careful: str) -> None:
    """Give every answer the headers it has not given itself."""
    added = {
        "x-content-type-options": ("X-Content-Type-Options", "nosniff"),
        "referrer-policy": ("Referrer-Policy", "no-referrer"),
        "cross-origin-resource-policy": ("Cross-Origin-Resource-Policy", careful),
        "content-security-policy": ("Content-Security-Policy", NOTHING),
        "cache-control": ("Cache-Control", "no-store"),
    }

    @app.after_request
    def add(answer: Response) -> Response:
        headers = answer.headers
        there = {name.lower() for name, _ in headers}
        for name, header in added.items():
            if name not in there:
                headers.add(*header)
        return answer
