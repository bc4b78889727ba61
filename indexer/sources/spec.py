"""What a catalogue is and how it is read, as a plain value: given to a command, kept with a job, read again by anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from triptych import catalogues
from triptych.catalogues import FORMATS, Format, format_of, upload_of
from triptych.errors import InputError

STDIN: Final = "-"

_TABLES: Final = ("csv", "tsv")
_MEANT_FOR: Final[Mapping[str, tuple[Format, ...]]] = {
    "columns": ("jsonl", "json", "csv", "tsv", "parquet", "elasticsearch"),
    "separator": ("csv", "tsv", "parquet", "elasticsearch"),
    "delimiter": _TABLES,
    "quote": _TABLES,
    "encoding": _TABLES,
    "query": ("elasticsearch",),
    "slices": ("elasticsearch",),
    "id_template": ("folder",),
    "title_template": ("folder",),
}


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A catalogue and the options it is read with; `docs/records.md` says what each does. None: the default.

    `location` is a path, `-`, a URL, `upload:ID/NAME` or `elasticsearch:INDEX`; `format` is told from it where it is None.
    `columns` renames ("sku=id,name=title.en"), `query` is a query of Elasticsearch as JSON, `slices` how many parts of an index
    are read side by side, `root` the folder media are relative to.
    `secret`: the location had a password or a signature that was taken out, so it cannot be opened any more. `fixed`: it was
    named over HTTP, where only some addresses are allowed, so redirects of its server are not followed.
    """

    location: str
    format: Format | None = None
    columns: str | None = None
    separator: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    encoding: str | None = None
    query: str | None = None
    slices: int | None = None
    id_template: str | None = None
    title_template: str | None = None
    root: str | None = None
    secret: bool = False
    fixed: bool = False

    @property
    def index(self) -> str | None:
        """The index of Elasticsearch that is read, None for every other source."""
        return catalogues.named_index(self.location)

    @property
    def upload(self) -> str | None:
        """The id of the upload that is read, None for every other source."""
        return upload_of(self.location)

    @property
    def remote(self) -> bool:
        """Whether the location is a URL of a file."""
        return catalogues.is_remote(self.location)

    @property
    def shown(self) -> str:
        """The location as people and logs may see it: without user, password and query."""
        return "stdin" if self.location == STDIN else catalogues.shown(self.location)

    @property
    def resumable(self) -> bool:
        """Whether another process can read the same records under the same numbers from what `to_dict` keeps.

        Not stdin, which is gone once read; not an index, whose order holds for one reading only; nothing with a secret.
        """
        return self.location != STDIN and self.index is None and not self.secret and self.shown == self.location

    def resolved(self) -> SourceSpec:
        """With absolute paths and the format said, after all options were checked. Raises InputError."""
        if self.secret:
            raise InputError(
                f"{self.location} was read with a password or a signature, which is not kept.",
                code="catalogue.secret_not_kept",
                field="catalogue",
                remedy="Submit the catalogue again.",
            )
        kind = self.format or self._guessed()
        if kind not in FORMATS:
            raise bad_option("format", f"There is no format {kind!r}; there are {', '.join(FORMATS)}.")
        if (kind == "elasticsearch") != (self.index is not None):
            raise bad_option("format", f"{self.shown} cannot be read as {kind}.")
        for name, formats in _MEANT_FOR.items():
            if getattr(self, name) is not None and kind not in formats:
                raise bad_option(name, f"This option is not for {kind}, only for {', '.join(formats)}.")
        elsewhere = self.location == STDIN or self.remote or self.index is not None or self.upload is not None
        return replace(
            self,
            format=kind,
            location=self.location if elsewhere else str(Path(self.location).resolve()),
            root=str(Path(self.root).resolve()) if self.root is not None else None,
        )

    def _guessed(self) -> Format:
        if self.index is not None:
            return "elasticsearch"
        if not self.remote and self.upload is None and self.location != STDIN and Path(self.location).is_dir():
            return "folder"
        return format_of(urlsplit(self.location).path if self.remote else self.location)

    def to_dict(self) -> dict[str, Any]:
        """What may be kept: options that were given, without secrets. `from_dict` is its inverse."""
        kept = replace(self, location=self.shown, secret=self.secret or self.shown != self.location)
        kept = replace(kept, location=STDIN, secret=False) if self.location == STDIN else kept
        return {name: value for name, value in asdict(kept).items() if value not in (None, False)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SourceSpec:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def bad_option(option: str, message: str, remedy: str | None = None) -> InputError:
    """The error for an option of a source that cannot be followed."""
    return InputError(f"--{option.replace('_', '-')}: {message}", code="catalogue.bad_option", field=option, remedy=remedy)


def renames(columns: str | None) -> dict[str, str]:
    """`--columns "sku=id,photo=images,notes="` as column -> field; "" leaves the column out. Raises InputError."""
    found: dict[str, str] = {}
    for part in (columns or "").split(","):
        name, equals, field = (word.strip() for word in part.partition("="))
        if not part.strip():
            continue
        if not equals or not name or name in found:
            raise bad_option("columns", f"{part.strip()!r} is not COLUMN=FIELD, or its column is named twice.")
        found[name] = field
    return found


def query_of(query: str | None) -> dict[str, Any] | None:
    """`--query` as a body. Raises InputError."""
    if query is None:
        return None
    try:
        body = orjson.loads(query)
    except orjson.JSONDecodeError as error:
        raise bad_option("query", f"Not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise bad_option("query", 'Not an object like {"term": {"brand": "Tonhain"}}.')
    return body
