"""A folder of media as a catalogue: sorted, grouped by id, without what is hidden or leads out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from source_reading import bodies, codes

from indexer.records import parse
from indexer.sources.folder import SUFFIXES
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.domain import DeadLetter, Product
from triptych.errors import InputError
from triptych.media.fetch import fetch
from triptych.media.signature import Kind
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    for name in (
        "b.jpg",
        "a.PNG",
        "a.ogg",
        "notes.txt",
        ".hidden.jpg",
        "hats/red.webp",
        "hats/a.jpg",
        ".git/x.jpg",
        "hats/noise.mp3",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def read_all(folder: Path, settings: Settings, **options: Any) -> list[dict[str, Any]]:
    found = list(open_source(SourceSpec(str(folder), **options), Services(settings)).records())
    assert [raw["line"] for raw in found] == list(range(1, len(found) + 1))
    return bodies(found)


def test_files_are_products_and_those_of_one_id_are_one(folder: Path, settings: Settings) -> None:
    assert read_all(folder, settings) == [
        {"id": "a", "title": "a", "images": ["a.PNG"], "audio": ["a.ogg"]},
        {"id": "b", "title": "b", "images": ["b.jpg"]},
        {"id": "a", "title": "a", "images": ["hats/a.jpg"]},
        {"id": "noise", "title": "noise", "audio": ["hats/noise.mp3"]},
        {"id": "red", "title": "red", "images": ["hats/red.webp"]},
    ]


def test_templates(folder: Path, settings: Settings) -> None:
    found = read_all(folder, settings, id_template="{path}", title_template="{parent}: {name}")
    assert found[0] == {"id": "a.PNG", "title": "shop: a.PNG", "images": ["a.PNG"]}
    grouped = read_all(folder, settings, id_template="{parent}")
    assert [(record["id"], len(record["images"])) for record in grouped] == [("shop", 2), ("hats", 2)]


@pytest.mark.parametrize("template", ["{stem", "{size}", "{}", "{0}", "{stem.__class__}", "{stem!r}", "{stem:>999999999}"])
def test_templates_that_cannot_be_are_refused(folder: Path, settings: Settings, template: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(SourceSpec(str(folder), id_template=template), Services(settings)).records()
    assert caught.value.code == "catalogue.bad_option"


def test_links_that_lead_out_are_passed_over(folder: Path, settings: Settings) -> None:
    outside = folder.parent / "outside.jpg"
    outside.write_bytes(b"x")
    (folder / "out.jpg").symlink_to(outside)
    (folder / "gone.jpg").symlink_to(folder / "none.jpg")
    (folder / "circle").symlink_to(folder)
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "inside.jpg").symlink_to(folder / "b.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert [record["id"] for record in read_all(folder, settings)] == ["a", "b", "inside", "a", "noise", "red"]


def test_what_is_named_can_be_fetched(folder: Path, settings: Settings) -> None:
    source = open_source(SourceSpec(str(folder)), Services(settings))
    assert source.root is not None
    for raw in source.records():
        product = parse(raw)
        assert isinstance(product, Product)
        assert all(fetch(media, root=source.root, most_bytes=10) == b"x" for media in product.media)


def test_a_name_that_is_no_text_is_a_dead_letter(folder: Path, settings: Settings) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/c\xff.jpg")).write_bytes(b"x")
    found = list(open_source(SourceSpec(str(folder)), Services(settings)).records())
    assert codes(found)[2] == (3, "record.bad_row")
    assert len(found) == 6
    letter = parse(found[2])
    assert isinstance(letter, DeadLetter)
    assert letter.product_id == r"c\xff"
    assert r"'c\xff.jpg'" in letter.message


def test_of_a_product_only_the_file_is_lost_whose_name_is_no_text(folder: Path, settings: Settings) -> None:
    hats = os.fsencode(folder / "hats")
    Path(os.fsdecode(hats + b"/\xc3\xa4.jpg")).write_bytes(b"x")
    Path(os.fsdecode(hats + b"/b\xff.jpg")).write_bytes(b"x")
    os.mkdir(os.fsdecode(hats + b"/b\xfe"))  # noqa: PTH102
    Path(os.fsdecode(hats + b"/b\xfe/c.jpg")).write_bytes(b"x")
    found = list(open_source(SourceSpec(str(folder), id_template="{parent}"), Services(settings)).records())
    assert codes(found) == [(1, ""), (2, ""), (3, "record.bad_row"), (4, "record.bad_row")]
    assert bodies(found[1:2])[0]["images"] == ["hats/a.jpg", "hats/red.webp", "hats/ä.jpg"]
    assert r"'hats/b\xff.jpg'" in found[2]["message"]
    assert r"'hats/b\xfe/c.jpg'" in found[3]["message"]
    assert (found[2]["product_id"], found[3]["product_id"]) == ("hats", r"b\xfe")


@pytest.mark.parametrize(("file", "named"), [("", r"001\d"), ("f" * 247 + ".jpg", r"f\.jpg")])
def test_what_cannot_be_opened_below_a_folder_is_named(folder: Path, settings: Settings, file: str, named: str) -> None:
    """Its path is longer than the system takes, which keeps the superuser out too."""
    deep, here = folder / "zz", os.open(folder, os.O_RDONLY)
    names = ["zz", *(f"{n:0>250}" for n in range(18))]
    try:
        for name in names:
            os.mkdir(name, dir_fd=here)
            here, before = os.open(name, os.O_RDONLY, dir_fd=here), here
            os.close(before)
            if file:
                os.close(os.open(file, os.O_CREAT, dir_fd=here))
        source = open_source(SourceSpec(str(folder)), Services(settings))
        with pytest.raises(InputError, match=rf"'.*{named}': File name too long") as caught:
            list(source.records())
        assert caught.value.code == "catalogue.unreadable"
        assert source.progress.stamp == {}
    finally:
        os.close(here)
        shutil.rmtree(deep)


def test_a_folder_that_is_not_there(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError) as caught:
        open_source(SourceSpec(str(tmp_path / "none"), format="folder"), Services(settings)).records()
    assert caught.value.code == "catalogue.unreadable"


def test_a_folder_without_media_is_an_error_at_once(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "catalogue.csv").write_bytes(b"id\n1\n")
    with pytest.raises(InputError, match="no picture or sound"):
        open_source(SourceSpec(str(tmp_path)), Services(settings)).records()


def test_every_kind_of_file_that_can_be_read_has_an_ending() -> None:
    assert set(SUFFIXES) == set(Kind)
    endings = [ending for some in SUFFIXES.values() for ending in some]
    assert len(endings) == len(set(endings))
