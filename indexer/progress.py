"""A job's progress on the terminal while it runs: a bar, records per second, the time left, outcomes by kind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the services load celery and elasticsearch; --help must not
    from triptych.jobs.job import Counts, Job
    from triptych.services import Services

_STEP_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 10.0
_RATE_SECONDS: Final = 30.0
_OUTCOMES: Final = ("written", "unchanged", "partial", "deleted", "dead")


class Rate:
    """Records per second over the latest half minute."""

    def __init__(self, seconds: float = _RATE_SECONDS) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, moment: float, ended: int) -> float | None:
        """The rate once `ended` records have ended at `moment`; None where it cannot be told yet."""
        self._seen.append((moment, ended))
        while len(self._seen) > 2 and moment - self._seen[1][0] >= self._seconds:  # noqa: PLR2004  a rate needs two
            self._seen.popleft()
        first, before = self._seen[0]
        return (ended - before) / (moment - first) if moment > first and ended > before else None


def line_of(state: str, counts: Counts, rate: float | None, *, whole: bool) -> str:
    """What stands beside the bar; `whole`: the catalogue is read to its end, so that the time left can be told."""
    said = [state] if state != "running" else []
    said += [f"{getattr(counts, name)} {name}" for name in _OUTCOMES if getattr(counts, name)]
    if rate is not None and state == "running":
        said.append(f"{rate:.1f}/s")
        said.append(f"{_spelled(counts.pending / rate)} left" if whole else "still reading")
    return ", ".join(said)


def _spelled(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def follow_job(services: Services, entered: Job, *, quiet: bool = False, check: Callable[[], None] = lambda: None) -> None:
    """Show a job's progress until it has ended, or rests because it was paused or stopped; say so when no worker takes it.

    `check` is called at each step and may raise. Raises NotFoundError, and ElasticsearchError where the ledger is away.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    started = time.monotonic()
    warned = quiet
    speed = Rate()
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("queued", total=None)
        while True:
            check()
            tally = services.jobs.tally(entered.id)
            current = services.jobs.get(entered.id)
            state, counts = current.state(tally), tally.counts
            rate = speed.at(time.monotonic(), counts.ended)
            said = line_of(str(state), counts, rate, whole=not current.reading)
            progress.update(bar, total=counts.read or None, completed=counts.ended, description=said)
            if state.rests:
                return
            if not warned and not counts.ended and time.monotonic() - started > _PATIENCE_SECONDS:
                warned = True
                if not services.queue.control.ping(timeout=1.0):
                    progress.console.print("No worker answers yet. Start one in another terminal: triptych worker")
            time.sleep(_STEP_SECONDS)
