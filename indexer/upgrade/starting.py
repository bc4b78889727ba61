"""Begin an upgrade, fill its new version, tell how it stands, and drop the version that is not in use.

start: what encoders learn -> the record -> the new version, no alias yet -> its settings for being filled (building.py)
       -> a job that carries all documents into it
       The new version of an attached index is a further object field of ours in it (fields.py).
Each step looks first whether it is done, so `start` again goes on where it was cut off.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from indexer.attach.attaching import root_of
from indexer.fit import fit_shown
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.submit import reader_lives, submit
from indexer.upgrade import building, fields, rounds, swapping
from triptych.elastic import lifecycle
from triptych.elastic.attached import index_of, version_of
from triptych.elastic.client import translated
from triptych.encoders import profiles
from triptych.errors import InputError, NotFoundError
from triptych.jobs.job import JobState
from triptych.jobs.queue import NORMAL
from triptych.jobs.servers import Servers
from triptych.jobs.store import now
from triptych.jobs.upgrades import Upgrade, UpgradeState, already_open, busy
from triptych.schema import IndexSchema
from triptych.services import Services

SETTLE_SECONDS: Final = 15.0
"""How long after a swap the API may still ask the version that served before; it looks every 5 s."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the new version is made. `mapping` and `fit` are the index body and the catalogue to learn from, by default those of
    the version that serves; `root` is the folder of media, by default those that the jobs in the ledger had.
    """

    profile: str
    mapping: Path | None = None
    root: Path | None = None
    fit: str | None = None
    priority: int = NORMAL


def start(services: Services, alias: str, wanted: Wanted, *, quiet: bool = False) -> Upgrade:
    """Begin an upgrade, or go on with it: fill the new version with all that the other has and it has not.

    Returns when all documents are queued. Raises NotFoundError `index.not_found`; InputError `upgrade.no_alias`,
    `upgrade.attached`, `upgrade.open`, those of `attach` where a field has no room; ProfileError; EncoderError where the
    profile's encoders are not prepared.
    """
    profile, alias = _named(wanted.profile), name_of(services, alias)
    fresh = Services(services.settings.model_copy(update={"profile": profile}))
    upgrade = services.upgrades.get(alias)
    if upgrade is None or upgrade.state is UpgradeState.CLOSED:
        upgrade = _begun(services, fresh, alias, wanted, quiet=quiet)
    elif upgrade.profile != profile or upgrade.serving != upgrade.old:
        raise already_open(alias)
    client = services.elasticsearch
    old = lifecycle.read_schema(client, upgrade.old)
    if fields.is_field(upgrade.new):
        fields.make(services, alias, fields.schema_of(fresh, old, upgrade.new, upgrade.root))
        return _filled(services, upgrade, wanted.priority)
    base = lifecycle.read_mapping_file(wanted.mapping) if wanted.mapping else lifecycle.body_of(client, upgrade.old)
    schema = fresh.schema(upgrade.learned).model_copy(update={"missing": old.missing})
    lifecycle.create_beside(client, upgrade.new, base, schema)
    return _filled(services, upgrade, wanted.priority)


def _named(profile: str) -> str:
    """A profile as an index names it: one that comes with Triptych, or the whole path of a file."""
    return profile if profile in profiles.built_in() else str(Path(profile).expanduser().resolve())


def name_of(services: Services, name: str) -> str:
    """What an upgrade goes by: the alias of an index of our own, the real name of an attached one."""
    if services.upgrades.get(name) is not None:
        return name
    try:
        version = lifecycle.current_version(services.elasticsearch, name)
        return index_of(version) if lifecycle.read_schema(services.elasticsearch, version).attachment else name
    except NotFoundError:
        return name


def _begun(services: Services, fresh: Services, alias: str, wanted: Wanted, *, quiet: bool) -> Upgrade:
    client = services.elasticsearch
    version = lifecycle.current_version(client, alias)
    schema = lifecycle.read_schema(client, version)
    if schema.attachment is not None:
        return _begun_beside(services, fresh, alias, schema, wanted)
    if version == alias:
        raise InputError(
            f"{alias!r} is an index, not an alias of one, and cannot be swapped.",
            code="upgrade.no_alias",
            field="index",
            remedy="Give the alias that searches use.",
        )
    root = str(wanted.root.resolve()) if wanted.root is not None else None
    learned: Mapping[str, str] = {}
    if any(family.fit is not None for family in fresh.profile.families.values()):
        folder = root or _newest_root(services, alias)
        spec = SourceSpec(wanted.fit) if wanted.fit else SourceSpec(f"elasticsearch:{version}", root=folder)
        learned = fit_shown(fresh, open_source(spec, fresh), quiet=quiet)
    services.check(fresh.schema(learned))  # raises where the encoders are not prepared, or cannot be had beside those in force
    name = lifecycle.new_name(client, alias)
    return services.upgrades.open(Upgrade(alias, version, name, version, fresh.profile.name, now(), learned=learned, root=root))


def _begun_beside(services: Services, fresh: Services, index: str, schema: IndexSchema, wanted: Wanted) -> Upgrade:
    """The record of an attached index's upgrade, once nothing stands against it."""
    unable = "mapping" if wanted.mapping else "fit" if wanted.fit else None
    if unable is not None:
        raise InputError(
            f"The index {index!r} is attached: it takes no --{unable}.",
            code="upgrade.attached",
            field=unable,
            remedy="Its mapping is its owner's, and encoders that learn are for indices of our own.",
        )
    fields.check_dropped(services, index, schema)
    old, new = version_of(index, schema.object_field), fields.new_name(services.elasticsearch, index, schema.object_field)
    root = str(wanted.root.resolve()) if wanted.root is not None else None
    further = fields.schema_of(fresh, schema, new, root)
    services.check(further)  # raises where the encoders are not prepared, or cannot be had beside those in force
    fields.check(services, index, further)
    return services.upgrades.open(Upgrade(index, old, new, old, fresh.profile.name, now(), root=root))


