"""The faults: what each does to a world in the middle of a job. A strike returns when the fault is over and mended, and says
what it must have done."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fault_reading import empty_redis_while_read, kill_node_while_read, kill_reading_command, kill_reading_worker
from fault_scene import Fault, Scene
from fault_shop import Catalogue
from fault_world import FaultError, Worker, World, wait_for

from triptych.errors import TriptychError
from triptych.jobs.queue import waiting

SKEW = 60.0
_FEW = 8
_FLOOD_SECONDS = 90.0  # the disk is looked at every 10 s
_SEEN_SECONDS = 60.0
_TOLERANCE = 40.0


def nothing(_scene: Scene) -> None:
    """No fault, to compare with."""


def _caught(scene: Scene, *workers: Worker) -> set[str]:
    """Catch workers with batches, which must be started again."""
    held = scene.world.caught(workers, scene.pause)
    scene.must(f"{len(held)} batches were begun again", lambda: all(n > 1 for n in scene.world.attempts(held).values()))
    return held


def kill_pool(scene: Scene) -> None:
    worker = scene.chance.choice(scene.world.workers)
    _caught(scene, worker)
    for pid in worker.pool():
        os.kill(pid, signal.SIGKILL)


def kill_worker(scene: Scene) -> None:
    worker = scene.chance.choice(scene.world.workers)
    _caught(scene, worker)
    worker.kill()


def kill_all(scene: Scene) -> None:
    workers = list(scene.world.workers)
    _caught(scene, *workers)
    for worker in workers:
        worker.kill()
    scene.world.begin_worker()
    scene.world.wait_ready()


def end_worker(scene: Scene) -> None:
    """It has a batch, which it ends or gives back: its start does not count."""
    worker = scene.chance.choice(scene.world.workers)
    held = scene.world.caught([worker], scene.pause)
    worker.process.send_signal(signal.SIGTERM)
    worker.signal(signal.SIGCONT)
    code = worker.process.wait(timeout=60)
    if code != 0:
        raise FaultError(f"a worker that was told to end ended with {code}: {worker.log}")
    scene.must(f"{len(held)} batches were begun once", lambda: set(scene.world.attempts(held).values()) == {1})


def empty_redis(scene: Scene) -> None:
    """Of the messages that wait none is left."""
    services = scene.world.services
    with scene.world.held():
        left = waiting(services.redis, services.settings)
        scene.redis.kill()
    scene.rest()
    scene.redis.restart()
    scene.must(f"{left} messages were lost", lambda: left > 0 and scene.world.said("the message of batch"))


def kill_node(scene: Scene) -> None:
    scene.nodes[0].kill()
    scene.rest()
    scene.nodes[0].restart()
    scene.must("workers noticed", lambda: scene.world.said("Elasticsearch did not answer"))


def kill_one_of_three(scene: Scene) -> None:
    """Any: the workers know all three. It may be the master, and may hold the primaries."""
    node = scene.chance.choice(scene.nodes)
    node.kill()
    wait_for(lambda: _nodes(scene.world) == len(scene.nodes) - 1, "a cluster without it", _SEEN_SECONDS)
    scene.rest()
    node.restart(len(scene.nodes))
    scene.must(f"{node.name} was away", lambda: True)


def _nodes(world: World) -> int:
    with suppress(Exception):
        return int(world.services.elasticsearch.cluster.health()["number_of_nodes"])
    return 0


def block_index(scene: Scene) -> None:
    """What a full disk does, to the products' index only."""
    indices = scene.world.services.elasticsearch.indices
    indices.put_settings(index=scene.world.index, settings={"index.blocks.read_only_allow_delete": True})
    try:
        _wait_for_refusal(scene)
        scene.rest()
    finally:
        indices.put_settings(index=scene.world.index, settings={"index.blocks.read_only_allow_delete": None})


