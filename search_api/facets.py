"""Facets: how many products have which value, or lie in which range of numbers or dates. Pure.

    {"brand": {"size": 10}, "price": {"ranges": [[null, 50], [50, null]]}, "colour": {}}

Each number is given twice. `count` is of the products of the answer: the fused list, cut off where it is noise. `matched` is of
all products that match, as far as Elasticsearch counts them (`aggregations`); None where it does not know. A product with
several values counts once for each. A range holds its lower limit and not its upper one.

Elasticsearch writes a value differently as a doc value and in an aggregation: a boolean true and 1, a date in its mapping's
format and in milliseconds. Here a boolean is true or false, a date ISO 8601 in UTC with milliseconds, a float the shortest
number that is stored the same.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from search_api.filters import DATES, NUMERIC, VALUES, WHOLE, Use, kind_of, misfit, number_of, shown
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError

MOST_FACETS: Final = 20
DEFAULT_SIZE: Final = 10
LARGEST_SIZE: Final = 1000
MOST_RANGES: Final = 100

EPOCH_MILLIS: Final = "epoch_millis"
"""The format in which dates are asked for, whatever that of the mapping."""

_SPARE = 10
"""Values asked for, in multiples of the size: what stands high in the answer need not be frequent among all that matches."""

_NANOS = 10**6
"""Of a millisecond."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
_LAST_OF_NANOS = 9_223_372_036_854  # what fits a date_nanos, which begins in 1970

USE = Use(VALUES | NUMERIC | DATES, "counted", "query.bad_facet")

