"""Swap the two versions of an index, so that nothing written is lost and no query fails:

    encoders here and in every process of the API -> its own settings again -> rounds until little is left -> levels and weight
        sets -> its copies are made -> writes are held, those under way end -> the last round -> whole? -> alias, in one step
        -> writes go on

Whoever holds the writes gives signs of life; if it is lost, the workers' sweepers let writes go on, or finish the swap where it
had begun (`settle`). Going back is the same the other way round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from indexer import calibrate
from indexer.attach.watching import checkpoints
from indexer.upgrade import building, fields, rounds
from triptych.elastic.attached import index_of
from triptych.elastic.building import wait_for_copies
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import read_schema, switch, write_weight_sets
from triptych.errors import EncoderError, InputError, NotFoundError, TriptychError
from triptych.jobs.heartbeat import heartbeat
from triptych.jobs.job import JobState
from triptych.jobs.servers import Servers
from triptych.jobs.upgrades import Upgrade, UpgradeState, busy
from triptych.schema import LEXICAL, IndexSchema
from triptych.services import Services

ROUNDS: Final = 20
"""Rounds before writes are held, where changes come in as fast as they are carried."""

BEAT_SECONDS: Final = 1.0
LOST_SECONDS: Final = 10.0
"""Without a sign of life for so long the holder of the writes counts as lost."""

PATIENCE: Final = 600.0
"""Seconds that batches under way may take to end."""

_LAST_ROUNDS: Final = 5
_LOOK_SECONDS: Final = 0.2

Say = Callable[[str], None]
"""Told what is done at the moment."""


def promote(services: Services, alias: str, *, accept_losses: bool, patience: float = PATIENCE, say: Say = print) -> Upgrade:
    """Let the new version of an index serve. Nothing happens where it does.

    Raises NotFoundError `upgrade.not_found`; InputError `upgrade.not_filled`, `upgrade.incomplete` (unless losses are
    accepted), `upgrade.busy`; EncoderError; TriptychError `upgrade.api_not_ready`, `upgrade.writers_busy`. Then the old version
    serves as before, and writes go on.
    """
    return _swap(services, alias, lambda upgrade: upgrade.new, accept_losses=accept_losses, patience=patience, say=say)


def roll_back(services: Services, alias: str, *, accept_losses: bool, patience: float = PATIENCE, say: Say = print) -> Upgrade:
    """Let the old version serve again, with all that was written since. Raises as `promote` does."""
    return _swap(services, alias, lambda upgrade: upgrade.old, accept_losses=accept_losses, patience=patience, say=say)


def _swap(
    services: Services, alias: str, wanted: Callable[[Upgrade], str], *, accept_losses: bool, patience: float, say: Say
) -> Upgrade:
    upgrade = services.upgrades.open_of(alias)
    if upgrade.state is UpgradeState.SWAPPING:
        upgrade = finish(services, upgrade)
    if upgrade.serving == wanted(upgrade):
        return upgrade
    upgrade = _filled(services, upgrade)
    check_encoders(services, read_schema(services.elasticsearch, upgrade.waiting))
    wait_for_servers(services, upgrade, patience)
    lost = None if accept_losses else _refuse
    if upgrade.waiting == upgrade.new:
        building.end(services, upgrade)
    upgrade = _caught_up(services, upgrade, lost, say)
    say("measuring the levels of its legs")
    _share_weight_sets(services, upgrade)
    calibrate.calibrate(services, upgrade.waiting)
    if not fields.is_field(upgrade.waiting):
        say("waiting for its copies")
        wait_for_copies(services.elasticsearch, upgrade.waiting, seconds=patience)
    held = _held(services, upgrade)
    with heartbeat(lambda: services.upgrades.beat(held), seconds=BEAT_SECONDS, what=f"the swap of {alias}"):
        try:
            say("waiting for batches under way")
            wait_for_writers(services, held.versions, patience)
            begun = services.upgrades.begin_swap(held, _last_round(services, held, lost))
        except BaseException:
            with suppress(TriptychError):  # where the ledger is away, a worker lets writes go on
                services.upgrades.release(held)
            raise
    if begun is None:
        raise busy(alias)
    return finish(services, begun)


def finish(services: Services, upgrade: Upgrade) -> Upgrade:
    """The swap that has begun: whoever finds it may do this, once or again."""
    switch(services.elasticsearch, upgrade.alias, upgrade.serving, upgrade.waiting)
    return services.upgrades.end_swap(upgrade)


def settle(services: Services, lost: Upgrade) -> None:
    """What becomes of a swap whose process is lost: undone before it began, done after. It is as `lost` since LOST_SECONDS."""
    if lost.state is UpgradeState.HELD:
        services.upgrades.release_lost(lost)
    elif lost.state is UpgradeState.SWAPPING and services.upgrades.get(lost.alias) == lost:
        finish(services, lost)


def check_encoders(services: Services, schema: IndexSchema) -> None:
    """Raise EncoderError unless this machine can make queries for an index."""
    services.check(schema)
    made = services.encoders(schema)
    lacking = [space.name for space in schema.spaces if space.kind == "encoded" and space.name not in made]
    if lacking:
        raise EncoderError(f"The encoder of the space {lacking[0]!r} is not here.", code="encoder.unknown", field=lacking[0])


def wait_for_servers(services: Services, upgrade: Upgrade, patience: float) -> None:
    """Wait until every process of the API can answer for the version that waits.

    Raises TriptychError `upgrade.api_not_ready` where one cannot, or takes too long.
    """
    until = time.monotonic() + patience
    servers = Servers(services.redis, services.settings)
    while late := [server for server in servers.living() if upgrade.waiting not in server.ready]:
        failed = next((server for server in late if server.why_not(upgrade.waiting) is not None), None)
        if failed is None and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            continue
        server = failed or late[0]
        why = server.why_not(upgrade.waiting)
        raise TriptychError(
            f"The API process {server.name} "
            + (
                f"cannot load the encoders of {upgrade.waiting!r}: {why}"
                if why
                else f"is not ready for {upgrade.waiting!r} yet."
            ),
            code="upgrade.api_not_ready",
            field="index",
            retryable=why is None,
            remedy=f"Make its machine ready: triptych encoders prepare --profile {upgrade.profile}" if why else "Try again.",
        )


def _filled(services: Services, upgrade: Upgrade) -> Upgrade:
    """The upgrade once the job that fills the version has ended. Raises InputError `upgrade.not_filled`."""
    if upgrade.job is None and upgrade.seen.get(upgrade.serving) is not None:
        return upgrade
    state = job_state(services, upgrade)
    if state not in (JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS):
        raise InputError(
            f"The version {upgrade.waiting!r} is not filled: " + (f"job {upgrade.job} is {state}." if state else "no job ran."),
            code="upgrade.not_filled",
            field="index",
            remedy=f"See `triptych reindex status {upgrade.alias}`, or go on with `triptych reindex start`.",
        )
    return upgrade


def job_state(services: Services, upgrade: Upgrade) -> JobState | None:
    """The state of the job that fills the version that waits; None where none does, or it was forgotten."""
    try:
        return None if upgrade.job is None else services.jobs.state(upgrade.job)
    except NotFoundError:
        return None


Lost = Callable[[str, Sequence[str]], None]
"""Told what is lacking, and some of it; raises if that is not accepted."""


def _refuse(alias: str, lacking: Sequence[str]) -> None:
    some = "; ".join(lacking[:3])
    raise InputError(
        f"The other version of {alias!r} lacks what the one that serves has: {some}.",
        code="upgrade.incomplete",
        field="index",
        remedy="Redrive the job's dead letters, or accept the loss: --accept-losses.",
    )


def _caught_up(services: Services, upgrade: Upgrade, lost: Lost | None, say: Say) -> Upgrade:
    """Rounds until one finds no more than a batch. What a job could not carry is tried again first."""
    again: list[str] = []
    if upgrade.job is not None and upgrade.pending is not None:
        again = [str(letter["product_id"]) for letter in services.jobs.dead_records(upgrade.job) if letter["product_id"]]
        upgrade = replace(upgrade, seen={**upgrade.seen, upgrade.serving: upgrade.pending})
    for number in range(ROUNDS):
        done, found = rounds.carry(services, upgrade, again=again)
        _look(upgrade, done, lost)
        again = []
        upgrade = services.upgrades.saw(upgrade, upgrade.serving, found.shards, job=None, pending=None)
        say(f"round {number + 1}: {done.seen} documents")
        if done.seen <= services.settings.batch_size:
            break
    return upgrade


def _look(upgrade: Upgrade, done: rounds.Round, lost: Lost | None) -> None:
    """What a round could not carry is a loss; in an attached index only if the field that is read has it (`_last_look`)."""
    if done.lost and lost is not None and not fields.is_field(upgrade.waiting):
        lost(upgrade.alias, [f"{key} ({why})" for key, why in done.lost.items()])


def _last_round(services: Services, held: Upgrade, lost: Lost | None) -> dict[str, int]:
    """With nobody writing: carry what is left, until nothing is. Gives the numbers of the version that will serve."""
    if fields.is_field(held.waiting):
        return _last_look(services, held, lost)
    for _ in range(_LAST_ROUNDS):
        rounds.settled(services, held)
        done, found = rounds.carry(services, held)
        _look(held, done, lost)
        held = services.upgrades.saw(held, held.serving, found.shards)
        if rounds.behind(services, held) == 0:
            _check_whole(services, held, lost)
            return checkpoints(services.elasticsearch, held.waiting)
    raise TriptychError(
        f"Somebody else writes to {held.serving!r} all the time.",
        code="upgrade.writers_busy",
        field="index",
        retryable=True,
        remedy="Stop what writes to it without Triptych.",
    )


def _last_look(services: Services, held: Upgrade, lost: Lost | None) -> dict[str, int]:
    """The last round of an attached index, whose owner writes on: what he changes now comes into both fields later, as ever.

    So both are alike if no document has only the one that is read; who changed it meanwhile is given some more rounds.
    """
    lacking: list[str] = []
    for _ in range(_LAST_ROUNDS):
        _, found = rounds.carry(services, held)
        held = services.upgrades.saw(held, held.serving, found.shards)
        lacking = fields.lacking(services, held)
        if not lacking:
            break
    if lacking and lost is not None:
        lost(held.alias, lacking)
    return fields.looked_through(services, held)


def _share_weight_sets(services: Services, upgrade: Upgrade) -> None:
    """Give the version that will serve the weight sets whose legs are the same in both."""
    here, there = (read_schema(services.elasticsearch, name) for name in (upgrade.serving, upgrade.waiting))
    mine = {(leg, s.fingerprint) for s in here.spaces for leg in s.legs}
    same = {LEXICAL, *(leg for s in there.spaces for leg in s.legs if (leg, s.fingerprint) in mine)}
    able = {name: shares for name, shares in here.weight_sets.items() if set(shares) <= same}
    write_weight_sets(services.elasticsearch, upgrade.waiting, {**there.weight_sets, **able})


def _check_whole(services: Services, upgrade: Upgrade, lost: Lost | None) -> None:
    """Whether the version that waits has as many products as the other, and no more that are partial."""
    if lost is None:
        return
    mine, theirs = (counted(services, name) for name in (upgrade.serving, upgrade.waiting))
    lacking = [f"{mine[0] - theirs[0]} products"] if theirs[0] < mine[0] else []
    lacking += [f"parts of {theirs[1] - mine[1]} products"] if theirs[1] > mine[1] else []
    if lacking:
        lost(upgrade.alias, lacking)


def counted(services: Services, version: str) -> tuple[int, int]:
    """How many products a version has, and how many of them are partial."""
    client, index = services.elasticsearch, index_of(version)
    schema = read_schema(client, version)
    with translated():
        client.indices.refresh(index=index)
        products = client.count(index=index, query=fields.exists(schema.key_field))["count"]
        partial = client.count(index=index, query=fields.partial(schema))["count"]
    return int(products), int(partial)


def _held(services: Services, upgrade: Upgrade) -> Upgrade:
    """The upgrade with all writes held for this process. Takes over from a holder that gives no sign of life."""
    seen = services.upgrades.open_of(upgrade.alias)
    if seen.state is UpgradeState.HELD:
        time.sleep(LOST_SECONDS)
        later = services.upgrades.open_of(upgrade.alias)
        seen = later if later.state is UpgradeState.OPEN else seen
    held = services.upgrades.hold(seen)
    if held is None:
        raise busy(upgrade.alias)
    return held


def wait_for_writers(services: Services, versions: Sequence[str], patience: float) -> None:
    """Wait until no batch is worked on that writes to one of these versions. Raises TriptychError `upgrade.writers_busy`."""
    until = time.monotonic() + patience
    while busy_jobs := _writing(services, versions):
        if time.monotonic() > until:
            raise TriptychError(
                f"Batches of job {busy_jobs[0]} are still worked on after {patience:g} s.",
                code="upgrade.writers_busy",
                field="index",
                retryable=True,
                remedy=f"Try again later, or pause it: triptych job pause {busy_jobs[0]}",
            )
        time.sleep(_LOOK_SECONDS)


def _writing(services: Services, versions: Sequence[str]) -> list[str]:
    """The jobs that have a batch that is worked on and writes to one of these versions."""
    found = []
    for name in {seen.job for seen in services.jobs.running()}:
        try:
            if services.jobs.get(name).index in versions:
                found.append(name)
        except NotFoundError:  # it was forgotten: its batches do nothing
            continue
    return sorted(found)
