"""A queue and a ledger of their own for tests that disturb them, and the worker that serves them."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from processes import ONE

from indexer.cli import default_mapping
from triptych.elastic.lifecycle import create_version, read_mapping_file
from triptych.services import Services
from triptych.settings import Settings

READ = 131
LEASE_SECONDS = 3.0
BATCH = 4
BATCHES = -(-READ // BATCH)


@dataclass
class World:
    """One queue and one ledger, and the worker that serves them."""

    settings: Settings
    command: Any
    wait: Callable[..., None]
    log: Path
    environment: dict[str, str] = field(init=False)
    of_the_worker: dict[str, str] = field(default_factory=dict)  # variables of its worker alone
    worker: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        s = self.settings
        self.environment = {
            "TRIPTYCH_ELASTICSEARCH_URL": s.elasticsearch_address,
            "TRIPTYCH_REDIS_URL": s.redis_address,
            "TRIPTYCH_QUEUE": s.queue,
            "TRIPTYCH_SYSTEM_PREFIX": s.system_prefix,
            "TRIPTYCH_BATCH_SIZE": str(s.batch_size),
            "TRIPTYCH_BATCH_LEASE_SECONDS": str(s.batch_lease_seconds),
        }

    @cached_property
    def services(self) -> Services:
        return Services(self.settings)

    def begin_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker unless one runs, and wait until it is ready."""
        if self.worker is None or self.worker.poll() is not None:
            self.log.write_bytes(b"")
            self.worker = self.command.start("worker", *ONE, log=self.log, **self.environment | self.of_the_worker)
            self.wait(lambda: " ready." in self.log.read_text(), f"the worker ({self.log})", alive=self.worker)
        return self.worker

    def kill_worker(self) -> None:
        """kill -9 of the worker and all its children at once."""
        if self.worker is not None and self.worker.poll() is None:
            os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker.wait(timeout=30)

    def create(self, *, profile: str | None = None) -> str:
        """A new, empty index, as `triptych index create` makes it; by default with the profile of the world."""
        own = self.services if profile is None else Services(self.settings.model_copy(update={"profile": profile}))
        name, reserved = f"world-{uuid.uuid4().hex[:8]}", self.settings.system_prefix
        create_version(own.elasticsearch, name, read_mapping_file(default_mapping()), own.schema(), reserved=reserved)
        return name

    def submit(self, path: Path) -> tuple[str, str]:
        """A new index and a job that fills it: (index, job id)."""
        index = self.create()
        job = self.command.json("index", "add", index, str(path), **self.environment)
        return index, str(job["id"])

    def counts(self, job: str) -> Any:
        return self.services.jobs.counts(job)

    def wait_for_middle(self, job: str) -> None:
        """Wait until some batches are done, others are not, and one is being worked on at this moment."""

        def middle() -> bool:
            done = self.counts(job).ended
            assert done < READ, "the job was over before the fault; make it longer"
            return done >= 3 * BATCH and self._running(job) > 0

        self.wait(middle, "the middle of the job")

    def _running(self, job: str) -> int:
        query = {"bool": {"filter": [{"term": {"job": job}}, {"term": {"state": "running"}}]}}
        batches = self.settings.system_prefix + "batches"
        return int(self.services.elasticsearch.count(index=batches, query=query)["count"])

    def wait_for_end(self, job: str) -> dict[str, Any]:
        """Wait until the job is closed; gives what `job show --json` says."""
        self.wait(
            lambda: self.services.jobs.get(job).finished_at is not None, f"the end of job {job} ({self.log})", seconds=240
        )
        return dict(self.command.json("job", "show", job, **self.environment))

    def check_whole(self, index: str, job: dict[str, Any]) -> None:
        """Every record of the catalogue was written by this job, once."""
        assert job["state"] == "completed", job
        assert {n: job[n] for n in ("read", "written", "unchanged", "partial", "dead", "dead_letters", "pending")} == {
            "read": READ,
            "written": READ,
            "unchanged": 0,
            "partial": 0,
            "dead": 0,
            "dead_letters": 0,
            "pending": 0,
        }
        client = self.services.elasticsearch
        client.indices.refresh(index=index)
        hits = client.search(index=index, size=1000, source=["id", "triptych.job"])["hits"]["hits"]
        ids = [hit["_source"]["id"] for hit in hits]
        assert len(ids) == len(set(ids)) == READ
        assert {hit["_source"]["triptych"]["job"] for hit in hits} == {job["id"]}
