"""The settings of a version while it is filled, and that it has its own again whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Command
from upgrade_place import Place, product

from indexer import sweeper
from indexer.upgrade import building as filling
from indexer.upgrade import starting, swapping
from triptych.elastic import building
from triptych.errors import ElasticsearchError
from triptych.services import Services

pytestmark = pytest.mark.integration

OWN = {"auto_expand_replicas": "0-1", "refresh_interval": "7s"}


@pytest.fixture
def place(services: Services, command: Command, worker: object, own_id: str, tmp_path: Path) -> Place:
    """An index of three products, which has settings of its own."""
    made = Place(services, command, f"built-{own_id}", tmp_path)
    made.add(*(product(number) for number in range(1, 4)))
    services.elasticsearch.indices.put_settings(index=made.version(), settings={"refresh_interval": "7s"})
    return made


@pytest.fixture
def version(services: Services, own_id: str) -> Iterator[Callable[..., str]]:
    """Makes an index with these settings."""
    name = f"settings-{own_id}"

    def make(**settings: Any) -> str:
        services.elasticsearch.indices.create(index=name, settings=settings)
        return name

    yield make
    services.elasticsearch.indices.delete(index=name, ignore_unavailable=True)


def cut_off(*_: object, **__: object) -> None:
    """Stands where a process is lost."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {"number_of_replicas": "1", "refresh_interval": None}),
        ({"number_of_replicas": 2, "refresh_interval": "5s"}, {"number_of_replicas": "2", "refresh_interval": "5s"}),
        ({"number_of_replicas": 0, "refresh_interval": "1s"}, {}),
        (
            {"auto_expand_replicas": "0-2", "number_of_replicas": 0},
            {"auto_expand_replicas": "0-2", "refresh_interval": None},
        ),
    ],
    ids=["defaults", "own", "as building", "expanding"],
)
def test_settings_are_given_back_as_they_were(
    services: Services, version: Callable[..., str], given: dict[str, Any], kept: dict[str, str | None]
) -> None:
    name, client = version(**given), services.elasticsearch
    assert building.before(client, name) == kept
    building.tune(client, name, kept)
    assert building.before(client, name) == {}
    assert building.restore(client, name, kept) is bool(kept)
    assert building.before(client, name) == kept
    assert not building.restore(client, name, kept), "once is enough"
    building.wait_for_copies(client, name, seconds=10)  # there is no second node for them, so none is on its way


def test_what_somebody_changed_since_stays(services: Services, version: Callable[..., str]) -> None:
    name, client = version(refresh_interval="5s"), services.elasticsearch
    kept = building.before(client, name)
    building.tune(client, name, kept)
    client.indices.put_settings(index=name, settings={"refresh_interval": "60s"})
    assert building.restore(client, name, kept)
    assert building.before(client, name) == {"number_of_replicas": "1", "refresh_interval": "60s"}
    client.indices.delete(index=name)
    assert not building.restore(client, name, kept), "what is gone is no error"


def test_a_version_that_nobody_fills_any_more_has_its_settings_again(
    place: Place, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start` is lost before its job is entered; the worker beside it looks after it, and a second `start` goes on."""
    client = place.services.elasticsearch
    monkeypatch.setattr(starting, "submit", cut_off)
    with pytest.raises(KeyboardInterrupt):
        starting.start(place.services, place.name, starting.Wanted(str(place.outlines)), quiet=True)
    begun = place.services.upgrades.open_of(place.name)
    assert begun.settings == OWN
    assert building.before(client, begun.new) == {}
    wait(lambda: building.before(client, begun.new) == OWN, "the settings", seconds=60)
    said = place.start("--follow")
    assert (said["new"], said["job"]["state"], said["job"]["written"]) == (begun.new, "completed", 3)
    assert building.before(client, begun.new) == OWN, "as soon as the command ends that followed the job"


def test_a_version_serves_with_its_own_settings(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client = place.services.elasticsearch
    new = place.start("--follow")["new"]
    upgrade = place.services.upgrades.open_of(place.name)
    building.tune(client, new, upgrade.settings or {})  # as where nobody could give them back
    at: list[dict[str, str | None]] = []
    switch = swapping.switch

    def switched(*args: Any) -> None:
        at.append(building.before(client, new))
        switch(*args)

    monkeypatch.setattr(swapping, "switch", switched)
    assert swapping.promote(place.services, place.name, accept_losses=False, say=lambda _: None).serving == new
    assert at == [OWN]
    assert filling.begin(place.services, place.services.upgrades.open_of(place.name)).serving == new
    assert building.before(client, new) == OWN, "a version that serves is never changed"


def test_a_worker_that_may_not_change_settings_says_so_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with the role for workers; that Elasticsearch refuses it is tried in test_security."""
    new = place.start("--follow")["new"]
    clock = [0.0]
    swept = sweeper.Sweeper(place.services, lambda: clock[0])

    def refused(*_: object) -> bool:
        raise ElasticsearchError("HTTP 403", code="elasticsearch.forbidden")

    monkeypatch.setattr(building, "restore", refused)
    for _ in range(4):
        clock[0] += place.services.settings.batch_lease_seconds + 1
        swept._restore_settings([place.services.upgrades.open_of(place.name)])
    said = [one.message for one in caplog.records if new in one.message]
    assert len(said) == 1
    assert "triptych reindex promote" in said[0]


def test_a_paused_job_fills_still(place: Place) -> None:
    jobs, new = place.services.jobs, place.start("--follow")["new"]
    upgrade = place.services.upgrades.open_of(place.name)
    assert not filling.is_filled(place.services, upgrade)
    job, _ = jobs.open(index=new, alias=new, catalogue="more", root=str(place.folder))
    place.services.control.pause(job.id)
    assert filling.is_filled(place.services, upgrade)
    place.services.control.stop(job.id)
    jobs.leave(job.id, job.reader)
    assert not filling.is_filled(place.services, upgrade)
