"""A job of benchmarks/ingest.py or pictures.py while it runs: its worker, its pace and the memory of its pool processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from triptych.errors import TriptychError
from triptych.services import Services
from triptych.settings import Settings, child_environment

TRIPTYCH = Path(sys.executable).with_name("triptych")
_START_SECONDS = 120
_LOOK_SECONDS = 0.5
_AT_LAST, _LOOK_AT_LAST = 0.95, 0.1
"""To look costs Elasticsearch a refresh of the ledger, so it is done often only when the end is near."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a job went: moments of (seconds since its submission, records that had ended, most bytes of a pool process)."""

    count: int
    moments: Sequence[tuple[float, int, int]]

    @property
    def seconds(self) -> float:
        return self.moments[-1][0]

    def at(self, share: float) -> tuple[float, int, int]:
        """The first moment at which this share of the records had ended."""
        return next(moment for moment in self.moments if moment[1] >= share * self.count)

    def rss_at(self, share: float) -> int:
        return self.at(share)[2]

    def pace(self, begin: float, end: float) -> float:
        """Records per second between two shares; what comes before the first record has ended is left out."""
        first = next(m for m in self.moments if m[1] > 0) if begin <= 0 else self.at(begin)
        last = self.at(end)
        return (last[1] - first[1]) / max(last[0] - first[0], 1e-6)


@contextmanager
def worker(own: Settings, processes: int | None, log: Path) -> Iterator[Sequence[psutil.Process]]:
    """A `triptych worker`, with as many pool processes as it takes itself where none are named; gives these."""
    with log.open("wb") as file:
        command = [str(TRIPTYCH), "worker", *(["--concurrency", str(processes)] if processes else [])]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=_environment(own))  # noqa: S603
    try:
        until = time.monotonic() + _START_SECONDS
        while " ready." not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the worker did not start: {log}")
            time.sleep(0.2)
        yield psutil.Process(process.pid).children()
    finally:
        process.terminate()
        process.wait(timeout=60)


def follow(services: Services, alias: str, path: Path, count: int, pool: Sequence[psutil.Process]) -> Course:
    """Submit a catalogue and watch until its last record has ended; returns when the job is closed."""
    known = {job.id for job in services.jobs.newest()}
    began = time.monotonic()
    command = [str(TRIPTYCH), "index", "add", alias, str(path), "--json"]
    submitting = subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment(services.settings))  # noqa: S603
    moments: list[tuple[float, int, int]] = []
    job = None
    while not moments or moments[-1][1] < count:
        near = moments and moments[-1][1] >= _AT_LAST * count
        time.sleep(_LOOK_AT_LAST if near else _LOOK_SECONDS)
        try:
            job = job or next((one.id for one in services.jobs.newest() if one.id not in known), None)
            ended = services.jobs.counts(job).ended if job else 0
        except TriptychError as error:
            if not error.retryable:
                raise
            continue  # a busy machine: this moment is not seen, the next one is
        moments.append((time.monotonic() - began, ended, max(one.memory_info().rss for one in pool)))
    shown = json.loads(submitting.communicate(timeout=300)[0])
    while services.jobs.get(shown["id"]).finished_at is None:
        time.sleep(_LOOK_SECONDS)
    if shown["id"] != job:
        raise RuntimeError(f"{shown['id']} was submitted, but {job} was watched")
    return Course(count, moments)


def _environment(own: Settings) -> dict[str, str]:
    given = {
        name: getattr(own, name) for name in ("profile", "batch_size", "batch_bytes", "cache_bytes", "queue", "system_prefix")
    }
    urls = {"elasticsearch_url": own.elasticsearch_address, "redis_url": own.redis_address}
    return child_environment(**{f"TRIPTYCH_{name.upper()}": str(value) for name, value in {**given, **urls}.items()})
