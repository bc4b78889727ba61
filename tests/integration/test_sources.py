"""The same catalogue in every form gives the same documents, through the real command, worker and Elasticsearch."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from opened import open_contexts
from processes import TRIPTYCH
from pyarrow import parquet

from indexer.cli import _show_report
from indexer.dry_run import Report
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.errors import TriptychError
from triptych.services import Services

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]

RECORDS: list[dict[str, Any]] = [
    {
        "id": "p-1", "title": {"en": 'Brown "cello", old', "zh": "大提琴"}, "category": ["music", "strings"], "price": 249.5,
        "stock": 3,
        "images": ["images/demo-001-1.jpg", "images/demo-003-1.jpg"], "audio": ["audio/demo-001.ogg"], "sku": "007",
    },
    {"id": "p-2", "title": {"en": "Line one\nline two"}, "price": 10.5, "sku": "A|1", "images": ["images/demo-003-1.jpg"]},
    {"id": "p-3", "title": {"en": "Wooden spoon"}, "category": ["kitchen"], "sku": "12"},
]  # fmt: skip
COLUMNS = "name=title.en,name_zh=title.zh,photo=images,ean=sku:text"
HEADER = ("id", "name", "name_zh", "category", "price", "stock", "photo", "audio_path", "ean")


def row(record: Mapping[str, Any]) -> list[Any]:
    title = record["title"]
    lists = {name: "|".join(record[name]) if name in record else None for name in ("category", "images", "audio")}
    return [
        record["id"], title["en"], title.get("zh"), lists["category"], record.get("price"), record.get("stock"),
        lists["images"], lists["audio"], record["sku"],
    ]  # fmt: skip


def table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(HEADER)
    writer.writerows(["" if cell is None else cell for cell in row(record)] for record in RECORDS)
    return text.getvalue().encode()


def columnar() -> bytes:
    out = io.BytesIO()
    columns = zip(*(row(record) for record in RECORDS), strict=True)
    parquet.write_table(pa.table({name: list(values) for name, values in zip(HEADER, columns, strict=True)}), out)
    return out.getvalue()


LINES = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in RECORDS)
FORMS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "catalogue.csv": (lambda: table(","), ("--columns", COLUMNS)),
    "catalogue.txt": (lambda: table(";"), ("--columns", COLUMNS, "--format", "csv", "--delimiter", ";")),
    "catalogue.tsv": (lambda: table("\t"), ("--columns", COLUMNS)),
    "catalogue.csv.gz": (lambda: gzip.compress(table(",")), ("--columns", COLUMNS)),
    "catalogue.jsonl.zst": (lambda: zstandard.ZstdCompressor().compress(LINES), ()),
    "catalogue.json.xz": (lambda: lzma.compress(json.dumps(RECORDS, indent=1).encode()), ()),
    "catalogue.parquet": (columnar, ("--columns", COLUMNS)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the media that the records name."""
    folder = tmp_path_factory.mktemp("sources")
    shop = Path(__file__).parents[2] / "examples" / "shop"
    for record in RECORDS:
        for reference in (*record.get("images", ()), *record.get("audio", ())):
            (folder / reference).parent.mkdir(exist_ok=True)
            shutil.copyfile(shop / reference, folder / reference)
    return folder


def documents(services: Services, index: str) -> dict[str, dict[str, Any]]:
    """The documents by id: the record, and of ours what does not tell one job from another."""
    services.elasticsearch.indices.refresh(index=index)
    hits = services.elasticsearch.search(index=index, size=100, source=True)["hits"]["hits"]
    found = {}
    for hit in hits:
        source = dict(hit["_source"])
        own = source.pop("triptych")
        found[hit["_id"]] = {**source, "hash": own["hash"], "outcome": own["outcome"], "missing": own.get("missing")}
    return found


@pytest.fixture(scope="module")
def original(command: Any, worker: Any, run_id: str, folder: Path) -> str:
    """An index that the JSON lines were added to."""
    index = f"lines-{run_id}"
    command("index", "create", index)
    path = folder / "catalogue.jsonl"
    path.write_bytes(LINES)
    job = command.json("index", "add", index, str(path), "--follow")
    assert (job["state"], job["written"], job["catalogue"]) == ("completed", 3, str(path))
    return index


