"""An index brought to other encoders while it is written to: nothing written is lost, and whatever is killed can go on."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import SHOP, Command, site
from upgrade_place import LEARNS, Place, asked, code_of, product

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.submit import submit
from indexer.upgrade import starting, swapping
from search_api import Searcher, SearchRequest
from triptych.elastic import building
from triptych.elastic.lifecycle import read_schema
from triptych.errors import InputError, NotFoundError, TriptychError
from triptych.jobs.job import Batch
from triptych.jobs.servers import ANY, Server, Servers
from triptych.jobs.upgrades import UpgradeState
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture
def place(services: Services, command: Command, worker: object, run_id: str, tmp_path: Path) -> Place:
    return Place(services, command, f"up-{run_id}-{time.monotonic_ns() % 10**9}", tmp_path)


def test_the_whole_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled, changed meanwhile, promoted, changed, rolled back, promoted again, dropped."""
    place.add(*(product(number) for number in range(1, 31)))
    place.command("weights", "set", place.name, "words", "lexical=0.9")
    place.command("weights", "set", place.name, "colours", "image.image=0.9")
    old = place.version()
    said = place.start("--follow")
    new = said["new"]
    assert (said["old"], said["job"]["state"], said["job"]["written"]) == (old, "completed", 30)
    before, after = place.sources(old), place.sources(new)
    assert place.fields(new) == place.fields(old)
    assert {key: one["triptych"]["job"] for key, one in before.items()} == {
        key: one["triptych"]["job"] for key, one in after.items()
    }
    assert all(after[key]["triptych"].get("colour") == before[key]["triptych"].get("image") for key in before)
    compared = place.reindex("evaluate", *asked(place.folder))
    assert (compared["serving"], compared["waiting"], set(compared["overlaps"])) == (old, new, {"words", "picture"})
    assert [compared["measures"][name]["Success@1"] for name in (old, new)] == [1.0, 1.0]
    assert (compared["overlaps"]["words"], 0 < compared["overlaps"]["picture"] <= 1) == (1.0, True)
    place.add({"id": "p1", "_op": "update", "price": 1000}, {"id": "p2", "_op": "delete"}, product(40))
    assert place.version() == old
    assert place.status()["behind"] >= 3
    assert place.reindex("promote") == {"alias": place.name, "serving": new}
    assert place.version() == new
    found = place.fields(new)
    assert found == place.fields(old)
    assert (found["p1"]["price"], "p2" in found, "p40" in found, len(found)) == (1000, False, True, 30)
    schema = read_schema(place.services.elasticsearch, new)
    assert set(schema.weight_sets) == {"words"}  # the colours' leg is another encoder's now
    assert {"lexical", "vector.image", "vector.colour"} <= set(schema.levels)
    place.add({"id": "p4", "_op": "update", "price": 4000}, {"id": "p5", "_op": "delete"}, product(41))
    assert place.fields(old)["p4"]["price"] == 4
    assert place.reindex("rollback")["serving"] == old
    assert place.version() == old
    found = place.fields(old)
    assert (found["p4"]["price"], "p5" in found, "p41" in found, len(found)) == (4000, False, True, 30)
    assert found == place.fields(new)
    assert set(read_schema(place.services.elasticsearch, old).weight_sets) == {"words", "colours"}
    assert place.reindex("rollback")["serving"] == old  # done is done
    assert place.reindex("promote")["serving"] == new
    monkeypatch.setattr(starting, "SETTLE_SECONDS", 0)  # nobody searches; test_upgrade_e2e.py waits, beside users
    starting.drop(place.services, place.name, confirm=old)
    assert not place.services.elasticsearch.indices.exists(index=old)
    assert place.services.upgrades.get(place.name).state is UpgradeState.CLOSED  # type: ignore[union-attr]
    place.add(product(39))
    assert "p39" in place.fields(new)


