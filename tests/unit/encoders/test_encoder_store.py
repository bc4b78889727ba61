"""The prepared folders: there whole or not at all, and checked against their manifest."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from triptych.encoders import store
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit


def _fill(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"12345")
    (folder / "model.bin").chmod(0o600)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.build(tmp_path / "tiny", "r1", _fill)
    return tmp_path / "tiny"


def test_a_built_folder_is_present_and_intact(folder: Path) -> None:
    assert store.is_present(folder, "r1")
    assert store.is_intact(folder, "r1")
    assert store.require(folder, "r1") == folder


def test_others_may_read_a_built_folder(folder: Path) -> None:
    assert stat.S_IMODE((folder / "model.bin").stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_folder_of_another_recipe_is_not_present(folder: Path) -> None:
    assert not store.is_present(folder, "r2")
    with pytest.raises(EncoderError, match="damaged or of another version"):
        store.require(folder, "r2")


def test_a_short_file_is_noticed_at_once_and_a_changed_one_when_hashed(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"12x45")
    assert store.is_present(folder, "r1")
    assert not store.is_intact(folder, "r1")
    (folder / "model.bin").write_bytes(b"12")
    assert not store.is_present(folder, "r1")


def test_a_missing_file_or_manifest_is_noticed(folder: Path) -> None:
    (folder / "model.bin").unlink()
    assert not store.is_present(folder, "r1")
    (folder / store.MANIFEST).write_text("not JSON")
    assert not store.is_present(folder, "r1")


def test_building_again_replaces_the_folder_and_leaves_no_scratch(folder: Path) -> None:
    store.build(folder, "r2", lambda target: (target / "other.bin").touch())
    assert sorted(p.name for p in folder.iterdir()) == [store.MANIFEST, "other.bin"]
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_a_build_that_fails_leaves_the_old_folder_and_no_scratch(folder: Path) -> None:
    def fail(_target: Path) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        store.build(folder, "r2", fail)
    assert store.is_intact(folder, "r1")
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EncoderError, match="TRIPTYCH_DATA_DIR") as caught, store.locked(tmp_path / "file"):
        pass
    assert caught.value.code == "encoder.folder"