def flood(scene: Scene) -> None:
    """The disk passes the flood stage: Elasticsearch blocks all indices, the ledger's too, and lifts that by itself later."""
    cluster = scene.world.services.elasticsearch.cluster
    marks = [f"cluster.routing.allocation.disk.watermark.{name}" for name in ("low", "high", "flood_stage")]
    names = [*marks, "cluster.routing.allocation.disk.threshold_enabled", "cluster.info.update.interval"]
    full: dict[str, Any] = {**dict.fromkeys(marks, "1000tb"), names[3]: "true", names[4]: "10s"}
    try:
        with scene.world.held():  # a small job would be over
            cluster.put_settings(persistent=full)
            wait_for(lambda: _blocked(scene.world), "the block of a full disk", _FLOOD_SECONDS)
        _wait_for_refusal(scene)
        scene.rest()
        cluster.put_settings(persistent={**full, **dict.fromkeys(marks, "1b")})
        wait_for(lambda: not _blocked(scene.world), "the end of that block", _FLOOD_SECONDS)
    finally:
        cluster.put_settings(persistent=dict.fromkeys(names))


def _wait_for_refusal(scene: Scene) -> None:
    """Until a worker was not let write."""
    refused = ("too busy to write", "(HTTP 429)")
    wait_for(lambda: any(scene.world.said(words) for words in refused), "a worker that is refused", _SEEN_SECONDS)
    scene.must("a worker was not let write", lambda: True)


def _blocked(world: World) -> bool:
    name = "index.blocks.read_only_allow_delete"
    found = world.services.elasticsearch.indices.get_settings(index=world.index, name=name, flat_settings=True)
    return any(one["settings"].get(name) == "true" for one in found.values())


def bad_pictures(how: str, code: str) -> Callable[[Scene], None]:
    """The server is bad until a picture was given up for it, and a while longer."""

    def strike(scene: Scene) -> None:
        scene.sick.bad = scene.sick.routes()[how]
        try:
            wait_for(lambda: code in _codes(scene), f"a dead letter of {code}", _SEEN_SECONDS)
            time.sleep(scene.chance.uniform(0, 2))
        finally:
            scene.sick.bad = None

    return strike


def _codes(scene: Scene) -> set[str]:
    with suppress(TriptychError):
        return {reason["code"] for reason in scene.world.services.control.reasons(scene.job)}
    return set()


def _second(scene: Scene, catalogue: Catalogue, *, clock: float = 0.0) -> str:
    """Submit another job while the first has not ended. By chance its batches go first, so that the older job's come late."""
    first, options = scene.job, ("--priority", "high") if scene.chance.random() < 0.5 else ()
    with scene.world.held():
        second = scene.world.submit(catalogue, *options, clock=clock)
        ended = scene.world.ended(first)
    scene.must("the first job had not ended", lambda: 0 <= ended < len(scene.catalogue))
    return second


def submit_again(scene: Scene) -> None:
    jobs = (scene.job, _second(scene, scene.catalogue))
    scene.must("each product was written once", lambda: sum(_written(scene, job) for job in jobs) == len(scene.catalogue))


def submit_other(scene: Scene) -> None:
    """A job over half of the same ids, with other content, and as many new ones."""
    half = len(scene.catalogue) // 2
    _second(scene, replace(scene.catalogue, first=half, last=half + len(scene.catalogue), edition="b"))


def submit_by_late_clock(scene: Scene) -> None:
    """Another edition of the same products, from a machine whose clock is a minute behind: it is the newer one all the same."""
    second = _second(scene, replace(scene.catalogue, edition="b"), clock=-SKEW)
    times = [scene.world.services.jobs.get(job).submitted_at for job in (scene.job, second)]
    scene.must("by the clocks the second job was the first", lambda: times[1] < times[0])
    scene.must("its id is greater", lambda: second > scene.job)


def _written(scene: Scene, job: str) -> int:
    return scene.world.services.jobs.counts(job).written


