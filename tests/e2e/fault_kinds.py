"""The faults: what each does to a world in the middle of a job. A strike returns when the fault is over and mended."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fault_pictures import Pictures
from fault_shop import Catalogue
from fault_world import FaultError, World, wait_for

from engine import ElasticsearchNode, RedisServer

SKEW = 60.0
_AWAY = (0.5, 4.0)
_FEW = 8
_FLOOD_SECONDS = 90.0  # the disk is looked at every 10 s


@dataclass(slots=True)
class Scene:
    """A trial in the middle: the world, the services behind it and the source of chance."""

    world: World
    nodes: Sequence[ElasticsearchNode]
    redis: RedisServer
    pictures: Pictures | None
    chance: random.Random
    said: str = ""

    @property
    def catalogue(self) -> Catalogue:
        return next(iter(self.world.jobs.values()))

    def rest(self) -> None:
        """How long a service stays away."""
        time.sleep(self.chance.uniform(*_AWAY))


@dataclass(frozen=True, slots=True)
class Fault:
    """`workers` are the clocks of the workers; `codes` begin the codes of dead letters that the fault may make.

    `again`: afterwards the catalogue is submitted once more, and all must be whole then. `patient`: pictures are waited for.
    """

    name: str
    strike: Callable[[Scene], None]
    workers: tuple[float, ...] = (0.0, 0.0)
    cluster: bool = False
    pictured: bool = False
    poisoned: bool = False
    again: bool = False
    patient: bool = False
    codes: tuple[str, ...] = ()


def nothing(_scene: Scene) -> None:
    """No fault, to compare with."""


def kill_pool(scene: Scene) -> None:
    victims = scene.chance.choice(scene.world.workers).pool()
    if not victims:
        raise FaultError("the worker has no pool process")
    for pid in victims:
        os.kill(pid, signal.SIGKILL)


def kill_worker(scene: Scene) -> None:
    scene.chance.choice(scene.world.workers).kill()


def kill_all(scene: Scene) -> None:
    for worker in scene.world.workers:
        worker.kill()
    scene.world.begin_worker()
    scene.world.wait_ready()


def end_worker(scene: Scene) -> None:
    worker = scene.chance.choice(scene.world.workers)
    worker.process.send_signal(signal.SIGTERM)
    code = worker.process.wait(timeout=60)
    if code != 0:
        raise FaultError(f"a worker that was told to end ended with {code}: {worker.log}")


def empty_redis(scene: Scene) -> None:
    scene.redis.kill()
    scene.rest()
    scene.redis.restart()


def kill_node(scene: Scene) -> None:
    scene.nodes[0].kill()
    scene.rest()
    scene.nodes[0].restart()


def kill_one_of_three(scene: Scene) -> None:
    """Not the one that the workers talk to; it may be the master, and may hold the primaries."""
    node = scene.chance.choice(scene.nodes[1:])
    node.kill()
    scene.rest()
    node.restart(len(scene.nodes))


def block_index(scene: Scene) -> None:
    """What a full disk does, to the products' index only."""
    indices = scene.world.services.elasticsearch.indices
    indices.put_settings(index=scene.world.index, settings={"index.blocks.read_only_allow_delete": True})
    scene.rest()
    indices.put_settings(index=scene.world.index, settings={"index.blocks.read_only_allow_delete": None})


def flood(scene: Scene) -> None:
    """The disk passes the flood stage: Elasticsearch blocks all indices, the ledger's too, and lifts that by itself later."""
    cluster = scene.world.services.elasticsearch.cluster
    marks = [f"cluster.routing.allocation.disk.watermark.{name}" for name in ("low", "high", "flood_stage")]
    names = [*marks, "cluster.routing.allocation.disk.threshold_enabled", "cluster.info.update.interval"]
    full: dict[str, Any] = {**dict.fromkeys(marks, "1000tb"), names[3]: "true", names[4]: "10s"}
    cluster.put_settings(persistent=full)
    try:
        wait_for(lambda: _blocked(scene.world), "the block of a full disk", _FLOOD_SECONDS)
        scene.rest()
        cluster.put_settings(persistent={**full, **dict.fromkeys(marks, "1b")})
        wait_for(lambda: not _blocked(scene.world), "the end of that block", _FLOOD_SECONDS)
    finally:
        cluster.put_settings(persistent=dict.fromkeys(names))


def _blocked(world: World) -> bool:
    name = "index.blocks.read_only_allow_delete"
    found = world.services.elasticsearch.indices.get_settings(index=world.index, name=name, flat_settings=True)
    return any(one["settings"].get(name) == "true" for one in found.values())


def bad_pictures(how: str) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        if scene.pictures is None:
            raise FaultError("no server of pictures")
        scene.pictures.bad = scene.pictures.routes()[how]
        time.sleep(scene.chance.uniform(2.0, 5.0))
        scene.pictures.bad = None

    return strike


def submit_again(scene: Scene) -> None:
    scene.world.submit(scene.catalogue)


def submit_other(scene: Scene) -> None:
    """A job over half of the same ids, with other content, and as many new ones."""
    half = len(scene.catalogue) // 2
    scene.world.submit(replace(scene.catalogue, first=half, last=half + len(scene.catalogue), edition="b"))


def older_writes_late(scene: Scene) -> None:
    """A job looks its products up and waits for a picture; a newer job writes them; then the older one goes on."""
    if scene.pictures is None:
        raise FaultError("no server of pictures")
    world = scene.world
    world.wait_closed(_FLOOD_SECONDS)
    last = scene.catalogue.last
    scene.pictures.bad = scene.pictures.drip
    older = world.submit(replace(scene.catalogue, first=last, last=last + _FEW, edition="b", every=1))
    wait_for(lambda: scene.pictures is not None and scene.pictures.waits, "the older job's picture", _FLOOD_SECONDS)
    newer = world.submit(Catalogue(last, last + _FEW, "c"))
    wait_for(lambda: world.ended(newer) == _FEW, f"the newer job; {older} is the older", _FLOOD_SECONDS)
    scene.pictures.bad = None


def _listed() -> list[Fault]:
    sick = {
        "stalls": "media.fetch_timeout", "answers 500": "media.http_status", "answers 404": "media.http_status",
        "redirects to a private address": "media.address_refused", "sends without end": "media.too_many_bytes",
        "sends garbage": "media.not_a_picture",
    }  # fmt: skip
    return [
        Fault("none", nothing),
        Fault("pool process killed", kill_pool),
        Fault("worker killed", kill_worker),
        Fault("all workers killed", kill_all),
        Fault("worker told to end", end_worker),
        Fault("redis killed, empty", empty_redis),
        Fault("elasticsearch killed", kill_node),
        Fault("one node of three killed", kill_one_of_three, cluster=True),
        Fault("index read-only", block_index),
        Fault("disk full", flood),
        *(
            Fault(f"pictures: {how}", bad_pictures(how), pictured=True, again=True, codes=(code, "media.host_resting"))
            for how, code in sick.items()
        ),
        Fault("picture kills decoder", nothing, pictured=True, poisoned=True, codes=("media.decoder_died",)),
        Fault("submitted twice", submit_again),
        Fault("two jobs at once", submit_other),
        Fault("older job writes late", older_writes_late, pictured=True, patient=True),
        Fault("clock ahead", kill_pool, workers=(0.0, SKEW)),
        Fault("clock behind", kill_pool, workers=(0.0, -SKEW)),
    ]


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _listed()}
