"""Free space and locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.disk import free_bytes, locked, require_space
from triptych.errors import EngineError

pytestmark = pytest.mark.unit


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_too_little_space_states_the_bytes(tmp_path: Path) -> None:
    require_space(tmp_path, 1, "a byte")
    with pytest.raises(EngineError, match=r"a universe needs 1,000,000,000,000,000,000 bytes at .*, [\d,]+ are free") as caught:
        require_space(tmp_path, 10**18, "a universe")
    assert caught.value.code == "engine.disk_full"
    assert "TRIPTYCH_DATA_DIR" in str(caught.value.remedy)


def test_a_lock_is_exclusive_and_is_freed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    with locked(path, "building"):
        with (
            pytest.raises(EngineError, match="has been building for more than 0 s") as caught,
            locked(path, "building", seconds=0.0),
        ):
            pytest.fail("two hold the lock")
        assert (caught.value.code, caught.value.retryable) == ("engine.locked", True)
    with locked(path, "building", seconds=0.0):
        pass