def _newest_root(services: Services, alias: str) -> str | None:
    """The folder of media of the newest job that wrote to an alias, None where none had one."""
    roots = (job.root for job in services.jobs.newest(size=100) if job.alias == alias)
    return next((root for root in roots if root != os.devnull), None)


def _filled(services: Services, upgrade: Upgrade, priority: int) -> Upgrade:
    """The upgrade with a job that carries what is new, unless one does already, or nothing is."""
    upgrade = _noted(services, upgrade)
    building.settle(services, upgrade)
    if upgrade.job is not None:
        return upgrade
    if upgrade.seen.get(upgrade.serving) is not None and rounds.behind(services, upgrade) == 0:
        return upgrade
    found = rounds.changes(services, upgrade)
    root = Path(upgrade.root) if upgrade.root else None
    how = lifecycle.read_schema(services.elasticsearch, upgrade.waiting).attachment
    root = root if how is None else root_of(how)
    location = f"elasticsearch:{index_of(upgrade.serving)}"
    source = Source(SourceSpec(location, format="elasticsearch"), location, root, None, lambda _: found.records)
    upgrade = building.begin(services, upgrade)
    job = submit(source, upgrade.waiting, services, priority=priority)
    return services.upgrades.update(upgrade, job=job.id, pending=dict(found.shards))


def _noted(services: Services, upgrade: Upgrade) -> Upgrade:
    """The upgrade without its job, if that has ended: what it has carried is kept. One that failed is begun anew."""
    if upgrade.job is None:
        return upgrade
    try:
        job, tally = services.jobs.get(upgrade.job), services.jobs.tally(upgrade.job)
    except NotFoundError:
        return services.upgrades.update(upgrade, job=None, pending=None)
    state = job.state(tally)
    if state is JobState.FAILED or (job.reading and not reader_lives(job, services)):
        return services.upgrades.update(upgrade, job=None, pending=None)
    if state in (JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS) and tally.counts.dead == 0:
        return services.upgrades.saw(upgrade, upgrade.serving, upgrade.pending or {}, job=None, pending=None)
    return upgrade


