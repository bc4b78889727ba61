"""What values settings of several parts may have; each function gives its value back or raises ValueError. Pure."""

from __future__ import annotations

import ipaddress
import re

_PATTERN = re.compile(r"\*|((s3|gs)://)?(\*\.)?[a-z0-9_.:-]+|(s3|gs)://\*", re.IGNORECASE)


def hosts(value: str) -> str:
    """Hosts and buckets as TRIPTYCH_FETCH_HOSTS has them."""
    for item in listed(value):
        if not _PATTERN.fullmatch(item):
            raise ValueError(
                f"{item!r} is no host: write cdn.example, *.shop.example, *, s3://bucket (other scripts in punycode)"
            )
    return value


def networks(value: str) -> str:
    """Networks and hosts, with commas between them."""
    for item in listed(value):
        if "/" in item:
            ipaddress.ip_network(item)
        elif not _PATTERN.fullmatch(item) or "*" in item:
            raise ValueError(f"{item!r} is neither a network, 10.1.0.0/16, nor a host, pictures.internal")
    return value


def ports(value: str) -> str:
    """Port numbers, with commas between them."""
    if not all(item.isascii() and item.isdecimal() and 0 < int(item) < 2**16 for item in listed(value)):
        raise ValueError("ports are numbers from 1 to 65535, with commas between them")
    return value


def limits(value: str) -> str:
    """Limits of rates, with semicolons between them."""
    for item in value.split(";"):
        if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", item.strip()):
            raise ValueError(f"{item.strip()!r} is no limit: write 50/second;2000/minute")
    return value


def origins(value: str) -> str:
    """Origins of pages, with commas between them."""
    for item in listed(value):
        if item != "*" and not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", item):
            raise ValueError(f"{item!r} is no origin: write https://shop.example or *, without a path")
    return value


def listed(value: str) -> list[str]:
    """The items of a list with commas, without the empty ones."""
    return [item for part in value.split(",") if (item := part.strip())]


def addresses(value: str) -> list[str]:
    """The addresses of a list; a comma inside of one, as in a password, divides nothing."""
    return [item for part in re.split(r",(?=\s*[a-z]+://)", value) if (item := part.strip())]
