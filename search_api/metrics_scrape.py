"""What is asked for when somebody scrapes: how much waits in the queue, how the jobs of the ledger stand. And the answer.

The ledger is asked once in LEDGER_SECONDS by a process, however often somebody scrapes. A service that does not answer costs
its own metrics, and `triptych_scrape_ok` says so.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from search_api.metrics import REGISTRY
from triptych.domain import Outcome
from triptych.errors import TriptychError
from triptych.jobs.job import JobState
from triptych.jobs.queue import waiting_in
from triptych.services import Services
from triptych.settings import metrics_folder

LEDGER_SECONDS: Final = 10.0
_MOST_JOBS: Final = 200
"""Jobs that are looked at, the newest; older ones that are still open do not count."""


class AtScrape(Collector):
    """Asks the queue and the ledger. Share one between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking = threading.Lock()
        self._at = float("-inf")
        self._kept: tuple[list[Metric], bool | None] = ([], False)

    def collect(self) -> Iterator[Metric]:
        queue, queue_ok = self._queue()
        ledger, ledger_ok = self._ledger()
        yield from (*queue, *ledger)
        ok = GaugeMetricFamily("triptych_scrape_ok", "Whether what is asked for at a scrape answered", labels=["of"])
        ok.add_metric(["queue"], float(queue_ok))
        if ledger_ok is not None:
            ok.add_metric(["ledger"], float(ledger_ok))
        yield ok

    def _queue(self) -> tuple[list[Metric], bool]:
        family = GaugeMetricFamily("triptych_queue_messages", "Messages that wait, by queue", labels=["queue"])
        try:
            for name, count in waiting_in(self._services.redis, self._services.settings).items():
                family.add_metric([name], count)
        except TriptychError:
            return [], False
        return [family], True

    def _ledger(self) -> tuple[list[Metric], bool | None]:
        """None: an API that only searches may not read the ledger (mappings/roles/search.json), and need not."""
        if time.monotonic() - self._at > LEDGER_SECONDS and self._asking.acquire(blocking=False):
            try:
                self._kept = self._asked(), True
            except TriptychError as error:
                self._kept = [], None if error.code == "elasticsearch.forbidden" else False
            finally:
                self._at = time.monotonic()
                self._asking.release()
        return self._kept

    def _asked(self) -> list[Metric]:
        store = self._services.jobs
        newest = store.newest(size=_MOST_JOBS)
        jobs = store.summaries(newest) if newest else []
        totals = store.totals()
        records = GaugeMetricFamily(
            "triptych_ledger_records", "Records of all jobs of the ledger, by outcome", labels=["outcome"]
        )
        for outcome in (*Outcome, "pending"):
            records.add_metric([str(outcome)], getattr(totals, str(outcome)))
        return [records, *_jobs(jobs, dt.datetime.now(dt.UTC))]


def _jobs(jobs: list[dict[str, Any]], now: dt.datetime) -> list[Metric]:
    """How these jobs stand, from their summaries. Pure."""
    states = GaugeMetricFamily("triptych_jobs", f"The newest {_MOST_JOBS} jobs by state", labels=["state"])
    count = Counter(job["state"] for job in jobs)
    for state in JobState:
        states.add_metric([str(state)], count[str(state)])
    waiting = GaugeMetricFamily(
        "triptych_open_job_records", "Records of open jobs, by index and outcome", labels=["index", "outcome"]
    )
    open_ = [job for job in jobs if not JobState(job["state"]).ended]
    names = ("read", *map(str, Outcome), "pending")
    for index in sorted({job["alias"] for job in open_}):
        for name in names:
            waiting.add_metric([index, name], sum(job[name] for job in open_ if job["alias"] == index))
    oldest = GaugeMetricFamily("triptych_oldest_running_job_seconds", "Age of the oldest job that is queued or runs; 0: none")
    ages = [
        (now - dt.datetime.fromisoformat(job["submitted_at"])).total_seconds()
        for job in jobs
        if not JobState(job["state"]).rests
    ]
    oldest.add_metric([], max(ages, default=0.0))
    return [states, waiting, oldest]


def scraped(at_scrape: AtScrape) -> bytes:
    """All metrics, as Prometheus reads them: those of all processes of this API, and what is asked for now."""
    folder = metrics_folder()
    measured = REGISTRY
    if folder is not None:
        _bury(folder)
        measured = CollectorRegistry()
        multiprocess.MultiProcessCollector(measured)  # type: ignore[no-untyped-call]
    asked = CollectorRegistry()
    asked.register(at_scrape)
    return generate_latest(measured) + generate_latest(asked)


def _bury(folder: Path) -> None:
    """Forget the gauges of processes that have ended: nobody changes them any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
