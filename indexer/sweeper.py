"""Brings back what was lost: batches whose worker died, messages that Redis forgot, jobs that nobody closed.

Runs in a thread of every worker, and believes no other machine's clock: it gives a batch back when its entry has not changed
for a lease of this process's own time (`watch`). Several at once do no harm: a batch is started by whoever claims it, and
closing a job twice changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from indexer.upgrade import building, swapping
from triptych.elastic.events import EventStore
from triptych.errors import ElasticsearchError, TriptychError
from triptych.jobs.job import Job, Wanted
from triptych.jobs.orphans import drop_orphans
from triptych.jobs.queue import KINDS, queue_name, send_batch, send_finish, send_read, waiting_in
from triptych.jobs.store import Seen
from triptych.jobs.upgrades import Upgrade, UpgradeState
from triptych.jobs.watch import Seldom, Watch
from triptych.services import Services

log = logging.getLogger(__name__)

_PATIENCE = 10
"""Leases without a sign of life after which a submitter counts as lost."""

_SELDOM_SECONDS = 3600.0
"""Time from one look for events that are too old, and for uploads without a job, to the next."""

_ABANDONED = "The submitter was lost before it had read the whole catalogue. What was read is indexed; "


def run(services: Services, stop: threading.Event) -> None:
    """Sweep until `stop` is set, a few times per lease."""
    sweeper = Sweeper(services)
    seldom = Seldom(_SELDOM_SECONDS)
    while not stop.wait(services.settings.batch_lease_seconds / 3):
        try:
            sweeper.sweep()
            if seldom.due():
                EventStore(services.elasticsearch, services.settings).expire()
                drop_orphans(services.jobs, services.uploads)
        except TriptychError as error:
            log.warning("sweep: %s", error)
        except Exception:
            log.exception("sweep failed; the next one follows")  # this thread must outlive any fault


class Sweeper:
    """Looks again and again, and remembers since when what it sees has not changed. One per worker."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._lease = services.settings.batch_lease_seconds
        self._running, self._queued, self._readers, self._swaps, self._built = (Watch(clock) for _ in range(5))
        self._refused: set[str] = set()

    def sweep(self) -> None:
        """Give back and send again every batch nobody works on, and the closing of every job that is done but open."""
        jobs = self._services.jobs
        try:
            active, running = jobs.active(), jobs.running()
        except ElasticsearchError:  # nobody can give a sign of life either: leases begin anew when it is back
            for watch in (self._running, self._queued, self._readers, self._swaps, self._built):
                watch.clear()
            raise
        self._give_back(running, set(active))
        self._send_lost(active)
        self._find_abandoned()
        upgrades = self._services.upgrades.all_open()
        self._settle_swaps(upgrades)
        self._restore_settings(upgrades)
        for page in jobs.unfinished():
            for name, tally in jobs.tallies([job.id for job in page]).items():
                if tally.counts.pending == 0:
                    send_finish(self._services.queue, name)

    def _give_back(self, running: Sequence[Seen], active: set[str]) -> None:
        """Batches whose worker gave no sign of life for a lease are anybody's again."""
        seen = {batch.id: batch for batch in running}
        for key in self._running.unchanged({key: batch.entry.seq_no for key, batch in seen.items()}, seconds=self._lease):
            batch = seen[key]
            if self._services.jobs.give_back(batch) and batch.job in active:
                log.warning("job %s: batch %d was lost with its worker; sending it again", batch.job, batch.number)
                self._send(batch)

    def _send_lost(self, active: list[str]) -> None:
        """Batches that waited for a lease while the queue of their kind was empty have lost their messages."""
        settings = self._services.settings
        waiting = waiting_in(self._services.redis, settings)
        idle = [kind for kind in KINDS if waiting[queue_name(settings, kind)] == 0]
        seen = {batch.id: batch for batch in self._services.jobs.queued(active, idle)}
        for key in self._queued.unchanged({key: batch.entry.seq_no for key, batch in seen.items()}, seconds=self._lease):
            log.warning("job %s: the message of batch %d was lost; sending it again", seen[key].job, seen[key].number)
            self._send(seen[key])

    def _send(self, seen: Seen) -> None:
        """Send a batch's message again, where it went first."""
        batch = seen.batch
        send_batch(self._services.queue, batch.job, batch.number, kind=batch.kind, priority=batch.priority)

    def _settle_swaps(self, upgrades: Sequence[Upgrade]) -> None:
        """Writes must not wait for a process that is lost."""
        swaps = {one.alias: one for one in upgrades if one.state is not UpgradeState.OPEN}
        alive = {alias: (one.state, one.holder, one.beat) for alias, one in swaps.items()}
        for alias in self._swaps.unchanged(alive, seconds=swapping.LOST_SECONDS):
            log.warning("the swap of %s was lost with its process; settling it", alias)
            try:
                swapping.settle(self._services, swaps[alias])
            except TriptychError as error:  # aliases are not a worker's to change; the rest of the sweep goes on
                log.warning("%s An administrator ends the swap: triptych reindex promote %s", error, alias)

    def _restore_settings(self, upgrades: Sequence[Upgrade]) -> None:
        """A new version has its own settings again when nobody has filled it for a lease."""
        built = {one.new: one for one in upgrades if one.settings and one.serving != one.new}
        idle = {name: one.alias for name, one in built.items() if not building.is_filled(self._services, one)}
        for name in self._built.unchanged(idle, seconds=self._lease):
            try:
                if building.end(self._services, built[name]):
                    log.info("%s is filled; it has the settings again that it had before", name)
            except TriptychError as error:  # settings are not a worker's to change
                if name not in self._refused:
                    log.warning("%s An administrator gives %s its settings back: triptych reindex promote", error, name)
                self._refused.add(name)

    def _find_abandoned(self) -> None:
        """Jobs whose submitter was lost while it read wait for somebody who reads on; if nobody can, they have failed."""
        unread = {job.id: job for job in self._services.jobs.unread()}
        alive = {key: (job.reader, job.beat) for key, job in unread.items()}
        for key in self._readers.unchanged(alive, seconds=self._lease * _PATIENCE):
            if unread[key].elsewhere:
                self._read_again(unread[key])
            elif self._services.jobs.counts(key).pending == 0:
                log.warning("job %s: its submitter was lost while reading", key)
                self._services.jobs.turn(key, lambda job: _abandoned(job, unread[job.id]))

    def _read_again(self, lost: Job) -> None:
        """Let a worker read on in a catalogue that any can read."""

        def free(job: Job) -> Job:
            return replace(job, reader=None) if (job.reader, job.beat) == (lost.reader, lost.beat) else job

        found = self._services.jobs.turn(lost.id, free)
        if found.reader is None and found.reading and found.runs:
            log.warning("job %s: nobody reads its catalogue; sending it again", lost.id)
            send_read(self._services.queue, lost.id, priority=found.priority, limited=found.resumable)


def _abandoned(job: Job, seen: Job) -> Job:
    """What becomes of a job whose reader is lost, unless something happened since it was `seen`."""
    if (job.reader, job.beat, job.wanted, job.error) != (seen.reader, seen.beat, seen.wanted, seen.error):
        return job
    if job.resumable:
        because = f"{_ABANDONED}read on with `triptych job resume {job.id}`."
        return replace(job, reader=None, wanted=Wanted.PAUSE, paused_because=because)
    return replace(
        job, reader=None, error=f"{_ABANDONED}submit the catalogue again for the rest: what is there stays unchanged."
    )
