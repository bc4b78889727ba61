"""CSV and TSV: a header, then a row for each record. A row that makes no record is one in the dead letters; reading goes on.

Rows are numbered by the line they begin on. Quoting is RFC 4180's, taken strictly: what stands behind a closing quote is a
fault of that row, not silently a part of the cell. A stray quote makes one row of many lines: where that row is none, only its
first line is a dead letter, and the lines behind it are read again, as rows of their own.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, Protocol

import orjson

from indexer.records import RawRecord
from indexer.sources.columns import Columns, Field, cell, raw, too_long
from indexer.sources.spec import SourceSpec, bad_option
from indexer.sources.streams import unreadable
from triptych.errors import InputError

_SHOWN: Final = 2000
_UNDECODED: Final = re.compile("[\udc80-\udcff]")
"""How bytes that are not of the encoding come out of `surrogateescape`."""

_NO_QUOTE: Final = "none"


_OPEN: Final = "A quote opened on this line is not closed on it"
_UNCLOSED: Final = "a quote is not closed"
_NO_ROW: Final = ("record.bad_row", "record.too_long")

_AGAIN: Final = 8
"""Characters that may be read again for each that is read: what bounds the work on a table made of stray quotes."""


class _TooLongError(Exception):
    """A row grew beyond what a record may have."""


class _SpentError(Exception):
    """A row goes on behind its line, and too much was read again for such rows already."""


class _Reader(Protocol):
    def __next__(self) -> list[str]: ...


class _Lines:
    """Lines for csv.reader, which would read a row of any length: counted, and no row may exceed `most` characters.

    The lines of the row under way are kept, so that all but its first can be read again.
    """

    __slots__ = ("_again", "_filled", "_longest", "_readline", "_spare", "number", "row")

    def __init__(self, text: io.TextIOWrapper, most: int) -> None:
        self._readline = text.readline
        self._longest = most + 2  # the line break does not count
        self._filled = 0
        self._again: deque[str] = deque()
        self._spare = _AGAIN * most
        self.row: list[str] = []
        self.number = 0

    def begin(self) -> int:
        """A row begins: the number of its first line."""
        self._spare += _AGAIN * self._filled
        self._filled = 0
        self.row.clear()
        return self.number + 1

    def give_back(self) -> str:
        """The first line of the row under way; those behind it come again, under their numbers."""
        first, *others = self.row
        self._again.extendleft(reversed(others))
        self._spare -= (_AGAIN + 1) * sum(map(len, others))  # they count as read when they come again
        self.number -= len(others)
        return first

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._filled and self._spare < 0:
            raise _SpentError
        line = self._again.popleft() if self._again else self._readline(self._longest + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.row.append(line)
        self._filled += len(line)
        if self._filled > self._longest:
            if len(self.row) == 1:  # of a line behind the first the rest is left until it comes again
                self._skip(line)
            raise _TooLongError
        return line

    def _skip(self, line: str) -> None:
        """Pass over the rest of a line of which this is the beginning."""
        while line and not line.endswith(("\n", "\r")):
            line = self._readline(self._longest)
        if line.endswith("\r"):  # its line feed may stand behind what was read
            behind = self._again.popleft() if self._again else self._readline(self._longest + 1)
            if behind != "\n":
                self._again.appendleft(behind)


def read_rows(stream: BinaryIO, spec: SourceSpec, columns: Columns, most: int) -> Iterator[RawRecord]:
    """The records of a table. Reads the header at once; raises InputError for an encoding or a header that cannot be."""
    text = _decoded(stream, spec)
    lines = _Lines(text, most)
    reader = _reader(lines, spec, most)
    header: list[str] = []
    try:
        while not header:  # empty lines above the header
            lines.begin()
            header = next(reader)
    except StopIteration:
        return iter(())
    except (csv.Error, _TooLongError) as error:
        raise InputError(
            f"The first line of {spec.shown} is no header: {'it is too long' if isinstance(error, _TooLongError) else error}.",
            code="catalogue.bad_header",
            field="catalogue",
        ) from error
    except UnicodeError as error:  # of an encoding whose bytes cannot be kept as they are, such as UTF-16
        raise unreadable(spec.shown, f"it is not {_encoding(spec)} ({error})") from error
    if any("\0" in name or _UNDECODED.search(name) for name in header):
        raise InputError(
            f"The header of {spec.shown} is not {_encoding(spec)}.",
            code="catalogue.bad_header",
            field="catalogue",
            remedy="Say its encoding, as --encoding utf-16 or --encoding latin-1.",
        )
    found = _records(reader, lines, columns.check(header, "The header"), columns, _encoding(spec), most)
    return _while_decoded(found, spec)


def _while_decoded(found: Iterator[RawRecord], spec: SourceSpec) -> Iterator[RawRecord]:
    try:
        yield from found
    except UnicodeError as error:
        raise unreadable(spec.shown, f"from here on it is not {_encoding(spec)} ({error})") from error


def _encoding(spec: SourceSpec) -> str:
    return spec.encoding or "utf-8"


def _decoded(stream: BinaryIO, spec: SourceSpec) -> io.TextIOWrapper:
    encoding = _encoding(spec)
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    try:
        return io.TextIOWrapper(stream, encoding="utf-8-sig" if plain else encoding, errors="surrogateescape", newline="")
    except LookupError as error:
        raise bad_option("encoding", f"There is no encoding {encoding!r}.") from error


def _reader(lines: _Lines, spec: SourceSpec, most: int) -> _Reader:
    delimiter = spec.delimiter if spec.delimiter is not None else "\t" if spec.format == "tsv" else ","
    delimiter = "\t" if delimiter == "\\t" else delimiter  # as shells pass it
    if csv.field_size_limit() < most:  # it is the process's; rows are bounded by `_Lines` already
        csv.field_size_limit(most)
    try:
        if spec.quote == _NO_QUOTE:
            return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(lines, delimiter=delimiter, quotechar='"' if spec.quote is None else spec.quote, strict=True)
    except (TypeError, ValueError) as error:
        message = f'"delimiter" and "quote" are one character each, and not the same ({error}).'
        raise bad_option("delimiter", message) from error


def _records(
    reader: _Reader, lines: _Lines, fields: Sequence[Field | None], columns: Columns, encoding: str, most: int
) -> Iterator[RawRecord]:
    while True:
        line = lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLongError:
            found = too_long(line, most)
        except _SpentError:
            found = _bad(line, f"{_OPEN}, as too often above: such a row is not looked for any more.")
        except csv.Error as error:
            found = _bad(line, f"The row cannot be read: {_UNCLOSED if 'end of data' in str(error) else error}.")
        else:
            if not cells:
                continue
            found = _record(line, cells, fields, columns, encoding, most)
        yield _first_alone(found, lines) if len(lines.row) > 1 and found.get("code") in _NO_ROW else found


def _first_alone(found: RawRecord, lines: _Lines) -> RawRecord:
    """The dead letter of a row of several lines that is none: that of its first line, and the others come again."""
    shown = orjson.dumps([_legible(lines.give_back().rstrip("\r\n"))[:_SHOWN]]).decode()
    return {**found, "message": f"{found['message']} {_OPEN}; the lines behind it are read as rows.", "text": shown}


def _legible(text: str) -> str:
    return _UNDECODED.sub("\ufffd", text)


def _bad(line: int, message: str) -> RawRecord:
    return {"line": line, "code": "record.bad_row", "message": message}


def _record(
    line: int, cells: Sequence[str], fields: Sequence[Field | None], columns: Columns, encoding: str, most: int
) -> RawRecord:
    if len(cells) != len(fields):
        message = f"The row has {len(cells)} cells, the header {len(fields)}."
        return {**_bad(line, message), "text": orjson.dumps([*map(_legible, cells)]).decode()[:_SHOWN]}
    if any(map(_UNDECODED.search, cells)):
        return {"line": line, "code": "record.not_utf8", "message": f"The row is not {encoding}."}
    values = ((field, cell(text, field)) for field, text in zip(fields, cells, strict=True))
    return raw(line, columns.record(values), most)
