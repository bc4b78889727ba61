"""A bound of time for what knows none of ours: boto3 and Google's client count silences, and a byte a second is no silence; the
system's resolver has a time of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def within(seconds: float, work: Callable[[], _T], late: Callable[[], Exception]) -> _T:
    """What `work` gives or raises; after `seconds` what `late` makes is raised.

    The work runs in a thread of its own. One that is late is left behind: it ends when its connection does, and keeps no
    process from ending.
    """
    found: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name="bounded", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise late()
    return found[0]
