"""Which versions there are, and that every file of theirs is pinned."""

from __future__ import annotations

import re

import pytest

from engine.versions import COMPILER, DEFAULT_VERSION, RELEASES, release
from triptych.errors import EngineError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("9.5.3", "9.5.3"),
        ("9.5", "9.5.3"),
        ("9", "9.5.3"),
        ("9.5.x", "9.5.3"),
        ("v9.5.3", "9.5.3"),
        ("8.19.21", "8.19.21"),
        ("8.19", "8.19.21"),
        ("8.19.x", "8.19.21"),
        ("8.19.X", "8.19.21"),
        ("8", "8.19.21"),
    ],
)
def test_a_line_means_its_release(asked: str, meant: str) -> None:
    assert release(asked).version == meant


@pytest.mark.parametrize("asked", ["9.5.2", "8.1", "9.50", "7.17", "", "latest"])
def test_an_unknown_version_names_those_there_are(asked: str) -> None:
    with pytest.raises(EngineError, match=r"9\.5\.3, 8\.19\.21") as caught:
        release(asked)
    assert caught.value.code == "engine.unknown_version"


def test_every_file_is_pinned() -> None:
    artifacts = [COMPILER, *(file for each in RELEASES.values() for file in (each.distribution, each.smartcn))]
    assert len({artifact.sha256 for artifact in artifacts}) == len(artifacts) == 5
    for artifact in artifacts:
        assert re.fullmatch(r"[0-9a-f]{64}", artifact.sha256)
        assert artifact.size > 3_000_000


def test_each_release_fetches_its_own_version() -> None:
    assert DEFAULT_VERSION in RELEASES
    assert {version: each.distribution.version for version, each in RELEASES.items()} == {v: v for v in RELEASES}
    assert {version: each.java for version, each in RELEASES.items()} == {"9.5.3": 21, "8.19.21": 17}
