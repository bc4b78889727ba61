"""Filters: which products may be found at all, checked against the mapping. Pure.

    {"colour": "red"}                    the value; {"colour": ["red", "blue"]}: any of them
    {"price": {"gte": 5, "lt": 10}}      a range: gt, gte, lt, lte
    {"brand": {"exists": false}}         whether there is a value
    {"sku": {"prefix": "MUS-"}}          values that begin so
    {"shop": {"within": "5km", "lat": 52.5, "lon": 13.4}}
    {"colour": {"not": "red"}}           not this condition
    {"and": [...], "or": [...], "not": {...}}   of filters such as these

All conditions of an object must hold. `and`, `or` and `not` are words of this grammar and never
fields. `kind_of` also checks a field's other uses: facets, sort, collapse, votes.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError

LONGEST_LIST: Final = 1024
"""Values of one condition."""

MOST_CONDITIONS: Final = 1024
DEEPEST: Final = 10
"""How often `and`, `or` and `not` may stand inside each other."""

LONGEST_TEXT: Final = 32_766
"""Bytes of a value: Lucene refuses longer terms."""

LONGEST_PREFIX: Final = 1000
"""Characters of a prefix: index.max_regex_length."""

MOST_NAMED: Final = 20
"""Fields an error lists."""

WHOLE: Final[Mapping[str, tuple[int, int]]] = {
    "long": (-(2**63), 2**63 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "short": (-(2**15), 2**15 - 1),
    "byte": (-(2**7), 2**7 - 1),
    "unsigned_long": (0, 2**64 - 1),
}
"""Types of whole numbers, with the least and the greatest; a range beyond them is an error of Elasticsearch."""

_GREATEST: Final[Mapping[str, float]] = {
    "double": sys.float_info.max,
    "float": 3.4028234663852886e38,
    "half_float": 65504.0,
    "scaled_float": sys.float_info.max,
}
NUMERIC: Final = frozenset({*WHOLE, *_GREATEST})
DATES: Final = frozenset({"date", "date_nanos"})
_TEXTS: Final = frozenset({"keyword", "constant_keyword", "wildcard", "ip", "version"})
VALUES: Final = (_TEXTS - {"wildcard"}) | {"boolean"}
"""Types with few different values: to count, collapse and vote by."""

_PLAIN: Final = NUMERIC | DATES | _TEXTS | {"boolean"}
_ANYWHERE: Final = _PLAIN | {"geo_point", "text"}
_PREFIXED: Final = frozenset({"keyword", "wildcard"})
_RANGE: Final = ("gt", "gte", "lt", "lte")
_PLACE: Final = ("within", "lat", "lon")
_ALONE: Final = ("exists", "prefix", "not")
_REMEDY: Final = (
    "A condition is a value, a list of values, gt, gte, lt and lte, exists, prefix, not, or within with lat and lon."
)

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[+-]?[0-9]+")
_LONGEST_NUMBER = 100
_DISTANCE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(?:mm|cm|m|km|in|ft|yd|mi|nmi)")


@dataclass(frozen=True, slots=True)
class Use:
    """What a field is wanted for: the types that can be, how a sentence says it, the code of the error where it cannot, and
    whether its doc values are read.
    """

    kinds: frozenset[str]
    verb: str
    code: str
    doc_values: bool = True


FILTER = Use(_PLAIN | {"geo_point"}, "filtered by", "query.not_filterable", doc_values=False)


def kind_of(name: str, info: IndexInfo, use: Use, *, where: str) -> str:
    """The type of a field that can be used so. Raises QueryError at `where` for any other, and for our own fields."""
    kind = None if info.schema.is_ours(name) else info.fields.get(name) or _inside_flattened(name, info)
    nested = _nested(name, info)
    bare = use.doc_values and name in info.no_doc_values
    if kind in use.kinds and nested is None and not bare:
        return str(kind)
    able = [field for field in sorted(info.fields) if _can(field, info, use)]
    remedy = (
        f"Fields that can be {use.verb}: {', '.join(able[:MOST_NAMED]) or 'none'}{' ...' if len(able) > MOST_NAMED else '.'}"
    )
    if kind is None:
        close = difflib.get_close_matches(name, able, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else remedy
        raise QueryError(f"The index has no field {shown(name)}.", code="query.unknown_field", field=where, remedy=hint)
    what = "is mapped without doc values" if bare else f"is of type {kind}"
    what = what if nested is None else f"lies in {nested!r}, which is nested,"
    raise QueryError(f"The field {name!r} {what} and cannot be {use.verb}.", code=use.code, field=where, remedy=remedy)


def _can(name: str, info: IndexInfo, use: Use) -> bool:
    bare = use.doc_values and name in info.no_doc_values
    return info.fields[name] in use.kinds and not bare and not info.schema.is_ours(name) and not _nested(name, info)


def _nested(name: str, info: IndexInfo) -> str | None:
    """The nested field `name` lies in: its values are documents of their own, which a plain clause never meets."""
    return next((parent for parent in _above(name) if info.fields.get(parent) == "nested"), None)


def _inside_flattened(name: str, info: IndexInfo) -> str | None:
    """keyword for a name in a flattened field: all that lies there is a keyword, whether any product has it or not."""
    return "keyword" if any(info.fields.get(parent) == "flattened" for parent in _above(name)) else None


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def shown(value: object) -> str:
    """A value in an error's sentence, not too long."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
        return "a number of more than 100 digits"
    text = repr(value)
    return text if len(text) <= _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}..."


