"""Which addresses a stranger's URL may lead to: public ones, and those an operator names (TRIPTYCH_FETCH_PRIVATE).

Without this a catalogue could have the worker ask the machine itself, the network behind it, or the service that hands out a
cloud machine's keys. The rules follow IANA's registries of special-purpose addresses, not `is_global` alone, which
differs between releases of Python:
https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Where clouds answer a machine's questions about itself, keys included. 168.63.129.16 (Azure) looks public."""

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
        "240.0.0.0/4",
    )
)  # fmt: skip
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_TEREDO = IPv6Network("2001::/32")


def refusal(address: Address, allowed: Collection[Network] = (), *, named: bool = False) -> str | None:
    """Why an address may not be asked, None if it may be.

    `allowed` are networks that may be asked although they are not public; `named`: all of this host's private addresses may be.
    Metadata services, link-local, multicast and unspecified addresses are refused whatever is allowed. An IPv4 address inside
    an IPv6 one is judged too.
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None:
        return refusal(mapped, allowed, named=named)
    never = _never(address)
    if never is not None:
        return never
    inner = _embedded(address) if isinstance(address, IPv6Address) else []
    for part in inner:
        why = _never(part) or (None if _is_public(part) else f"the IPv4 address {part} in it is not public")
        if why is not None:
            return why
    if _is_public(address) or named or any(address in network for network in allowed):
        return None
    return "it is not a public address"


def _never(address: Address) -> str | None:
    if address in METADATA:
        return "a cloud's metadata service answers there"
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        return "it is an unspecified, multicast or link-local address"
    return None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:  # the way out of networks without IPv4; the address in it was judged
        return True
    return address in _PUBLIC_6 and address.is_global and not any(address in network for network in _NOT_PUBLIC_6)


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a NAT64, IPv4-compatible, 6to4 or Teredo address leads to."""
    found = [IPv4Address(int(address) & 0xFFFF_FFFF)] if address in _NAT64 or _is_compatible(address) else []
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address in _TEREDO and address.teredo is not None:
        found += address.teredo
    return found


def _is_compatible(address: IPv6Address) -> bool:
    return address in _COMPATIBLE and int(address) > 1  # :: and ::1 hold no IPv4 address


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, each once, in the system's order. Raises socket.gaierror.

    The one place where a name of a catalogue is resolved. It takes as long as the system's resolver lets it: bounding it is for
    the caller.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(ipaddress.ip_address(info[4][0]) for info in found))
