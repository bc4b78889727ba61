"""A sign of life in the background while a block of code works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from triptych.errors import TriptychError

log = logging.getLogger(__name__)


@contextmanager
def heartbeat(beat: Callable[[], object], *, seconds: float, what: str) -> Iterator[None]:
    """Call `beat` every `seconds` until the block ends. One that fails is logged, with `what` it was for, and tried again."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(seconds):
            try:
                beat()
            except TriptychError as error:
                log.warning("%s: no sign of life could be given: %s", what, error)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
