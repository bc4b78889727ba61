"""From columns to a record: `title.en` becomes {"title": {"en": ...}}, `image_path` becomes images, options rename. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from indexer.records import TEXT_FIELDS, UNKNOWN_LANGUAGE, RawRecord
from triptych.errors import InputError, RecordError
from triptych.schema import FIELD

ALIASES: Final[Mapping[str, str]] = {
    **{name: name for name in ("id", "title", "description", "category", "images", "audio")},
    **dict.fromkeys(("image", "image_path", "image_paths", "image_url", "image_urls"), "images"),
    **dict.fromkeys(("audio_path", "audio_paths", "audio_url", "audio_urls"), "audio"),
}
"""Names of columns, in lower case, that mean one of our fields."""

LISTS: Final = frozenset({"images", "audio", "category"})
TEXTS: Final = frozenset({"id", "title", "description", *LISTS})
SEPARATOR: Final = "|"

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<broken>\.[0-9]+)?(?P<power>[eE][+-]?[0-9]+)?")
"""RFC 8259, section 6: no leading zeros, so codes that have them stay text."""

_LARGEST: Final = 2**63 - 1
_SHOWN: Final = 8000
_TEXT_MARK: Final = ":text"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a column's value goes: a path into the record. `text`: it is never taken for a number."""

    path: tuple[str, ...]
    text: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def is_list(self) -> bool:
        return len(self.path) == 1 and self.path[0] in LISTS


