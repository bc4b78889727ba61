"""JSON: one array whose elements are the records, cut apart as a stream; a file that begins otherwise is JSON lines.

Only brackets and quotes are looked at here: whether an element is JSON, its parser says, and a bad one is a dead letter. So
memory is bounded by the largest record allowed, however long the array is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from indexer.records import RawRecord, lines_of
from indexer.sources.columns import too_long
from indexer.sources.streams import unreadable

if TYPE_CHECKING:
    import io

_CHUNK: Final = 1 << 16
_AT_TOP: Final = re.compile(rb'["\[\]{},]')
_BELOW: Final = re.compile(rb'["\[\]{}]')
_IN_TEXT: Final = re.compile(rb'["\\]')


def read_json(stream: BinaryIO, shown: str, most: int) -> Iterator[RawRecord]:
    """The records of an array, numbered by their place in it, or of JSON lines. Closes the stream at its end.

    Raises InputError where the array is cut off, or something stands behind it; what came before was given.
    """
    buffered = cast("io.BufferedReader", stream)  # as `open_bytes` gives them
    head = buffered.peek(_CHUNK)
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] != b"[":
        return lines_of(stream, most)
    return _elements(buffered, shown, most)


def _elements(stream: io.BufferedReader, shown: str, most: int) -> Iterator[RawRecord]:
    with stream:
        cutter = _Cutter(most)
        while not cutter.closed:
            chunk = stream.read1(_CHUNK)
            if not chunk:
                raise unreadable(shown, f"it ends within its array, behind record {cutter.number}")
            yield from cutter.cut(chunk)
        while not cutter.behind.strip():
            cutter.behind = stream.read1(_CHUNK)
            if not cutter.behind:
                return
        raise unreadable(shown, f"something stands behind its array of {cutter.number} records")


class _Cutter:
    """Cuts the bytes of an array into its elements. `number` is that of the last one, `behind` what follows the array."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._depth = -1  # 0 within the array
        self._in_text = self._escaped = False
        self._parts: list[bytes] = []
        self._size = 0
        self.number = 0
        self.closed = False
        self.behind = b""

    def cut(self, chunk: bytes) -> Iterator[RawRecord]:
        """The elements that end in this chunk."""
        at = begin = 0
        if self._escaped:  # the chunk before ended with a backslash
            at, self._escaped = 1, False
        while found := self._next(chunk, at):
            mark, at = found.group(), found.end()
            if mark == b"\\":
                at += 1
                self._escaped = at > len(chunk)
            elif mark == b'"':
                self._in_text = not self._in_text
            elif mark in b"[{":
                self._depth += 1
                if self._depth == 0:  # the array's own
                    begin = at
            elif mark == b"," or self._depth == 0:
                self._take(chunk[begin : found.start()])
                begin = at
                yield from self._ended(last=mark != b",")
                if self.closed:
                    self.behind = chunk[at:]
                    return
            else:
                self._depth -= 1
        self._take(chunk[begin:])

    def _next(self, chunk: bytes, at: int) -> re.Match[bytes] | None:
        marks = _IN_TEXT if self._in_text else _AT_TOP if self._depth == 0 else _BELOW
        return marks.search(chunk, at)

    def _take(self, part: bytes) -> None:
        if self._depth < 0:
            return
        if not self._size:
            part = part.lstrip()
        self._size += len(part)
        if self._size <= self._most + _CHUNK:  # blanks at its end do not count
            self._parts.append(part)
        else:
            self._parts.clear()

    def _ended(self, *, last: bool) -> Iterator[RawRecord]:
        data, size = b"".join(self._parts).rstrip(), self._size
        self._parts, self._size, self.closed = [], 0, last
        if last and not size and not self.number:
            return  # an empty array
        self.number += 1
        if len(data) > self._most or size > self._most + _CHUNK:
            yield too_long(self.number, self._most)
            return
        try:
            yield {"line": self.number, "text": data.decode()}
        except UnicodeDecodeError as error:
            yield {"line": self.number, "code": "record.not_utf8", "message": f"The record is not UTF-8: {error.reason}."}
