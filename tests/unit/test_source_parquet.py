"""Parquet: columns with types, read by batches; what no record can hold is refused with a way out."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from source_reading import Read, bodies

from indexer.records import parse
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.domain import Product
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def packed(columns: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def test_columns_are_those_of_csv_with_types(read: Read) -> None:
    data = packed(
        {
            "id": pa.array([1, 2]),
            "title.en": ["Hat", None],
            "image_path": ["a.jpg|b.jpg", None],
            "category": [["a", "b"], None],
            "price": pa.array([Decimal("2.50"), Decimal("3.00")], pa.decimal128(9, 2)),
            "stock": pa.array([Decimal(3), None], pa.decimal128(9, 0)),
            "on": [dt.date(2026, 1, 2), None],
            "at": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=dt.UTC), None], pa.timestamp("ns", "UTC")),
            "time": [dt.time(3, 4), None],
            "size": [{"width": 3, "seen": dt.date(2026, 1, 2)}, None],
            "tags": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([[0.5, 1.0], None], pa.list_(pa.float32(), 2)),
            "colour": pa.array(["red", "red"]).dictionary_encode(),
            "code": ["007", "8"],
            "good": [True, None],
        }
    )
    assert bodies(read(data, "a.parquet")) == [
        {
            "id": "1", "title": {"en": "Hat"}, "images": ["a.jpg", "b.jpg"], "category": ["a", "b"], "price": 2.5, "stock": 3,
            "on": "2026-01-02", "at": "2026-01-02T03:04:05.000600+00:00", "time": "03:04:00",
            "size": {"width": 3, "seen": "2026-01-02"}, "tags": {"a": 1}, "vector": [0.5, 1.0], "colour": "red", "code": "007",
            "good": True,
        },
        {"id": "2", "price": 3.0, "colour": "red", "code": "8"},
    ]  # fmt: skip


def test_a_null_inside_a_struct_or_one_of_our_lists_is_nothing(read: Read) -> None:
    front = {"path": "b.png", "role": None}
    data = packed(
        {
            "id": ["1", "2"],
            "title": [{"en": "Hat", "de": None}, {"en": None, "de": None}],
            "description": pa.array([[("en", "Soft"), ("de", None)], None], pa.map_(pa.string(), pa.string())),
            "images": [["a.png", None], [None]],
            "image": [[front, None], [{"path": None, "role": None}]],
            "category": [[None, "a"], []],
            "size": [{"w": {"cm": None, "in": 2}}, {"w": None}],
            "ratings": [[1, None], None],
        }
    )
    found = read(data, "a.parquet")
    images = ["a.png", {"path": "b.png"}]
    assert bodies(found) == [
        {
            "id": "1", "title": {"en": "Hat"}, "description": {"en": "Soft"}, "images": images, "category": ["a"],
            "size": {"w": {"in": 2}}, "ratings": [1, None],
        },
        {"id": "2", "title": {}, "size": {}},
    ]  # fmt: skip
    assert all(isinstance(parse(raw), Product) for raw in found)


def test_columns_of_one_name_are_what_they_are_in_csv(read: Read) -> None:
    ids, pictures, more = pa.array(["1", "2"]), pa.array(["a.png", None]), pa.array([["b.png"], ["c.png"]])
    out = io.BytesIO()
    table = pa.Table.from_arrays([pictures, ids, more, pa.array([1, 2])], names=["images", "id", "images", "price"])
    parquet.write_table(table, out)
    images = [["a.png", "b.png"], ["c.png"]]
    assert [body["images"] for body in bodies(read(out.getvalue(), "a.parquet"))] == images
    assert bodies(read(out.getvalue(), "a.parquet", columns="images=,price="))[0] == {"id": "1"}
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays([ids, more, more], names=["id", "size", "size"]), out)
    with pytest.raises(InputError, match="two columns for 'size'") as caught:
        read(out.getvalue(), "a.parquet")
    assert caught.value.code == "catalogue.bad_header"


def test_rows_are_numbered_over_groups_and_numbers_that_are_none_are_null(read: Read) -> None:
    data = packed({"id": [str(n) for n in range(2500)], "weight": [float("nan")] * 2500}, row_group_size=700)
    found = read(data, "a.parquet")
    assert [raw["line"] for raw in found] == list(range(1, 2501))
    assert bodies(found[:1]) == [{"id": "0", "weight": None}]


@pytest.mark.parametrize(
    ("column", "named"),
    [
        (pa.array([b"x"]), "photo"),
        (pa.array([dt.timedelta(seconds=1)]), "photo"),
        (pa.array([{"bytes": b"x", "path": "a.jpg"}]), "photo"),
        (pa.array([[b"x"]]), "photo"),
    ],
)
def test_a_column_that_no_record_can_hold_is_refused_and_can_be_left_out(read: Read, column: Any, named: str) -> None:
    data = packed({"id": ["1"], "photo": column})
    with pytest.raises(InputError, match=named) as caught:
        read(data, "a.parquet")
    assert caught.value.code == "catalogue.bad_column"
    assert "--columns 'photo='" in str(caught.value)
    assert bodies(read(data, "a.parquet", columns="photo=")) == [{"id": "1"}]


@pytest.mark.parametrize("data", [b"", b"id,title\n1,a\n", packed({"id": ["1"]})[:-20]])
def test_what_is_no_parquet_is_an_error_at_once(tmp_path: Path, settings: Settings, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        open_source(SourceSpec(str(path)), Services(settings)).records()
    assert caught.value.code == "catalogue.unreadable"


def test_damage_in_the_middle_ends_the_reading_with_its_row(read: Read) -> None:
    data = bytearray(packed({"id": [f"{n:06}" for n in range(5000)]}, row_group_size=2500, use_dictionary=False))
    data[len(data) // 2 : len(data) // 2 + 4000] = b"\xff" * 4000
    with pytest.raises(InputError, match="behind row") as caught:
        read(bytes(data), "a.parquet")
    assert caught.value.code == "catalogue.unreadable"


def test_parquet_does_not_come_from_stdin(settings: Settings) -> None:
    with pytest.raises(InputError, match="not read from stdin"):
        open_source(SourceSpec("-", format="parquet"), Services(settings))


def test_without_pyarrow_the_remedy_is_said(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="triptych\\[parquet\\]") as caught:
        read(packed({"id": ["1"]}), "a.parquet")
    assert caught.value.code == "catalogue.needs_package"
