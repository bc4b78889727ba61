"""A session: the exact scores of a query's candidates, kept so that pages, other weights and explanations need no new search.

Everything an answer is made of follows from a session by pure functions (`ranking.rank`), so the second page fits the first
whatever is indexed meanwhile. Sessions lie in Redis, where every process of the API finds them, and the latest also in this
process: without Redis the pages of one process still work. They are JSON; scores are float32 in base64, as Elasticsearch gives
them.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson
import redis
from itsdangerous import BadSignature, SignatureExpired, TimestampSigner

from search_api.answer import Degraded, Recognised
from search_api.breakers import Breakers
from search_api.candidates import Candidates
from search_api.classify import Classified
from search_api.fusion import FusedLeg
from search_api.metrics import SESSION
from triptych.errors import NotFoundError, QueryError, QueueError
from triptych.schema import Level
from triptych.services import Services

MOST_HERE = 64
"""Sessions kept in this process."""

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """A query's candidates with all that ranking and showing them takes.

    `options` are the request's own fields that say how to rank and show (see `ranking`); `words` counts the words of each
    lexical leg; `asked` holds what was asked of Elasticsearch, where later pages need it (deep paging, highlights).
    `classified` is what classifiers say the query is of.
    """

    id: str
    index: str
    version: str
    candidates: Candidates
    legs: tuple[FusedLeg, ...]
    options: Mapping[str, Any]
    words: Mapping[str, int] = field(default_factory=dict)
    total_matched: int = 0
    aggregations: Mapping[str, Any] | None = None
    recognised: Mapping[str, Recognised] = field(default_factory=dict)
    degraded: tuple[Degraded, ...] = ()
    certified: Mapping[str, Any] | None = None
    asked: Mapping[str, Any] | None = None
    classified: Classified | None = None


class Sessions:
    """Where sessions are kept for a while, and the tokens that lead back to them. Share one between threads."""

    def __init__(self, services: Services, breakers: Breakers) -> None:
        self._services, self._breakers = services, breakers
        self._seconds = services.settings.session_seconds
        self._here: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._touching = threading.Lock()
        self._mine = secrets.token_hex(_SECRET_BYTES)
        self._signer: TimestampSigner | None = None

    def put(self, session: Session) -> Degraded | None:
        """Keep a session. Returns what is the matter where only this process can keep it."""
        with self._touching:
            self._here[session.id] = (time.monotonic() + self._seconds, session)
            self._here.move_to_end(session.id)
            while len(self._here) > MOST_HERE:
                self._here.popitem(last=False)
        try:
            with self._redis() as client:
                client.set(self._key(session.id), to_bytes(session), ex=self._seconds)
        except QueueError as error:
            SESSION["kept_here"].inc()
            return Degraded("redis", error.code, error.message)
        SESSION["kept"].inc()
        return None

    def get(self, name: str, *, renew: bool = False) -> Session:
        """A session by id; `renew`: kept from now on as if it were new.

        Raises NotFoundError `session.not_found` if it was never there or is over.
        """
        with self._touching:
            known = self._here.get(name)
            if known is not None and time.monotonic() >= known[0]:
                known = None
            if known is not None and renew:
                self._here[name] = (time.monotonic() + self._seconds, known[1])
        if known is not None:
            SESSION["found_here"].inc()
            if renew:
                self._asked(name, read=False, renew=True)
            return known[1]
        data = self._asked(name, read=True, renew=renew)
        SESSION["found" if data is not None else "lost"].inc()
        if data is None:
            raise unknown(self._seconds)
        return from_bytes(data)

    def _asked(self, name: str, *, read: bool, renew: bool) -> bytes | None:
        """What Redis has of a session, where it answers, in one round trip."""
        try:
            with self._redis() as client, client.pipeline(transaction=False) as asked:
                if read:
                    asked.get(self._key(name))
                if renew:
                    asked.expire(self._key(name), self._seconds)
                data = asked.execute()[0]
        except QueueError:
            return None
        return data if isinstance(data, bytes) else None

    def paged(self, token: str) -> tuple[Session, int, int]:
        """The session of a page's token, its offset and size. Who turns pages slowly keeps the session as long as its tokens.

        Raises QueryError `page.invalid` or `page.expired`.
        """
        name, offset, size = self.place(token)
        try:
            return self.get(name, renew=True), offset, size
        except NotFoundError as error:
            raise expired("The answer that the page belongs to is no longer kept.") from error

    def token(self, session: str, *, offset: int, size: int) -> str:
        """The signed token of a page."""
        return self._signed().sign(f"{session}.{offset}.{size}").decode("ascii")

    def place(self, token: str) -> tuple[str, int, int]:
        """The session, offset and size of a token. Raises QueryError `page.invalid` or `page.expired`."""
        try:
            signed = self._signed().unsign(token, max_age=self._seconds).decode("ascii")
            session, offset, size = signed.rsplit(".", maxsplit=2)
            return session, int(offset), int(size)
        except SignatureExpired as error:
            raise expired("The page's token is too old.") from error
        except (BadSignature, ValueError) as error:
            raise QueryError(
                "This is no token of a page.", code="page.invalid", field="page", remedy="Give `next` of an answer as it is."
            ) from error

    def _signed(self) -> TimestampSigner:
        """Signs by the shared secret, once there is one; what was signed before by our own is known still."""
        if self._signer is not None:
            return self._signer
        shared = self._secret()
        keys = [self._mine, shared] if shared else [self._mine]
        signer = TimestampSigner(keys, salt="triptych.page")  # the last one signs
        self._signer = signer if shared else None
        return signer

    def _secret(self) -> str | None:
        """The setting, else one that the processes of this API share by Redis; None while Redis is away."""
        given = self._services.settings.page_secret
        if given is not None:
            return given.get_secret_value()
        key = f"{self._services.settings.queue}:page-secret"
        try:
            with self._redis() as client:
                client.set(key, self._mine, nx=True)
                shared = client.get(key)
        except QueueError:
            return None
        return shared.decode() if isinstance(shared, bytes) else None

    def _key(self, name: str) -> str:
        return f"{self._services.settings.queue}:session:{name}"

    @contextmanager
    def _redis(self) -> Iterator[redis.Redis]:
        """Redis under its breaker; what fails is a QueueError."""
        with self._breakers.guarding("redis sessions", QueueError, "queue.unavailable"):
            try:
                yield self._services.hurried_redis
            except redis.RedisError as error:
                raise QueueError(f"Redis did not answer: {error}.", code="queue.unavailable") from error


def expired(message: str) -> QueryError:
    """The error of who asks for a page that is over."""
    return QueryError(message, code="page.expired", field="page", remedy="Search again from the first page.")


def unknown(seconds: float) -> NotFoundError:
    """The error of who asks for a session that is over, or whose index version is gone."""
    return NotFoundError(
        "The query is no longer known.",
        code="session.not_found",
        field="query_id",
        remedy=f"Ask it again; a query is kept for {seconds} s, one of fusion native not at all.",
    )


def to_bytes(session: Session) -> bytes:
    """A session as JSON."""
    c = session.candidates
    data = {
        **{name: getattr(session, name) for name in _PLAIN},
        "legs": [_leg(leg) for leg in session.legs],
        "recognised": {name: asdict(heard) for name, heard in session.recognised.items()},
        "degraded": [asdict(one) for one in session.degraded],
        "classified": None if session.classified is None else asdict(session.classified),
        "candidates": {
            "legs": c.legs, "ids": c.ids,
            "raw": _packed(c.raw, "<f4"), "status": _packed(c.status, "u1"), "rank": _packed(c.rank, "<i4"),
            "tops": _packed(c.tops, "<f4"), "lasts": _packed(c.lasts, "<f4"), "round": _packed(c.round, "<i4"),
            "values": c.values,
        },
    }  # fmt: skip
    return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


def _leg(leg: FusedLeg) -> dict[str, Any]:
    level = None if leg.level is None else leg.level.model_dump()
    plain = {name: getattr(leg, name) for name in ("name", "source", "base", "weight", "pushes")}
    return {**plain, "level": level}


_PLAIN = ("id", "index", "version", "options", "words", "total_matched", "aggregations", "certified", "asked")


def _packed(array: Any, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode("ascii")


def from_bytes(data: bytes) -> Session:
    """The inverse of `to_bytes`."""
    read = orjson.loads(data)
    c = read["candidates"]
    shape = (len(c["ids"]), len(c["legs"]))

    def array(name: str, kind: str, dtype: Any) -> Any:
        return np.frombuffer(base64.b64decode(c[name]), dtype=kind).astype(dtype)

    candidates = Candidates(
        tuple(c["legs"]),
        tuple(c["ids"]),
        array("raw", "<f4", np.float64).reshape(shape),
        array("status", "u1", np.uint8).reshape(shape),
        array("rank", "<i4", np.int32).reshape(shape),
        array("tops", "<f4", np.float64),
        array("lasts", "<f4", np.float64),
        array("round", "<i4", np.int32),
        c["values"],
    )
    legs = tuple(
        FusedLeg(**{**leg, "level": Level.model_validate(leg["level"]) if leg["level"] else None}) for leg in read["legs"]
    )
    return Session(
        **{name: read[name] for name in _PLAIN},
        candidates=candidates,
        legs=legs,
        recognised={name: Recognised(**heard) for name, heard in read["recognised"].items()},
        degraded=tuple(Degraded(**one) for one in read["degraded"]),
        classified=_classified(read.get("classified")),
    )


def _classified(given: Mapping[str, Any] | None) -> Classified | None:
    if given is None:
        return None
    return Classified(given["field"], tuple((value, share) for value, share in given["shares"]), given["modalities"])
