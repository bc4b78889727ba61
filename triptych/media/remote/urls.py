"""URLs of catalogues, taken apart once. What is checked is what is asked: nothing parses the text a second time."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from triptych.errors import MediaError

HTTP_PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL. `host` is lower-case ASCII (IDNA), without brackets or a last dot; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTP_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """The URL without its query, which may hold a signature that is no business of logs."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an address and not a name."""
        return is_address(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def scheme_of(reference: str) -> str | None:
    """The scheme of a reference that is a URL, in lower case; None for a path."""
    found = _SCHEME.match(reference)
    return found[1].lower() if found else None


def is_address(host: str) -> bool:
    """Whether a host is a plain IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether a host is a name of DNS, in lower-case ASCII. What ends in a number is none (WHATWG, "ends in a number")."""
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])  # noqa: PLR2004


def parse(text: str) -> Url:
    """An http or https URL taken apart. Raises MediaError media.bad_url, media.unsupported_reference."""
    scheme = scheme_of(text)
    if scheme not in HTTP_PORTS:
        raise MediaError(
            f"{text[:200]!r} is neither http nor https.", code="media.unsupported_reference", remedy="Give an http(s) URL."
        )
    if _FORBIDDEN.search(text):
        raise _bad(text, "it has a control character or a backslash")
    try:
        parts = parse_url(text)
    except LocationParseError as error:
        raise _bad(text, "it does not follow RFC 3986, or its host does not follow IDNA") from error
    if parts.auth is not None:
        raise _bad("it", "it carries a user or a password", "Leave them out: they would be kept with the product.")
    host = (parts.host or "").lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if not is_address(host) and not is_name(host):
        raise _bad(
            text, f"{host[:100]!r} is no host", "Write a name, an IPv4 address as a.b.c.d, or an IPv6 address in brackets."
        )
    if "%" in host:
        raise _bad(text, "its address names a network interface")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query is not None else "")
    return Url(scheme, host, parts.port if parts.port is not None else HTTP_PORTS[scheme], target)


def _bad(text: str, why: str, remedy: str | None = None) -> MediaError:
    shown = "The URL" if text == "it" else repr(text[:200])
    return MediaError(f"{shown} cannot be used: {why}.", code="media.bad_url", remedy=remedy or "Correct the URL.")