def number_of(value: object) -> int | float | None:
    """A finite number, also one written as text in the way Elasticsearch reads it; None for anything else."""
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            return None
        value = int(value) if _DIGITS.fullmatch(value) else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def misfit(value: object, kind: str, *, limit: bool = False) -> str | None:
    """What a value of a field of type `kind` must be and this one is not; None where it fits.

    The limit of a range of whole numbers may be a fraction. Whether a text is a date or an address is left to Elasticsearch.
    """
    if kind == "boolean":
        return None if isinstance(value, bool) or (isinstance(value, str) and value in {"true", "false"}) else "true or false"
    if kind in NUMERIC:
        return _misfit_number(number_of(value), kind, limit=limit)
    if kind in DATES and not isinstance(value, str):
        number = number_of(value)
        return None if number is not None and abs(number) < 2**63 else "a date or milliseconds since 1970"
    if not isinstance(value, str):
        return "a text"
    try:
        return None if len(value.encode()) <= LONGEST_TEXT else f"a text of at most {LONGEST_TEXT} bytes"
    except UnicodeEncodeError:
        return "a text of valid characters"


def _misfit_number(number: float | None, kind: str, *, limit: bool) -> str | None:
    if number is None:
        return "a number"
    if kind not in WHOLE:
        return None if abs(number) <= _GREATEST[kind] else f"a number from -{_GREATEST[kind]:g} to {_GREATEST[kind]:g}"
    least, greatest = WHOLE[kind]
    if not least <= number <= greatest:
        return f"a number from {least} to {greatest}"
    return None if limit or number == int(number) else "a whole number"


def clauses(filters: Mapping[str, Any], info: IndexInfo) -> list[dict[str, Any]]:
    """The clauses of `filters`, which must all hold. Raises QueryError that names the field, as `filters.or.0.price`."""
    return _Reading(info).all_of(filters, "filters", 0)


