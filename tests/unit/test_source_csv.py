"""CSV and TSV: cells become fields, a row that is none costs itself and no other."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_reading import Read, bodies, codes

from indexer.records import parse
from indexer.sources.columns import Columns, Field, cell
from indexer.sources.delimited import read_rows
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.domain import Modality, Product
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit

PLAIN = Field(("price",), text=False)


def test_the_common_form_works_as_it_is(read: Read) -> None:
    found = read(
        b"id,title,description,image_path,audio_path,price\np-1,Red guitar,Spruce top.,images/1.jpg,audio/1.ogg,249.0\n",
        "text_data.csv",
    )
    assert bodies(found) == [
        {
            "id": "p-1", "title": "Red guitar", "description": "Spruce top.", "images": ["images/1.jpg"],
            "audio": ["audio/1.ogg"], "price": 249.0,
        }
    ]  # fmt: skip
    product = parse(found[0])
    assert isinstance(product, Product)
    assert [(m.modality, m.reference) for m in product.media] == [
        (Modality.IMAGE, "images/1.jpg"),
        (Modality.AUDIO, "audio/1.ogg"),
    ]


def test_languages_lists_and_nested_fields(read: Read) -> None:
    found = read(
        b"id,title.en,title.zh,title,category,images,image_url,size.width\n1,Hat,\xe5\xb8\xbd,H,a | b,x.jpg|y.jpg,z.jpg,3\n"
    )
    assert bodies(found) == [
        {
            "id": "1", "title": {"en": "Hat", "zh": "帽", "und": "H"}, "category": ["a", "b"],
            "images": ["x.jpg", "y.jpg", "z.jpg"], "size": {"width": 3},
        }
    ]  # fmt: skip


def test_columns_are_renamed_left_out_and_kept_as_text(read: Read) -> None:
    found = read(
        b"sku;name;photo;notes;ean;ID\n7;Hat;a.jpg;secret;400;x\n",
        columns="sku=id,name=title.en,photo=images,notes=,ean=ean:text,ID=old_id",
        delimiter=";",
    )
    assert bodies(found) == [{"id": "7", "title": {"en": "Hat"}, "images": ["a.jpg"], "ean": "400", "old_id": "x"}]


def test_separator_is_an_option(read: Read) -> None:
    assert bodies(read(b"id,images,category\n1,a|b.jpg;c.jpg,x\n", separator=";"))[0]["images"] == ["a|b.jpg", "c.jpg"]


def test_empty_cells_are_left_out(read: Read) -> None:
    assert bodies(read(b"id,title,price,images\n1,,,\n")) == [{"id": "1"}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("0", 0), ("12", 12), ("-3", -3), ("2.50", 2.5), ("1e3", 1000.0),
        ("007", "007"), ("+1", "+1"), ("1,5", "1,5"),
        (".5", ".5"), ("1.", "1."), ("1e999", "1e999"),
        ("NaN", "NaN"), ("Infinity", "Infinity"), ("true", "true"), (" 1", " 1"),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", "9223372036854775808"), ("9" * 5000, "9" * 5000),
        ("\u0661\u0662", "\u0661\u0662"), ("12\n", "12\n"), ("0x10", "0x10"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_a_cell_is_a_number_where_all_of_it_is_one(text: str, value: object) -> None:
    found = cell(text, PLAIN)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["id", "title", "title.en", "description", "category", "images", "audio"])
def test_our_texts_are_never_numbers(name: str) -> None:
    assert cell("12", Columns({}).field_of(name)) == "12"


def test_tsv(read: Read) -> None:
    assert bodies(read(b'id\ttitle\n1\t"a\tb"\n2\t5" nail\n', "a.tsv")) == [
        {"id": "1", "title": "a\tb"},
        {"id": "2", "title": '5" nail'},
    ]


def test_without_quotes_they_are_plain_signs(read: Read) -> None:
    assert bodies(read(b'id\ttitle\n1\t"open\n2\tb\n', "a.tsv", quote="none")) == [
        {"id": "1", "title": '"open'},
        {"id": "2", "title": "b"},
    ]


def test_quotes_line_breaks_and_delimiters_inside_cells_and_the_line_a_row_begins_on(read: Read) -> None:
    found = read(b'id,title\r\n1,"a ""b"", c\r\nd"\r\n\r\n2,"\n\n"\r\n3,x')
    assert bodies(found) == [{"id": "1", "title": 'a "b", c\r\nd'}, {"id": "2", "title": "\n\n"}, {"id": "3", "title": "x"}]
    assert [raw["line"] for raw in found] == [2, 5, 8]


def test_all_three_line_breaks(read: Read) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        assert [b["id"] for b in bodies(read(b"id,title" + end + b"1,a" + end + b"2,b" + end))] == ["1", "2"]


def test_a_bad_row_is_a_dead_letter_and_reading_goes_on(read: Read) -> None:
    found = read(b'id,title\n1,a\n2\n3,b,c\n4,"a"b\n5,d\n\n6,"open\n')
    assert codes(found) == [
        (2, ""),
        (3, "record.bad_row"),
        (4, "record.bad_row"),
        (5, "record.bad_row"),
        (6, ""),
        (8, "record.bad_row"),
    ]
    assert found[1]["message"] == "The row has 1 cells, the header 2."
    assert found[2]["text"] == '["3","b","c"]'


@pytest.mark.parametrize(
    ("last", "word"),
    [
        (b"6,f,6\n", "a quote is not closed"), (b"6,f,6", "a quote is not closed"),
        (b'6,"f, g",6\n', "expected after"), (b'6,"f",6\n', "expected after"), (b'6,f,"6"\n', "expected after"),
        (b'6,6,"\n', "2 cells"), (b"6,caf\xe9,6\n", "a quote is not closed"),
        (b"6," + b"x" * 300 + b",6\n7,g,7\n", "100 bytes"), (b"6," + b"x" * 300, "100 bytes"),
        (b"6,f,6\n" + b"7,\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9,7\n" * 4 + b'8,g",8\n', "100 bytes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stray_quote_costs_its_line_and_no_other(read: Read, end: bytes, last: bytes, word: str) -> None:
    """Wherever the row ends that the quote begins: at the end, at another quote, or where it is too long."""
    rows = b'id,title,n\n1,a,1\n2,"24 inch,2\n3,c,3\n4,d,4\n'
    found = read((rows + last).replace(b"\n", end), most=100)
    alone = read((b"id,title,n\n\n\n" + rows[-12:] + last).replace(b"\n", end), most=100)  # the lines behind it alone
    assert [raw["line"] for raw in alone[:2]] == [4, 5]
    assert (found[2:], bodies(found[:1])) == (alone, [{"id": "1", "title": "a", "n": 1}])
    buried = found[1]
    assert (buried["line"], buried["text"]) == (3, r'["2,\"24 inch,2"]')
    assert buried["code"] == ("record.too_long" if word == "100 bytes" else "record.bad_row")
    assert word in buried["message"]
    assert "read as rows" in buried["message"]


@given(st.lists(st.sampled_from(["1,a,1", '2,"b\nc",2', '3,"d,3', '4,""e"",4', '5"","x']), max_size=8), st.booleans())
def test_of_a_table_with_stray_quotes_every_line_is_accounted_for(rows: list[str], last: bool) -> None:
    text = "\n".join(["id,title,n", *rows]) + "\n" * last
    found = list(read_rows(io.BytesIO(text.encode()), SourceSpec("x.csv", format="csv"), Columns({}), 1000))
    taken = {raw["line"]: json.loads(raw["text"]).get("title", "").count("\n") for raw in found if "code" not in raw}
    lines = [n for raw in found for n in range(raw["line"], raw["line"] + taken.get(raw["line"], 0) + 1)]
    assert lines == list(range(2, 2 + sum(row.count("\n") + 1 for row in rows)))


def test_a_table_of_stray_quotes_costs_no_more_work_than_a_few_of_its_size(read: Read) -> None:
    """Each line closes the quote of the one above and opens another, so each row has no end; they are 40 000."""
    found = read(b"id,title\n" + b'5","x\n' * 40_000)
    assert [raw["line"] for raw in found] == list(range(2, 40_002))
    assert {raw["code"] for raw in found} == {"record.bad_row"}
    assert any("such a row is not looked for any more" in raw["message"] for raw in found)


def test_a_line_feed_behind_a_line_that_is_too_long_is_no_line(read: Read) -> None:
    for length in range(95, 110):
        assert [raw["line"] for raw in read(b"id,title\r\n" + b"x" * length + b"\r\n3,c\r\n", most=100)] == [2, 3]


def test_rows_that_are_too_long_end_alone(read: Read) -> None:
    found = read(b"id,title\n1," + b"x" * 300 + b'\n2,b\n3,"' + b"y\n" * 80 + b"\n4,d\n", most=100)
    assert codes(found)[:2] == [(2, "record.too_long"), (3, "")]
    assert codes(found)[2] == (4, "record.too_long"), "a quote that is not closed does not swallow the file"
    assert json.loads(found[-1]["text"])["id"] == "4"
    lines = [raw["line"] for raw in found]
    assert lines == sorted(set(lines))


def test_a_cell_may_be_longer_than_the_csv_module_allows_by_itself(read: Read) -> None:
    (body,) = bodies(read(b"id,title\n1," + b"x" * 200_000 + b"\n"))
    assert len(body["title"]) == 200_000


def test_a_record_that_is_too_long_as_json_is_refused(read: Read) -> None:
    quoted = b'"' + b'""' * 45 + b'"'
    assert codes(read(b"id,title\n1," + quoted + b"\n2,b\n", most=100)) == [(2, "record.too_long"), (3, "")]


def test_bytes_of_another_encoding_cost_their_row(read: Read) -> None:
    found = read(b"id,title\n1,caf\xe9\n2,ok\n")
    assert codes(found) == [(2, "record.not_utf8"), (3, "")]
    assert bodies(read(b"id,title\n1,caf\xe9\n", encoding="latin-1"))[0]["title"] == "café"


def test_byte_order_marks_and_utf_16(read: Read) -> None:
    assert bodies(read(b"\xef\xbb\xbfid,title\n1,a\n")) == [{"id": "1", "title": "a"}]
    assert bodies(read("id,title\n1,ä\n".encode("utf-16"), encoding="utf-16")) == [{"id": "1", "title": "ä"}]
    with pytest.raises(InputError, match="--encoding"):
        read("id,title\n1,ä\n".encode("utf-16"))


@pytest.mark.parametrize("data", [b"id,title\n1,a\n", b"\xff\xfe\x00\xd8i\x00"])
def test_a_table_of_another_encoding_than_it_is_said_to_be_is_refused(read: Read, data: bytes) -> None:
    """UTF-16 without its mark, and with half a character."""
    with pytest.raises(InputError) as caught:
        read(data, encoding="utf-16")
    assert caught.value.code in {"catalogue.unreadable", "catalogue.bad_header"}
    assert "utf-16" in caught.value.message


def test_a_table_that_breaks_off_within_a_character_ends_in_an_error(read: Read) -> None:
    rows = "".join(f"{n},{'ä' * 50}\n" for n in range(2000))
    whole = f"id,title\n{rows}".encode("utf-16")
    with pytest.raises(InputError) as caught:
        read(whole[:-1], encoding="utf-16")
    assert caught.value.code == "catalogue.unreadable"


def test_nul_bytes_are_a_part_of_their_cell(read: Read) -> None:
    assert bodies(read(b"id,title\n1,a\0b\n2,c\n")) == [{"id": "1", "title": "a\0b"}, {"id": "2", "title": "c"}]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"id,title\n", b"id,title"])
def test_a_table_without_rows_has_no_records(read: Read, data: bytes) -> None:
    assert read(data) == []


def test_columns_without_a_name_are_left_out(read: Read) -> None:
    assert bodies(read(b",id,title\n0,1,a\n")) == [{"id": "1", "title": "a"}]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"sku,title", "--columns"), (b"id,title,title", "two columns"), (b"id,price,price", "two columns"),
        (b"id,a,a.b", "above"),
        (b"id,triptych.image", "own"), (b"id,triptych", "own"), (b'id,"title', "no header"),
        (b"id," + b"x" * 2_000_000, "no header"),
    ],
)  # fmt: skip
def test_a_header_that_makes_no_records_is_an_error_at_once(
    tmp_path: Path, settings: Settings, header: bytes, word: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(header + b"\n1,2,3\n")
    with pytest.raises(InputError, match=word) as caught:
        open_source(SourceSpec(str(path)), Services(settings)).records()
    assert caught.value.code == "catalogue.bad_header"


def test_a_column_that_is_renamed_must_be_there(read: Read) -> None:
    with pytest.raises(InputError, match="no column 'skuu'"):
        read(b"sku,title\n1,a\n", columns="skuu=id")


@pytest.mark.parametrize(
    "options", [{"encoding": "no-such"}, {"encoding": "hex"}, {"delimiter": ";;"}, {"delimiter": ""}, {"quote": "''"}]
)
def test_options_of_csv_that_cannot_be_are_refused(read: Read, options: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        read(b"id,title\n1,a\n", **options)
    assert caught.value.code == "catalogue.bad_option"


_CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    rows=st.lists(st.lists(_CELLS, min_size=3, max_size=3), max_size=8),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_the_csv_module_writes_comes_back(
    rows: list[list[str]], ending: str, delimiter: str, quoting: int, encoding: str
) -> None:
    if any(set(text) & {"\r", "\n"} for row in rows for text in row):
        quoting = csv.QUOTE_ALL  # before Python 3.13 the writer leaves a lone line break of the other kind unquoted
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(["id", "title", "description"])
    writer.writerows(rows)
    spec = SourceSpec("x.csv", delimiter=delimiter, encoding=encoding, format="csv")
    found = list(read_rows(io.BytesIO(text.getvalue().encode(encoding)), spec, Columns({}), 1_000_000))
    wanted = [{name: cell for name, cell in zip(("id", "title", "description"), row, strict=True) if cell} for row in rows]
    assert bodies(found) == wanted
    lines = [raw["line"] for raw in found]
    assert lines == sorted(set(lines))


@given(data=st.binary(max_size=200))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    spec = SourceSpec("x.csv", format="csv")
    found = list(read_rows(io.BytesIO(b"id,title\n" + data), spec, Columns({}), 50))
    lines = [raw["line"] for raw in found]
    assert lines == sorted(set(lines))
    assert all(("text" in raw) or ("code" in raw) for raw in found)


def test_numbers_are_the_same_each_time_and_what_is_behind_a_number_can_be_read_alone(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,title\n1,a\n2,"b\nc"\n\n3,"d\n4\n5,"e"\n6,"f\ng"\n7,"h\n8,i\n')
    source = open_source(SourceSpec(str(path)), Services(settings))
    whole = list(source.records())
    assert [raw["line"] for raw in whole] == [2, 3, 6, 7, 8, 9, 11, 12]
    assert list(source.records()) == whole
    for raw in whole:
        assert list(source.records(after=raw["line"])) == [other for other in whole if other["line"] > raw["line"]]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, settings: Settings) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("id,title,description,price\n")
            for number in range(rows):
                file.write(f"p-{number},Red guitar {number},{'Spruce top. ' * 5},{number}.5\n")
        source = open_source(SourceSpec(str(path)), Services(settings))
        tracemalloc.start()
        count = sum(1 for _ in source.records())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows
        assert source.progress.read == source.size_bytes == path.stat().st_size
        return most

    few = peak(2000)
    assert peak(200_000) < few + 200_000
