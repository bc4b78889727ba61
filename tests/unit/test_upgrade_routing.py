"""Where the batches of a job go while an index has two versions, and after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.upgrade.routing import Route, route
from triptych.jobs.job import Job
from triptych.jobs.upgrades import Upgrade, UpgradeState

pytestmark = pytest.mark.unit

FILLING = Upgrade("shop", "v1", "v2", serving="v1", profile="light", started_at="", former=("v0",))
PROMOTED = replace(FILLING, serving="v2")
ALL = ("v1", "v2", "v0")


def job(index: str, alias: str = "shop") -> Job:
    return Job("1", index, alias, "catalogue", "/", "")


@pytest.mark.parametrize("index", ALL)
@pytest.mark.parametrize(("upgrade", "serves"), [(FILLING, "v1"), (PROMOTED, "v2")], ids=["filling", "promoted"])
def test_a_job_of_the_alias_writes_to_the_version_that_serves(index: str, upgrade: Upgrade, serves: str) -> None:
    assert route(job(index), upgrade) == Route(serves, ALL)


def test_who_names_the_version_that_waits_carries_documents_into_it() -> None:
    assert route(job("v2", "v2"), FILLING) == Route("v2", (), "v1")
    assert route(job("v1", "v1"), PROMOTED) == Route("v1", (), "v2")
    assert route(job("v1", "v1"), FILLING) == Route("v1", ALL)
    assert route(job("v2", "v2"), replace(FILLING, state=UpgradeState.CLOSED)) == Route("v1", ALL)


def test_tombstones_of_the_other_versions_count() -> None:
    assert route(job("v1"), PROMOTED).others == ("v1", "v0")


def test_an_upgrade_comes_back_as_it_was_kept() -> None:
    held = replace(PROMOTED, state=UpgradeState.HELD, seen={"v1": {"0": 7}}, learned={"text": "00"}, pending={"0": 3})
    assert Upgrade.from_dict(held.to_dict()) == held
    assert held.to_dict()["versions"] == list(ALL)
    assert (FILLING.waiting, PROMOTED.waiting) == ("v2", "v1")
