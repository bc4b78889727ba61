"""Downloads: verified before use, fetched again when cut, not fetched at all when they are there."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from engine.download import ATTEMPTS, obtain
from engine.versions import Artifact
from triptych.errors import EngineError

pytestmark = pytest.mark.unit

CONTENT = b"the server's files" * 1000
ARTIFACT = Artifact("a.group", "thing", "1.0", "zip", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil's


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.download.PAUSE_SECONDS", 0.0)


class Source:
    """Answers each fetch with the next of `contents`; an exception among them is raised after half the bytes."""

    def __init__(self, *contents: bytes | Exception) -> None:
        self.contents = list(contents)
        self.calls = 0

    def __call__(self, artifact: Artifact, folder: Path) -> Path:
        self.calls += 1
        content = self.contents.pop(0)
        path = folder / "deep" / artifact.filename
        path.parent.mkdir(parents=True)
        if isinstance(content, Exception):
            path.write_bytes(CONTENT[: len(CONTENT) // 2])
            raise content
        path.write_bytes(content)
        return path


def test_a_good_file_is_fetched_once(tmp_path: Path) -> None:
    source = Source(CONTENT)
    (path,) = obtain([ARTIFACT], tmp_path, fetch=source)
    assert path.read_bytes() == CONTENT
    assert obtain([ARTIFACT], tmp_path, fetch=source) == [path]
    assert source.calls == 1


def test_a_cut_download_is_tried_again(tmp_path: Path) -> None:
    source = Source(CONTENT[:100], OSError("connection reset"), CONTENT)
    (path,) = obtain([ARTIFACT], tmp_path, fetch=source)
    assert path.read_bytes() == CONTENT
    assert source.calls == ATTEMPTS == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "thing-1.0.zip"]


def test_cut_three_times_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"it has 100 of 18,000 bytes") as caught:
        obtain([ARTIFACT], tmp_path, fetch=Source(*[CONTENT[:100]] * 3))
    assert (caught.value.code, caught.value.retryable) == ("engine.download", True)
    assert str(tmp_path / "thing-1.0.zip") in str(caught.value.remedy)
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


def test_the_right_size_with_other_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="its sha256 is"):
        obtain([ARTIFACT], tmp_path, fetch=Source(*[b"x" * len(CONTENT)] * 3))


def test_without_a_network_the_cause_is_told(tmp_path: Path) -> None:
    wrapped = RuntimeError("https://somewhere/very/long failed after retries")
    wrapped.__cause__ = OSError("Network is unreachable")
    with pytest.raises(EngineError, match=r"3 attempts: Network is unreachable\.") as caught:
        obtain([ARTIFACT], tmp_path, fetch=Source(*[wrapped] * 3))
    assert caught.value.__cause__ is wrapped


def test_a_damaged_file_that_is_there_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / ARTIFACT.filename).write_bytes(CONTENT[:-1])
    (path,) = obtain([ARTIFACT], tmp_path, fetch=Source(CONTENT))
    assert path.read_bytes() == CONTENT


def test_a_file_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / ARTIFACT.filename).write_bytes(CONTENT)
    assert obtain([ARTIFACT], tmp_path, fetch=Source()) == [tmp_path / ARTIFACT.filename]


def test_a_full_disk_is_seen_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 17_999, 17_999))
    source = Source(CONTENT)
    with pytest.raises(EngineError, match=r"the download needs 18,000 bytes at .*, 17,999 are free") as caught:
        obtain([ARTIFACT], tmp_path, fetch=source)
    assert caught.value.code == "engine.disk_full"
    assert source.calls == 0


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    source = Source(CONTENT)
    threads = [threading.Thread(target=obtain, args=([ARTIFACT], tmp_path), kwargs={"fetch": source}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 1
