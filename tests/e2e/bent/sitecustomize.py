"""Loaded by every Python process of the fault harness: a clock that is FAULT_CLOCK seconds off, pictures that kill decoders.

A picture is poisoned when its bytes hold the word POISONED.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

POISON = b"POISONED"
_SHIFT = float(os.environ.get("FAULT_CLOCK", "0"))


def _bend_clock(seconds: float) -> None:
    """The clock that leases go by. (Another datetime class makes libraries in C crash.)"""
    true_time, true_ns = time.time, time.time_ns
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)


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
