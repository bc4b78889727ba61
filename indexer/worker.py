"""The command `triptych worker`: Celery's worker with the pool, the threads and the queues that fit this machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import click

log = logging.getLogger(__name__)

MOST_PROCESSES: Final = 4
"""Pool processes that a worker starts unasked."""

PROCESS_BYTES: Final = 3_000_000_000
"""Memory that must be free for each of them; with the offline profile one held 2.5 GB at its highest (docs/operations.md)."""

_KINDS = ("words", "pictures", "sounds")  # those of triptych.jobs.queue, which loads Celery


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Batches worked on at once. Default: prefork one per core and 3 GB of free memory, "
    f"at most {MOST_PROCESSES}; threads and solo 1.",
)
@click.option(
    "--pool",
    type=click.Choice(["auto", "prefork", "threads", "solo"]),
    default="auto",
    show_default=True,
    help="prefork: processes, each with its encoders; threads: they share one set. auto: threads on a GPU, else prefork.",
)
@click.option(
    "--queues",
    default=",".join(_KINDS),
    show_default=True,
    metavar="KINDS",
    help="Batches to take: words, pictures, sounds, with commas.",
)
@click.option("--name", help="Name of the worker; default worker- and its process id, so that none of one machine share one.")
@click.option(
    "--max-memory", type=click.IntRange(0), metavar="MB", help="Replace a pool process that holds more. Default: setting."
)
@click.option(
    "--max-tasks", type=click.IntRange(0), metavar="N", help="Replace a pool process after N tasks. Default: setting."
)
@click.option("--events", is_flag=True, help="Send events for monitors such as Flower.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Format of the logs; default TRIPTYCH_LOG_FORMAT.")
@click.option("--loglevel", default="INFO", show_default=True, help="DEBUG, INFO, WARNING or ERROR.")
def worker(
    *,
    concurrency: int | None,
    pool: str,
    queues: str,
    name: str | None,
    max_memory: int | None,
    max_tasks: int | None,
    events: bool,
    log_format: str | None,
    loglevel: str,
) -> None:
    """Run a worker: takes batches from Redis, embeds them and writes them to Elasticsearch, until Ctrl-C or SIGTERM."""
    from triptych import logs  # noqa: PLC0415
    from triptych.encoders.device import kind_of_device  # noqa: PLC0415
    from triptych.encoders.prepare import require  # noqa: PLC0415
    from triptych.jobs.queue import queue_name  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415
    from triptych.settings import hand_down, load  # noqa: PLC0415

    kinds = kinds_of(queues)
    given = {"WORKER_MEMORY_MB": max_memory, "WORKER_TASKS": max_tasks, "LOG_FORMAT": log_format}
    hand_down(**{key: str(value) for key, value in given.items() if value is not None})
    settings = load()
    logs.set_up(settings, level=loglevel.upper())
    pool = pool_for(kind_of_device(settings)) if pool == "auto" else pool
    if concurrency is None:
        concurrency = concurrency_for(pool, cores(), free_bytes())
        log.info(
            "%d batches at once, by %d cores and the memory that is free (--concurrency says otherwise)", concurrency, cores()
        )
    hand_down(THREADS=str(settings.threads or threads_for(pool, concurrency)))
    services = build()
    require(services.profile, services.settings)
    services.jobs.prepare()

    from indexer.app import app  # noqa: PLC0415  reads the settings, so after they are handed down

    names = ",".join(queue_name(settings, kind) for kind in kinds)
    options = [
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--queues={names}",
        f"--hostname={name or f'worker-{os.getpid()}'}@%h",
    ]
    options += [f"--loglevel={loglevel}", "--without-mingle", "--without-gossip", *(["--task-events"] if events else [])]
    quiet = ["--quiet"] if settings.log_format == "json" else []  # the banner is no log
    app.worker_main([*quiet, "worker", *options])


def kinds_of(queues: str) -> list[str]:
    """The kinds of batches named, in order, each once."""
    kinds = list(dict.fromkeys(part.strip() for part in queues.split(",") if part.strip()))
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown or not kinds:
        raise click.BadParameter(f"give some of {', '.join(_KINDS)}, with commas between them.", param_hint="--queues")
    return kinds


def pool_for(device: str) -> str:
    """Processes on a CPU. On a GPU threads: CUDA does not survive a fork, and one set of weights in its memory is enough."""
    return "prefork" if device == "cpu" else "threads"


def concurrency_for(pool: str, cores: int, free: int | None) -> int:
    """Batches at once where nobody says. Processes of one thread each are quicker than one process of as many threads, as none
    waits for another between two batches or two layers of a network (pictures on two cores: 101 a second in place of 86,
    benchmarks/pictures.py); each has encoders of its own. What is free is not known everywhere: then one.
    """
    if pool != "prefork" or free is None:
        return 1
    return max(1, min(cores, MOST_PROCESSES, free // PROCESS_BYTES))


def threads_for(pool: str, concurrency: int) -> int:
    """Torch threads of one process, so that all together have a core each. The threads of a pool compute one after another."""
    return max(1, cores() // concurrency) if pool == "prefork" else cores()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that may be taken without swapping, also of the container's own; None where the system does not say (no Linux).

    https://docs.kernel.org/filesystems/proc.html (MemAvailable)
    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max)
    """
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        most, taken = ((cgroup / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if most == "max" else min(free, max(0, int(most) - int(taken)))
