"""Elasticsearch and Redis for all processes of a test run: `pytest -n 2` starts each of them once.

As a script, `together.py KIND FILE PID`: start that service, write how it is reached to FILE, and keep it until the process
PID has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from engine import Jvm, elasticsearch_node, redis_server
from engine.guard import birth, is_ours
from engine.versions import DEFAULT_VERSION
from triptych.settings import Settings

VERSIONS = {"newest": DEFAULT_VERSION, "oldest": "8.19.x"}
"""Elasticsearch by name; all other names are a Redis's."""

JVM = Jvm(heap="1g")
"""Some hundred indices of all tests are open at once: with half of it the node now and then answers 429 to everything."""

_holding: list[subprocess.Popen[bytes]] = []
"""They outlive this process: nobody waits for them, and a Popen that is thrown away would warn."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A service of the run. `version` and `native_vectors` are an Elasticsearch's."""

    url: str
    version: str = ""
    native_vectors: bool = False


def reach(kind: str, factory: pytest.TempPathFactory) -> Reached:
    """The run's service of this kind, started by who asks first."""
    several = "PYTEST_XDIST_WORKER" in os.environ
    folder = factory.getbasetemp().parent if several else factory.getbasetemp()
    of_run = os.getppid() if several else os.getpid()
    file, log = folder / f"{kind}.json", folder / f"{kind}.log"
    with FileLock(folder / f"{kind}.lock"):
        if not file.exists():
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, __file__, kind, str(file), str(of_run)], stdout=out, stderr=out, start_new_session=True
                )
            _holding.append(process)
            while not file.exists():
                if process.poll() is not None:
                    pytest.fail(f"{kind} ended with {process.returncode}:\n{log.read_text()}")
                time.sleep(0.1)
    return Reached(**json.loads(file.read_text()))


@contextmanager
def _started(kind: str) -> Iterator[Reached]:
    if kind in VERSIONS:
        with elasticsearch_node(Settings(), version=VERSIONS[kind], jvm=JVM) as node:
            yield Reached(node.url, node.version, node.native_vectors)
    else:
        with redis_server(Settings()) as redis:
            yield Reached(redis.url)


def main(kind: str, file: Path, of_run: int) -> None:
    born = birth(of_run) or ""
    with _started(kind) as reached:
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(reached)))
        scratch.replace(file)
        while is_ours(of_run, born):
            time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
