"""JSON: an array cut apart as a stream, whatever the chunks; bad elements are dead letters, a broken array is an error."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_reading import Read, bodies, codes

from indexer.records import RawRecord
from indexer.sources.arrays import read_json
from triptych.errors import InputError

pytestmark = pytest.mark.unit

RECORDS: list[dict[str, Any]] = [
    {"id": "1", "title": 'A "quote", a \\ and ] }', "size": {"w": [1, [2]]}},
    {"id": "2", "title": "大提琴 \\\\"},
    {"id": "3"},
]


class _Slow(io.RawIOBase):
    """Gives its bytes in pieces of the sizes asked for, then one by one."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self._sizes.pop(0) if self._sizes else 1, len(buffer))
        part, self._data = self._data[:size], self._data[size:]
        buffer[: len(part)] = part
        return len(part)


def cut(data: bytes, sizes: list[int], most: int = 1000) -> Iterator[RawRecord]:
    return read_json(cast("Any", io.BufferedReader(_Slow(data, sizes), 16)), "a.json", most)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf", b" \n\t"])
@pytest.mark.parametrize("packer", [lambda data: data, gzip.compress])
def test_an_array_is_its_elements(read: Read, indent: int | None, head: bytes, packer: Any) -> None:
    data = head + json.dumps(RECORDS, indent=indent, ensure_ascii=False).encode() + b"\n "
    found = read(packer(data), "a.json")
    assert bodies(found) == RECORDS
    assert [raw["line"] for raw in found] == [1, 2, 3]


_LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@given(st.lists(_VALUES, max_size=6), st.lists(st.integers(1, 40), max_size=20), st.booleans(), st.sampled_from([None, 2]))
def test_any_array_in_any_pieces(values: list[Any], sizes: list[int], ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = list(cut(data, [max(sizes, default=1), *sizes], most=100_000))
    assert [json.loads(raw["text"]) for raw in found if "text" in raw] == [
        v for v, raw in zip(values, found, strict=True) if "text" in raw
    ]
    assert all(raw.get("code") in (None, "record.not_utf8") for raw in found)


def test_lines_are_read_as_lines_and_renamed_like_others(read: Read) -> None:
    lines = b"\n" + b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
    assert [raw["line"] for raw in read(lines, "a.json")] == [2, 3, 4]
    found = read(json.dumps([{"sku": "7", "title": "Hat"}, 5]).encode(), "a.json", columns="sku=id,title=title.en")
    assert json.loads(found[0]["text"]) == {"id": "7", "title": {"en": "Hat"}}
    assert found[1]["text"] == "5", "the parser says what is wrong with it"


@pytest.mark.parametrize("data", [b"[]", b" [ \n ] \n"])
def test_an_empty_array_has_no_record(read: Read, data: bytes) -> None:
    assert read(data, "a.json") == []


def test_a_bad_element_does_not_stop_the_others(read: Read) -> None:
    long = b'{"id": "' + b"x" * 300_000 + b'"}'
    data = b'[{"id": "1"}, {"id": nonsense}, , {"id": "\xff"}, ' + long + b', {"id": "6", "a": [1}}, {"id": "7"}]'
    found = read(data, "a.json", most=200)
    assert codes(found) == [
        (1, ""), (2, ""), (3, ""), (4, "record.not_utf8"), (5, "record.too_long"), (6, ""), (7, ""),
    ]  # fmt: skip
    assert [found[n]["text"] for n in (1, 2, 5)] == ['{"id": nonsense}', "", '{"id": "6", "a": [1}}']
    assert json.loads(found[6]["text"]) == {"id": "7"}


def test_the_bound_of_a_record_is_exact(read: Read) -> None:
    element = b'{"id": "12345"}'
    for most, code in ((len(element), ""), (len(element) - 1, "record.too_long")):
        assert codes(read(b"[   " + element + b"   ,   " + element + b"   ]", "a.json", most=most)) == [(1, code), (2, code)]


@pytest.mark.parametrize(
    ("data", "number"),
    [(b'[{"id": "1"}, {"id": "2"', 1), (b'[{"id": "1"}', 0), (b"[", 0), (b'[{"id": "1"}] x', 1), (b"[1][2]", 1)],
)
def test_a_broken_array_is_an_error_behind_what_could_be_read(data: bytes, number: int) -> None:
    found = []
    with pytest.raises(InputError) as caught:  # noqa: PT012  what came before counts
        for raw in cut(data, [4, 3, 2]):
            found.append(raw)  # noqa: PERF402
    assert caught.value.code == "catalogue.unreadable"
    assert len(found) == number
    assert f" {number} " in f"{caught.value} ".replace(".", " ")


def test_memory_does_not_grow_with_the_array(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    record = json.dumps({"id": "x", "title": "y" * 1000}).encode()
    path.write_bytes(b"[" + b",".join([record] * 5_000) + b"]")
    with path.open("rb") as stream:
        tracemalloc.start()
        number = sum(1 for _ in read_json(stream, "a.json", 10_000))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert number == 5_000
    assert most < 2_000_000
