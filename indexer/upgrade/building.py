"""The settings of a new version while it is filled: changed when its first job begins, given back when none fills it any more.

What it had before is kept in the upgrade's record first, and stays there: whoever finds that nobody fills the version gives it
back, once or again. So a process that is lost leaves nothing behind: the workers' sweepers look, `start` does, and `promote`
does before the swap. Only a version that never served is changed; see docs/adr/0016.
"""

from __future__ import annotations

from indexer.upgrade import fields
from triptych.elastic import building
from triptych.jobs.upgrades import Upgrade
from triptych.services import Services


def begin(services: Services, upgrade: Upgrade) -> Upgrade:
    """Make the new version ready to be filled, if nothing was carried into it yet and it is an index of its own."""
    if fields.is_field(upgrade.new) or upgrade.serving == upgrade.new or upgrade.seen.get(upgrade.serving) is not None:
        return upgrade
    if upgrade.settings is None:
        upgrade = services.upgrades.keep_settings(upgrade, building.before(services.elasticsearch, upgrade.new))
    building.tune(services.elasticsearch, upgrade.new, upgrade.settings or {})
    return upgrade


def end(services: Services, upgrade: Upgrade) -> bool:
    """Give the new version its settings back; whether that was still to be done."""
    return bool(upgrade.settings) and building.restore(services.elasticsearch, upgrade.new, upgrade.settings or {})


def settle(services: Services, upgrade: Upgrade) -> bool:
    """`end`, unless a job fills the version or may go on to."""
    return bool(upgrade.settings) and not is_filled(services, upgrade) and end(services, upgrade)


def is_filled(services: Services, upgrade: Upgrade) -> bool:
    """Whether a job fills the new version at the moment, or is paused."""
    return services.jobs.may_write(upgrade.new)
