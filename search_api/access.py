"""Who may ask the API for what: the scope each route needs, and the check of a request's key before its view runs.

    X-API-Key: KEY     Authorization: Bearer KEY     or, for the pages, a browser's login with the key as password

The keys in force are read from Elasticsearch in one request and known for KNOWN_SECONDS: so long a revoked key still works at
most. A key that is not among them makes the process ask anew, once in AGAIN_SECONDS, so that a new key works soon and guesses
cost Elasticsearch nothing. While Elasticsearch is away the keys known last stay in force, for AWAY_SECONDS.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import ipaddress
import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Request, g, request

from triptych.access import ADMIN, INDEX, SEARCH, ApiKey, KeyStore, id_of, matches
from triptych.errors import AccessError, ElasticsearchError, TriptychError

log = logging.getLogger(__name__)

OPEN: Final = "open"
"""What anybody may ask for."""

KNOWN_SECONDS: Final = 15.0
AGAIN_SECONDS: Final = 2.0
AWAY_SECONDS: Final = 600.0
_ASK_SECONDS: Final = 3.0
"""Time Elasticsearch has to answer with the keys: requests wait for it."""

_LONGEST_HEADER: Final = 1000
"""Characters of an Authorization header that are looked at."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Need:
    """The scopes a blueprint's or an endpoint's routes need, by whether they read (GET, HEAD) or write (other methods).

    `changes`: whether those other methods change something, so that the audit log has a line of each request. A search is
    a POST that changes nothing.
    """

    read: str
    write: str
    changes: bool = True


NEEDS: Final[Mapping[str, Need]] = {
    "search": Need(SEARCH, SEARCH, changes=False),
    "jobs": Need(INDEX, INDEX),
    "dry_runs": Need(INDEX, INDEX),
    "contract": Need(OPEN, ADMIN),
    "health": Need(OPEN, ADMIN),
    "metrics": Need(ADMIN, ADMIN),
    "similar": Need(SEARCH, ADMIN),
    "events": Need(SEARCH, SEARCH, changes=False),
    "events.forget": Need(INDEX, INDEX),
    "judgements": Need(INDEX, INDEX),
    "pages": Need(SEARCH, ADMIN),
    "static": Need(OPEN, ADMIN),
}
"""What each blueprint's routes need; an entry under an endpoint's whole name (`health.ready`) goes before its blueprint's.

A route that is in no entry needs `admin`, and a test fails for it.
"""


def need_of(endpoint: str) -> Need | None:
    """The entry of an endpoint, None where there is none."""
    return NEEDS.get(endpoint) or NEEDS.get(endpoint.partition(".")[0])


def scope_of(endpoint: str | None, method: str) -> str:
    """The scope a request needs. What leads nowhere is answered by 404 to anybody, and OPTIONS says which methods there are."""
    if endpoint is None or method == "OPTIONS":
        return OPEN
    need = need_of(endpoint)
    if need is None:
        return ADMIN
    return need.read if method in _READING else need.write


def changes(endpoint: str | None, method: str) -> bool:
    """Whether a request is one that changes something."""
    if endpoint is None or method in _READING:
        return False
    need = need_of(endpoint)
    return need is None or need.changes


