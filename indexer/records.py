"""From a catalogue's bytes to records, and from a record to a Product or a dead letter.

A catalogue is JSON lines, read as a stream: memory does not grow with it. A record must have an `id`; `title` and
`description` are a text or a text per language; `category` is a path; `images` and `audio` are media references; `vectors` are
vectors embedded elsewhere, by space; everything else is stored as it is (facets, price, stock). `_op` says what is to be done
with it, by default `put`.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from triptych.closing import until_closed
from triptych.domain import LONGEST_NAME, DeadLetter, GivenVector, Media, Modality, Operation, Product
from triptych.errors import InputError, RecordError
from triptych.media.data_uri import is_data_uri
from triptych.schema import FIELD, MOST_DIMS
from triptych.settings import Settings

UNKNOWN_LANGUAGE: Final = "und"
"""BCP 47's tag for a text whose language is not said."""

TEXT_FIELDS: Final = ("title", "description")

OPERATION: Final = "_op"
"""The field that says what a record asks for."""

EMBEDDED: Final = frozenset({*TEXT_FIELDS, "category", "images", "audio", "vectors"})
"""Fields of which vectors are made: an update cannot change them alone."""

LONGEST_ID: Final = 512
"""Bytes Elasticsearch takes in `_id`."""

DEEPEST: Final = 50
"""Levels of nesting a record may have; Elasticsearch takes 20 by default (index.mapping.depth.limit)."""

RawRecord = Mapping[str, Any]
"""{"line": n, "text": "..."}; where a line could not be taken, "code" and "message" too, and "stage", "product_id" if known."""


def _per_language(value: object) -> object:
    if value is None:
        return {}
    return {UNKNOWN_LANGUAGE: value} if isinstance(value, str) else value