def older_writes_late(scene: Scene) -> None:
    """A job looks its products up and waits for a picture; a newer job writes them; then the older one goes on."""
    world, pictures = scene.world, scene.sick
    world.wait_closed(_FLOOD_SECONDS)
    last = scene.catalogue.last
    pictures.bad = pictures.drip
    older = world.submit(replace(scene.catalogue, first=last, last=last + _FEW, edition="b", every=_FEW))
    wait_for(lambda: pictures.waits, "the older job's picture", _SEEN_SECONDS)
    newer = world.submit(Catalogue(last, last + _FEW, "c"))
    wait_for(lambda: world.ended(newer) == _FEW, f"the newer job; {older} is the older", _SEEN_SECONDS)
    wait_for(lambda: len(world.running()) == 1, "the one batch that waits", _SEEN_SECONDS)
    late = world.ended(older)
    pictures.bad = None
    scene.must("the older job came late", lambda: late < _FEW)
    scene.must("the newer job wrote all", lambda: _written(scene, newer) == _FEW)
    scene.must("the older one wrote no more", lambda: _written(scene, older) <= late)


def by_clocks(strike: Callable[[Scene], None], clocks: Sequence[float]) -> Callable[[Scene], None]:
    """A strike among workers whose clocks differ, which their logs must tell."""

    def strike_then(scene: Scene) -> None:
        seen = [worker.clock() for worker in scene.world.workers]
        off = [abs(is_ahead - clock) for is_ahead, clock in zip(seen, clocks, strict=True)]
        scene.must(f"clocks differed by {max(seen) - min(seen):.0f} s", lambda: max(off) < _TOLERANCE)
        strike(scene)

    return strike_then


NOT_YET = ("media.host_resting", "media.batch_timeout")
"""What media are given up for whose server is left alone because it failed so often before."""

_SICK = {
    "stalls": "media.fetch_timeout",
    "answers 500": "media.http_status",
    "answers 404": "media.http_status",
    "redirects to a private address": "media.address_refused",
    "sends without end": "media.too_many_bytes",
    "sends garbage": "media.not_a_picture",
}


def _of_workers_and_services() -> list[Fault]:
    ahead, behind = (0.0, SKEW), (0.0, -SKEW)
    return [
        Fault("pool process killed", kill_pool),
        Fault("worker killed", kill_worker),
        Fault("worker killed, deletes and updates", kill_worker, mixed=True),
        Fault("all workers killed", kill_all, mixed=True),
        Fault("worker told to end", end_worker),
        Fault("redis killed, empty", empty_redis),
        Fault("elasticsearch killed", kill_node),
        Fault("one node of three killed", kill_one_of_three, cluster=True),
        Fault("index read-only", block_index),
        Fault("disk full", flood),
        Fault("clock ahead", by_clocks(kill_pool, ahead), workers=ahead),
        Fault("clock behind", by_clocks(kill_pool, behind), workers=behind),
    ]


def _listed() -> list[Fault]:
    return [
        Fault("none", nothing),
        *_of_workers_and_services(),
        Fault("reading: command killed", kill_reading_command, reading="command"),
        Fault("reading: worker killed", kill_reading_worker, reading="worker"),
        Fault("reading: redis killed, empty", empty_redis_while_read, reading="command"),
        Fault("reading: elasticsearch killed", kill_node_while_read, reading="command"),
        *(
            Fault(f"pictures: {how}", bad_pictures(how, c), pictured=True, again=True, code=c, codes=(c, *NOT_YET))
            for how, c in _SICK.items()
        ),
        Fault(
            "picture kills decoder", nothing, pictured=True, poisoned=True,
            code="media.decoder_died", codes=("media.decoder_died",),
        ),
        Fault("submitted twice", submit_again, at_once=True),
        Fault("two jobs at once", submit_other, at_once=True),
        Fault("second job by a clock behind", submit_by_late_clock, at_once=True),
        Fault("older job writes late", older_writes_late, pictured=True, patient=True, middle=False, at_once=True),
    ]  # fmt: skip


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _listed()}