def test_a_job_of_the_old_version_ends_in_the_new_one(place: Place) -> None:
    """It was submitted before the swap; its batches are worked on afterwards."""
    place.add(*(product(number) for number in range(1, 20)))
    place.start("--follow")
    jobs, old = place.services.jobs, place.version()
    job, _ = jobs.open(index=old, alias=place.name, catalogue="late", root=str(place.folder))
    place.services.control.pause(job.id)
    records = [{"line": n, "text": json.dumps(product(29 + n))} for n in (1, 2)]
    jobs.add(Batch(job.id, 0, tuple(records)))
    jobs.leave(job.id, job.reader, reading=False)
    new = place.reindex("promote")["serving"]
    newer = place.add(product(30, price=6000), {"id": "p1", "_op": "delete"})
    place.services.control.resume(job.id)
    place.command("job", "watch", job.id)
    found = place.fields(new)
    assert found["p30"]["price"] == 6000, "an older job won over a newer one"
    assert ("p31" in found, "p1" in found, newer["id"] > job.id) == (True, False, True)
    assert "p31" not in place.fields(old)


def test_refusals(place: Place, command: Command, services: Services) -> None:
    def refused(*args: str, **changes: str) -> str:
        done = command("reindex", *args, "--json", check=False, **changes)
        assert done.returncode == 1, done
        return code_of(done)

    name = place.name
    for what in ("status", "promote", "rollback"):
        assert refused(what, name) == "upgrade.not_found"
    assert refused("drop", name, "--version", "x") == "upgrade.not_found"
    assert refused("start", "no-such-index", "--profile", "offline") == "index.not_found"
    assert refused("start", name, "--profile", "ofline") == "profile.unknown"
    assert refused("start", name, "--profile", "light") == "encoder.not_prepared"
    assert services.upgrades.get(name) is None
    assert refused("start", place.version(), "--profile", "offline") == "upgrade.no_alias"
    assert services.upgrades.get(place.version()) is None
    theirs = f"{name}-theirs"
    services.elasticsearch.index(index=theirs, id="1", document={"title": "a lamp"}, refresh=True)
    command("attach", theirs, "--text", "title")
    assert refused("start", theirs, "--profile", "offline", "--fit", "catalogue.jsonl") == "upgrade.attached"
    assert refused("start", theirs, "--profile", "light") == "encoder.not_prepared"
    assert services.upgrades.get(theirs) is None
    place.add(product(1), product(2))
    fresh = Services(services.settings.model_copy(update={"profile": str(place.outlines)}))
    starting._begun(services, fresh, name, starting.Wanted(str(place.outlines)), quiet=True)
    assert refused("promote", name) == "upgrade.not_filled"
    upgrade = starting.start(services, name, starting.Wanted(str(place.outlines)), quiet=True)
    assert refused("start", name, "--profile", str(place.colours)) == "upgrade.open"
    assert refused("drop", name, "--version", upgrade.old) == "upgrade.not_confirmed"
    done = command("reindex", "drop", name, check=False)
    assert (done.returncode, "--version" in done.stderr) == (2, True)
    bad = command.json("index", "add", upgrade.new, str(place.catalogue([product(9)])), "--follow", check=False)
    assert bad["state"] == "completed_with_dead_letters"
    assert services.control.letters(bad["id"])[0]["code"] == "upgrade.no_catalogue"
    place.reindex("drop", "--version", upgrade.new)
    assert not services.elasticsearch.indices.exists(index=upgrade.new)
    assert place.version() == upgrade.old


@pytest.fixture
def servers(place: Place) -> Iterator[Servers]:
    """Where API processes report; what a test says there is gone after it. The session's own API may be there too."""
    yield Servers(place.services.redis, place.services.settings)
    place.services.redis.hdel(f"{place.services.settings.queue}:servers", "shop-1:1")


def test_an_api_process_that_cannot_answer_stops_the_swap(place: Place, servers: Servers) -> None:
    place.add(product(1), product(2))
    new = place.start("--follow")["new"]
    servers.report(Server("shop-1:1", frozenset(), {}))
    with pytest.raises(TriptychError) as error:
        swapping.promote(place.services, place.name, accept_losses=False, patience=0)
    assert (error.value.code, error.value.retryable) == ("upgrade.api_not_ready", True)
    servers.report(Server("shop-1:1", frozenset(), {new: "The weights are not here."}))
    with pytest.raises(TriptychError) as error:
        swapping.promote(place.services, place.name, accept_losses=False)
    assert (error.value.code, error.value.retryable) == ("upgrade.api_not_ready", False)
    assert place.status()["api"]["shop-1:1"] == "The weights are not here."
    servers.report(Server("shop-1:1", frozenset(), {ANY: "It may not read the upgrades."}))
    assert place.status()["api"]["shop-1:1"] == "It may not read the upgrades."
    servers.report(Server("shop-1:1", frozenset({new}), {ANY: "It was so once."}))
    assert swapping.promote(place.services, place.name, accept_losses=False).serving == new


