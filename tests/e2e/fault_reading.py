"""Faults while a catalogue is read: by the command that submits it, or by a worker where it was sent to the API."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from fault_scene import Scene
from fault_world import LEASE_SECONDS, FaultError, kill, wait_for

_PAUSED_SECONDS = 20 * LEASE_SECONDS
_ENDED_SECONDS = 90.0
_LOOK_SECONDS = 0.3
_NOTICED_SECONDS = 2.0
"""A shorter absence of Redis is none to who enters batches: the client tries again meanwhile."""

_RECEIVED = re.compile(r"Task triptych\.read_catalogue\[\S+ received")


def kill_reading_command(scene: Scene) -> None:
    """Somebody resumes the job at once, or when it has said that nobody reads its catalogue any more."""
    command = _reader(scene)
    _stop_reading(scene, lambda number: os.killpg(command.pid, number))
    kill(command)
    scene.mended = time.monotonic()
    if scene.chance.random() < 0.5:
        jobs = scene.world.services.jobs
        wait_for(lambda: jobs.get(scene.job).paused_because is not None, "the reason for a pause", _PAUSED_SECONDS)
        because = jobs.get(scene.job).paused_because or ""
        scene.must("the job said that its submitter was lost", lambda: f"triptych job resume {scene.job}" in because)
        scene.mended = time.monotonic()
    _resume(scene)


def kill_reading_worker(scene: Scene) -> None:
    """The worker, or only its pool process. Another one reads on, without being told to."""
    worker = next((one for one in scene.world.workers if one.said("Task triptych.read_catalogue[")), None)
    if worker is None:
        raise FaultError("no worker reads")
    _stop_reading(scene, worker.signal)
    if scene.chance.random() < 0.5:
        worker.kill()
        scene.must("a worker was asked to read on", lambda: scene.world.said("nobody reads its catalogue; sending it again"))
    else:
        for pid in worker.pool():
            os.kill(pid, signal.SIGKILL)
        worker.signal(signal.SIGCONT)  # which gives the message back at once, as its process was lost
        scene.must("the reading was begun again", lambda: scene.world.times(_RECEIVED) > 1)
    scene.must("the upload is gone", lambda: _uploads(scene) == 0)


def empty_redis_while_read(scene: Scene) -> None:
    """The command reads on: what it enters meanwhile waits in the ledger, and is sent when Redis is there again, empty."""
    scene.redis.kill()
    scene.rest(_NOTICED_SECONDS)
    scene.redis.restart()
    scene.mended = time.monotonic()
    scene.must("the command read on", lambda: "waits for a sweeper to send it" in _said(scene))
    scene.must("the command ended well", lambda: _ended(scene) == 0)


def kill_node_while_read(scene: Scene) -> None:
    """The command waits for it, and reads on."""
    scene.nodes[0].kill()
    scene.rest()
    scene.nodes[0].restart()
    scene.mended = time.monotonic()
    scene.must("the command waited for Elasticsearch", lambda: "Trying again in" in _said(scene))
    scene.must("the command ended well", lambda: _ended(scene) == 0)


def _reader(scene: Scene) -> subprocess.Popen[bytes]:
    if scene.reader is None:
        raise FaultError("no command reads")
    return scene.reader


def _stop_reading(scene: Scene, send: Callable[[signal.Signals], None]) -> None:
    """Stop the reader (SIGSTOP), and see that it was at it: the catalogue is not read whole, and no more of it is read."""
    send(signal.SIGSTOP)
    time.sleep(_LOOK_SECONDS)
    read = scene.world.read(scene.job)
    time.sleep(_LOOK_SECONDS)
    job, whole = scene.world.services.jobs.get(scene.job), len(scene.catalogue)
    if not job.reading or not read < whole or scene.world.read(scene.job) != read:
        raise FaultError(f"{read} of {whole} records were read, and it was not the one that reads, or it had done")
    scene.must(f"it was killed when {read} of {whole} records were read", lambda: True)


def _said(scene: Scene) -> str:
    return (scene.world.folder / "submit.log").read_text(encoding="utf-8")


def _ended(scene: Scene) -> int | None:
    """The exit status of the reading command, which ends by itself; None where it does not in time."""
    with suppress(subprocess.TimeoutExpired):
        return _reader(scene).wait(timeout=_ENDED_SECONDS)
    return None


def _resume(scene: Scene) -> None:
    read = scene.world.read(scene.job)
    scene.must("it was resumed before all was read", lambda: 0 <= read < len(scene.catalogue))
    scene.world.command("job", "resume", scene.job)


def _uploads(scene: Scene) -> int:
    services = scene.world.services
    index = f"{services.settings.system_prefix}uploads"
    services.elasticsearch.indices.refresh(index=index)
    return int(services.elasticsearch.count(index=index)["count"])
