"""A spec says what a catalogue is, is checked before anything is read, and can be kept without its secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec, query_of, renames
from triptych.catalogues import upload_location
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("location", "form"),
    [
        ("a.jsonl", "jsonl"), ("a.json", "json"), ("A.json.xz", "json"), ("upload:0a1b/feed.csv.gz", "csv"),
        ("upload:0a1b", "jsonl"),
        ("upload:0a1b/parquet", "jsonl"), ("upload:0a1b/feed.parquet", "parquet"),
        ("a", "jsonl"), ("-", "jsonl"), ("a.csv", "csv"), ("A.CSV", "csv"),
        ("a.csv.gz", "csv"), ("a.tsv.zst", "tsv"), ("a.tab", "tsv"), ("a.parquet", "parquet"), ("a.pq", "parquet"),
        ("https://shop.example/feed.csv.gz?day=1#x", "csv"), ("s3://bucket/feed.parquet", "parquet"),
        ("https://shop.example/feed?file=x.csv", "jsonl"), ("elasticsearch:shop", "elasticsearch"),
        ("es://shop", "elasticsearch"),
    ],
)  # fmt: skip
def test_the_format_is_told_from_the_name(location: str, form: str) -> None:
    assert SourceSpec(location).resolved().format == form


def test_a_folder_is_a_folder_and_a_file_named_like_one_is_not(tmp_path: Path) -> None:
    assert SourceSpec(str(tmp_path)).resolved().format == "folder"
    assert SourceSpec(str(tmp_path / "none")).resolved().format == "jsonl"


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("feed.csv", "upload:0a/feed.csv"), ("../../x/feed.csv", "upload:0a/feed.csv"),
        ("C:\\feeds\\a.tsv", "upload:0a/a.tsv"),
        ("", "upload:0a"), ("a/", "upload:0a"), ("x\n.csv", "upload:0a/x.csv"),
        ("z" * 999 + ".csv", f"upload:0a/{'z' * 196}.csv"),
    ],
)  # fmt: skip
def test_an_upload_keeps_its_name_but_no_folder(name: str, location: str) -> None:
    assert upload_location("0a", name) == location
    spec = SourceSpec(location)
    assert (spec.upload, spec.index, spec.remote, spec.shown) == ("0a", None, False, location)


def test_a_format_that_is_given_wins() -> None:
    assert SourceSpec("a.txt", format="tsv").resolved().format == "tsv"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (SourceSpec("a.jsonl", encoding="latin-1"), "--encoding"),
        (SourceSpec("a.csv", query="{}"), "--query"),
        (SourceSpec("a.csv", id_template="{stem}"), "--id-template"),
        (SourceSpec("a.jsonl", delimiter=";"), "--delimiter"),
        (SourceSpec("a.parquet", quote="'"), "--quote"),
        (SourceSpec("a.csv", format="elasticsearch"), "--format"),
        (SourceSpec("es://shop", format="csv"), "--format"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(spec: SourceSpec, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        spec.resolved()
    assert caught.value.code == "catalogue.bad_option"


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = SourceSpec("a.csv", root="media").resolved()
    assert (spec.location, spec.root) == (str(tmp_path / "a.csv"), str(tmp_path / "media"))


@pytest.mark.parametrize(
    "spec",
    [
        SourceSpec("-"),
        SourceSpec("a.csv", columns="sku=id", separator=";", delimiter="\t", encoding="latin-1", quote="none"),
        SourceSpec("es://shop", query='{"term": {"brand": "Tonhain"}}', slices=2),
        SourceSpec("s3://bucket/a.parquet", root="media"),
    ],
)
def test_a_spec_is_json_and_comes_back(spec: SourceSpec) -> None:
    assert SourceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "location",
    [
        "https://anna:hunter2@shop.example/feed.csv",
        "https://shop.example/feed.csv?X-Amz-Signature=hunter2",
        "https://shop.example/feed.csv#hunter2",
        "s3://key:hunter2@bucket/feed.csv",
    ],
)
def test_secrets_are_neither_shown_nor_kept(location: str, settings: Settings) -> None:
    spec = SourceSpec(location)
    assert "hunter2" not in spec.shown
    assert "hunter2" not in json.dumps(spec.to_dict())
    assert "hunter2" not in open_source(spec, Services(settings)).name
    assert not spec.resumable
    kept = SourceSpec.from_dict(spec.to_dict())
    assert not kept.resumable
    assert kept.to_dict() == spec.to_dict()
    with pytest.raises(InputError) as caught:
        open_source(kept, Services(settings))
    assert caught.value.code == "catalogue.secret_not_kept"


@pytest.mark.parametrize(
    ("location", "resumable"),
    [("a.csv", True), ("https://shop.example/a.csv", True), ("-", False), ("es://shop", False), ("elasticsearch:shop", False)],
)
def test_what_can_be_read_again_says_so(location: str, resumable: bool) -> None:
    assert SourceSpec(location).resumable is resumable


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}), ("", {}), ("sku=id", {"sku": "id"}), (" sku = id , name=title.en,", {"sku": "id", "name": "title.en"}),
        ("notes=", {"notes": ""}), ("sku=code:text", {"sku": "code:text"}),
    ],
)  # fmt: skip
def test_renames_are_read(text: str | None, found: dict[str, str]) -> None:
    assert renames(text) == found


@pytest.mark.parametrize("text", ["sku", "=id", "a=b,a=c"])
def test_renames_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        renames(text)
    assert caught.value.code == "catalogue.bad_option"


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_query_that_is_none_is_refused(text: str, settings: Settings) -> None:
    with pytest.raises(InputError, match="--query"):
        query_of(text)
    with pytest.raises(InputError, match="--query"):
        open_source(SourceSpec("es://shop", query=text), Services(settings))


def test_the_root_is_where_media_are_looked_for(tmp_path: Path, settings: Settings) -> None:
    services = Services(settings)
    assert open_source(SourceSpec(str(tmp_path / "a.csv")), services).root == tmp_path
    assert open_source(SourceSpec(str(tmp_path)), services).root == tmp_path
    assert open_source(SourceSpec("-"), services).root == Path.cwd()
    assert open_source(SourceSpec("https://shop.example/a.csv"), services).root is None
    assert open_source(SourceSpec("es://shop"), services).root is None
    assert open_source(SourceSpec("es://shop", root=str(tmp_path)), services).root == tmp_path
