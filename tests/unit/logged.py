"""The lines that a logger writes, as JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from triptych import logs


@contextmanager
def lines_of(logger: logging.Logger) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A function that gives what was logged meanwhile, in the format and with the ids of a process's own log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(logs._Subject())
    handler.setFormatter(logs._Formatter("json", []))
    logger.addHandler(handler)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        logger.removeHandler(handler)
