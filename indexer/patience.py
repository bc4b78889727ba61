"""Waiting for a service that is away, by whoever has nobody to come again for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from triptych.errors import TriptychError

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 300.0
"""How long a command that reads a catalogue waits for Elasticsearch: a node's restart takes a minute or two."""

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 10.0

T = TypeVar("T")


def patiently(call: Callable[[], T], *, seconds: float, what: str) -> T:
    """What `call` gives; while it raises a retryable error it is tried again after .5, 1, 2 ... 10 s, for so many seconds.

    Raises what the last try raised. Each wait is logged, with `what` it is for.
    """
    until, wait = time.monotonic() + seconds, _FIRST_WAIT
    while True:
        try:
            return call()
        except TriptychError as error:
            if not error.retryable or time.monotonic() + wait > until:
                raise
            log.warning("%s: %s Trying again in %.1f s.", what, error.message, wait)
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
