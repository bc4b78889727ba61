"""What an operator lets a catalogue reach: hosts, buckets, ports, and addresses that are not public."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Self

from triptych.errors import MediaError
from triptych.media.remote.addresses import Address, Network, refusal, resolve
from triptych.media.remote.away import AwayError
from triptych.media.remote.urls import Url, is_address
from triptych.settings import Settings


@dataclass(frozen=True, slots=True)
class Allowed:
    """TRIPTYCH_FETCH_HOSTS, TRIPTYCH_FETCH_PORTS and TRIPTYCH_FETCH_PRIVATE, read."""

    patterns: tuple[str, ...]
    ports: frozenset[int]
    networks: tuple[Network, ...]
    private_hosts: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        private = _items(settings.fetch_private)
        networks = tuple(ipaddress.ip_network(item) for item in private if "/" in item or is_address(item))
        names = frozenset(item for item in private if "/" not in item and not is_address(item))
        return cls(_items(settings.fetch_hosts), frozenset(map(int, _items(settings.fetch_ports))), networks, names)

    def check(self, url: Url) -> None:
        """Raise MediaError media.host_not_allowed or media.port_not_allowed."""
        if not any(matches(pattern, url.host) for pattern in self.patterns):
            raise _not_allowed(url.host, url.host)
        if url.port not in self.ports:
            raise MediaError(
                f"{url.place[:200]!r}: port {url.port} is not allowed.",
                code="media.port_not_allowed",
                remedy="Let the operator add it to TRIPTYCH_FETCH_PORTS.",
            )

    def check_bucket(self, scheme: str, bucket: str) -> None:
        """Raise MediaError media.host_not_allowed.

        A bucket must be named with its scheme, because it is read with the worker's own rights: `*` alone allows none.
        """
        own = f"{scheme}://"
        if not any(pattern.startswith(own) and matches(pattern[len(own) :], bucket) for pattern in self.patterns):
            raise _not_allowed(f"The bucket {bucket[:100]}", f"{own}{bucket[:100]}")

    def addresses(self, url: Url) -> list[Address]:
        """The addresses of a URL's host, resolved once; every one of them may be asked.

        Raises MediaError media.address_refused, media.host_unknown, media.host_unreachable (the resolver was away).
        """
        try:
            found = resolve(url.host, url.port)
        except (socket.gaierror, UnicodeError) as error:
            raise _unresolved(url, error) from error
        for address in found:
            why = refusal(address, self.networks, named=url.host in self.private_hosts)
            if why is not None:
                raise MediaError(
                    f"{url.host} leads to {address}, which may not be asked: {why}.",
                    code="media.address_refused",
                    remedy="A server of your own that catalogues may name goes into TRIPTYCH_FETCH_PRIVATE.",
                )
        return found


def matches(pattern: str, host: str) -> bool:
    """Whether `cdn.example` (itself), `*.shop.example` (any name below it) or `*` fits a host."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and not is_address(host)
    return pattern == host


def _items(setting: str | None) -> tuple[str, ...]:
    return tuple(item for part in (setting or "").split(",") if (item := part.strip().lower().removesuffix(".")))


def _not_allowed(what: str, entry: str) -> MediaError:
    return MediaError(
        f"{what} is not among the hosts that media may be fetched from.",
        code="media.host_not_allowed",
        remedy=f"Let the operator add {entry} to TRIPTYCH_FETCH_HOSTS, or put the file beside the catalogue.",
    )


def _unresolved(url: Url, error: Exception) -> MediaError:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return AwayError(f"The name {url.host} could not be resolved just now.", code="media.host_unreachable", retryable=True)
    return MediaError(f"There is no host {url.host}.", code="media.host_unknown", remedy="Correct the URL.")
