"""Stamps of catalogues: what tells that one was changed, and what does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.sources.stamps import Stamp, differ
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("before", "now", "different"),
    [
        ({"size": "1", "changed": "2"}, {"size": "1", "changed": "2"}, False),
        ({"size": "1", "changed": "2"}, {"size": "1", "changed": "3"}, True),
        ({"size": "1"}, {"size": "2", "changed": "3"}, True),
        ({"etag": "a", "changed": "1"}, {"etag": "a", "changed": "2"}, False),  # two servers of one file
        ({"etag": "a", "changed": "1"}, {"etag": "b", "changed": "1"}, True),
        ({"version": "1", "etag": "a"}, {"version": "2", "etag": "a"}, True),
        ({"etag": "a"}, {"size": "2"}, False),  # nobody can tell
        ({}, {"size": "2"}, False),
        ({"size": "2"}, {}, False),
    ],
)
def test_two_stamps(before: Stamp, now: Stamp, different: bool) -> None:
    assert differ(before, now) is different


def stamp_of(location: str | Path, settings: Settings) -> Mapping[str, str]:
    source = open_source(SourceSpec(str(location)), Services(settings))
    source.records()
    return source.progress.stamp


def test_a_file_that_was_changed_has_another_stamp(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "1"}\n')
    first = stamp_of(path, settings)
    assert not differ(first, stamp_of(path, settings))
    os.utime(path, ns=(1, first_time := path.stat().st_mtime_ns + 1))
    assert int(first["changed"]) + 1 == first_time
    assert differ(first, stamp_of(path, settings)), "by a nanosecond"
    os.utime(path, ns=(1, first_time - 1))
    assert not differ(first, stamp_of(path, settings))
    path.write_bytes(b'{"id": "12"}\n')
    os.utime(path, ns=(1, first_time - 1))
    assert differ(first, stamp_of(path, settings)), "by its size alone"


def test_a_folder_whose_files_come_and_go_has_another_stamp(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.jpg").write_bytes(b"picture")
    for folder in (tmp_path / "below", tmp_path):
        os.utime(folder, ns=(1, 1))
    first = stamp_of(tmp_path, settings)
    assert not differ(first, stamp_of(tmp_path, settings))
    (tmp_path / "below" / ".hidden").mkdir()
    os.utime(tmp_path / "below", ns=(1, 1))
    assert not differ(first, stamp_of(tmp_path, settings)), "what is not read does not count"
    (tmp_path / "below" / "b.jpg").write_bytes(b"picture")
    assert differ(first, stamp_of(tmp_path, settings))
