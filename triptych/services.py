"""The composition root: from settings to everything a flow needs, one ping per service. Nothing loads before its use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import redis

from triptych.elastic import client as elastic
from triptych.encoders import registry
from triptych.encoders.base import Encoder
from triptych.jobs import queue
from triptych.jobs.store import JobStore
from triptych.schema import Space
from triptych.settings import Settings, load


@dataclass(frozen=True)
class Services:
    """What one process works with. Each part is made on first use and kept; share one Services between threads."""

    settings: Settings

    @cached_property
    def elasticsearch(self) -> elastic.Client:
        return elastic.connect(self.settings)

    @cached_property
    def server(self) -> elastic.Server:
        return elastic.server(self.elasticsearch)

    @cached_property
    def redis(self) -> redis.Redis:
        return queue.connect_redis(self.settings)

    @cached_property
    def queue(self) -> queue.Queue:
        return queue.make_queue(self.settings)

    @cached_property
    def jobs(self) -> JobStore:
        return JobStore(self.elasticsearch, self.settings)

    @cached_property
    def encoders(self) -> Mapping[str, Encoder]:
        """The encoders by space. Their weights load on first use."""
        return registry.load(registry.OFFLINE_SPACES, self.settings)

    @property
    def spaces(self) -> Sequence[Space]:
        """The spaces of the encoders at hand, without loading one."""
        return [spec.to_space() for spec in registry.SPECS]

    def pings(self) -> Mapping[str, Callable[[], object]]:
        """One check per service; each raises a TriptychError if its service does not answer."""
        return {
            "elasticsearch": lambda: elastic.server(self.elasticsearch),
            "redis": lambda: queue.ping(self.redis),
        }


def build(settings: Settings | None = None) -> Services:
    """The services of `settings`, by default those of the environment."""
    return Services(settings or load())