@pytest.mark.parametrize("name", list(FORMS))
def test_every_form_gives_the_same_documents(
    command: Any, services: Services, index: str, original: str, folder: Path, name: str
) -> None:
    make, options = FORMS[name]
    (folder / name).write_bytes(make())
    job = command.json("index", "add", index, str(folder / name), *options, "--follow")
    assert (job["state"], job["written"]) == ("completed", 3), job
    assert documents(services, index) == documents(services, original)


def test_stdin(command: Any, services: Services, index: str, original: str, folder: Path) -> None:
    arguments = [TRIPTYCH, "index", "add", index, "-", "--format", "csv", "--columns", COLUMNS, "--root", str(folder), "--json"]
    done = subprocess.run(
        [*arguments, "--follow"], input=table(","), capture_output=True, env=command.environment, timeout=300, check=True
    )
    job = json.loads(done.stdout)
    assert (job["state"], job["catalogue"]) == ("completed", "stdin")
    assert documents(services, index) == documents(services, original)


@pytest.mark.parametrize("scheme", ["elasticsearch:", "es://"])
def test_an_index(command: Any, services: Services, index: str, original: str, folder: Path, scheme: str) -> None:
    job = command.json("index", "add", index, f"{scheme}{original}", "--root", str(folder), "--follow")
    assert (job["state"], job["written"], job["catalogue"]) == ("completed", 3, f"{scheme}{original}")
    assert documents(services, index) == documents(services, original)


def test_a_part_of_an_index_without_its_media(command: Any, services: Services, index: str, original: str) -> None:
    query = json.dumps({"term": {"sku": "A|1"}})
    done = command("index", "add", index, f"es://{original}", "--query", query, "--follow", "--json", check=False)
    job = json.loads(done.stdout)
    assert (done.returncode, job["read"], job["partial"]) == (3, 1, 1)
    assert {letter["reference"] for letter in job["letters"]} == {"images/demo-003-1.jpg"}
    assert set(documents(services, index)) == {"p-2"}


def test_a_folder_of_media(command: Any, services: Services, index: str, folder: Path) -> None:
    job = command.json(
        "index", "add", index, str(folder / "images"), "--id-template", "pic/{stem}", "--title-template", "{name}", "--follow"
    )
    assert (job["state"], job["written"]) == ("completed", 2)
    found = documents(services, index)
    assert found["pic/demo-001-1"]["images"] == ["demo-001-1.jpg"]
    assert found["pic/demo-003-1"]["title"] == {"und": "demo-003-1.jpg"}


def test_bad_rows_are_dead_letters_with_their_lines(command: Any, index: str, folder: Path) -> None:
    path = folder / "bad.csv"
    path.write_bytes(b'id,title\na,"Brown\ncello"\nb\nc,Hat\na,Again\n')
    done = command("index", "add", index, str(path), "--follow", "--json", check=False)
    job = json.loads(done.stdout)
    assert (done.returncode, job["written"], job["dead"]) == (3, 2, 2)
    found = [(letter["line"], letter["code"], letter["stage"]) for letter in job["letters"]]
    assert sorted(found) == [(4, "record.bad_row", "read"), (6, "record.duplicate_id", "parse")]


def test_a_dry_run_says_what_would_come_and_does_nothing(
    command: Any, services: Services, index: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "dry.jsonl"
    more = [json.dumps({"id": f"n-{n}", "title": f"Hat {n}"}).encode() for n in range(300)]
    bad = [b"no json", b'{"id": 3}', b"\xff", json.dumps({"id": "x", "images": ["none.jpg"]}).encode()]
    path.write_bytes(LINES + b"\n".join([*bad, *more, b"\xff", b"not seen any more"]) + b"\n")
    before = {job.id for job in services.jobs.newest(size=1000)}
    report = command.json("index", "add", index, str(path), "--dry-run")
    assert report["records"] == 309
    assert report["bad"] == {"record.not_json": 1, "record.invalid": 1, "record.not_utf8": 2}
    assert (report["checked"], report["timed"]) == (200, 16)
    assert report["media"] == {"image": 4, "audio": 1}
    assert report["bad_media"] == {"media.not_found": 1}
    assert 300 < report["valid_estimate"] <= 305
    assert report["embed_seconds_estimate"] > 0
    dims = {space.name: space.dims for space in services.schema().spaces}
    assert 305 * dims["text"] * 4 < report["vector_bytes_estimate"] < 305 * sum(dims.values()) * 6
    assert {job.id for job in services.jobs.newest(size=1000)} == before
    assert documents(services, index) == {}
    _show_report(Report(**report), as_json=False)
    said = capsys.readouterr().out
    assert "records:          309" in said
    assert "Estimates" in said


def test_a_dry_run_of_nothing(command: Any, index: str, folder: Path) -> None:
    (folder / "empty.csv").write_bytes(b"id,title\n")
    report = command.json("index", "add", index, str(folder / "empty.csv"), "--dry-run")
    assert (report["records"], report["embed_seconds_estimate"], report["vector_bytes_estimate"]) == (0, None, None)
    assert "records:          0" in command("index", "add", index, str(folder / "empty.csv"), "--dry-run").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("es://no-such-index",), "catalogue.unreadable"),
        (("es://shop", "--query", "{"), "catalogue.bad_option"),
        (("no.csv",), "catalogue.unreadable"),
        (("ftp://x/a.csv",), "catalogue.unsupported_location"),
        (("-", "--format", "parquet"), "catalogue.bad_option"),
    ],
)
def test_a_source_that_cannot_be_read_enters_no_job(
    command: Any, services: Services, index: str, arguments: tuple[str, ...], code: str
) -> None:
    before = {job.id for job in services.jobs.newest(size=1000)}
    done = command("index", "add", index, *arguments, check=False)
    assert done.returncode == 1
    assert f"({code})" in done.stderr
    assert {job.id for job in services.jobs.newest(size=1000)} == before


