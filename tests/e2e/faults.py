"""Faults in the middle of real jobs, at random moments: is any record lost or counted twice, is the index right?

    python tests/e2e/faults.py [--seed N] [--moments K] [--products 2000] [--fault NAME ...] [--json FILE]

Everything is real: Elasticsearch, Redis, two `triptych worker` processes and the commands that submit. Each trial has an index,
a ledger and a queue of its own. Afterwards every record of every job must have ended once, with an outcome that it can have
had, the counters must add up, the dead letters must fit them, and the index must hold the products of the catalogue with their
content and no others. A fault must have come before the last record had ended, and have done what it is there for: a batch was
begun again, a picture was given up, a worker was not let write.

in the middle: how many of the moments came before the last record had ended. seconds: from the end of the fault until the
batches that were being worked on when it began, and at its end, are done, and others too. Ends with 1 if anything was lost or
doubled, a job says what is not so, or a fault did nothing. Told to end (SIGTERM), it ends its workers, nodes and Redis first.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
from fault_account import Account, account
from fault_kinds import FAULTS, NOT_YET
from fault_pictures import Pictures, pictures
from fault_scene import Fault, Scene
from fault_shop import PROFILE, Catalogue
from fault_world import FaultError, World, wait_for
from rich.console import Console
from rich.table import Table

from engine import ElasticsearchNode, RedisServer, elasticsearch_cluster, elasticsearch_node, redis_server
from triptych.settings import load

_EARLIEST, _LATEST = 0.05, 0.75
_START_SECONDS = 120.0
_END_SECONDS = 300.0
_RESTING_SECONDS = 120.0
_RECORD_SECONDS = 0.3
"""Patience for each record beside those: a busy machine of two cores took .08 s for a record of a job with pictures."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault at one moment: how many of the records had ended, seconds till its batches were done, seconds of the whole
    job, and what it did.
    """

    fault: str
    moment: int
    at: int
    records: int
    seconds: float
    whole: float
    account: Account
    effects: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not (self.account.lost or self.account.doubled or self.account.faults)


@dataclass(frozen=True, slots=True)
class Stage:
    """What all trials share. Nodes and Redis are started when the first trial needs them."""

    stack: ExitStack
    folder: Path
    started: dict[str, Sequence[ElasticsearchNode]]
    redis: list[RedisServer]

    def nodes(self, *, cluster: bool) -> Sequence[ElasticsearchNode]:
        wanted = "cluster" if cluster else "node"
        if wanted not in self.started:
            data = self.folder / wanted
            if cluster:
                self.started[wanted] = self.stack.enter_context(elasticsearch_cluster(load(), data_dir=data))
            else:
                self.started[wanted] = (self.stack.enter_context(elasticsearch_node(load(), data_dir=data)),)
        return self.started[wanted]

    def queue(self) -> RedisServer:
        if not self.redis:
            self.redis.append(self.stack.enter_context(redis_server(load())))
        return self.redis[0]


def told_to_end(number: int, _frame: object) -> None:
    """SIGTERM as an exception: workers and nodes are ended by the blocks that began them."""
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut that short
    sys.exit(128 + number)


@contextmanager
def stage() -> Iterator[Stage]:
    """The services of a run; all end with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-faults-", ignore_cleanup_errors=True)))
        (folder / "profile.yaml").write_text(PROFILE, encoding="utf-8")
        yield Stage(stack, folder, {}, [])


