"""Where a batch goes while an index has two versions, or had: its job may have been submitted for another than serves now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from indexer import pipeline
from indexer.attach import flow as attached_flow
from indexer.upgrade import carrying
from triptych.errors import TriptychError
from triptych.jobs.job import Job
from triptych.jobs.upgrades import Upgrade, UpgradeState
from triptych.schema import IndexSchema
from triptych.services import Services


@dataclass(frozen=True, slots=True)
class Route:
    """The version that a job's batches go to, all versions that it has, and where documents are carried from, if they are."""

    index: str
    versions: tuple[str, ...] = ()
    source: str | None = None

    def flow(self, schema: IndexSchema) -> Callable[..., pipeline.Result]:
        """What takes a batch there."""
        if schema.attachment is not None:
            return attached_flow.run
        return pipeline.run if self.source is None else partial(carrying.run, source=self.source)

    def names(self, job: Job) -> tuple[str, ...]:
        """The names by which jobs may have been submitted to the index."""
        return tuple(dict.fromkeys((job.alias, job.index, self.index, *self.versions)))

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(name for name in self.versions if name != self.index)


def route_of(job: Job, services: Services) -> Route:
    """Where a batch of `job` goes at this moment; to be asked once the batch is claimed, as a swap waits for claimed ones.

    Raises TriptychError `upgrade.held`, retryable, in the moment of the swap.
    """
    upgrade = services.upgrades.of_job(job.alias, job.index)
    if upgrade is None:
        return Route(job.index)
    if upgrade.state in (UpgradeState.HELD, UpgradeState.SWAPPING):
        raise TriptychError(f"Writes to {upgrade.alias!r} wait for its swap.", code="upgrade.held", retryable=True)
    return route(job, upgrade)


def route(job: Job, upgrade: Upgrade) -> Route:
    """Where a job's batches go when writes go on. Pure.

    A job that asks for the version that does not serve, by its own name, carries documents into it.
    """
    carries = job.alias == job.index == upgrade.waiting and upgrade.state is not UpgradeState.CLOSED
    return Route(upgrade.waiting, (), upgrade.serving) if carries else Route(upgrade.serving, upgrade.versions)


def settled_route(job: Job, services: Services) -> Route:
    """`route_of`, for what may be done in the moment of a swap too."""
    upgrade = services.upgrades.of_job(job.alias, job.index)
    return Route(job.index) if upgrade is None else route(job, upgrade)
