"""Tell processes apart, and end one when the process that asked for it is gone.

Run as a script (`python guard.py PID BIRTH`) it waits for the end of its standard input, a pipe whose other end the parent
holds, and then ends PID. The system closes the pipe however the parent ends, kill -9 included, on Linux and macOS alike;
Linux's own PR_SET_PDEATHSIG would fire already when the starting *thread* ends. Only the standard library, no imports of
this package: it is started by its path.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_TERM_SECONDS = 5.0


def birth(pid: int) -> str | None:
    """A text that tells this process from any other that ever had its number; None if it is not running (or a zombie).

    Linux: clock ticks since boot, and the boot's id. Elsewhere: the start time that `ps` prints.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The command, in brackets, may hold spaces and brackets; state is the first field after it, start time the 20th.
            fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if fields[0] in "ZX":
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{fields[19]}@{boot}"
    shown = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(None, 1)
    return shown[1].strip() if len(shown) == 2 and not shown[0].startswith("Z") else None  # noqa: PLR2004


def is_ours(pid: int, born: str) -> bool:
    """Whether `pid` still is the process whose `birth` was `born`."""
    return birth(pid) == born


def end(pid: int, born: str, *, seconds: float = _TERM_SECONDS) -> bool:
    """SIGTERM, then SIGKILL after `seconds`, but only the process born then. False if it was gone already."""
    if not _signal(pid, born, signal.SIGTERM):
        return False
    if not _gone_within(pid, born, seconds):
        _signal(pid, born, signal.SIGKILL)
        _gone_within(pid, born, seconds)
    return True


def _signal(pid: int, born: str, number: signal.Signals) -> bool:
    if not is_ours(pid, born):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _gone_within(pid: int, born: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_ours(pid, born):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the parent
    while os.read(0, 4096):
        pass
    end(int(sys.argv[1]), sys.argv[2])