def _as_mapping(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


def _as_path(value: object) -> object:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _short_enough(value: str) -> str:
    if len(value.encode()) > LONGEST_ID:
        raise ValueError(f"longer than the {LONGEST_ID} bytes Elasticsearch takes")
    return value


def _none_is_empty(value: object) -> object:
    return [] if value is None else value


def _as_operation(value: object) -> object:
    if value is None:
        return Operation.PUT
    if not isinstance(value, str) or value not in set(Operation):
        raise ValueError(f"it is one of {', '.join(Operation)}")
    return Operation(value)


Texts = Annotated[dict[str, str], BeforeValidator(_per_language)]


def _no_longer_than_a_name(value: str) -> str:
    if len(value) > LONGEST_NAME and not is_data_uri(value):  # a `data:` URI is the medium; a record's bytes bound it
        raise ValueError(f"longer than the {LONGEST_NAME} characters of a path or URL")
    return value


class _Reference(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    path: Annotated[str, AfterValidator(_no_longer_than_a_name)] = Field(min_length=1)


_References = Annotated[list[Annotated[_Reference, BeforeValidator(_as_mapping)]], BeforeValidator(_none_is_empty)]


def _as_vector(value: object) -> object:
    return {"values": value} if isinstance(value, list) else value


class _GivenVector(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    values: list[Annotated[float, Field(allow_inf_nan=False)]] = Field(min_length=1, max_length=MOST_DIMS)
    fingerprint: str | None = None


_Vectors = Annotated[
    dict[str, Annotated[_GivenVector, BeforeValidator(_as_vector)]],
    BeforeValidator(lambda value: {} if value is None else value),
]


class RecordBody(BaseModel):
    """The form of one record. Unknown fields are kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: Annotated[str, AfterValidator(_short_enough)] = Field(min_length=1)
    operation: Annotated[Operation, BeforeValidator(_as_operation)] = Field(default=Operation.PUT, alias=OPERATION)
    title: Texts = Field(default_factory=dict)
    description: Texts = Field(default_factory=dict)
    category: Annotated[list[str], BeforeValidator(_as_path)] = Field(default_factory=list)
    images: _References = Field(default_factory=list, max_length=64)
    audio: _References = Field(default_factory=list, max_length=64)
    vectors: _Vectors = Field(default_factory=dict, max_length=64)


def read(path: Path, settings: Settings) -> Generator[RawRecord, None, None]:
    """The records of a JSON lines file, numbered from line 1; empty lines are skipped, lines are not yet parsed.

    A line that is too long or not UTF-8 comes back with a code and a message in place of its text. The file is open until its
    end, or until what is returned is closed.
    Raises InputError if the file cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"The catalogue {path} cannot be read: {error.strerror}.", code="catalogue.unreadable", field="catalogue"
        ) from error
    return until_closed(lines_of(file, settings.record_bytes), file.close)


def lines_of(file: BinaryIO, most: int) -> Iterator[RawRecord]:
    """The records of an open file as `read` gives them, at most `most` bytes each; closes it at its end."""
    with file:
        number = 0
        while line := file.readline(most + 3):  # the line break does not count
            number += 1
            too_long = len(line.rstrip(b"\r\n")) > most
            while too_long and line and not line.endswith(b"\n"):
                line = file.readline(most)
            if too_long:
                message = f"The line has more than the {most} bytes allowed (TRIPTYCH_RECORD_BYTES)."
                yield {"line": number, "code": "record.too_long", "message": message}
            elif line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").strip():
                yield _decoded(number, line)


def _decoded(number: int, line: bytes) -> RawRecord:
    try:
        return {"line": number, "text": line.decode("utf-8-sig").strip()}
    except UnicodeDecodeError as error:
        return {"line": number, "code": "record.not_utf8", "message": f"The line is not UTF-8: {error.reason}."}


def id_of(raw: RawRecord) -> str | None:
    """The id of a record that is not yet validated, None where there is none to be read."""
    try:
        data = orjson.loads(raw.get("text", ""))
    except orjson.JSONDecodeError:
        return None
    name = data.get("id") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


def parse(raw: RawRecord) -> Product | DeadLetter:
    """Validate one record. Pure; never raises for bad input."""
    line = int(raw["line"])
    if "code" in raw:
        return DeadLetter(
            raw["code"], raw["message"], raw.get("stage", "read"), line, raw.get("product_id"), record=raw.get("text")
        )
    text = str(raw["text"])
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _dead("record.not_json", f"The line is not JSON: {error}.", line, text)
    try:
        body = _validate(data, text)
    except RecordError as error:
        return _dead(error.code, error.message, line, text, data if isinstance(data, dict) else None)
    operation = body.operation
    data.pop(OPERATION, None)
    if operation is Operation.DELETE:
        return Product(body.id, {}, {}, operation=operation)
    if operation is Operation.UPDATE:
        return _update(body.id, data, line, text)
    texts = {"title": body.title, "description": body.description}
    fields = {**data, **{name: value for name, value in texts.items() if name in data}}
    fields.pop("vectors", None)  # they are stored as vectors, not as fields
    vectors = {name: GivenVector(given.values, given.fingerprint) for name, given in body.vectors.items()}
    media = tuple(_media(Modality.IMAGE, body.images)) + tuple(_media(Modality.AUDIO, body.audio))
    return Product(body.id, texts, fields, media, category=tuple(body.category), vectors=vectors)


def _update(key: str, data: Mapping[str, Any], line: int, text: str) -> Product | DeadLetter:
    fields = {name: value for name, value in data.items() if name != "id"}
    embedded = next((name for name in fields if name.partition(".")[0] in EMBEDDED), None)
    if embedded is not None:
        message = f"{embedded}: an update cannot change what vectors are made of. Send the whole record, without {OPERATION}."
        return _dead("record.update_embedded", message, line, text, data)
    try:
        _check_paths(data)
    except RecordError as error:
        return _dead(error.code, error.message, line, text, data)
    return Product(key, {}, fields, operation=Operation.UPDATE)


def _check_paths(data: Mapping[str, Any]) -> None:
    """Raise RecordError where a dotted name of an update, which is a path into the product, cannot be one."""
    for name in data:
        steps = name.count(".")
        if steps >= DEEPEST:
            raise RecordError(f"The name {name[:100]}... goes deeper than {DEEPEST} levels.", code="record.too_deep")
        parts = name.split(".")
        above = next((path for n in range(1, steps + 1) if (path := ".".join(parts[:n])) in data), None)
        if above is not None:
            raise RecordError(f"{name}: the update has {above} too, into which this goes. Give one of them.", field=name)


def _validate(data: object, text: str) -> RecordBody:
    """The checked form of a decoded line, whose text tells at once of most lines that they are not deep. Raises RecordError."""
    if not isinstance(data, dict):
        raise RecordError("The line is JSON, but not an object with fields.", code="record.not_an_object")
    if text.count("{") + text.count("[") > DEEPEST and _deeper_than(data, DEEPEST):
        raise RecordError(f"The record nests deeper than {DEEPEST} levels.", code="record.too_deep")
    if any(name.partition(".")[0] == FIELD for name in data):
        raise RecordError(f"{FIELD}: this field is Triptych's own.", code="record.reserved_field", field=FIELD)
    try:
        return RecordBody.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{where}: {first['msg']}.", field=where) from error


def _deeper_than(data: object, most: int) -> bool:
    level: list[object] = [data]
    for _ in range(most):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _media(modality: Modality, references: Sequence[_Reference]) -> Iterator[Media]:
    return (Media(modality, reference.path) for reference in references)


def _dead(code: str, message: str, line: int, text: str, data: Mapping[str, Any] | None = None) -> DeadLetter:
    name = data.get("id") if data else None
    return DeadLetter(
        code=code,
        message=message,
        stage="parse",
        line=line,
        product_id=name[:LONGEST_ID] if isinstance(name, str) else None,
        record=text[:8000],
    )