Values = Mapping[str, Sequence[Any]]
"""The doc values of one product by field; a field without any is absent or empty. Dates as EPOCH_MILLIS."""


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` up to but not with `end`, as given; `low` and `high` are what is compared, milliseconds for dates."""

    start: object
    end: object
    low: int | float | None
    high: int | float | None


@dataclass(frozen=True, slots=True)
class Facet:
    """What to count of one field. `size` is how many values are listed at most, `ranges` are those of numbers and dates."""

    field: str
    kind: str
    size: int = DEFAULT_SIZE
    ranges: tuple[Range, ...] = ()

    @property
    def of_values(self) -> bool:
        """Whether values are counted, not numbers or dates."""
        return self.kind in VALUES


def read(facets: Mapping[str, Any], info: IndexInfo) -> tuple[Facet, ...]:
    """The facets of a request. Raises QueryError that names the field."""
    if len(facets) > MOST_FACETS:
        raise _bad(f"There are {len(facets)} facets.", "facets", f"Ask for at most {MOST_FACETS}.")
    return tuple(_facet(str(name), options, info) for name, options in facets.items())


def _facet(name: str, options: object, info: IndexInfo) -> Facet:
    where = f"facets.{name}"
    kind = kind_of(name, info, USE, where=where)
    known = "size" if kind in VALUES else "ranges"
    if not isinstance(options, Mapping) or set(options) - {known}:
        raise _bad(f"The facet of {name!r}, a field of type {kind}, is {shown(options)}.", where, f"It can have {known}.")
    if kind in VALUES:
        size = options.get("size", DEFAULT_SIZE)
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= LARGEST_SIZE:
            raise _bad(f"The size of the facet of {name!r} is {shown(size)}.", where, f"Give 1 to {LARGEST_SIZE}.")
        return Facet(name, kind, size)
    ranges = options.get("ranges", [])
    if not isinstance(ranges, list | tuple) or len(ranges) > MOST_RANGES:
        raise _bad(
            f"The ranges of {name!r} are no list of at most {MOST_RANGES}.", where, "Give such as [[null, 50], [50, 100]]."
        )
    return Facet(name, kind, ranges=tuple(_range(one, kind, where) for one in ranges))


def _range(given: object, kind: str, where: str) -> Range:
    if not isinstance(given, list | tuple) or len(given) != 2:  # noqa: PLR2004
        raise _bad(f"The range {shown(given)} is no pair.", where, "Give [from, to]; null is no limit.")
    start, end = given
    low, high = (None if limit is None else _limit(limit, kind, where) for limit in given)
    if low is None and high is None:
        raise _bad("A range has no limit.", where, "Give it a lower or an upper one, or leave it out.")
    if low is not None and high is not None and low >= high:
        raise _bad(f"The range {shown(given)} is empty.", where, "Its lower limit comes first and is smaller.")
    return Range(start, end, low, high)


def _limit(given: object, kind: str, where: str) -> int | float:
    """A limit as it is compared; of floats rounded as Elasticsearch does."""
    if kind in DATES:
        millis = millis_of(given)
        first, last = (0, _LAST_OF_NANOS) if kind == "date_nanos" else (_FIRST, _LAST)
        if millis is None or not first <= millis <= last:
            raise _bad(
                f"{shown(given)} is no date that a field of type {kind} can have.",
                where,
                "Give ISO 8601, such as 2026-01-31, or milliseconds since 1970.",
            )
        return millis
    number = None if isinstance(given, str) else number_of(given)
    wanted = "a number" if number is None else misfit(number, kind, limit=True)
    if number is None or wanted is not None:
        raise _bad(f"{shown(given)} is not {wanted}.", where, f"Give {wanted}, or null for no limit.")
    if kind in WHOLE:
        return number
    return float(np.float32(number)) if kind in {"float", "half_float"} else float(number)


def millis_of(given: object) -> int | None:
    """A date in ISO 8601 (UTC where no zone is given) or milliseconds since 1970; None for anything else."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if not isinstance(given, str):
        return None
    missing = "-01-01" if re.fullmatch("[0-9]{4}", given) else "-01" if re.fullmatch("[0-9]{4}-[0-9]{2}", given) else ""
    try:
        moment = dt.datetime.fromisoformat(given + missing)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - _EPOCH) // dt.timedelta(milliseconds=1)


def nanos_of(value: object) -> int:
    """A date's doc value, milliseconds as text with a fraction for date_nanos, as whole nanoseconds."""
    text = str(value)
    return int(Decimal(text) * _NANOS) if "." in text else int(text) * _NANOS


def aggregations(facets: Sequence[Facet]) -> dict[str, Any]:
    """What a search must count besides, for `count`. The names are ours: a field's could hold what a name may not."""
    return {_name(number): _aggregation(facet) for number, facet in enumerate(facets)}


def _name(number: int) -> str:
    return f"facet_{number}"


def _aggregation(facet: Facet) -> dict[str, Any]:
    field = facet.field
    if facet.of_values:
        size = min(LARGEST_SIZE, facet.size * _SPARE)
        return {"terms": {"field": field, "size": size, "order": [{"_count": "desc"}, {"_key": "asc"}]}}
    inner: dict[str, Any] = {"min": {"min": {"field": field}}, "max": {"max": {"field": field}}}
    if facet.ranges:
        limits = [{"range": {field: _sent(one, facet.kind)}} for one in facet.ranges]
        inner["ranges"] = {"filters": {"filters": limits}}
    return {"filter": {"exists": {"field": field}}, "aggs": inner}


def _sent(one: Range, kind: str) -> dict[str, Any]:
    """As a range query: the range aggregation compares doubles, which do not tell large whole numbers apart."""
    limits = {word: limit for word, limit in (("gte", one.low), ("lt", one.high)) if limit is not None}
    return {**limits, "format": EPOCH_MILLIS} if kind in DATES else limits


def count(facets: Sequence[Facet], values: Sequence[Values], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The facets of an answer, by field.

    `values` are the doc values of the answer's products; `found` is what Elasticsearch answered to `aggregations(facets)`, None
    where it was not asked or did not answer. Of values: {"values": [{"value", "count", "matched"}], "other"}, most frequent
    first; `other` sums the counts of those not listed. Of numbers and dates: {"count", "min", "max", "matched"} with the same
    three in `matched`, and {"ranges": [{"from", "to", "count", "matched"}]} where ranges were asked for.
    """
    answered = found or {}
    counts = {}
    for number, facet in enumerate(facets):
        mine, all_of_them = [one.get(facet.field, ()) for one in values], answered.get(_name(number))
        counts[facet.field] = (_count_values if facet.of_values else _count_numbers)(facet, mine, all_of_them)
    return counts


def _count_values(facet: Facet, values: Iterable[Sequence[Any]], found: Mapping[str, Any] | None) -> dict[str, Any]:
    counts: Counter[Any] = Counter()
    for some in values:
        counts.update(set(some))
    matched = {} if found is None else {_key(bucket, facet.kind): bucket["doc_count"] for bucket in found["buckets"]}
    unlisted = 0 if found is not None and found["sum_other_doc_count"] == 0 else None  # every value there is was listed
    order = sorted(counts.keys() | matched.keys(), key=lambda value: (-counts[value], -matched.get(value, 0), value))
    listed = [
        {"value": value, "count": counts[value], "matched": matched.get(value, unlisted)} for value in order[: facet.size]
    ]
    return {"values": listed, "other": counts.total() - sum(counts[value] for value in order[: facet.size])}


def _key(bucket: Mapping[str, Any], kind: str) -> Any:
    return bool(bucket["key"]) if kind == "boolean" else bucket["key"]


def _count_numbers(facet: Facet, values: Iterable[Sequence[Any]], found: Mapping[str, Any] | None) -> dict[str, Any]:
    dates = facet.kind in DATES
    having = [[nanos_of(one) for one in some] if dates else some for some in values if some]
    low, high = min(map(min, having), default=None), max(map(max, having), default=None)
    if dates:
        low, high = (None if nanos is None else nanos // _NANOS for nanos in (low, high))
    counts: dict[str, Any] = {"count": len(having), "min": _shown(low, facet.kind), "max": _shown(high, facet.kind)}
    counts["matched"] = None if found is None else _matched(facet, found)
    if facet.ranges:
        single, several = sorted(some[0] for some in having if len(some) == 1), [some for some in having if len(some) > 1]
        buckets = [None] * len(facet.ranges) if found is None else found["ranges"]["buckets"]
        counts["ranges"] = [
            {
                "from": one.start,
                "to": one.end,
                "count": _within(one, single, several, _NANOS if dates else 1),
                "matched": None if bucket is None else bucket["doc_count"],
            }
            for one, bucket in zip(facet.ranges, buckets, strict=True)
        ]
    return counts


def _matched(facet: Facet, found: Mapping[str, Any]) -> dict[str, Any]:
    ends = {end: _shown(found[end]["value"], facet.kind) for end in ("min", "max")}
    return {"count": found["doc_count"], **ends}


def _within(one: Range, single: Sequence[Any], several: Iterable[Sequence[Any]], unit: int) -> int:
    """How many products have a value in the range. `single` are the values of those that have one, sorted."""
    low = -math.inf if one.low is None else one.low * unit
    high = math.inf if one.high is None else one.high * unit
    alone = bisect_left(single, high) - bisect_left(single, low)
    return alone + sum(any(low <= value < high for value in some) for some in several)


def _shown(number: float | None, kind: str) -> object:
    """A number as it is answered: dates (milliseconds) as ISO 8601, whole numbers whole, floats short."""
    if number is None:
        return None
    if kind in DATES:
        return f"{np.datetime64(round(number), 'ms')}Z"
    if kind in WHOLE:
        return round(number)
    small = {"float": np.float32, "half_float": np.float16}.get(kind)
    return float(str(small(number))) if small else float(number)


def _bad(message: str, where: str, remedy: str) -> QueryError:
    return QueryError(message, code="query.bad_facet", field=where, remedy=remedy)
