"""From a spec to a source: records in a fixed order under fixed numbers, whatever the catalogue is.

    spec -> bytes (file, stdin, URL, upload; decompressed) -> lines | array | rows | Parquet \\
         -> folder of media                                                                   > records as JSON text
         -> Elasticsearch (point in time, slices side by side)                               /
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from indexer import records
from indexer.records import RawRecord
from indexer.sources import stamps
from indexer.sources.arrays import read_json
from indexer.sources.columns import Columns, of_document
from indexer.sources.delimited import read_rows
from indexer.sources.folder import folders_of, read_folder
from indexer.sources.parquet import read_parquet
from indexer.sources.spec import STDIN, SourceSpec, bad_option, query_of, renames
from indexer.sources.streams import Progress, open_bytes, open_file, unreadable
from triptych.catalogues import SLICES
from triptych.closing import closed_on_error, until_closed
from triptych.elastic.attached import fields_of_ours
from triptych.elastic.scan import scan
from triptych.errors import ElasticsearchError
from triptych.services import Services


@dataclass(frozen=True, slots=True)
class Source:
    """A catalogue that can be read.

    `name` is what the ledger and people see, without secrets. `root` is the folder its media are relative to; None where there
    is none. `size_bytes` is what `progress.read` will come to, None where that is not known (a URL, stdin, an index).
    `progress.stamp` says which one it is, from `records` on.
    """

    spec: SourceSpec
    name: str
    root: Path | None
    size_bytes: int | None
    _read: Callable[[Progress], Iterator[RawRecord]] = field(repr=False)
    progress: Progress = field(default_factory=Progress)

    def records(self, *, after: int = 0) -> Generator[RawRecord, None, None]:
        """The records whose number ("line") is greater than `after`. Numbers begin with 1, rise, and are the same each time,
        except those of an index (`spec.resumable`). What is passed over is read, but nothing is done with it.

        The catalogue is open from here on, and until its end or until what is returned is closed: whoever may not come to the
        end closes it (`contextlib.closing`). Raises InputError or ElasticsearchError, at once where the catalogue is not there
        or its options do not fit, and while it is read.
        """
        self.progress.read = 0
        found = self._read(self.progress)
        wanted = (record for record in found if record["line"] > after) if after else found
        return until_closed(wanted, getattr(found, "close", lambda: None))


def open_source(spec: SourceSpec, services: Services) -> Source:
    """The source of a spec, with its options checked. Nothing is read yet. Raises InputError."""
    spec = spec.resolved()
    columns = Columns(renames(spec.columns), separator=spec.separator)
    query_of(spec.query)
    if spec.format == "parquet" and spec.location == STDIN:
        raise bad_option("format", "Parquet is not read from stdin: its table of contents is at its end.")
    most = services.settings.record_bytes

    def read(progress: Progress) -> Iterator[RawRecord]:
        match spec.format:
            case "folder":
                progress.stamp = stamps.of_folders(folders_of(Path(spec.location)))
                return read_folder(spec, most)
            case "elasticsearch":
                return _read_index(spec, services, columns, most)
            case "parquet":
                return _closing(
                    open_file(spec, progress, services.uploads.open), lambda stream: read_parquet(stream, spec, columns, most)
                )
            case "csv" | "tsv":
                return _closing(
                    open_bytes(spec, progress, services.uploads.open), lambda stream: read_rows(stream, spec, columns, most)
                )
        return _closing(open_bytes(spec, progress, services.uploads.open), lambda stream: _lines(stream, spec, most))

    return Source(spec, spec.shown, _root(spec), _size(spec), read)


def _closing(stream: BinaryIO, begin: Callable[[BinaryIO], Iterator[RawRecord]]) -> Iterator[RawRecord]:
    """What `begin` reads from a stream, which is closed at the end and where it cannot begin."""
    with closed_on_error(stream.close):
        return until_closed(begin(stream), stream.close)


def _lines(stream: BinaryIO, spec: SourceSpec, most: int) -> Iterator[RawRecord]:
    lines = read_json(stream, spec.shown, most) if spec.format == "json" else records.lines_of(stream, most)
    return _renamed(lines, Columns(renames(spec.columns), aliases={}), most) if spec.columns else lines


def _root(spec: SourceSpec) -> Path | None:
    if spec.root is not None:
        return Path(spec.root)
    if spec.location == STDIN:
        return Path.cwd()
    if spec.remote or spec.index is not None or spec.upload is not None:
        return None
    path = Path(spec.location)
    return path if spec.format == "folder" else path.parent


def _size(spec: SourceSpec) -> int | None:
    counted = spec.format not in ("folder", "elasticsearch", "parquet") and not spec.remote and spec.location != STDIN
    counted = counted and spec.upload is None
    try:
        return Path(spec.location).stat().st_size if counted else None
    except OSError:  # it is told when the source is read
        return None


def _renamed(lines: Iterator[RawRecord], columns: Columns, most: int) -> Iterator[RawRecord]:
    """JSON lines with other names of fields; a line that is no object stays as it is, for the parser to say so."""
    for line in lines:
        try:
            data = orjson.loads(line.get("text", ""))
        except orjson.JSONDecodeError:
            yield line
            continue
        yield of_document(line["line"], data, columns, most) if isinstance(data, dict) else line


def _read_index(spec: SourceSpec, services: Services, columns: Columns, most: int) -> Iterator[RawRecord]:
    index = str(spec.index)
    query = query_of(spec.query)
    own_id = not any(columns.goes_to_id(name) for name in renames(spec.columns))
    try:
        ours = tuple(path for name in fields_of_ours(services.elasticsearch, index) for path in (name, f"{name}.*"))
        hits = scan(services.elasticsearch, index, query=query, excludes=ours, slices=spec.slices or SLICES)
    except ElasticsearchError as error:
        if error.code == "elasticsearch.not_found":
            raise unreadable(spec.shown, "there is no such index") from error
        raise
    return until_closed(_documents(hits, spec, columns, own_id=own_id, most=most), hits.close)


def _documents(
    hits: Iterator[Mapping[str, Any]], spec: SourceSpec, columns: Columns, *, own_id: bool, most: int
) -> Iterator[RawRecord]:
    for line, hit in enumerate(hits, start=1):
        if "_source" not in hit:
            raise unreadable(spec.shown, "its documents are not kept (`_source` is off)")
        yield of_document(line, hit["_source"], columns, most, key=hit["_id"] if own_id else None)