def attempt(place: Stage, fault: Fault, *, moment: int, seed: int, products: int) -> Trial:
    """One trial."""
    chance = random.Random(f"{seed} {fault.name} {moment}")  # noqa: S311  no secret
    with ExitStack() as stack:
        server = stack.enter_context(pictures()) if fault.pictured else None
        world = _world(place, fault, server, f"{len(list(place.folder.iterdir()))}-{fault.name}")
        stack.callback(world.close)
        for clock in fault.workers:
            world.begin_worker(clock=clock)
        world.command("index", "create", world.index)
        world.wait_ready()
        catalogue = Catalogue(0, products, url=server.url if server else None)
        if fault.mixed:
            world.submit(catalogue)
            world.wait_closed(_patience(catalogue))
            catalogue = replace(catalogue, edition="b", mixed=True)
        began = time.monotonic()
        scene = _begin(place, fault, world, catalogue, chance, server)
        _wait_for_moment(scene, fault, chance.uniform(_EARLIEST, _LATEST))
        time.sleep(chance.uniform(0, 0.1))
        at, hit = world.ended(scene.job), world.running()
        fault.strike(scene)
        seconds = _seconds_till_done(scene, hit | world.running())
        world.wait_closed(_patience(catalogue))
        whole = time.monotonic() - began
        found = _account(world, fault)
        if fault.middle and not 0 <= at < products:
            found = _and(found, [f"it came when {at} of {products} records had ended"])
        found = _and(found, [f"not so: {what}" for what, holds in scene.effects if not holds()])
        if fault.again:
            found = _after_another(world, catalogue, found)
    effects = (*(what for what, _ in scene.effects), *((fault.code,) if fault.code else ()))
    return Trial(fault.name, moment, at, products, round(seconds, 1), round(whole, 1), found, effects)


def _world(place: Stage, fault: Fault, server: Pictures | None, name: str) -> World:
    changes = {}
    if server is not None:
        server.poisoned = fault.poisoned
        changes = {"FETCH_HOSTS": "*", "FETCH_PRIVATE": "127.0.0.1/32", "FETCH_PORTS": f"80,{server.server.port}"}
        changes |= {"FETCH_SECONDS": "90" if fault.patient else "2", "FETCH_ATTEMPTS": "2"}
        if not fault.patient:
            changes["FETCH_BATCH_SECONDS"] = "20"  # else it is waited for longer than the fault lasts
    nodes = ",".join(node.url for node in place.nodes(cluster=fault.cluster))
    folder = place.folder / name.replace(" ", "-")
    return World(nodes, place.queue().url, folder, changes, slow_reading=bool(fault.reading))


def _begin(
    place: Stage, fault: Fault, world: World, catalogue: Catalogue, chance: random.Random, server: Pictures | None
) -> Scene:
    """Submit the catalogue. Unless the fault comes while it is read, no worker takes a batch before it is."""
    reader = None
    if fault.reading == "command":
        job, reader = world.begin_submit(catalogue)
    elif fault.reading == "worker":
        job = world.post(catalogue)
    else:
        with world.held():
            job = world.submit(catalogue)
    return Scene(world, place.nodes(cluster=fault.cluster), place.queue(), server, chance, job, reader)


def _wait_for_moment(scene: Scene, fault: Fault, share: float) -> None:
    """Until that share of the records is read, or of the pictures asked for where the fault is about them, or has ended."""
    world, catalogue = scene.world, scene.catalogue

    def there() -> bool:
        if fault.reading:
            return world.read(scene.job) >= share * len(catalogue)
        if fault.code and scene.pictures is not None:
            return scene.pictures.asked >= share * sum(map(catalogue.pictured, catalogue.numbers()))
        return world.ended(scene.job) >= share * len(catalogue)

    wait_for(
        there, f"{share:.2f} of {len(catalogue)} records ({world.folder})", _START_SECONDS + len(catalogue) * _RECORD_SECONDS
    )


def _account(world: World, fault: Fault) -> Account:
    sick = bool(fault.code) and not fault.poisoned
    found = account(world, codes=fault.codes, at_once=fault.at_once, sick=sick, poisoned=fault.poisoned)
    return _and(found, [] if not fault.code or fault.code in found.codes else [f"no dead letter of {fault.code}"])


def _and(found: Account, faults: Sequence[str]) -> Account:
    return replace(found, faults=(*found.faults, *faults))


def _patience(catalogue: Catalogue) -> float:
    return _END_SECONDS + len(catalogue) * _RECORD_SECONDS


