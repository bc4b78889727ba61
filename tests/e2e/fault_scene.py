"""What a fault is, and the moment it comes in."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fault_pictures import Pictures
from fault_shop import Catalogue
from fault_world import FaultError, World

from engine import ElasticsearchNode, RedisServer

_AWAY = (0.5, 4.0)

Effect = tuple[str, Callable[[], bool]]
"""What a fault must have done, as a sentence, and whether it did; asked when the jobs have ended."""


@dataclass(slots=True)
class Scene:
    """A trial in the middle: the world, the services behind it and the source of chance.

    `mended`: when the fault was over, by the monotonic clock, where that is before the end of the strike. `reader`: the command
    that reads the catalogue, where one does.
    """

    world: World
    nodes: Sequence[ElasticsearchNode]
    redis: RedisServer
    pictures: Pictures | None
    chance: random.Random
    job: str
    reader: subprocess.Popen[bytes] | None = None
    mended: float | None = None
    effects: list[Effect] = field(default_factory=list)

    @property
    def catalogue(self) -> Catalogue:
        return self.world.jobs[self.job]

    @property
    def sick(self) -> Pictures:
        """The server of pictures, which there must be."""
        if self.pictures is None:
            raise FaultError("no server of pictures")
        return self.pictures

    def rest(self, least: float = 0.0) -> None:
        """How long a service stays away, in seconds at least."""
        time.sleep(max(least, self.chance.uniform(*_AWAY)))

    def pause(self) -> float:
        """From one look for the right moment to the next, in seconds."""
        return self.chance.uniform(0.02, 0.2)

    def must(self, what: str, holds: Callable[[], bool]) -> None:
        """An effect without which the fault was none."""
        self.effects.append((what, holds))


@dataclass(frozen=True, slots=True)
class Fault:
    """`workers` are the clocks of the workers; `codes` begin the codes of dead letters that the fault may make, and `code` is
    the one that it must make.

    `mixed`: the catalogue changes and deletes products that are there. `reading`: who reads it when the fault comes, a
    "command" or a "worker"; without, it is read already. `middle`: the fault comes before the last record has ended. `at_once`:
    the jobs of the trial run at the same time. `again`: afterwards the catalogue is submitted once more, and all must be whole
    then. `patient`: pictures are waited for.
    """

    name: str
    strike: Callable[[Scene], None]
    workers: tuple[float, ...] = (0.0, 0.0)
    cluster: bool = False
    pictured: bool = False
    poisoned: bool = False
    again: bool = False
    patient: bool = False
    mixed: bool = False
    reading: str = ""
    middle: bool = True
    at_once: bool = False
    code: str = ""
    codes: tuple[str, ...] = ()
