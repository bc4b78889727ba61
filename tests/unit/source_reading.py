"""What the tests of sources share: write bytes to a file and read the records back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.records import RawRecord
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.services import Services
from triptych.settings import Settings

Read = Callable[..., list[RawRecord]]


@pytest.fixture(name="read")
def read_source(tmp_path: Path, settings: Settings) -> Read:
    """`read(data, name, most=..., option=...)`: the raw records of a file with these bytes."""

    def run(data: bytes, name: str = "catalogue.csv", *, most: int | None = None, **options: Any) -> list[RawRecord]:
        path = tmp_path / name
        path.write_bytes(data)
        mine = settings if most is None else settings.model_copy(update={"record_bytes": most})
        return list(open_source(SourceSpec(str(path), **options), Services(mine)).records())

    return run


def bodies(found: list[RawRecord]) -> list[dict[str, Any]]:
    """The records; fails where one could not be taken."""
    assert [raw for raw in found if "code" in raw] == []
    return [json.loads(raw["text"]) for raw in found]


def codes(found: list[RawRecord]) -> list[tuple[int, str]]:
    """Line and code of each record, "" where it is one."""
    return [(raw["line"], raw.get("code", "")) for raw in found]
