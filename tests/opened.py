"""What was opened and must be closed: files of catalogues, points in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from indexer.sources import stamps
from triptych.services import Services


@contextmanager
def files_of_catalogues(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BinaryIO]]:
    """The local files of catalogues that are opened in the block. They are held here, so only who closes them does so."""
    opened: list[BinaryIO] = []
    of_file = stamps.of_file

    def seen(stream: BinaryIO) -> stamps.Stamp:
        opened.append(stream)
        return of_file(stream)

    with monkeypatch.context() as during:
        during.setattr(stamps, "of_file", seen)
        yield opened


def left_open(opened: list[BinaryIO]) -> list[str]:
    """The names of those that nobody closed."""
    return [str(file.name) for file in opened if not file.closed]


def open_contexts(services: Services, index: str) -> int:
    """Points in time and scrolls that are open on an index."""
    return int(services.elasticsearch.indices.stats(index=index, metric="search")["_all"]["total"]["search"]["open_contexts"])
