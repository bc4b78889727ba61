"""Brings back what was lost: batches whose worker died, messages that Redis forgot, jobs that nobody closed.

Runs in a thread of every worker. Several at once do no harm: a batch is started by whoever takes its lease, and closing a job
twice changes nothing.
"""

from __future__ import annotations

import logging
import threading

from triptych.errors import TriptychError
from triptych.jobs.queue import send_batch, send_finish, waiting
from triptych.services import Services

log = logging.getLogger(__name__)

_PATIENCE = 10
"""Leases without a sign of life after which a submitter counts as lost."""

_ABANDONED = (
    "The submitter was lost before it had read the whole catalogue. What was read is indexed; "
    "submit the catalogue again for the rest: what is there stays unchanged."
)


def run(services: Services, stop: threading.Event) -> None:
    """Sweep until `stop` is set, a few times per lease."""
    while not stop.wait(services.settings.batch_lease_seconds / 3):
        try:
            sweep(services)
        except TriptychError as error:
            log.warning("sweep: %s", error)
        except Exception:
            log.exception("sweep failed; the next one follows")  # this thread must outlive any fault


def sweep(services: Services) -> None:
    """Send again every batch nobody works on and the closing of every job that is done but open."""
    jobs = services.jobs
    idle = waiting(services.redis, services.settings) == 0
    for job, number, kind, priority in jobs.lost(queue_empty=idle):
        log.warning("job %s: batch %d was lost with its worker or its message; sending it again", job, number)
        send_batch(services.queue, job, number, kind=kind, priority=priority)
    for unread in jobs.abandoned(seconds=services.settings.batch_lease_seconds * _PATIENCE):
        if jobs.counts(unread.id).pending == 0:
            log.warning("job %s: its submitter was lost while reading", unread.id)
            jobs.update(unread.id, reading=False, error=_ABANDONED)
    if idle:
        for open_job in jobs.unfinished():
            if jobs.counts(open_job.id).pending == 0:
                send_finish(services.queue, open_job.id)
