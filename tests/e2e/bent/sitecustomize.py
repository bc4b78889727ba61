"""Loaded by every Python process of the fault harness: a clock that is FAULT_CLOCK seconds off, batches that take
FAULT_BATCH_SECONDS longer and a catalogue whose every batch takes FAULT_READ_SECONDS longer to enter, so that a quick machine
has not ended before the fault comes; pictures that kill decoders.

A picture is poisoned when its bytes hold the word POISONED.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import signal
import sys
import time
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

POISON = b"POISONED"
_SHIFT, _BATCH, _READ = (float(os.environ.get(f"FAULT_{name}", "0")) for name in ("CLOCK", "BATCH_SECONDS", "READ_SECONDS"))
_CHANGES: dict[str, Callable[[Any], None]] = {}


class _After:
    """Changes modules as soon as they are loaded: they cost much, and most processes need none of them."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        change = _CHANGES.pop(name, None)  # so that the next line does not come here again
        spec = importlib.util.find_spec(name) if change is not None else None
        if spec is None or spec.loader is None or change is None:
            return None
        load = spec.loader.exec_module

        def load_and_change(module: Any) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def _bend_clock(seconds: float) -> None:
    """The clock that logs go by, and leases once did; and the one of jobs' ids and times.

    Not `datetime` for all: another class there makes libraries in C crash.
    """
    true_time, true_ns = time.time, time.time_ns
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)

    class Bent(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) + dt.timedelta(seconds=seconds)

    bent = types.ModuleType("datetime")
    vars(bent).update({**vars(dt), "datetime": Bent})
    for name in ("triptych.jobs.store", "triptych.jobs.ledger"):
        _CHANGES[name] = lambda module: setattr(module, "dt", bent)


def _slow_batches(module: Any) -> None:
    """Half of it before the batch is written and half of it after, before it is counted."""
    begin = module.begin

    def slowly(*args: Any, **more: Any) -> Any:
        time.sleep(_BATCH / 2)
        wait = begin(*args, **more)

        def result() -> Any:
            found = wait()
            time.sleep(_BATCH / 2)
            return found

        return result

    module.begin = slowly


def _slow_reading(module: Any) -> None:
    send = module.offer_batch

    def slowly(*args: Any, **more: Any) -> None:
        time.sleep(_READ)
        send(*args, **more)

    module.offer_batch = slowly


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
if _BATCH:
    _CHANGES["indexer.pipeline"] = _slow_batches
if _READ:
    _CHANGES["indexer.submit"] = _slow_reading
if _CHANGES:
    sys.meta_path.insert(0, _After())
if "triptych.media.child" in sys.orig_argv:
    _poison_decoder()
