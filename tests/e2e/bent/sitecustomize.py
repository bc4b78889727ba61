"""Loaded by every Python process of the fault harness: a clock that is FAULT_CLOCK seconds off, pictures that kill decoders.

A picture is poisoned when its bytes hold the word POISONED.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from typing import Any

POISON = b"POISONED"
_SHIFT = float(os.environ.get("FAULT_CLOCK", "0"))


def _bend_clock(seconds: float) -> None:
    true_time, true_ns, true = time.time, time.time_ns, dt.datetime

    class Bent(true):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return true.now(tz) + dt.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> Any:
            return true.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=seconds)

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
    dt.datetime = Bent  # type: ignore[misc]


def _poison_decoder() -> None:
    from PIL import Image

    true_open = Image.open

    def open_or_die(file: Any, *args: Any, **options: Any) -> Any:
        if hasattr(file, "getvalue") and POISON in bytes(file.getvalue()):
            os.kill(os.getpid(), signal.SIGKILL)
        return true_open(file, *args, **options)

    Image.open = open_or_die


if _SHIFT:
    _bend_clock(_SHIFT)
if "triptych.media.child" in sys.orig_argv:
    _poison_decoder()