def _seconds_till_done(scene: Scene, batches: set[str]) -> float:
    """From the end of the fault until these batches are done, and the job and its reading have gone on."""
    began, world, total = scene.mended or time.monotonic(), scene.world, len(scene.catalogue)
    ended, read, goes_on = world.ended(scene.job), world.read(scene.job), False

    def recovered() -> bool:
        nonlocal goes_on
        further = world.ended(scene.job) > min(ended, total - 1) and world.read(scene.job) > min(read, total - 1)
        goes_on = goes_on or further
        return goes_on and world.done(batches)

    wait_for(recovered, f"{len(batches)} batches ({world.folder})", _patience(scene.catalogue))
    return time.monotonic() - began


def _after_another(world: World, catalogue: Catalogue, before: Account) -> Account:
    """The account after the catalogue was submitted once more: what was partial is whole now.

    Once more again while the server of pictures, good by now, is left alone because it failed so often before.
    """
    jobs, after = dict(world.jobs), before
    until = time.monotonic() + _RESTING_SECONDS
    while after is before or (after.codes and set(after.codes) <= set(NOT_YET) and time.monotonic() < until):
        world.jobs.clear()
        world.submit(catalogue)
        world.wait_closed(_patience(catalogue))
        after = account(world, codes=NOT_YET, sick=True)
        jobs |= world.jobs
    world.jobs.update(jobs)
    still = ("some pictures could not be had",) if after.codes else ()
    faults = (*before.faults, *(f"submitted again: {fault}" for fault in (*after.faults, *still)))
    return Account(before.lost + after.lost, before.doubled + after.doubled, faults, before.codes, before.states)


def table(trials: Sequence[Trial], broken: Sequence[str]) -> Table:
    """A row per fault."""
    found = Table("fault", "moments", "in the middle", "lost", "doubled", "seconds", "whole job s", "dead letters", "")
    for name in dict.fromkeys(trial.fault for trial in trials):
        mine = [trial for trial in trials if trial.fault == name]
        good = all(trial.good for trial in mine) and not any(name == one for one in broken)
        middle = sum(0 <= trial.at < trial.records for trial in mine)
        numbers = [len(mine), middle, sum(t.account.lost for t in mine), sum(t.account.doubled for t in mine)]
        spans = [_span([t.seconds for t in mine]), _span([t.whole for t in mine])]
        codes = ", ".join(sorted({code for t in mine for code in t.account.codes}))
        found.add_row(name, *map(str, numbers), *spans, codes, "[green]whole[/green]" if good else "[red]not whole[/red]")
    return found


def _span(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{most:.1f}" if least == most else f"{least:.1f} to {most:.1f}"


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Of every choice by chance.")
@click.option("--moments", type=click.IntRange(min=1), default=3, show_default=True, help="Trials of each fault.")
@click.option("--products", type=click.IntRange(min=100, max=9000), default=2000, show_default=True)
@click.option("--fault", "names", type=click.Choice(list(FAULTS)), multiple=True, help="Only this one; may be repeated.")
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(seed: int, moments: int, products: int, names: tuple[str, ...], report: Path | None) -> None:
    """Try the faults."""
    console = Console(width=160)
    signal.signal(signal.SIGTERM, told_to_end)
    trials: list[Trial] = []
    broken: list[str] = []
    with stage() as place:
        for name in names or FAULTS:
            for moment in range(moments):
                try:
                    trials.append(attempt(place, FAULTS[name], moment=moment, seed=seed, products=products))
                except FaultError as error:
                    broken.append(name)
                    console.print(f"{time.strftime('%X')} [red]{name}, moment {moment}: {error}[/red]")
                    continue
                _say(console, trials[-1])
    console.print(table(trials, broken))
    if report is not None:
        report.write_text(json.dumps({"trials": [asdict(t) for t in trials], "broken": broken}, indent=1) + "\n")
    sys.exit(1 if broken or not all(trial.good for trial in trials) else 0)


def _say(console: Console, trial: Trial) -> None:
    said = "; ".join(trial.account.faults) or "; ".join(("whole", *trial.effects))
    console.print(
        f"{time.strftime('%X')} {trial.fault}, moment {trial.moment}, {trial.at} of {trial.records} ended: {trial.seconds} s, "
        f"whole {trial.whole} s, {', '.join(trial.account.states)}, {said}",
        style=None if trial.good else "red",
    )


if __name__ == "__main__":
    main()
