"""Media by http and https: redirects followed and checked, failures tried again, unchanged media not fetched again."""

from __future__ import annotations

import random
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from urllib.parse import quote, urljoin

from triptych.errors import MediaError
from triptych.media.remote import urls
from triptych.media.remote.addresses import Address
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.away import AwayError
from triptych.media.remote.bounded import within
from triptych.media.remote.deadline import Deadline, Times
from triptych.media.remote.exchange import Answer, exchange, late
from triptych.media.remote.hosts import Host, Hosts
from triptych.media.remote.known import Known
from triptych.media.remote.slots import Slots
from triptych.media.remote.urls import Url
from triptych.settings import Settings

FIRST_WAIT_SECONDS = 0.5
"""Before the second attempt, and twice as long before each further one; up to half of it is added by chance."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which trying again may help."""

_LAST = frozenset({"media.host_resting", "media.batch_timeout"})
"""What is not tried again: there is no time for it."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A medium's bytes, and what its server said by which it can be asked for again."""

    data: bytes
    place: str
    etag: str | None = None
    last_modified: str | None = None


class Web:
    """Fetches by http and https. Safe to share between threads."""

    def __init__(self, settings: Settings, allowed: Allowed, slots: Slots | None = None) -> None:
        self._settings, self._allowed = settings, allowed
        self._hosts = Hosts(settings.fetch_per_host, slots)

    def get(self, reference: str, known: Known | None, until: Deadline) -> Fetched | None:
        """The bytes of a URL; None if they are those of `known`.

        TRIPTYCH_FETCH_SECONDS bounds all attempts and redirects together, without the time they wait for others' requests to
        the host and, while it is worth it, for its rests; `until` bounds that waiting. Raises MediaError; after the last
        attempt too.
        """
        url = urls.parse(reference)
        self._allowed.check(url)
        with self._hosts[url.host].guarding(until):
            return self._attempts(url, known, Times(Deadline(self._settings.fetch_seconds), until))

    def _attempts(self, url: Url, known: Known | None, times: Times) -> Fetched | None:
        for attempt in range(1, self._settings.fetch_attempts + 1):
            try:
                return self._follow(url, known, times)
            except MediaError as error:
                wait = FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * random.uniform(1, 1.5)  # noqa: S311  no secret
                last = attempt == self._settings.fetch_attempts or error.code in _LAST
                if last or not error.retryable or wait >= times.own.left:
                    raise
                time.sleep(wait)
        raise AssertionError("unreachable")  # there is at least one attempt

    def _follow(self, url: Url, known: Known | None, times: Times) -> Fetched | None:
        """One attempt, along its redirects; each target is checked as the first was."""
        for _ in range(self._settings.fetch_redirects + 1):
            answer = self._ask(url, known, times)
            if answer.status not in _REDIRECTS:
                return _taken(url, answer, known)
            url = self._redirected(url, answer)
        raise MediaError(
            f"{url.authority}: more than {self._settings.fetch_redirects} redirects.",
            code="media.too_many_redirects",
            remedy="Give the URL at which they end, or raise TRIPTYCH_FETCH_REDIRECTS.",
        )

    def _ask(self, url: Url, known: Known | None, times: Times) -> Answer:
        """The answer of a host that is there; one that is away, or asks for a rest, is waited for where that is worth it."""
        host = self._hosts[url.host]
        while True:
            try:
                answer = self._asked(host, url, known, times)
            except AwayError as away:
                if not host.bears(away, times):
                    raise
                continue
            if answer.status not in _PASSING:
                host.heard()
                return answer
            rest = rest_asked(answer.headers.get("retry-after"))
            if rest <= 0 or not host.bears(rest, times):
                return answer

    def _asked(self, host: Host, url: Url, known: Known | None, times: Times) -> Answer:
        """One request, in a turn of its own."""
        with host.slot(times.own, times.batch):
            answer = exchange(
                url,
                self._addresses(url, times.own),
                _conditions(url, known),
                most_bytes=self._settings.media_bytes,
                deadline=times.own,
                tls=self._tls,
            )
            if answer.status in _PASSING:
                host.rest(rest_asked(answer.headers.get("retry-after")))  # before who waits for the slot has it
        return answer

    def _addresses(self, url: Url, deadline: Deadline) -> list[Address]:
        """The addresses of a URL's host. The system's resolver knows no bound of ours, so a late one is left behind."""
        return within(deadline.left, lambda: self._allowed.addresses(url), lambda: late(url, deadline))

    def _redirected(self, url: Url, answer: Answer) -> Url:
        where = answer.headers.get("location", "")
        # http.client reads headers as latin-1; what is not ASCII was UTF-8 and is escaped byte by byte.
        target = urljoin(str(url), quote(where, encoding="latin-1", safe="%/:=&?~#+!$,;'@()*[]"))
        scheme = urls.scheme_of(target)
        if not where or scheme not in urls.HTTP_PORTS or (url.scheme == "https" and scheme == "http"):
            raise MediaError(
                f"{url.place[:200]!r} redirects to {where[:200]!r}, which is not followed.",
                code="media.bad_redirect",
                remedy="Give the URL at which the medium lies; https is never left for http.",
            )
        new = urls.parse(target)
        self._allowed.check(new)
        return new

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Verifies certificates and names, by the CAs of the system (or of SSL_CERT_FILE)."""
        return ssl.create_default_context()


def _conditions(url: Url, known: Known | None) -> dict[str, str]:
    """The headers of a conditional request; none where the validators are of another place."""
    if known is None or known.place != url.place:
        return {}
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in conditions.items() if value is not None}


def _taken(url: Url, answer: Answer, known: Known | None) -> Fetched | None:
    if answer.body:
        return Fetched(answer.body, url.place, answer.headers.get("etag"), _strong_date(answer))
    if answer.status == 304 and _conditions(url, known):  # noqa: PLR2004
        return None
    again = answer.status in _PASSING
    raise MediaError(
        f"{url.place[:200]!r}: the server answers {answer.status}.",
        code="media.http_status",
        remedy="Submit the catalogue again later." if again else "Correct the URL, or let the server give the medium.",
        retryable=again,
    )


def _strong_date(answer: Answer) -> str | None:
    """Last-Modified, unless it is less than a second before Date: a medium may change and keep it (RFC 9110, 8.8.2.2)."""
    modified = answer.headers.get("last-modified")
    changed, said = _date(modified), _date(answer.headers.get("date"))
    return modified if changed is not None and said is not None and said - changed >= timedelta(seconds=1) else None


def rest_asked(retry_after: str | None) -> float:
    """Seconds of a Retry-After header: a number, or a date (RFC 9110, 10.2.3). 0 where there is none or it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    when = _date(text)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0) if when is not None else 0.0


def _date(text: str | None) -> datetime | None:
    try:
        when = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