class Columns:
    """What becomes of each column. `given`: column -> field, "" to leave it out, `field:text` to keep numbers as text.

    A column that is not named in `given` goes by `aliases`, in any case of letters, else by its own name; without any, the
    fields of a document that are not named stay as they are (JSON lines).
    """

    def __init__(self, given: Mapping[str, str], *, separator: str | None = None, aliases: Mapping[str, str] = ALIASES) -> None:
        self._given = dict(given)
        self._separator = separator or SEPARATOR
        self._aliases = aliases
        self._known: dict[str, Field | None] = {}

    def field_of(self, column: str) -> Field | None:
        """Where a column goes; None: nowhere."""
        if column not in self._known:
            self._known[column] = self._field(column)
        return self._known[column]

    def goes_to_id(self, column: str) -> bool:
        """Whether a column is the product's id."""
        field = self.field_of(column)
        return field is not None and field.path == ("id",)

    def _field(self, column: str) -> Field | None:
        name = column.strip()
        target = self._given.get(name, self._aliases.get(name.lower(), name))
        text = target.endswith(_TEXT_MARK)
        target = target.removesuffix(_TEXT_MARK)
        if not target:
            return None
        path = tuple(target.split("."))
        path = path if all(path) else (target,)
        return Field(path, text or path[0] in TEXTS)

    def check(self, header: Sequence[str], where: str) -> list[Field | None]:
        """Where each column of a table goes. Raises InputError for a header that makes no records."""
        names = [name.strip() for name in header]
        missing = sorted(set(self._given) - set(names))
        if missing:
            raise _bad_header(f"{where} has no column {', '.join(map(repr, missing))}.", f"It has {_listed(names)}.")
        fields = [self.field_of(name) for name in names]
        used = [field for field in fields if field is not None]
        if not any(field.path == ("id",) for field in used):
            raise _bad_header(
                f"{where} has no column 'id'.", f"Say which it is, as --columns 'sku=id'. The columns: {_listed(names)}."
            )
        own = [field.name for field in used if field.path[0] == FIELD]
        if own:
            raise _bad_header(f"{where}: {own[0]}: this field is Triptych's own.", "Rename it by --columns.")
        paths = {field.path for field in used}
        for at, field in enumerate(used):
            if not field.is_list and field.path in {other.path for other in used[:at]}:
                raise _bad_header(f"{where} has two columns for {field.name!r}.", "Rename or leave out one by --columns.")
            above = [field.path[:n] for n in range(1, len(field.path))]
            if any(path in paths and path not in {(name,) for name in TEXT_FIELDS} for path in above):
                raise _bad_header(f"{where} has {field.name!r} and a column above it.", "Rename or leave out one by --columns.")
        return fields

    def record(self, values: Iterable[tuple[Field | None, Any]]) -> dict[str, Any]:
        """The record of a row. What is None is left out, in our lists too; texts in lists are cut at the separator."""
        record: dict[str, Any] = {}
        for field, value in values:
            if field is None or value is None:
                continue
            if field.is_list:
                some = [one for one in self._listed(value) if one is not None and one != {}]
                if some:
                    record[field.name] = [*record.get(field.name, ()), *some]
            else:
                _put(record, field, _plain(value, field))
        return record

    def of_document(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The record of a JSON object by its outermost fields; null stays. Raises RecordError where two are one, and differ."""
        record: dict[str, Any] = {}
        came: dict[tuple[str, ...], str] = {}
        for name, value in data.items():
            touched = bool(self._aliases) or name.strip() in self._given
            field = self.field_of(name) if touched else Field((name,), text=False)
            if field is None:
                continue
            top = field.path[0]
            new = self._nested(value, field) if touched else value
            try:
                record[top] = _joined(record[top], new, field) if top in record else new
            except ValueError:
                other = next(n for path, n in came.items() if _within(path, field.path))
                message = f"The fields {other!r} and {name!r} are both {field.name!r}. Rename or leave out one by --columns."
                raise RecordError(message, code="record.bad_row", field=field.name) from None
            came[field.path] = name
        return record

    def _nested(self, value: object, field: Field) -> object:
        """A document's field as it lies under the first part of its path."""
        if field.is_list and value is not None and (self._aliases or field.path[0] != "category"):
            return self._listed(value)
        value = _plain(value, field)
        for part in reversed(field.path[1:]):
            value = {part: value}
        return value

    def _listed(self, value: object) -> list[object]:
        if isinstance(value, str) and self._aliases:
            return [part for cut in value.split(self._separator) if (part := cut.strip())]
        return value if isinstance(value, list) else [value]


def _put(record: dict[str, Any], field: Field, value: object) -> None:
    node = record
    for depth, part in enumerate(field.path[:-1]):
        below = node.get(part)
        if not isinstance(below, dict):
            # a plain title beside title.en is the one whose language is not said
            below = {UNKNOWN_LANGUAGE: below} if depth == 0 and isinstance(below, str) and part in TEXT_FIELDS else {}
            node[part] = below
        node = below
    last = field.path[-1]
    if len(field.path) == 1 and last in TEXT_FIELDS and isinstance(node.get(last), dict) and isinstance(value, str):
        node[last][UNKNOWN_LANGUAGE] = value
    elif isinstance(node.get(last), dict) and isinstance(value, dict):
        node[last] = {**node[last], **value}
    else:
        node[last] = value


def _within(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one of two paths is the other or goes into it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _joined(old: object, new: object, field: Field) -> object:
    """Two values of one field as one: lists behind each other, objects merged. Raises ValueError where they differ."""
    if field.is_list:
        return [one for some in (old, new) for one in (some if isinstance(some, list) else [some]) if one is not None]
    if field.path[0] in TEXT_FIELDS:
        old, new = _per_language(old), _per_language(new)
    return _merged(old, new)


def _per_language(value: object) -> object:
    return {} if value is None else {UNKNOWN_LANGUAGE: value} if isinstance(value, str) else value


def _merged(old: object, new: object) -> object:
    if isinstance(old, dict) and isinstance(new, dict):
        both = {name: _merged(old[name], value) if name in old else value for name, value in new.items()}
        return {**old, **both}
    if orjson.dumps(old) != orjson.dumps(new):
        raise ValueError
    return old


def _plain(value: object, field: Field) -> object:
    """A number where a text is wanted becomes one: ids of Parquet are numbers more often than not."""
    return str(value) if field.text and isinstance(value, int | float) and not isinstance(value, bool) else value


def cell(text: str, field: Field | None) -> object:
    """What a cell of a text table says: nothing (None) where it is empty, a number where all of it is one, else the text."""
    if not text:
        return None
    if field is None or field.text:
        return text
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    if found["broken"] is None and found["power"] is None:
        whole = int(text) if len(text) < len(str(_LARGEST)) + 2 else _LARGEST + 1
        return whole if abs(whole) <= _LARGEST else text
    broken = float(text)
    return broken if abs(broken) != float("inf") else text


def of_document(line: int, data: Mapping[str, Any], columns: Columns, most: int, *, key: str | None = None) -> RawRecord:
    """`Columns.of_document` as JSON text, with `key` for its id, or the dead letter that two fields of it are one."""
    try:
        if key is None:
            return raw(line, columns.of_document(data), most)
        others = {name: value for name, value in data.items() if not columns.goes_to_id(name)}
        return raw(line, {**columns.of_document(others), "id": key}, most)
    except RecordError as error:
        shown = orjson.dumps([data]).decode()[:_SHOWN]  # no object: which id it has is not known
        return {"line": line, "code": error.code, "message": error.message, "text": shown}


def raw(line: int, record: Mapping[str, Any], most: int) -> RawRecord:
    """A record as JSON text, as everything downstream takes it; `most`: TRIPTYCH_RECORD_BYTES."""
    try:
        data = orjson.dumps(record)
    except (orjson.JSONEncodeError, RecursionError) as error:
        return {"line": line, "code": "record.bad_row", "message": f"The record cannot be written as JSON: {error}."}
    if len(data) > most:
        return too_long(line, most)
    return {"line": line, "text": data.decode()}


def too_long(line: int, most: int) -> RawRecord:
    """A record larger than is allowed, without its text."""
    message = f"The record has more than the {most} bytes allowed (TRIPTYCH_RECORD_BYTES)."
    return {"line": line, "code": "record.too_long", "message": message}


def _bad_header(message: str, remedy: str) -> InputError:
    return InputError(message, code="catalogue.bad_header", field="catalogue", remedy=remedy)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name for name in names if name)
    return shown if len(shown) <= 500 else f"{shown[:500]} ..."  # noqa: PLR2004  a line a person reads