def test_a_version_that_lacks_products_or_parts_is_not_promoted(place: Place) -> None:
    pictures = place.folder / "mine"
    pictures.mkdir()
    for number in (1, 2):
        (pictures / f"{number}.jpg").write_bytes((SHOP / "images" / f"demo-00{number}-1.jpg").read_bytes())
    place.add(*({"id": f"q{n}", "title": {"en": "a"}, "images": [f"mine/{n}.jpg"]} for n in (1, 2)))
    (pictures / "2.jpg").rename(pictures / "away.jpg")
    said = place.start("--follow")
    assert (said["job"]["state"], said["job"]["partial"]) == ("completed_with_dead_letters", 1)
    with pytest.raises(InputError) as error:
        swapping.promote(place.services, place.name, accept_losses=False)
    assert error.value.code == "upgrade.incomplete"
    assert place.version() == said["old"]
    assert place.services.upgrades.open_of(place.name).state is UpgradeState.OPEN
    (pictures / "away.jpg").rename(pictures / "2.jpg")
    place.command("job", "redrive", said["job"]["id"])
    place.command("reindex", "promote", place.name)
    assert place.sources(said["new"])["q2"]["triptych"]["outcome"] == "written"


def test_writers_are_held_only_for_the_swap(place: Place) -> None:
    """A stream of jobs goes on while the index is swapped to and fro: the version that serves has all they wrote."""
    place.add(*(product(number) for number in range(1, 40)))
    place.start("--follow")
    written: dict[str, Any] = {}
    stop = threading.Event()

    def write() -> None:
        number = 100
        while not stop.is_set():
            records = [
                {"id": f"p{number}", "title": {"en": f"thing number {number}"}, "stock": number},
                {"id": f"p{number % 39 + 1}", "_op": "update", "price": number},
                *([{"id": f"p{number - 1}", "_op": "delete"}] if number % 2 else []),
            ]
            source = open_source(SourceSpec(str(place.catalogue(records))), place.services)
            submit(source, place.name, place.services)
            written[f"p{number}"] = number
            if number % 2:
                written.pop(f"p{number - 1}")
            written[f"price p{number % 39 + 1}"] = number
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for turn in (swapping.promote, swapping.roll_back, swapping.promote):
            turn(place.services, place.name, accept_losses=False, say=lambda _: None)
    finally:
        stop.set()
        thread.join()
    jobs = [job.id for job in place.services.jobs.newest(size=500) if job.alias == place.name]
    until = time.monotonic() + 120
    while any(not place.services.jobs.state(job).ended for job in jobs):
        assert time.monotonic() < until
        time.sleep(0.3)
    found = place.fields(place.version())
    assert place.version() == place.services.upgrades.open_of(place.name).new
    assert {key: found[key]["stock"] for key in found if int(key[1:]) >= 100} == {
        key: value for key, value in written.items() if key.startswith("p") and " " not in key
    }
    assert {key: found[f"p{number}"]["price"] for number in range(1, 40) if (key := f"price p{number}") in written} == {
        key: value for key, value in written.items() if key.startswith("price")
    }


KILLED = """
import os, signal
from triptych.elastic import building
tune = building.tune
def last(*args):
    tune(*args)
    os.kill(os.getpid(), signal.SIGKILL)
building.tune = last
"""


