"""Vectors on disk: kept once, found again, whole after a process was ended in between."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from training.vectors import VectorFile, clear, digest_of
from triptych.errors import InputError

pytestmark = pytest.mark.unit

ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
KEYS = [digest_of(name) for name in ("one", "two", "three")]


def filled(folder: Path) -> None:
    with VectorFile(folder, "text", 4) as file:
        file.add(dict(zip(KEYS[:2], ROWS[:2], strict=True)))
        file.add(dict(zip(KEYS, ROWS, strict=True)))


def test_what_was_kept_is_there_again_to_three_digits(tmp_path: Path) -> None:
    filled(tmp_path)
    with VectorFile(tmp_path, "text", 4) as file:
        assert [file.row(key) for key in KEYS] == [0, 1, 2]
        assert file.row(digest_of("four")) is None
        np.testing.assert_allclose(file.read([2, 0]), ROWS[[2, 0]], atol=5e-4)
        assert file.read([]).shape == (0, 4)


def test_a_vector_of_a_known_key_is_not_kept_again(tmp_path: Path) -> None:
    filled(tmp_path)
    assert (tmp_path / "text.f16").stat().st_size == 3 * 4 * 2


@pytest.mark.parametrize(("name", "lost"), [("text.f16", 3), ("text.keys", 1), ("text.f16", 8)])
def test_files_of_a_process_that_was_ended_in_between_are_cut_to_whole_rows(tmp_path: Path, name: str, lost: int) -> None:
    filled(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-lost])
    with VectorFile(tmp_path, "text", 4) as file:
        assert [file.row(key) for key in KEYS] == [0, 1, None]
        file.add({KEYS[2]: ROWS[2]})
        np.testing.assert_allclose(file.read([0, 1, 2]), ROWS, atol=5e-4)


def test_two_that_have_it_open_see_what_the_other_added_when_they_add(tmp_path: Path) -> None:
    with VectorFile(tmp_path, "text", 4) as one, VectorFile(tmp_path, "text", 4) as other:
        one.add({KEYS[0]: ROWS[0], KEYS[1]: ROWS[1]})
        other.add({KEYS[1]: ROWS[1], KEYS[2]: ROWS[2]})
        assert [other.row(key) for key in KEYS] == [0, 1, 2]
        np.testing.assert_allclose(other.read([0, 1, 2]), ROWS, atol=5e-4)
        one.add({KEYS[2]: ROWS[2]})
        assert one.row(KEYS[2]) == 2
        np.testing.assert_allclose(one.read([2]), ROWS[2:], atol=5e-4)


def test_a_copy_has_a_key_of_its_own() -> None:
    assert len({digest_of("a"), digest_of("a", "copy 1"), digest_of("a", "copy 2"), digest_of("b")}) == 4


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken") as caught:
        VectorFile(tmp_path / "taken", "text", 4)
    assert caught.value.code == "training.folder"


def test_what_no_training_has_open_is_cleared(tmp_path: Path) -> None:
    filled(tmp_path)
    with VectorFile(tmp_path, "image", 4) as file:
        file.add({KEYS[0]: ROWS[0]})
        done = clear(tmp_path)
        assert done.removed == {"text": 3 * 4 * 2 + 3 * 16}
        assert done.in_use == ("image",)
        np.testing.assert_allclose(file.read([0]), ROWS[:1], atol=5e-4)
    assert clear(tmp_path).removed == {"image": 4 * 2 + 16}
    assert not list(tmp_path.glob("*.keys")) + list(tmp_path.glob("*.f16"))
    with VectorFile(tmp_path, "text", 4) as file:
        assert file.row(KEYS[0]) is None


def test_what_was_opened_of_late_is_not_cleared(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with VectorFile(tmp_path, name, 4) as file:
            file.add({KEYS[0]: ROWS[0]})
    long_ago = time.time() - 10 * 86_400
    os.utime(tmp_path / "old.keys", (long_ago, long_ago))
    assert set(clear(tmp_path, unused_days=5).removed) == {"old"}
    os.utime(tmp_path / "new.keys", (long_ago, long_ago))
    with VectorFile(tmp_path, "new", 4):
        pass
    assert clear(tmp_path, unused_days=5).removed == {}


def test_of_a_folder_that_is_not_there_nothing_is_cleared(tmp_path: Path) -> None:
    assert clear(tmp_path / "none").removed == {}