@pytest.mark.parametrize("slices", [None, 1, 7])
def test_a_large_index_is_read_in_pages_and_once(services: Services, own_id: str, slices: int | None) -> None:
    name = f"plain-{own_id}-{uuid.uuid4().hex[:6]}"
    client = services.elasticsearch
    client.indices.create(index=name, settings={"number_of_shards": 3})
    operations = [line for n in range(350) for line in ({"index": {"_id": f"k{n}"}}, {"nr": n, "name": f"Hat {n}", "id": n})]
    client.bulk(index=name, operations=operations, refresh=True)

    found = list(open_source(SourceSpec(f"es://{name}", columns="name=title.en", slices=slices), services).records())
    assert [raw["line"] for raw in found] == list(range(1, 351))
    records = {record["id"]: record for record in (json.loads(raw["text"]) for raw in found)}
    assert len(records) == 350
    assert records["k7"] == {"id": "k7", "nr": 7, "title": {"en": "Hat 7"}}

    own = list(open_source(SourceSpec(f"es://{name}", columns="nr=id", query='{"term": {"nr": 7}}'), services).records())
    assert [json.loads(raw["text"])["id"] for raw in own] == ["7"]

    for raw in open_source(SourceSpec(f"es://{name}", slices=slices), services).records():
        if raw["line"] == 50:  # what is written now is not seen
            client.index(index=name, id="new", document={"name": "new"}, refresh=True)
        assert json.loads(raw["text"])["id"] != "new"

    begun = open_source(SourceSpec(f"es://{name}", slices=slices), services).records()
    assert next(begun)["line"] == 1
    assert open_contexts(services, name) > 0
    begun.close()  # whoever stops reading leaves no point in time behind
    assert open_contexts(services, name) == 0
    open_source(SourceSpec(f"es://{name}", slices=slices), services).records().close()  # nor does who never began
    assert open_contexts(services, name) == 0


def test_of_an_index_null_stays_and_two_fields_that_are_one_are_told(services: Services, own_id: str) -> None:
    name = f"nulls-{own_id}-{uuid.uuid4().hex[:6]}"
    operations = [{"index": {}}, {"sku": "a", "price": None}, {"index": {}}, {"sku": "b", "id": "c"}]
    services.elasticsearch.bulk(index=name, operations=operations, refresh=True)
    found = list(open_source(SourceSpec(f"es://{name}", columns="sku=id", slices=1), services).records())
    assert json.loads(found[0]["text"]) == {"id": "a", "price": None}
    assert found[1]["code"] == "record.bad_row"
    assert all(name in found[1]["message"] for name in ("'sku'", "'id'"))


def test_an_index_that_keeps_no_documents_says_so(services: Services, own_id: str) -> None:
    name = f"bare-{own_id}-{uuid.uuid4().hex[:6]}"
    services.elasticsearch.indices.create(index=name, mappings={"_source": {"enabled": False}})
    services.elasticsearch.index(index=name, id="1", document={"a": 1}, refresh=True)
    with pytest.raises(TriptychError, match="_source"):
        list(open_source(SourceSpec(f"es://{name}"), services).records())
