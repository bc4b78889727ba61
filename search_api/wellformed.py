"""What Python and commands can hand over and no JSON can hold. Pure.

Over HTTP none of it arrives: JSON is UTF-8, and bodies are read by models (`schemas`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

from triptych.errors import QueryError

_HALF: Final = re.compile("[\\ud800-\\udfff]")
"""Half of a pair that UTF-16 writes one character as. A command has such for bytes that are no UTF-8."""

_WITHOUT: Final = frozenset({type(None), bool, int, float, bytes})
"""What holds no text, as most members of a query: this is done for each."""

_LISTS: Final = frozenset({"products", "fields", "spaces"})


def check_form(given: Any) -> None:
    """Raise QueryError, which names the field, for a text that cannot be written, or that stands where a list is meant.

    `given` is a dataclass that a user fills.
    """
    left = _members("", given)
    while left:
        where, one = left.pop()
        if isinstance(one, str):
            check_text(one, where)
        elif isinstance(one, list | tuple):
            if one and not isinstance(one[0], float):  # a vector
                left += [(f"{where}.{number}", value) for number, value in enumerate(one)]
        elif isinstance(one, Mapping):
            left += [(f"{where}.{name}", value) for name, value in one.items()]
            left += [(where, name) for name in one]  # first: a name is part of what is told of its value
        elif is_dataclass(one):
            left += _members(f"{where}.", one)


def check_text(given: str, where: str) -> None:
    """Raise QueryError for a text that cannot be written."""
    if not given.isascii() and _HALF.search(given):
        raise QueryError(
            f"The text of {where} has half of a character in it (a lone surrogate).",
            code="query.bad_form",
            field=where,
            remedy="Give text that UTF-8 can hold.",
        )


def finite(given: object) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return math.isfinite(given)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False


def _members(where: str, one: Any) -> list[tuple[str, object]]:
    """The members of a dataclass that may hold texts, each with its place."""
    members: list[tuple[str, object]] = []
    for name in _names(type(one)):  # type: ignore[arg-type]  # mypy takes no type for a key
        value = getattr(one, name)
        if type(value) in _WITHOUT:
            continue
        if name in _LISTS and isinstance(value, str):
            raise QueryError(
                f"{where}{name} is one text, not a list.",
                code="query.bad_form",
                field=where + name,
                remedy="Give a list, be it of one.",
            )
        members.append((where + name, value))
    return members


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind))
