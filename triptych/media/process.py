"""One child process that decodes, as its parent sees it. What it does is triptych.media.child."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import FileIO
from typing import cast

from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError, TriptychError
from triptych.media.limits import GivenLimits
from triptych.media.wire import WireError, receive, result_of, send
from triptych.settings import Settings, child_environment

START_SECONDS = 60.0
"""Time a child has to start. It takes half a second; on a machine that is starting all at once, much more."""

_PIPE_BYTES = 1 << 20
"""What the kernel holds between the two, on Linux: its most for who has no rights. A picture of 320 x 240 takes .7 ms so, in
place of .95: each 64 KB of it were a turn of both. https://man7.org/linux/man-pages/man7/pipe.7.html"""

_KEPT_BYTES = str(32 << 20)
"""What a child keeps of the memory it freed. A picture of 1000 x 750 takes some 10 MB of it in all; given back to the system
and had anew for each, that took 2.5 ms of 6. https://man7.org/linux/man-pages/man3/mallopt.3.html"""

_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", -1)

_LONGEST_POLL = 1_000_000
"""Milliseconds that poll(2) is asked to wait at once; it takes no more than 2^31."""

_END_SECONDS = 1.0
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")  # how libraries and ffmpeg are found

Result = Image.Image | Waveform


class DiedError(Exception):
    """The child is gone, or what it says is no answer."""


class LateError(Exception):
    """The child takes too long; whoever asked it kills it."""


class Timed:
    """A pipe's end as triptych.media.wire takes it: whoever waits for the other side does so for `left()` seconds.

    Then LateError is raised. To wait by poll(2) takes a few us; a timer, which is a thread, took .12 ms of CPU a file.
    """

    def __init__(self, pipe: FileIO, left: Callable[[], float]) -> None:
        self._pipe = pipe
        self._left = left
        os.set_blocking(pipe.fileno(), False)
        with contextlib.suppress(OSError):  # an ordinary user may have so much in all pipes: fs.pipe-user-pages-soft
            fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)

    def write(self, data: memoryview) -> int:
        return self._when_ready(lambda: self._pipe.write(data), select.POLLOUT)

    def readinto(self, into: memoryview) -> int:
        return self._when_ready(lambda: self._pipe.readinto(into), select.POLLIN)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self._pipe.close()

    def _when_ready(self, step: Callable[[], int | None], event: int) -> int:
        """What `step` gives once the pipe is ready for it; a pipe that is not gives None."""
        while (left := self._left()) > 0:
            if (done := step()) is not None:
                return done
            waiting = select.poll()
            waiting.register(self._pipe, event)
            waiting.poll(min(left * 1000, _LONGEST_POLL))
        raise LateError


class Child:
    """One process. `served` counts the requests it answered."""

    def __init__(self, settings: Settings) -> None:
        self.served = 0
        self._until = 0.0
        inherited = {name: value for name, value in child_environment().items() if name in _PASSED_ON}
        environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",  # each thread more reserves memory that counts against the limit
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
            "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
            "PILLOW_BLOCKS_MAX": "4",  # Pillow keeps 64 MB for the next picture, which saves a third of the time
        }
        # -P: nothing is imported from the current folder. A session of its own: Ctrl-C is the parent's affair, and ffmpeg,
        # which the child starts, can be killed with it.
        self._process = subprocess.Popen(  # noqa: S603  this interpreter
            [sys.executable, "-P", "-m", "triptych.media.child", str(settings.decode_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # no lock and no bytes of ours to be copied into a fork
            env=environment,
            start_new_session=True,
        )
        self._input, self._output = (
            Timed(cast("FileIO", pipe), self._left) for pipe in (self._process.stdin, self._process.stdout)
        )
        try:
            self._wait_for_start()
        except BaseException:
            self.kill()
            raise

    def _wait_for_start(self) -> None:
        try:
            self._until = time.monotonic() + START_SECONDS
            started = receive(self._output) is not None
        except (WireError, LateError, OSError):
            started = False
        if not started:
            raise TriptychError(
                "The process that decodes pictures and sounds did not start.",
                code="media.no_decoder",
                remedy="Its own words are in the log of this process. Is TRIPTYCH_DECODE_BYTES too small, or the memory full?",
                retryable=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def _left(self) -> float:
        """Seconds until what is asked now takes too long."""
        return self._until - time.monotonic()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, data: bytes, modality: Modality, limits: GivenLimits, *, lenient: bool = False) -> Result | MediaError:
        """The result of one decoding. Raises LateError or DiedError; then the child is of no more use."""
        try:
            self._until = time.monotonic() + limits.decode_seconds
            send(self._input, {"modality": modality, "limits": limits.to_json(), "lenient": lenient}, data)
            message = receive(self._output)
            if message is None:
                raise DiedError
            result = result_of(*message, modality)
        except (WireError, OSError, ValueError) as error:  # ValueError: a pipe that was closed meanwhile
            raise DiedError from error
        self.served += 1
        return result

    def _end_group(self) -> None:
        """Kill the child and what it started. Its id is its own until it is waited for, which only `kill` and `close` do."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the child at once."""
        if self._process.returncode is None:
            self._end_group()
        self.forget()
        self._process.wait()

    def close(self) -> None:
        """Let the child end by itself, or make it."""
        with contextlib.suppress(OSError):
            self._input.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self.kill()

    def forget(self) -> None:
        """Close this process's ends of the pipes."""
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):
                pipe.close()

    def disown(self) -> None:
        """In a fork: the child is the other process's. Close the pipes, lest they keep it alive, and never wait for it."""
        self.forget()
        self._process.returncode = 0
