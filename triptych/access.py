"""API keys: who may ask the HTTP API for what. Kept in one small index, `<prefix>api-keys`; `_id` is the key's id.

    triptych_<id>_<secret>        what is sent; id 12 hex digits, secret 256 random bits in base64url

Only its SHA-256 is kept: the secret has too much entropy to be guessed from it, so a slow hash would protect nothing and cost
every request. The prefix lets scanners of repositories find a key that was committed by mistake.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from triptych.elastic import own
from triptych.elastic.client import Client, translated
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.settings import Settings

SEARCH: Final = "search"
INDEX: Final = "index"
ADMIN: Final = "admin"
SCOPES: Final = (SEARCH, INDEX, ADMIN)
"""What a key may be for; `admin` includes the others."""

MOST_KEYS: Final = 1000
"""Keys in force at once: a process of the API reads them all in one request."""

LONGEST_KEY: Final = 128
"""Characters; what is longer is no key and is not looked at."""

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(r"triptych_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOBODY: Final = "0" * 64

_MAPPING: Final[dict[str, Any]] = {
    "dynamic": False,
    "properties": {
        "name": {"type": "keyword"}, "scopes": {"type": "keyword"},
        "created_at": {"type": "date"}, "expires_at": {"type": "date"}, "revoked_at": {"type": "date"},
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Moments are in UTC, ISO 8601; `digest` is the SHA-256 of the key's text in hex."""

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def allows(self, scope: str) -> bool:
        """Whether the key may be used for what needs `scope`."""
        return scope in self.scopes or ADMIN in self.scopes

    def holds(self, moment: dt.datetime) -> bool:
        """Whether the key is in force at `moment`."""
        if self.revoked_at is not None:
            return False
        return self.expires_at is None or moment < dt.datetime.fromisoformat(self.expires_at)

    def shown(self) -> dict[str, Any]:
        """The key for people: without its digest."""
        return {name: value for name, value in asdict(self).items() if name != "digest"}


def digest_of(text: str) -> str:
    """What is kept of a key's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def id_of(text: str) -> str | None:
    """The id inside a key's text; None where the text has not the form of a key."""
    if len(text) > LONGEST_KEY:
        return None
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def matches(key: ApiKey | None, text: str) -> bool:
    """Whether `text` is the text of `key`; takes as long where there is no such key."""
    same = hmac.compare_digest(key.digest if key is not None else _NOBODY, digest_of(text))
    return same and key is not None


def make(name: str, scopes: Sequence[str], *, days: int | None, now: dt.datetime) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody keeps. Raises InputError `access.bad_key`. Pure but for chance."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} is no name of a key.",
            code="access.bad_key",
            field="name",
            remedy="Up to 64 letters, digits, dots, dashes and underscores, such as shop-front.",
        )
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError("A key needs a scope.", code="access.bad_key", field="scope", remedy=f"Scopes: {', '.join(SCOPES)}.")
    if days is not None and days < 1:
        raise InputError("A key is for a day at least.", code="access.bad_key", field="days")
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"triptych_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    until = None if days is None else (now + dt.timedelta(days=days)).isoformat(timespec="seconds")
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    return ApiKey(key_id, name, ordered, digest_of(text), now.isoformat(timespec="seconds"), until), text


class KeyStore:
    """Keeps and reads keys. The client is safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._index = f"{settings.system_prefix}api-keys"

    def create(self, name: str, scopes: Sequence[str], *, days: int | None = None) -> tuple[ApiKey, str]:
        """A new key, kept, and its text. Raises InputError `access.bad_key` or `access.too_many_keys`."""
        now = dt.datetime.now(dt.UTC)
        key, text = make(name, scopes, days=days, now=now)
        own.ensure(self._client, self._index, _MAPPING)
        if sum(one.holds(now) for one in self.all()) >= MOST_KEYS:
            raise InputError(
                f"There are {MOST_KEYS} keys in force.",
                code="access.too_many_keys",
                remedy="Revoke those that nobody uses: triptych key list, triptych key revoke ID.",
            )
        document = {field: value for field, value in asdict(key).items() if field != "id"}
        with translated():
            self._client.create(index=self._index, id=key.id, document=document, refresh=True)
        return key, text

    def all(self) -> list[ApiKey]:
        """All keys ever made, newest first, up to 10,000."""
        return self._found({"match_all": {}}, size=10_000)

    def in_force(self, *, seconds: float) -> dict[str, ApiKey]:
        """The keys in force by id, asked for once, with `seconds` for the answer. Raises ElasticsearchError."""
        now = dt.datetime.now(dt.UTC)
        query = {
            "bool": {"must_not": [{"exists": {"field": "revoked_at"}}, {"range": {"expires_at": {"lte": now.isoformat()}}}]}
        }
        return {key.id: key for key in self._found(query, size=MOST_KEYS, seconds=seconds) if key.holds(now)}

    def revoke(self, key_id: str) -> ApiKey:
        """Put a key out of force for ever. One that is revoked stays as it is. Raises NotFoundError `access.key_not_found`."""
        found = next(iter(self._found({"ids": {"values": [key_id]}}, size=1)), None)
        if found is None:
            raise NotFoundError(
                f"There is no key {key_id[:40]!r}.", code="access.key_not_found", field="id", remedy="See `triptych key list`."
            )
        if found.revoked_at is not None:
            return found
        at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        with translated():
            self._client.update(index=self._index, id=key_id, doc={"revoked_at": at}, refresh=True, retry_on_conflict=5)
        return ApiKey(**{**asdict(found), "revoked_at": at})

    def _found(self, query: dict[str, Any], *, size: int, seconds: float | None = None) -> list[ApiKey]:
        client = self._client if seconds is None else self._client.options(request_timeout=seconds, max_retries=0)
        with translated():
            answer = client.search(index=self._index, query=query, size=size, sort="created_at:desc", ignore_unavailable=True)
        return [_read(hit["_id"], hit["_source"]) for hit in answer["hits"]["hits"]]


def _read(key_id: str, source: dict[str, Any]) -> ApiKey:
    try:
        given = {name: source.get(name) for name in ("name", "digest", "created_at", "expires_at", "revoked_at")}
        return ApiKey(id=key_id, scopes=tuple(source["scopes"]), **given)  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise ElasticsearchError(f"The entry of the key {key_id!r} is damaged.", code="index.damaged") from error