class Keys:
    """The keys in force as this process knows them. Share one between threads."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._known: dict[str, ApiKey] = {}
        self._at = self._tried = float("-inf")
        self._error: TriptychError = ElasticsearchError("They were not asked for yet.")
        self._asking = threading.Lock()

    def find(self, text: str) -> ApiKey | None:
        """The key in force whose text this is. Raises ElasticsearchError where the keys cannot be had."""
        key_id = id_of(text)
        if key_id is None:
            return None
        self._refresh(KNOWN_SECONDS)
        if key_id not in self._known:
            self._refresh(AGAIN_SECONDS)
        key = self._known.get(key_id)
        same = matches(key, text)
        return key if key is not None and same and key.holds(dt.datetime.now(dt.UTC)) else None

    def _refresh(self, seconds: float) -> None:
        """Ask for the keys unless they are known for less than `seconds`; one thread asks, the others wait for it."""
        if time.monotonic() - self._at < seconds:
            return
        with self._asking:
            now = time.monotonic()
            if now - self._at < seconds:
                return
            if now - self._tried >= AGAIN_SECONDS:
                self._tried = now
                try:
                    self._known, self._at = self._store.in_force(seconds=_ASK_SECONDS), now
                    return
                except TriptychError as error:
                    self._error = error
                    log.warning("the keys cannot be read: %s", error)
            if now - self._at >= AWAY_SECONDS:
                raise ElasticsearchError(
                    "The keys cannot be read.",
                    code=self._error.code,
                    retryable=self._error.retryable,
                    remedy=self._error.remedy,
                ) from self._error


def key_text(given: Request) -> tuple[str | None, bool]:
    """The key a request brings, not looked at yet, and whether a browser sent it by itself, as it does with a login.

    X-API-Key, else a bearer token, else the password of a login that has the form of a key: another login is a gateway's.
    """
    text = given.headers.get("X-API-Key")
    if text is not None:
        return text.strip(), False
    kind, _, text = given.headers.get("Authorization", "")[:_LONGEST_HEADER].partition(" ")
    text = text.strip()
    if kind.lower() == "bearer" and text:
        return text, False
    if kind.lower() == "basic":
        try:
            password = base64.b64decode(text, validate=True).decode("ascii").partition(":")[2]
        except ValueError:
            return None, False
        return (password, True) if id_of(password) is not None else (None, False)
    return None, False


def caller() -> ApiKey | None:
    """The key of the request at hand, None where it has none or none is asked for."""
    key: ApiKey | None = g.get("api_key")
    return key


def stranger() -> bool:
    """Whether keys are asked for and the request at hand has none."""
    return bool(g.get("keys_wanted")) and caller() is None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may lead anywhere. Pure."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def register(app: Flask, keys: Keys | None, origins: Collection[str] = (), *, behind_proxy: bool = False) -> None:
    """Check every request of `app`: its key where there are `keys`, else that no page but those of `origins` sends it.

    `behind_proxy`: whoever asks through a proxy may name the API as the proxy is named.
    """

    @app.before_request
    def check() -> None:
        if keys is None:
            asked = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  werkzeug's documented way, once
            if not behind_proxy:
                _check_host(asked, origins)
            _check_origin(asked, origins)
            return
        g.keys_wanted = True
        scope = scope_of(request.endpoint, request.method)
        text, by_itself = key_text(request)
        if by_itself:
            _check_origin(request, origins)
        if scope == OPEN:
            g.api_key = _quietly(keys, text) if request.endpoint == "health.ready" else None
            return
        if text is None:
            raise AccessError(
                "This needs a key.",
                code="access.no_key",
                remedy="Send Authorization: Bearer KEY or X-API-Key: KEY; `triptych key create` makes one.",
            )
        key = keys.find(text)
        if key is None:
            raise AccessError(
                "The key is not known, was revoked or is over.",
                code="access.unknown_key",
                remedy="See `triptych key list`; `triptych key create` makes a new one.",
            )
        g.api_key = key
        if not key.allows(scope):
            raise AccessError(
                f"The key {key.name!r} may not do this.",
                code="access.scope",
                field="scope",
                remedy=f"It needs the scope {scope}; it has {', '.join(key.scopes)}.",
            )


def _quietly(keys: Keys, text: str | None) -> ApiKey | None:
    """The key, where it can be told: whether the API is ready is said while Elasticsearch is away too."""
    try:
        return keys.find(text) if text is not None else None
    except TriptychError:
        return None


def _check_host(given: Request, origins: Collection[str]) -> None:
    """Without keys the API is this machine's alone, so it is asked for by this machine's names.

    A page of another site whose name leads to 127.0.0.1 (DNS rebinding) would be of the API's own origin otherwise.
    """
    host = given.host
    if not _of_this_machine(host) and f"{given.scheme}://{host}" not in origins:
        raise AccessError(
            "Without keys the API answers under this machine's own names only.",
            code="access.host",
            field="Host",
            remedy="Ask http://127.0.0.1; behind a proxy set TRIPTYCH_PROXIES; or let it ask for keys (TRIPTYCH_API_KEYS).",
        )


@functools.lru_cache(maxsize=64)
def _of_this_machine(host: str) -> bool:
    """Whether a name and port that a request asks for are this machine's own. Pure."""
    return is_loopback(urlsplit(f"//{host}").hostname or "")


def _check_origin(given: Request, origins: Collection[str]) -> None:
    """A page of another site must not ask in its reader's name: without keys, or with the login of the reader's browser.

    Browsers name the page's origin on every request but plain GETs. https://fetch.spec.whatwg.org/#origin-header
    `*` among the origins is for who brings a key in a header; it lets no page use what its reader may do.
    """
    origin = given.environ.get("HTTP_ORIGIN")
    if origin is None or given.method in _READING or origin in origins:
        return
    if origin.lower() not in (f"http://{given.host}".lower(), f"https://{given.host}".lower()):
        raise AccessError(
            "A page of another site may not ask this.",
            code="access.origin",
            field="Origin",
            remedy="Let the operator name the page's origin in TRIPTYCH_CORS_ORIGINS.",
        )