class _Reading:
    """One pass over a request's filters: it counts conditions and levels."""

    def __init__(self, info: IndexInfo) -> None:
        self._info = info
        self._conditions = 0

    def all_of(self, filters: object, where: str, depth: int) -> list[dict[str, Any]]:
        """The clauses of an object of filters. `where` is its path, `depth` how many and, or and not stand around it."""
        if not isinstance(filters, Mapping):
            raise _bad(f"{shown(filters)} is not an object of filters.", where, 'Give filters such as {"colour": "red"}.')
        if not filters and depth:
            raise _bad("An object of filters is empty.", where, "Leave it out or give it a condition.")
        found: list[dict[str, Any]] = []
        for name, value in filters.items():
            at = f"{where}.{name}"
            if name == "not":
                found.append(_none(_one(self.all_of(value, at, _deeper(depth, at)))))
            elif name in {"and", "or"}:
                found += self._each(value, at, _deeper(depth, at), either=name == "or")
            else:
                found.append(self.condition(str(name), value, at, depth))
        return found

    def _each(self, parts: object, where: str, depth: int, *, either: bool) -> list[dict[str, Any]]:
        if not isinstance(parts, list | tuple) or not parts:
            raise _bad(f"{shown(parts)} is not a list of filters.", where, 'Give a list such as [{"colour": "red"}].')
        read = [self.all_of(part, f"{where}.{number}", depth) for number, part in enumerate(parts)]
        if either:
            return [{"bool": {"should": [_one(part) for part in read], "minimum_should_match": 1}}]
        return [clause for part in read for clause in part]

    def condition(self, name: str, value: object, where: str, depth: int) -> dict[str, Any]:
        """The clause of one condition on a field."""
        if isinstance(value, Mapping) and set(value) == {"not"}:
            return _none(self.condition(name, value["not"], where, _deeper(depth, where)))
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            raise _bad(f"There are more than {MOST_CONDITIONS} conditions.", "filters", "Give a field a list of values.")
        if isinstance(value, Mapping) and value:
            return self._operators(name, value, where)
        kind = self._kind(name, where, _PLAIN)
        if isinstance(value, Mapping):
            raise _bad(f"The condition on {name!r} is empty.", where, _REMEDY)
        if isinstance(value, list | tuple):
            if not 1 <= len(value) <= LONGEST_LIST:
                raise _bad(f"The list of {name!r} has {len(value)} values.", where, f"Give 1 to {LONGEST_LIST}.")
            return {"terms": {name: [_value(name, one, kind, where) for one in value]}}
        return {"term": {name: _value(name, value, kind, where)}}

    def _operators(self, name: str, given: Mapping[str, object], where: str) -> dict[str, Any]:
        words = set(given)
        if words <= set(_RANGE):
            return self._range(name, given, where)
        if words == {"exists"}:
            self._kind(name, where, _ANYWHERE)
            if not isinstance(given["exists"], bool):
                raise _bad(f"exists of {name!r} is {shown(given['exists'])}.", where, "Give true or false.")
            clause: dict[str, Any] = {"exists": {"field": name}}
            return clause if given["exists"] else _none(clause)
        if words == {"prefix"}:
            kind, prefix = self._kind(name, where, _PREFIXED), given["prefix"]
            if isinstance(prefix, str) and len(prefix.encode("utf-16", "replace")) > 2 * LONGEST_PREFIX + 2:  # as Java counts
                raise _bad(f"The prefix of {name!r} has {len(prefix)} characters.", where, f"Give at most {LONGEST_PREFIX}.")
            return {"prefix": {name: _value(name, given["prefix"], kind, where)}}
        if words == set(_PLACE):
            self._kind(name, where, frozenset({"geo_point"}))
            return _place(name, given, where)
        self._kind(name, where, _ANYWHERE)
        unknown = sorted(str(word) for word in words - {*_RANGE, *_PLACE, *_ALONE})
        what = f"has {shown(', '.join(unknown))}" if unknown else f"cannot have {', '.join(sorted(words))} and no more"
        raise _bad(f"The condition on {name!r} {what}.", where, _REMEDY)

    def _range(self, name: str, given: Mapping[str, object], where: str) -> dict[str, Any]:
        kind = self._kind(name, where, _PLAIN)
        for one, other in (("gt", "gte"), ("lt", "lte")):
            if one in given and other in given:
                raise _bad(f"The range of {name!r} has both {one} and {other}.", where, "Give one of them.")
        return {"range": {name: {word: _value(name, limit, kind, where, limit=True) for word, limit in given.items()}}}

    def _kind(self, name: str, where: str, kinds: frozenset[str]) -> str:
        """The type of a field, if this condition can be on it."""
        kind = kind_of(name, self._info, Use(kinds | FILTER.kinds, FILTER.verb, FILTER.code, doc_values=False), where=where)
        if kind in kinds:
            return kind
        ways = {"geo_point": "Filter it by within, lat and lon, or by exists.", "text": "Filter it by exists."}
        raise QueryError(
            f"The field {name!r} is of type {kind} and cannot be filtered by such a condition.",
            code=FILTER.code,
            field=where,
            remedy=ways.get(kind, "Filter it by a value, a list, a range or exists."),
        )


def _value(name: str, value: object, kind: str, where: str, *, limit: bool = False) -> object:
    """A value as it is sent. Raises QueryError if it cannot be one of a field of that type."""
    wanted = misfit(value, kind, limit=limit)
    if wanted is None:
        wide = isinstance(value, int) and not -(2**63) <= value < 2**64  # JSON carries whole numbers of 64 bits
        return float(value) if wide and isinstance(value, int) else value
    raise _bad(f"{shown(value)} is not {wanted}, but the field {name!r} is of type {kind}.", where, f"Give {wanted}.")


def _place(name: str, given: Mapping[str, object], where: str) -> dict[str, Any]:
    distance = given["within"]
    match = _DISTANCE.fullmatch(distance) if isinstance(distance, str) else None
    if match is None or float(match[1]) <= 0:
        raise _bad(f"within of {name!r} is {shown(distance)}, which is no distance.", where, 'Give one such as "5km".')
    point = {}
    for word, greatest in (("lat", 90), ("lon", 180)):
        number = None if isinstance(given[word], str) else number_of(given[word])
        if number is None or abs(number) > greatest:
            raise _bad(f"{word} of {name!r} is {shown(given[word])}.", where, f"Give degrees from -{greatest} to {greatest}.")
        point[word] = number
    return {"geo_distance": {"distance": distance, name: point}}


def _deeper(depth: int, where: str) -> int:
    if depth >= DEEPEST:
        raise _bad(
            f"More than {DEEPEST} of and, or and not stand inside each other.", where[:200], "Write the filters flatter."
        )
    return depth + 1


def _one(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Clauses that must all hold, as one."""
    return found[0] if len(found) == 1 else {"bool": {"filter": found}}


def _none(clause: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"must_not": [clause]}}


def _bad(message: str, where: str, remedy: str) -> QueryError:
    return QueryError(message, code="query.bad_filter", field=where, remedy=remedy)