def status(services: Services, alias: str) -> dict[str, Any]:
    """How an upgrade stands, as commands print it. Raises NotFoundError `upgrade.not_found`."""
    upgrade = services.upgrades.open_of(alias)
    versions: dict[str, Any] = {}
    for name in (upgrade.old, upgrade.new):
        if _is_there(services, name):
            products, partial = swapping.counted(services, name)
            schema = lifecycle.read_schema(services.elasticsearch, name)
            spaces = {space.name: space.fingerprint for space in schema.spaces}
            versions[name] = {"profile": schema.profile, "products": products, "partial": partial, "spaces": spaces}
    filling = swapping.job_state(services, upgrade)
    job = services.jobs.summary(services.jobs.get(upgrade.job)) if upgrade.job is not None and filling is not None else None
    servers = Servers(services.redis, services.settings).living()
    return {
        "alias": alias,
        "state": str(upgrade.state),
        "serving": upgrade.serving,
        "waiting": upgrade.waiting,
        "promoted": upgrade.serving == upgrade.new,
        "versions": versions,
        "job": job,
        "filled": job is None and upgrade.seen.get(upgrade.serving) is not None,
        "behind": rounds.behind(services, upgrade),
        "lacking": fields.lacking(services, upgrade) if fields.is_field(upgrade.new) and len(versions) > 1 else None,
        "api": {one.name: one.why_not(upgrade.waiting) or upgrade.waiting in one.ready for one in servers},
        "swapped_at": upgrade.swapped_at,
    }


def drop(services: Services, alias: str, *, confirm: str, patience: float = swapping.PATIENCE) -> Upgrade:
    """Delete the version that does not serve and close the upgrade. `confirm` is that version's name. A field of an attached
    index is taken out of all documents; its mapping stays.

    Waits until nobody asks it any more. Raises NotFoundError `upgrade.not_found`, InputError `upgrade.not_confirmed`,
    `upgrade.busy`.
    """
    upgrade = services.upgrades.get(alias)
    if upgrade is None or (upgrade.state is UpgradeState.CLOSED and not _left(services, upgrade)):
        upgrade = services.upgrades.open_of(alias)
    if upgrade.state in (UpgradeState.HELD, UpgradeState.SWAPPING):
        raise busy(alias)
    if confirm != upgrade.waiting:
        raise InputError(
            f"{confirm!r} is not the version that is not in use.",
            code="upgrade.not_confirmed",
            field="version",
            remedy=f"Not in use is {upgrade.waiting}; {upgrade.serving} serves.",
        )
    filling = swapping.job_state(services, upgrade)
    if upgrade.job is not None and filling is not None and not filling.ended:
        services.control.stop(upgrade.job)
    if upgrade.swapped_at is not None:
        since = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(upgrade.swapped_at)
        time.sleep(min(SETTLE_SECONDS, max(0.0, SETTLE_SECONDS - since.total_seconds())))
    if upgrade.state is not UpgradeState.CLOSED:
        upgrade = services.upgrades.close(upgrade)
    swapping.wait_for_writers(services, (upgrade.waiting,), patience)
    if fields.is_field(upgrade.waiting):
        fields.drop(services, upgrade)
    else:
        lifecycle.drop_version(services.elasticsearch, upgrade.waiting)
    return upgrade


def _left(services: Services, closed: Upgrade) -> bool:
    """Whether dropping was cut off before the version was deleted."""
    if fields.is_field(closed.waiting):
        return fields.is_left(services, closed.waiting)
    return _is_there(services, closed.waiting)


def _is_there(services: Services, version: str) -> bool:
    client = services.elasticsearch
    if not fields.is_field(version):
        with translated():
            return bool(client.indices.exists(index=version))
    try:
        return lifecycle.read_schema(client, version).attachment is not None
    except NotFoundError:
        return False
