"""The home of one Elasticsearch version: the distribution unpacked, plus our launcher and plugin compiled against it.

    pinned files -> unpack lib and modules -> compile engine/java with ecj -> plugin and launcher jars -> rename into place

A home is only read after that. Its name holds a digest of everything it is made of, so a change makes another home, and
several processes and nodes share one safely.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

from engine.disk import locked, require_space
from engine.download import obtain
from engine.java import Java
from engine.versions import COMPILER, Release
from triptych.errors import EngineError

SOURCES = Path(__file__).parent / "java"
MODULES = ("transport-netty4", "x-pack-core", "x-pack-security")
LAUNCHER = "devengine.Launch"
_RECIPE = "1"  # raise it when this file builds something else from the same inputs
_PLUGIN = "dev-engine"
_COMPILE_SECONDS = 300
_LOG_CONFIG = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] [%node_name]%marker %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def artifacts_dir(engine_dir: Path) -> Path:
    """Where the downloaded files are kept."""
    return engine_dir / "artifacts"


def home_of(release: Release, engine_dir: Path) -> Path:
    """The folder of this release's home, whether it is built or not."""
    digest = hashlib.sha256(_RECIPE.encode())
    for artifact in (release.distribution, release.smartcn, COMPILER):
        digest.update(artifact.sha256.encode())
    for source in sorted(SOURCES.rglob("*.java")):
        digest.update(source.relative_to(SOURCES).as_posix().encode() + b"\0" + source.read_bytes())
    return engine_dir / "homes" / f"{release.version}-{digest.hexdigest()[:12]}"


def prepare_home(release: Release, engine_dir: Path, java: Java) -> Path:
    """The built home of `release`, building it first if it is not there (10 s, plus the download).

    Raises EngineError: engine.download, engine.disk_full, engine.build_failed, engine.locked.
    """
    home = home_of(release, engine_dir)
    if home.is_dir():
        return home
    with locked(home.parent / f".{release.version}.lock", f"building Elasticsearch {release.version}"):
        if home.is_dir():
            return home
        files = obtain([release.distribution, release.smartcn, COMPILER], artifacts_dir(engine_dir))
        require_space(home.parent, release.unpacked, f"unpacking Elasticsearch {release.version}")
        building = home.parent / f".building-{release.version}"
        shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed; the lock is ours
        try:
            _build(release, building, files, java)
            building.replace(home)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return home


def _build(release: Release, home: Path, files: list[Path], java: Java) -> None:
    distribution, smartcn, compiler = files
    _unpack(distribution, home)
    shutil.copyfile(smartcn, home / "lib" / smartcn.name)
    (home / "plugins").mkdir()
    (home / "log4j2.properties").write_text(_LOG_CONFIG, encoding="utf-8")
    plugin_class, sources = _sources(home, release)
    classes = home / "classes"
    _compile(java, compiler, sources, classes, home / "lib")
    plugin = home / "modules" / _PLUGIN
    plugin.mkdir()
    (home / "launch").mkdir()
    # Elasticsearch refuses a plugin whose classes are on the class path too ("jar hell"), so the launcher has a jar of its own.
    with zipfile.ZipFile(home / "launch" / "launch.jar", "w") as launch, zipfile.ZipFile(plugin / "plugin.jar", "w") as jar:
        for file in sorted(classes.rglob("*.class")):
            target = launch if file.name.partition(".")[0].partition("$")[0] == "Launch" else jar
            target.write(file, file.relative_to(classes))
    shutil.rmtree(classes)
    (plugin / "plugin-descriptor.properties").write_text(
        f"description=analysis chains and GET / for a local node\nname={_PLUGIN}\nversion={release.version}\n"
        f"elasticsearch.version={release.version}\njava.version=17\nclassname={plugin_class}\n"
        "has.native.controller=false\nlicensed=false\n",
        encoding="utf-8",
    )


def _unpack(distribution: Path, home: Path) -> None:
    """lib and the modules, without the command-line tools; as class path plugins, for we do not start from Java modules."""
    with zipfile.ZipFile(distribution) as archive:
        for entry in archive.infolist():
            _, _, inner = entry.filename.partition("/")
            parts = inner.split("/")
            wanted = (parts[0] == "lib" and parts[1:2] != ["tools"]) or (parts[0] == "modules" and parts[1] in MODULES)
            licence = inner in ("LICENSE.txt", "NOTICE.txt")
            if entry.is_dir() or ".." in parts or not (wanted or licence):
                continue
            target = home / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
    for descriptor in home.glob("modules/*/plugin-descriptor.properties"):
        text = descriptor.read_text(encoding="utf-8")
        descriptor.write_text(re.sub(r"(?m)^modulename=.*\n", "", text), encoding="utf-8")


def _sources(home: Path, release: Release) -> tuple[str, list[Path]]:
    """The plugin's class and the sources for this server: the signature of getRestHandlers changed within 9.x."""
    with zipfile.ZipFile(home / "lib" / f"elasticsearch-{release.version}.jar") as server:
        modern = "org/elasticsearch/plugins/ActionPlugin$RestHandlersServices.class" in server.namelist()
    folders = ("common", "services") if modern else ("common",)
    sources = [source for folder in folders for source in sorted((SOURCES / folder).rglob("*.java"))]
    return ("devengine.DevPluginServices" if modern else "devengine.DevPlugin"), sources


def _compile(java: Java, compiler: Path, sources: list[Path], classes: Path, lib: Path) -> None:
    class_path = os.pathsep.join(str(jar) for jar in sorted(lib.glob("*.jar")))
    options = ["-17", "-proc:none", "-nowarn", "-encoding", "UTF-8", "-d", str(classes), "-cp", class_path]
    done = subprocess.run(
        [str(java.executable), "-jar", str(compiler), *options, *map(str, sources)],
        capture_output=True,
        text=True,
        timeout=_COMPILE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise EngineError(
            f"The plugin for the local Elasticsearch did not compile: {(done.stderr or done.stdout).strip()[-1500:]}",
            code="engine.build_failed",
            remedy="Please report this with the output of `triptych doctor`.",
        )
