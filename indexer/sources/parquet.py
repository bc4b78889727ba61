"""Parquet: columns as those of CSV, but with types. Read by batches of rows, so memory does not grow with the file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO, Final, NamedTuple

from indexer.records import RawRecord
from indexer.sources.columns import Columns, Field, raw
from indexer.sources.spec import SourceSpec
from indexer.sources.streams import needs, reason_of, unreadable
from triptych.errors import InputError

_BATCH_BYTES: Final = 8_000_000
_MOST_ROWS: Final = 1024
_BUFFER_BYTES: Final = 1 << 20
_LARGEST: Final = 2**63


def read_parquet(stream: BinaryIO, spec: SourceSpec, columns: Columns, most: int) -> Iterator[RawRecord]:
    """The records of a Parquet file, numbered by row. Raises InputError for a file or a column that cannot be read.

    Dates and times become ISO 8601, decimals numbers; columns of bytes and durations are refused unless left out.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise needs("parquet", "pyarrow", "Catalogues in Parquet") from error
    try:
        # one column chunk's pages at a time; pyarrow's default is to load all of a row group ahead
        file = parquet.ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        schema = file.schema_arrow
    except Exception as error:  # noqa: BLE001  pyarrow's own, and those of whatever store the stream is of
        raise unreadable(spec.shown, f"it is no Parquet file ({_why(error, spec)})") from None  # no address with its secrets
    fields = columns.check(schema.names, spec.shown)
    kept = [_Kept(f.name, _plain_type(pa, f.name, f.type), to) for f, to in zip(schema, fields, strict=True) if to is not None]
    average = sum(file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups)) // max(
        file.metadata.num_rows, 1
    )
    rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // max(average, 1)))
    batches = file.iter_batches(batch_size=rows, columns=sorted({one.name for one in kept}))
    return _records(batches, kept, columns, spec, most)


class _Kept(NamedTuple):
    """A column that is read: its name, which another may have too, the type it is read as, and where it goes."""

    name: str
    type: Any
    field: Field


def _records(batches: Any, kept: list[_Kept], columns: Columns, spec: SourceSpec, most: int) -> Iterator[RawRecord]:
    line = 0
    try:
        for batch in batches:
            found: dict[str, list[Any]] = {}
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                found.setdefault(name, []).append(column)
            cast = [_as(one.type, found[one.name].pop(0)).to_pylist() for one in kept]
            for values in zip(*cast, strict=True):
                line += 1
                pairs = ((one.field, _plain(value)) for one, value in zip(kept, values, strict=True))
                yield raw(line, columns.record(pairs), most)
    except Exception as error:  # noqa: BLE001  as above
        raise unreadable(spec.shown, f"it is damaged behind row {line} ({_why(error, spec)})") from None


def _as(wanted: Any, column: Any) -> Any:
    """A column as the type it is read as. One that is of it stays: pyarrow 26 spoils a field of nothing but null in a cast."""
    return column if column.type.equals(wanted) else column.cast(wanted, safe=False)


def _plain_type(pa: Any, name: str, given: Any) -> Any:  # noqa: PLR0911  a table of types
    """The type that a column is read as: nanoseconds as microseconds, dictionaries as their values. Raises InputError."""
    t = pa.types
    if t.is_dictionary(given):
        return _plain_type(pa, name, given.value_type)
    if t.is_timestamp(given):
        return pa.timestamp("us", given.tz)
    if t.is_time(given):
        return pa.time64("us")
    if t.is_struct(given):
        return pa.struct([(given.field(i).name, _plain_type(pa, name, given.field(i).type)) for i in range(given.num_fields)])
    if t.is_map(given) and (t.is_string(given.key_type) or t.is_large_string(given.key_type)):
        return pa.map_(given.key_type, _plain_type(pa, name, given.item_type))
    if t.is_list(given) or t.is_large_list(given) or t.is_fixed_size_list(given):
        return pa.list_(_plain_type(pa, name, given.value_type))
    readable = (
        t.is_null, t.is_boolean, t.is_integer, t.is_floating, t.is_decimal, t.is_string, t.is_large_string, t.is_date,
    )  # fmt: skip
    if t.is_string_view(given):
        return pa.string()
    if any(is_it(given) for is_it in readable):
        return given
    raise InputError(
        f"The column {name!r} has the type {given}, which no record can hold.",
        code="catalogue.bad_column",
        field=name,
        remedy=f"Leave it out: --columns '{name}='. Pictures and sounds are given as paths of files.",
    )


def _plain(value: Any) -> Any:
    """A value of pyarrow as JSON has it; a null inside a struct or a map is no field, as an empty cell is none."""
    match value:
        case Decimal():
            whole = value == value.to_integral_value() and value.as_tuple().exponent == 0
            return int(value) if whole and abs(value) < _LARGEST else float(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dict():
            return {name: _plain(inner) for name, inner in value.items() if inner is not None}
        case [(str(), _), *_] if all(isinstance(pair, tuple) for pair in value):  # a map
            return {name: _plain(inner) for name, inner in value if inner is not None}
        case list():
            return [_plain(inner) for inner in value]
    return value


def _why(error: Exception, spec: SourceSpec) -> str:
    return reason_of(error) if spec.remote or not str(error) else str(error).splitlines()[0]
