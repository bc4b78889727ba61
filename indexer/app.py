"""The Celery application of the worker: pool processes that load their encoders after the fork, and a sweeper beside them.

triptych worker            (runs `celery worker` with the options that fit)
celery -A indexer.app inspect active
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

from indexer import sweeper, tasks
from indexer.behind import of_this_thread
from triptych import logs, traces
from triptych import services as composition
from triptych.jobs.queue import make_queue
from triptych.services import Services
from triptych.settings import load

log = logging.getLogger(__name__)

_LAST_SECONDS = 5.0
"""Time that pool processes have to give their batches back before they are killed."""

_TOLD = 128 + signal.SIGTERM
"""What a pool process ends with that was told to."""

_SWITCH_SECONDS = 0.0005
"""After so long a thread lets another one run. With Python's 5 ms Elasticsearch waited for a thread that had its answer."""

_process: list[Services] = []
_making = threading.Lock()
_stop = threading.Event()
_pool: list[str] = []
_pool_process: list[int] = []
_worker_process: list[int] = []


def make_app() -> Celery:
    """The application: the queue's settings plus the tasks."""
    settings = load()
    app = make_queue(settings)
    app.conf.worker_max_memory_per_child = settings.worker_memory_mb * 1000 or None  # in KB
    app.conf.worker_max_tasks_per_child = settings.worker_tasks or None
    tasks.register(app, process_services, _ends)
    return app


def process_services() -> Services:
    """This process's services; made once, after the fork. All threads of a pool share them."""
    with _making:
        if not _process:
            _process.append(composition.build())
            traces.set_up(_process[0].settings, process="triptych-worker")
        return _process[0]


def _ends() -> tasks.Ends | None:
    """The end of a batch is done behind the next one in pool processes, which wait for it (`_end_pool_process`).

    Not in the pool `solo`: its process is the worker's own, and no signal says that it ends.
    """
    return of_this_thread("ends") if _pool_process == [os.getpid()] != _worker_process else None


@worker_init.connect
def _begin_worker(**_: Any) -> None:
    _worker_process[:] = [os.getpid()]
    sys.setswitchinterval(_SWITCH_SECONDS)  # pool processes inherit it


@setup_logging.connect
def _log(loglevel: int | str | None = None, **_: Any) -> None:
    logs.set_up(load(), level=loglevel or logging.INFO)


@worker_process_init.connect
def _begin_pool_process(**_: Any) -> None:
    _pool_process[:] = [os.getpid()]
    _process.clear()  # sockets must not be shared with the parent
    gc.freeze()  # modules stay: to look through them for garbage again and again took a sixth of the time of a cheap batch
    signal.signal(signal.SIGTERM, _give_back)


@worker_process_shutdown.connect
def _end_pool_process(exitcode: int, **_: Any) -> None:
    """Let the end of the last batch be done. A process that was told to end has little time for it; then the lease runs out."""
    with suppress(TimeoutError):
        of_this_thread("ends").wait(_LAST_SECONDS / 2 if exitcode == _TOLD else None)


def _give_back(*_: Any) -> None:
    sys.exit(_TOLD)  # index_batch gives its batch back on the way


@worker_ready.connect
def _start_sweeper(sender: Any, **_: Any) -> None:
    _pool[:] = [type(sender.pool).__module__]
    threading.Thread(target=sweeper.run, args=(composition.build(), _stop), name="sweeper", daemon=True).start()


@worker_shutting_down.connect
def _end(**_: Any) -> None:
    """Stop the sweeper and, at the first SIGTERM, see to it that the worker's end does not wait for ever."""
    if not _stop.is_set():
        threading.Thread(target=_end_in_time, args=(load().worker_stop_seconds,), name="end", daemon=True).start()
    _stop.set()


def _end_in_time(seconds: float) -> None:
    """After `seconds` stop what still runs. Its batches are given back, or their leases run out; none is lost."""
    waiting = threading.Event()
    waiting.wait(seconds)
    log.warning("batches still run %.0f s after the signal to stop; they are given back", seconds)
    if _pool and _pool[0].endswith("prefork"):
        os.kill(os.getpid(), signal.SIGQUIT)  # Celery's cold shutdown: SIGTERM to pool processes, messages back to Redis
        waiting.wait(_LAST_SECONDS)
    os._exit(1)  # pool processes die with their parent


app = make_app()