def test_start_killed_goes_on(place: Place, command: Command) -> None:
    """Killed when the new version has the settings for being filled: who goes on gives it its own back."""
    client = place.services.elasticsearch
    place.add(*(product(number) for number in range(1, 40)))
    client.indices.put_settings(index=place.version(), settings={"refresh_interval": "7s"})
    began = ("reindex", "start", place.name, "--profile", str(place.outlines))
    process = command.start(*began, log=place.folder / "log", **site(place.folder / "site", KILLED))
    assert process.wait(timeout=60) == -signal.SIGKILL
    first = place.services.upgrades.open_of(place.name)
    assert building.before(client, first.new) == {}
    said = place.start("--follow")
    assert (said["new"], said["job"]["state"]) == (first.new, "completed")
    assert place.fields(said["new"]) == place.fields(said["old"])
    assert place.version() == said["old"]
    assert building.before(client, first.new) == {"auto_expand_replicas": "0-1", "refresh_interval": "7s"} == first.settings


def test_swaps_whose_process_is_lost_are_settled_by_the_workers(
    place: Place, services: Services, command: Command, wait: Callable[..., None], tmp_path: Path
) -> None:
    """One that held the writes, and one that had begun to swap: both wait at once."""
    (tmp_path / "other").mkdir()
    places = {False: place, True: Place(services, command, f"{place.name}-begun", tmp_path / "other")}
    upgrades, lost = services.upgrades, {}
    for begun, one in places.items():
        one.add(product(1), product(2))
        said = one.start("--follow")
        swapping._caught_up(services, swapping._filled(services, upgrades.open_of(one.name)), None, lambda _: None)
        lost[begun] = (said["new" if begun else "old"], one)
    held = {}
    for begun, one in places.items():
        held[begun] = upgrades.hold(upgrades.open_of(one.name))
        assert held[begun] is not None
        if begun:
            assert upgrades.begin_swap(held[begun], {"0": 0}) is not None
    jobs = [one.command.json("index", "add", one.name, str(one.catalogue([product(37)]))) for one in places.values()]
    for one in places.values():
        wait(lambda name=one.name: upgrades.open_of(name).state is UpgradeState.OPEN, "the swap to be settled", seconds=60)
    for job in jobs:
        wait(lambda name=job["id"]: services.jobs.state(name).ended, "the job", seconds=90)
    for begun, (serves, one) in lost.items():
        assert one.version() == serves
        assert "p37" in one.fields(one.version())
        assert upgrades.release(held[begun]) is False
        assert upgrades.begin_swap(held[begun], {}) is None


def test_searches_name_the_version_and_pages_stay_with_theirs(place: Place) -> None:
    place.add(*(product(number) for number in range(1, 31)))
    said = place.start("--follow")
    searcher = Searcher(place.services)
    first = searcher.search(SearchRequest(place.name, text="thing", size=5))
    assert first.index_version == said["old"]
    swapping.promote(place.services, place.name, accept_losses=False, say=lambda _: None)
    searcher._infos.clear()
    picture = (SHOP / "images" / "demo-002-1.jpg").read_bytes()
    now = searcher.search(SearchRequest(place.name, image=picture, size=5))
    assert (now.index_version, now.hits[0].id) == (said["new"], "p2")
    assert set(now.hits[0].legs) == {"image.image", "image.colour"}
    page = searcher.search(SearchRequest(place.name, page=first.next))
    assert page.index_version == said["old"]
    assert not {hit.id for hit in page.hits} & {hit.id for hit in first.hits}
    place.services.elasticsearch.indices.delete(index=said["old"])
    searcher._infos.clear()
    with pytest.raises(NotFoundError) as error:
        searcher.search(SearchRequest(place.name, page=page.next))
    assert error.value.code == "session.not_found"


def test_an_encoder_that_learns_learns_from_the_index(place: Place) -> None:
    place.add(*(product(number) for number in range(1, 31)))
    learns = place.folder / "learns.yaml"
    learns.write_text(LEARNS, encoding="utf-8")
    said = place.start("--follow", profile=learns)
    assert said["job"]["state"] == "completed"
    new = place.reindex("promote")["serving"]
    schema = read_schema(place.services.elasticsearch, new)
    assert (schema.profile, bool(schema.space_of("text").fitted)) == (str(learns), True)  # type: ignore[union-attr]
    found = Searcher(place.services).search(SearchRequest(place.name, text="thing number 7", size=1))
    assert (found.hits[0].id, "text.text" in found.hits[0].legs) == ("p7", True)
