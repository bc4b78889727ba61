"""The order of an answer: sorted by fields, and one product for each value of a field. Pure.

    [{"price": "asc"}, {"rating": "desc"}, "score"]

Values are compared as Elasticsearch would sort them: addresses by number, versions by precedence, text by its characters.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from search_api.facets import EPOCH_MILLIS, Facet, Values, nanos_of
from search_api.filters import DATES, NUMERIC, VALUES, WHOLE, Use, kind_of, shown
from search_api.votes import Vote
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError

MOST_SORTS: Final = 5

SCORE: Final = "score"
"""In place of a field: the fused score."""

SORT = Use(VALUES | NUMERIC | DATES, "sorted by", "query.bad_sort")
COLLAPSE = Use(VALUES | frozenset(WHOLE), "collapsed by", "query.bad_collapse")


@dataclass(frozen=True, slots=True)
class SortField:
    """One field to sort by, of mapping type `kind`; of type "" for the score."""

    field: str
    kind: str
    descending: bool = False


def read_sort(sort: Sequence[Any], info: IndexInfo) -> tuple[SortField, ...]:
    """What a request sorts by. Raises QueryError that names the place, as `sort.0`."""
    given: Sequence[object] = [sort] if isinstance(sort, str | Mapping) else sort
    if len(given) > MOST_SORTS:
        raise _bad(f"There are {len(given)} fields to sort by.", "sort", f"Give at most {MOST_SORTS}.")
    read = tuple(_sort_field(one, info, f"sort.{number}") for number, one in enumerate(given))
    for number, one in enumerate(read):
        if any(one.field == before.field for before in read[:number]):
            raise _bad(f"{one.field!r} is given twice.", f"sort.{number}", "Leave out the second.")
    return read


def _sort_field(given: object, info: IndexInfo, where: str) -> SortField:
    if isinstance(given, str):
        name, direction = given, "desc" if given == SCORE else "asc"
    elif isinstance(given, Mapping) and len(given) == 1:
        ((key, direction),) = given.items()
        name = str(key)
    else:
        raise _bad(f"{shown(given)} does not say what to sort by.", where, 'Give a field, or one as {"price": "desc"}.')
    if direction not in ("asc", "desc"):
        raise _bad(f"The direction of {shown(name)} is {shown(direction)}.", where, "Give asc or desc.")
    return SortField(name, "" if name == SCORE else kind_of(name, info, SORT, where=where), direction == "desc")


def ordered(ids: Sequence[str], scores: Sequence[float], sort: Sequence[SortField], values: Sequence[Values]) -> list[int]:
    """The places of the products in the order asked for: by the fields in turn, then by score, best first, then by id.

    A product without a value comes after all that have one, in either direction. Of several values the least counts where the
    order ascends, the greatest where it descends.
    """
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))
    for field in reversed(sort):
        keys = [*scores] if field.field == SCORE else [_key_of(some.get(field.field, ()), field) for some in values]
        having = [place for place in order if keys[place] is not None]
        having.sort(key=keys.__getitem__, reverse=field.descending)  # stable in both directions
        order = having + [place for place in order if keys[place] is None]
    return order


def _key_of(some: Sequence[Any], field: SortField) -> Any:
    key = _KEYS.get(field.kind)
    keys = some if key is None else [key(one) for one in some]
    return (max if field.descending else min)(keys) if keys else None


def _address(text: str) -> bytes:
    """Elasticsearch keeps every address with the 128 bits of IPv6."""
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, text)


_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"(?P<main>(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*)"
    rf"(?:-(?P<early>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@lru_cache(maxsize=10_000)
def _version(text: str) -> tuple[Any, ...]:
    """By semantic versioning, of any number of parts; what is no version comes last, by its characters.

    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/version
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        return (1, text)
    early = (match["early"] or "").split(".")
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in early)
    return (0, tuple(int(part) for part in match["main"].split(".")), match["early"] is None, parts, match["build"] or "")


_KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "ip": _address,
    "version": _version,
    "date": nanos_of,
    "date_nanos": nanos_of,
}
"""What to compare in place of a doc value; the other types' compare as they are."""


def read_collapse(field: str, info: IndexInfo) -> str:
    """The field to collapse by. Raises QueryError if there is none such, or its values are no names."""
    kind_of(field, info, COLLAPSE, where="collapse")
    return field


def collapsed(order: Sequence[int], field: str, values: Sequence[Values]) -> list[tuple[int, tuple[int, ...]]]:
    """The ranked places in `order`, one for each value of `field`, each with its variants: the lower ones of that value.

    A product without a value stands alone. Of several values the first decides, which as a doc value is the least.
    """
    groups: dict[object, list[int]] = {}
    for place in order:
        some = values[place].get(field, ())
        groups.setdefault((some[0],) if some else place, []).append(place)
    return [(first, tuple(variants)) for first, *variants in groups.values()]


def doc_value_fields(
    facets: Sequence[Facet] = (), sort: Sequence[SortField] = (), collapse: str | None = None, vote: Vote | None = None
) -> list[str | dict[str, str]]:
    """The `docvalue_fields` of a search that an answer is arranged by: each once, dates in a format of their own."""
    kinds = {facet.field: facet.kind for facet in facets} | {one.field: one.kind for one in sort if one.kind}
    for name in (collapse, vote.field if vote else None):
        if name is not None:
            kinds.setdefault(name, "")
    return [{"field": name, "format": EPOCH_MILLIS} if kind in DATES else name for name, kind in kinds.items()]


def _bad(message: str, where: str, remedy: str) -> QueryError:
    return QueryError(message, code="query.bad_sort", field=where, remedy=remedy)
