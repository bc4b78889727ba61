"""A catalogue is closed as soon as nobody reads it, whatever it is and however far it was read."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from opened import files_of_catalogues, left_open
from pyarrow import parquet

from indexer import records
from indexer.fit import inputs_of
from indexer.sources import stamps, streams
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.domain import Modality
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

ROWS = [{"id": str(number), "title": f"Thing {number}"} for number in range(9)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV = b"id,title\n" + b"".join(f"{row['id']},{row['title']}\n".encode() for row in ROWS)


def table() -> bytes:
    file = BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


FORMS: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "lines": ("a.jsonl", LINES, {}),
    "renamed lines": ("a.jsonl", LINES, {"columns": "title=name"}),
    "array": ("a.json", json.dumps(ROWS).encode(), {}),
    "lines as an array": ("a.json", LINES, {}),
    "rows": ("a.csv", CSV, {}),
    "table": ("a.parquet", table(), {}),
    "gzip": ("a.jsonl.gz", gzip.compress(LINES), {}),
    "xz": ("a.csv.xz", lzma.compress(CSV), {}),
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BinaryIO]]:
    with files_of_catalogues(monkeypatch) as found:
        yield found


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("form", FORMS)
def test_whoever_stops_reading_closes_it(
    tmp_path: Path, settings: Settings, opened: list[BinaryIO], form: str, taken: int, after: int
) -> None:
    name, data, options = FORMS[form]
    path = tmp_path / name
    path.write_bytes(data)
    lines = open_source(SourceSpec(str(path), **options), Services(settings)).records(after=after)
    assert [raw["line"] > after for raw in islice(lines, taken)] == [True] * taken
    assert left_open(opened) == [str(path)]
    lines.close()
    assert left_open(opened) == []


@pytest.mark.parametrize("form", FORMS)
def test_one_that_was_read_is_closed(tmp_path: Path, settings: Settings, opened: list[BinaryIO], form: str) -> None:
    name, data, options = FORMS[form]
    path = tmp_path / name
    path.write_bytes(data)
    lines = open_source(SourceSpec(str(path), **options), Services(settings)).records()
    assert len(list(lines)) == len(ROWS)
    assert (len(opened), left_open(opened)) == (1, [])


BROKEN: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "cut off": ("a.jsonl.gz", gzip.compress(LINES)[:-12], {}),
    "half an array": ("a.json", json.dumps(ROWS).encode()[:-9], {}),
    "no such encoding": ("a.csv", CSV, {"encoding": "none"}),
    "no header": ("a.csv", b"\xff" + CSV, {}),
    "no table": ("a.parquet", table()[:-9], {}),
}


@pytest.mark.parametrize("form", BROKEN)
def test_one_that_cannot_be_read_is_closed(tmp_path: Path, settings: Settings, opened: list[BinaryIO], form: str) -> None:
    name, data, options = BROKEN[form]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError):
        list(open_source(SourceSpec(str(path), **options), Services(settings)).records())
    assert (len(opened), left_open(opened)) == (1, [])


def test_one_that_breaks_as_it_is_opened_is_closed(
    tmp_path: Path, settings: Settings, opened: list[BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)

    def ended(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(streams, "_decompressed", ended)
        with pytest.raises(KeyboardInterrupt):
            open_source(SourceSpec(str(path)), Services(settings)).records()
    assert (len(opened), left_open(opened)) == (1, [])
    seen = stamps.of_file

    def gone(stream: BinaryIO) -> stamps.Stamp:
        seen(stream)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stamps, "of_file", gone)
    with pytest.raises(InputError, match="Input/output"):
        open_source(SourceSpec(str(path)), Services(settings)).records()
    assert (len(opened), left_open(opened)) == (2, [])


@pytest.mark.parametrize("taken", [0, 1])
def test_json_lines_that_are_read_without_a_source(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    held: list[BinaryIO] = []
    lines_of = records.lines_of
    monkeypatch.setattr(records, "lines_of", lambda file, most: (held.append(file), lines_of(file, most))[1])
    lines = records.read(path, settings)
    assert len([next(lines) for _ in range(taken)]) == taken
    assert left_open(held) == [str(path)]
    lines.close()
    assert left_open(held) == []


def test_an_encoder_that_stops_learning_leaves_it_closed(tmp_path: Path, settings: Settings, opened: list[BinaryIO]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    services = Services(settings)
    inputs = inputs_of(services, open_source(SourceSpec(str(path)), services), Modality.TEXT)
    assert next(inputs) == "Thing 0"
    inputs.close()
    assert (len(opened), left_open(opened)) == (1, [])
