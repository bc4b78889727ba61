"""From a catalogue's bytes to records, and from a record to a Product or a dead letter: nothing is lost, nothing raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from contents import content_hash
from hypothesis import given
from hypothesis import strategies as st

from indexer import documents
from indexer.records import LONGEST_ID, RawRecord, parse, read
from triptych.domain import DeadLetter, Media, Modality, Product
from triptych.errors import InputError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def _read(tmp_path: Path, data: bytes, settings: Settings, **changes: int) -> list[RawRecord]:
    path = tmp_path / "catalogue.jsonl"
    path.write_bytes(data)
    return list(read(path, settings.model_copy(update=changes)))


def _parsed(**fields: Any) -> Product | DeadLetter:
    return parse({"line": 7, "text": json.dumps({"id": "p1", **fields})})


def _product(**fields: Any) -> Product:
    parsed = _parsed(**fields)
    assert isinstance(parsed, Product), parsed
    return parsed


def _dead(**fields: Any) -> DeadLetter:
    parsed = _parsed(**fields)
    assert isinstance(parsed, DeadLetter), parsed
    assert (parsed.line, parsed.stage) == (7, "parse")
    return parsed


# Reading lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"{}\n{}\n", [(1, "{}"), (2, "{}")]),
        (b"{}\n{}", [(1, "{}"), (2, "{}")]),
        (b"{}\r\n{}\r\n", [(1, "{}"), (2, "{}")]),
        (b"\n{}\n\n  \t\n{}\n\n", [(2, "{}"), (5, "{}")]),
        (b"\r\n{}\r\n", [(2, "{}")]),
        (b"\xef\xbb\xbf{}\n{}\n", [(1, "{}"), (2, "{}")]),
        (b"\xef\xbb\xbf\n{}\n", [(2, "{}")]),
        ('{"t":"a\u2028b\x85c"}\n{}'.encode(), [(1, '{"t":"a\u2028b\x85c"}'), (2, "{}")]),
    ],
    ids=["nothing", "two", "no newline at the end", "CRLF", "empty lines", "CRLF empty", "BOM", "BOM, empty", "U+2028"],
)
def test_lines_are_numbered_from_one(tmp_path: Path, settings: Settings, data: bytes, lines: list[tuple[int, str]]) -> None:
    assert [(r["line"], r["text"]) for r in _read(tmp_path, data, settings)] == lines


@pytest.mark.parametrize("length", [21, 40, 41, 42, 500])
def test_a_line_that_is_too_long_is_told_and_the_next_is_read(tmp_path: Path, settings: Settings, length: int) -> None:
    first, second = _read(tmp_path, b"x" * length + b"\n{}\n", settings, record_bytes=20)
    assert (first["line"], first["code"]) == (1, "record.too_long")
    assert "text" not in first
    assert second == {"line": 2, "text": "{}"}


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"], ids=["end of file", "LF", "CRLF"])
def test_a_record_of_just_the_limit_is_allowed(tmp_path: Path, settings: Settings, ending: bytes) -> None:
    (record,) = _read(tmp_path, b"x" * 20 + ending, settings, record_bytes=20)
    assert record.get("text") == "x" * 20


def test_a_last_line_that_is_too_long_ends_the_file(tmp_path: Path, settings: Settings) -> None:
    assert [r.get("code") for r in _read(tmp_path, b"{}\n" + b"x" * 99, settings, record_bytes=20)] == [None, "record.too_long"]


@pytest.mark.parametrize("line", [b"\xff\xfe{\0}\0", "ß".encode("latin-1"), b'{"id": "\xc3"}'])
def test_a_line_that_is_not_utf8_is_told_and_the_next_is_read(tmp_path: Path, settings: Settings, line: bytes) -> None:
    first, second = _read(tmp_path, line + b"\n{}\n", settings)
    assert (first["line"], first["code"]) == (1, "record.not_utf8")
    assert second["text"] == "{}"


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_catalogue_that_cannot_be_read_is_told_at_once(tmp_path: Path, settings: Settings, name: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / name, settings)
    assert (caught.value.code, caught.value.field) == ("catalogue.unreadable", "catalogue")


@given(st.binary(max_size=400))
def test_any_bytes_are_read_and_parsed(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    lines = data.split(b"\n")
    numbers = []
    for record in read(path, Settings(record_bytes=50)):
        parsed = parse(record)
        numbers.append(record["line"])
        assert isinstance(parsed, Product) or parsed.line == record["line"]
    assert numbers == sorted(set(numbers))
    assert {n for n, line in enumerate(lines, 1) if line.strip(b" \r\t\x0b\x0c\xef\xbb\xbf")} <= set(numbers)


# Parsing


def test_a_whole_record() -> None:
    record = {
        "title": {"en": "Red shoe", "zh": "红鞋"},
        "description": "Nice.",
        "category": ["Shoes", "Red"],
        "images": ["a.jpg", {"path": "b.jpg", "alt": "side"}],
        "audio": [{"path": "a.wav"}],
        "price": 9.5,
        "colour": "red",
    }
    product = _product(**record)
    assert product.id == "p1"
    assert product.texts == {"title": {"en": "Red shoe", "zh": "红鞋"}, "description": {"und": "Nice."}}
    assert product.category == ("Shoes", "Red")
    assert product.of(Modality.IMAGE) == (Media(Modality.IMAGE, "a.jpg"), Media(Modality.IMAGE, "b.jpg"))
    assert product.of(Modality.AUDIO) == (Media(Modality.AUDIO, "a.wav"),)
    assert product.fields == {"id": "p1", **record, "description": {"und": "Nice."}}


def test_an_id_alone_is_a_product() -> None:
    product = _product()
    assert (product.media, product.category, product.fields) == ((), (), {"id": "p1"})


@pytest.mark.parametrize(
    ("title", "texts"),
    [("Shoe", {"und": "Shoe"}), ("", {"und": ""}), ({"en": "Shoe"}, {"en": "Shoe"}), ({}, {}), (None, {})],
)
def test_a_title_is_a_text_or_a_text_per_language(title: object, texts: dict[str, str]) -> None:
    assert _product(title=title).texts["title"] == texts


@pytest.mark.parametrize(("category", "path"), [("Shoes", ("Shoes",)), (["a", "b"], ("a", "b")), ([], ()), (None, ())])
def test_a_category_is_a_path(category: object, path: tuple[str, ...]) -> None:
    assert _product(category=category).category == path


@pytest.mark.parametrize("images", [None, []])
def test_no_pictures(images: object) -> None:
    assert _product(images=images).media == ()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"title": ["Shoe"]}, "title"),
        ({"title": 5}, "title"),
        ({"title": {"en": 5}}, "title.en"),
        ({"title": {"en": None}}, "title.en"),
        ({"title": {"en": ["Shoe"]}}, "title.en"),
        ({"title": {"en": {"text": "Shoe"}}}, "title.en"),
        ({"description": False}, "description"),
        ({"category": 5}, "category"),
        ({"category": ["a", 5]}, "category.1"),
        ({"images": "a.jpg"}, "images"),
        ({"images": {"path": "a.jpg"}}, "images"),
        ({"images": [5]}, "images.0"),
        ({"images": [""]}, "images.0.path"),
        ({"images": ["a.jpg", {"url": "b.jpg"}]}, "images.1.path"),
        ({"images": [{"path": None}]}, "images.0.path"),
        ({"images": ["x" * 5000]}, "images.0.path"),
        ({"images": ["a.jpg"] * 65}, "images"),
        ({"audio": [["a.wav"]]}, "audio.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:40],
)
def test_a_malformed_field_is_named(fields: dict[str, Any], where: str) -> None:
    letter = _dead(**fields)
    assert (letter.code, letter.product_id) == ("record.invalid", "p1")
    assert letter.message.startswith(f"{where}: ")


@pytest.mark.parametrize("text", ["{}", '{"id": null}', '{"id": ""}', '{"id": 5}', '{"id": ["p1"]}', '{"id": true}'])
def test_a_record_needs_an_id_that_is_a_text(text: str) -> None:
    letter = parse({"line": 3, "text": text})
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.line) == ("record.invalid", 3)
    assert letter.message.startswith("id: ")
    assert not letter.product_id


@pytest.mark.parametrize("name", ["x" * LONGEST_ID, "é" * (LONGEST_ID // 2)])
def test_an_id_of_just_the_longest_is_allowed(name: str) -> None:
    assert _product(id=name).id == name


@pytest.mark.parametrize("name", ["x" * (LONGEST_ID + 1), "é" * (LONGEST_ID // 2 + 1), "😀" * 200])
def test_an_id_is_measured_in_bytes(name: str) -> None:
    letter = _dead(id=name)
    assert letter.code == "record.invalid"
    assert letter.message.startswith("id: ")
    assert letter.product_id is not None
    assert name.startswith(letter.product_id)


@pytest.mark.parametrize("text", ["", "{", "hello", "{'id': 'p1'}", '{"id": "p1"} {}', '{"id": NaN}', '{"id": "\\ud800"}'])
def test_a_line_that_is_not_json(text: str) -> None:
    letter = parse({"line": 2, "text": text})
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.line, letter.product_id, letter.record) == ("record.not_json", 2, None, text)


@pytest.mark.parametrize("text", ["[]", "5", "null", '"p1"', "true", '[{"id": "p1"}]'])
def test_json_that_is_no_object(text: str) -> None:
    letter = parse({"line": 2, "text": text})
    assert isinstance(letter, DeadLetter)
    assert (letter.code, letter.line, letter.product_id) == ("record.not_an_object", 2, None)


@pytest.mark.parametrize("value", [{}, {"key": "p2"}, None, "x"])
def test_our_own_field_is_reserved(value: object) -> None:
    letter = _dead(triptych=value)
    assert (letter.code, letter.product_id) == ("record.reserved_field", "p1")


@pytest.mark.parametrize("name", ["triptych.key", "triptych.hash", "triptych.text"])
def test_our_own_field_is_reserved_in_dots_too(name: str) -> None:
    """Elasticsearch takes {"triptych.key": x} as {"triptych": {"key": x}}: a record could pass for another product."""
    assert _dead(**{name: "p2"}).code == "record.reserved_field"


def test_a_field_that_only_begins_like_ours_is_the_records() -> None:
    assert _product(triptychon="x").fields["triptychon"] == "x"


@pytest.mark.parametrize("code", ["record.too_long", "record.not_utf8"])
def test_a_line_that_could_not_be_read_becomes_a_dead_letter(code: str) -> None:
    letter = parse({"line": 9, "code": code, "message": "No."})
    assert letter == DeadLetter(code=code, message="No.", stage="read", line=9)


def test_a_dead_letter_keeps_the_beginning_of_its_record() -> None:
    letter = parse({"line": 1, "text": "x" * 100_000})
    assert isinstance(letter, DeadLetter)
    assert letter.record == "x" * 8000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["id", "title", "description", "category", "images", "audio", "triptych", "price", "x"])


def _assert_ends(text: str) -> None:
    parsed = parse({"line": 4, "text": text})
    assert isinstance(parsed, Product) or (parsed.line == 4 and parsed.code.startswith("record.") and parsed.message)


@given(JSON)
def test_any_json_is_parsed_or_dead(value: object) -> None:
    _assert_ends(json.dumps(value))


@given(st.dictionaries(NAMES, JSON))
def test_any_record_is_parsed_or_dead(record: dict[str, object]) -> None:
    _assert_ends(json.dumps(record))
    _assert_ends(json.dumps({**record, "id": "p1"}, ensure_ascii=False).encode(errors="replace").decode())


@given(st.text())
def test_any_text_is_parsed_or_dead(text: str) -> None:
    _assert_ends(text)


@pytest.mark.parametrize("depth", [10, 100, 254, 300, 900, 2000, 100_000])
def test_a_product_that_parsed_can_be_hashed_however_deep_it_nests(depth: int) -> None:
    """One poisonous record must not take its batch along."""
    parsed = parse({"line": 1, "text": '{"id": "p1", "x": ' + "[" * depth + "]" * depth + "}"})
    if isinstance(parsed, Product):
        assert len(content_hash(parsed, {}, [])) == 64
    else:
        assert parsed.code.startswith("record.")


@given(st.dictionaries(NAMES.filter(lambda name: name != "triptych"), JSON))
def test_any_product_that_parsed_can_be_hashed(record: dict[str, object]) -> None:
    parsed = parse({"line": 1, "text": json.dumps({**record, "id": "p1"})})
    if isinstance(parsed, Product):
        content_hash(parsed, {}, [])
        documents.passage(parsed)


@pytest.mark.parametrize(
    ("number", "stored"),
    [(2**64 - 1, 2**64 - 1), (-(2**63), -(2**63)), (2**64, 2.0**64), (12345678901234567890123, 1.2345678901234568e22)],
)
def test_a_whole_number_beyond_64_bits_becomes_a_float(number: int, stored: float) -> None:
    """As docs/records.md says."""
    found = _product(code=number).fields["code"]
    assert (found, type(found)) == (stored, type(stored))
