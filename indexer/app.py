"""The Celery application of the worker: pool processes that load their encoders after the fork, and a sweeper beside them.

triptych worker            (runs `celery worker` with the options that fit)
"""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_ready, worker_shutting_down

from indexer import sweeper, tasks
from triptych import services as composition
from triptych.jobs.queue import make_queue
from triptych.services import Services
from triptych.settings import load

_process: list[Services] = []
_stop = threading.Event()


def make_app() -> Celery:
    """The application: the queue's settings plus the tasks."""
    app = make_queue(load())
    tasks.register(app, process_services)
    return app


def process_services() -> Services:
    """This process's services; made once, after the fork."""
    if not _process:
        _process.append(composition.build())
    return _process[0]


@worker_process_init.connect
def _forget_parents_services(**_: Any) -> None:
    _process.clear()  # sockets must not be shared with the parent


@worker_ready.connect
def _start_sweeper(**_: Any) -> None:
    threading.Thread(target=sweeper.run, args=(composition.build(), _stop), name="sweeper", daemon=True).start()


@worker_shutting_down.connect
def _stop_sweeper(**_: Any) -> None:
    _stop.set()


app = make_app()
