"""Writing beside others: older and newer jobs, the same batch twice, the owner's own writes; deletes and updates."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from media_server import in_turn, reply, serving
from processes import SHOP

from indexer import pipeline, writing
from indexer.work import Work
from triptych.domain import Outcome
from triptych.elastic import bulk as bulk_module
from triptych.elastic.bulk import Limits
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import ElasticsearchError
from triptych.jobs.tombstones import Beside
from triptych.schema import FIELD
from triptych.services import Services

pytestmark = pytest.mark.integration

OLD, NEW, NEWEST = "20260101t000000-aaaaaa", "20260102t000000-aaaaaa", "20260103t000000-aaaaaa"
W, U, P, D, X = Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.PARTIAL, Outcome.DELETED, Outcome.DEAD


class Shop:
    """An index, and jobs on it that are run here, batch by batch."""

    def __init__(self, services: Services, index: str) -> None:
        self.services = services
        self.version = current_version(services.elasticsearch, index)
        self.schema = read_schema(services.elasticsearch, self.version)

    def run(
        self,
        job: str,
        *records: dict[str, Any],
        lines: Sequence[int] = (),
        meanwhile: Callable[[], Any] = lambda: None,
        older: str = "",
        newer: bool = False,
        first: bool = False,
        begun: Sequence[int] = (),
    ) -> pipeline.Result:
        """One batch; `meanwhile` happens after the look-up and before the write. `older`, `newer`: such jobs are there."""

        def ours() -> bool:
            meanwhile()
            return True

        raw = [
            {"line": line, "text": json.dumps(r)} for line, r in zip(lines or range(1, len(records) + 1), records, strict=True)
        ]
        target = pipeline.Target(self.version, self.schema, SHOP, job, older, newer, first, begun=frozenset(begun))
        return pipeline.run(raw, target, self.services, still_ours=ours)

    def ends(self, job: str, *records: dict[str, Any], **more: Any) -> list[Outcome]:
        return self.run(job, *records, **more).outcomes

    def source(self, key: str) -> dict[str, Any]:
        return dict(self.services.elasticsearch.get(index=self.version, id=key)["_source"])

    def has(self, key: str) -> bool:
        return bool(self.services.elasticsearch.exists(index=self.version, id=key))

    def vectors(self, key: str) -> set[str]:
        self.services.elasticsearch.indices.refresh(index=self.version)
        found = pipeline.own_fields(self.services.elasticsearch, self.version, [key], self.schema, self.services.server)
        return set(found[key])


@pytest.fixture
def shop(services: Services, index: str) -> Shop:
    services.jobs.prepare()
    return Shop(services, index)


def lamp(**fields: Any) -> dict[str, Any]:
    return {"id": "lamp", "title": {"en": "Green lamp"}, **fields}


# An index that takes nothing


def close(shop: Shop) -> None:
    shop.services.elasticsearch.indices.close(index=shop.version)


def block(shop: Shop) -> None:
    shop.services.elasticsearch.indices.put_settings(index=shop.version, settings={"index.blocks.write": True})


def open_again(shop: Shop) -> None:
    indices = shop.services.elasticsearch.indices
    indices.put_settings(index=shop.version, settings={"index.blocks.write": None})
    indices.open(index=shop.version)


SHUT = pytest.mark.parametrize(("shut", "remedy"), [(close, "is closed. Open it"), (block, "Take the block away")])


@SHUT
def test_an_index_that_is_closed_or_blocked_for_a_while_takes_what_waited(
    shop: Shop, shut: Callable[[Shop], None], remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    timers = []

    def meanwhile() -> None:
        shut(shop)
        timers.append(threading.Timer(2.0, open_again, [shop]))
        timers[-1].start()

    try:
        assert shop.ends(NEW, lamp(), {"id": "cup"}, {"id": "pot"}, meanwhile=meanwhile) == [W, W, W]
    finally:
        timers[0].join()
    assert {shop.services.elasticsearch.get(index=shop.version, id=key)["_version"] for key in ("lamp", "cup", "pot")} == {1}
    said = [one.getMessage() for one in caplog.records if one.name == bulk_module.__name__]
    assert any(remedy in text and shop.version in text and "3 documents wait" in text for text in said), said


@SHUT
def test_of_an_index_that_stays_shut_the_batch_is_given_back_and_no_record_is_dead(
    shop: Shop, shut: Callable[[Shop], None], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "Limits", lambda: Limits(patience=0.5, first_wait=0.1))
    try:
        for _ in range(2):  # the second time it is shut from the beginning
            with pytest.raises(ElasticsearchError) as raised:
                shop.ends(NEW, lamp(), meanwhile=lambda: shut(shop))
            assert raised.value.retryable
    finally:
        open_again(shop)
    if shut is block:
        assert (raised.value.code, remedy in str(raised.value)) == ("elasticsearch.busy", True)
    assert shop.ends(NEW, lamp()) == [W]


# Two writers


def test_an_older_batch_that_comes_late_leaves_what_is_newer(shop: Shop) -> None:
    assert shop.ends(NEW, lamp(price=2)) == [W]
    assert shop.ends(OLD, lamp(price=1)) == [U]
    assert shop.source("lamp")["price"] == 2


@pytest.mark.parametrize("there", [False, True], ids=["a new product", "one that is there"])
def test_a_newer_job_that_writes_between_look_up_and_write_wins(shop: Shop, there: bool) -> None:
    if there:
        shop.run("20250101t000000-aaaaaa", lamp(price=0))
    ends = shop.ends(OLD, lamp(price=1), {"id": "other"}, meanwhile=lambda: shop.run(NEW, lamp(price=2)))
    assert ends == [U, W]
    assert shop.source("lamp")["price"] == 2
    assert shop.source("lamp")[FIELD]["job"] == NEW


def test_an_older_job_that_writes_between_look_up_and_write_is_written_over(shop: Shop) -> None:
    assert shop.ends(NEW, lamp(price=2), meanwhile=lambda: shop.run(OLD, lamp(price=1))) == [W]
    assert shop.source("lamp")["price"] == 2


def test_the_same_batch_twice_at_once_is_written_once(shop: Shop) -> None:
    again = []
    assert shop.ends(NEW, lamp(), meanwhile=lambda: again.append(shop.ends(NEW, lamp()))) == [W]
    assert again == [[W]]
    assert shop.services.elasticsearch.get(index=shop.version, id="lamp")["_version"] == 1


def test_of_an_indexs_first_products_only_what_is_there_is_looked_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    seen = writing.look_up

    def spying(work: Sequence[Work], *args: Any) -> Any:
        asked.append([item.product.id for item in work])
        return seen(work, *args)

    monkeypatch.setattr(writing, "look_up", spying)
    monkeypatch.setattr(pipeline, "look_up", spying)
    assert shop.ends(OLD, lamp(price=1), first=True) == [W]
    assert asked.pop() == ["lamp"], "where encoders make vectors a wrong guess costs more than it saves"
    shop.schema = shop.schema.model_copy(update={"spaces": ()})
    assert shop.ends(OLD, {"id": "cup"}, {"id": "jug"}, first=True) == [W, W]
    assert not asked
    assert shop.ends(NEW, {"id": "cup", "price": 2}, {"id": "pot"}, first=True) == [W, W]
    assert shop.ends(NEW, {"id": "cup", "price": 2}, {"id": "pan"}, first=True) == [W, W], "the same batch again"
    assert shop.ends(OLD, {"id": "cup", "price": 1}, {"id": "lid"}, first=True) == [U, W]
    assert shop.source("cup")["price"] == 2
    assert asked == [["cup"]] * 3
    again = shop.run(NEW, {"id": "cup", "price": 3}, lines=[9], first=True)
    assert [letter.code for letter in again.dead_letters] == ["record.duplicate_id"]
    assert shop.ends(NEWEST, {"id": "cup", "_op": "delete"}, {"id": "new"}, older=NEW, first=True) == [D, W]
    assert shop.ends(NEW, {"id": "cup", "price": 4}, newer=True, first=True) == [U], "it was deleted since"


def test_another_line_of_the_job_that_is_quicker_makes_this_one_a_duplicate(shop: Shop) -> None:
    result = shop.run(NEW, lamp(), lines=[7], meanwhile=lambda: shop.run(NEW, lamp(price=1), lines=[3]))
    assert result.outcomes == [X]
    assert [letter.code for letter in result.dead_letters] == ["record.duplicate_id"]


def test_the_owners_own_write_is_decided_upon_again(shop: Shop) -> None:
    """Neither is lost unseen: what the owner changed before the look-up, or between it and the write, the record replaces."""
    shop.run(OLD, lamp(price=1))
    client = shop.services.elasticsearch
    mine = lambda: client.update(index=shop.version, id="lamp", doc={"note": "mine"})  # noqa: E731
    assert shop.ends(NEW, lamp(price=2), meanwhile=mine) == [W]
    assert "note" not in shop.source("lamp")
    assert shop.ends(NEWEST, {"id": "lamp", "_op": "update", "price": 3}, meanwhile=mine) == [W]
    assert (shop.source("lamp")["price"], shop.source("lamp")["note"]) == (3, "mine")


def test_who_is_always_slower_gives_the_batch_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(OLD, lamp(price=1))
    client, seen = shop.services.elasticsearch, writing.look_up

    def slow(*args: Any) -> Any:
        found = seen(*args)
        client.update(index=shop.version, id="lamp", doc={"note": uuid.uuid4().hex})
        return found

    monkeypatch.setattr(writing, "look_up", slow)
    with pytest.raises(ElasticsearchError, match="changed by others") as raised:
        shop.run(NEW, lamp(price=2), meanwhile=lambda: client.update(index=shop.version, id="lamp", doc={"note": "first"}))
    assert raised.value.retryable


def test_what_a_newer_job_left_as_it_is_an_older_one_leaves_too(shop: Shop) -> None:
    """Only while an older job runs: a mark is a write."""
    shop.run("20250101t000000-aaaaaa", lamp(price=2))
    assert shop.ends(NEW, lamp(price=2)) == [U]
    assert "seen" not in shop.source("lamp")[FIELD]
    before = shop.vectors("lamp")
    assert shop.ends(NEW, lamp(price=2), {"id": "other"}, older=OLD) == [U, W]
    assert shop.source("lamp")[FIELD]["seen"] == NEW
    marked = shop.services.elasticsearch.get(index=shop.version, id="lamp")["_version"]
    assert shop.ends(NEWEST.replace("t", "t1"), lamp(price=2), older=OLD) == [U]
    assert shop.services.elasticsearch.get(index=shop.version, id="lamp")["_version"] == marked, "one mark is enough"
    assert shop.ends(OLD, lamp(price=1), newer=True) == [U]
    assert shop.ends(OLD, {"id": "lamp", "_op": "delete"}, newer=True) == [U]
    assert shop.source("lamp")["price"] == 2
    assert shop.vectors("lamp") == before
    assert shop.ends(NEW, lamp(price=2), older=OLD) == [U]
    assert shop.ends(NEWEST, lamp(price=3)) == [W]


def test_a_mark_that_is_too_late_is_decided_upon_again(shop: Shop) -> None:
    shop.run("20250101t000000-aaaaaa", lamp(price=2))
    newest = lambda: shop.run(NEWEST, lamp(price=3))  # noqa: E731
    assert shop.ends(NEW, lamp(price=2), older=OLD, meanwhile=newest) == [U]
    assert (shop.source("lamp")["price"], shop.source("lamp")[FIELD]["job"]) == (3, NEWEST)
    shop.run(NEWEST, {"id": "cup", "price": 1})
    later, between = "20260105t000000-aaaaaa", "20260104t000000-aaaaaa"
    with pytest.raises(ElasticsearchError, match="changed by others") as raised:
        shop.run(
            later, {"id": "cup", "price": 1}, older=between, meanwhile=lambda: shop.run(between, {"id": "cup", "price": 2})
        )
    assert raised.value.retryable
    assert shop.ends(later, {"id": "cup", "price": 1}, older=between) == [W]


@pytest.mark.parametrize("there", [False, True], ids=["gone before", "one that is there"])
def test_what_a_newer_job_deleted_an_older_one_does_not_bring_back(shop: Shop, there: bool) -> None:
    if there:
        shop.run("20250101t000000-aaaaaa", lamp(price=2))
    assert shop.ends(NEW, {"id": "lamp", "_op": "delete"}, {"id": "other"}, older=OLD) == [D if there else U, W]
    assert shop.ends(OLD, lamp(price=1), {"id": "third"}, newer=True) == [U, W]
    assert not shop.has("lamp")
    assert shop.ends(NEWEST, lamp(price=3)) == [W]
    shop.services.jobs.clear_deleted(shop.version)
    assert shop.services.jobs.deleted_by((shop.version,), ["lamp"]) == {}


def test_only_jobs_that_may_still_write_need_marks(services: Services, index: str) -> None:
    version = current_version(services.elasticsearch, index)
    first, second = (
        services.jobs.open(index=version, alias=index, catalogue=name, root="/")[0] for name in ("a.jsonl", "b.jsonl")
    )
    assert services.jobs.beside(first) == Beside("", newer=True, alone=False)
    assert services.jobs.beside(second) == Beside(first.id, newer=False, alone=False)
    services.jobs.update(second.id, finished_at="2026-01-01T00:00:00Z")
    assert services.jobs.beside(first) == Beside("", newer=True, alone=True), "what it deleted has tombstones still"
    services.control.stop(first.id)
    assert services.jobs.beside(second).older == first.id, "it is still read, and may be resumed"
    services.jobs.leave(first.id, first.reader)
    assert services.jobs.beside(second) == Beside(), "nobody can read on in it"
    services.jobs.update(first.id, resumable=True)
    assert services.jobs.beside(second).older == first.id
    services.jobs.update(first.id, reading=False)
    assert services.jobs.beside(second) == Beside(), "it has nothing left to write"
    services.control.forget(second.id)
    assert services.jobs.beside(first).newer, "its tombstones may be there"


def test_many_jobs_at_once_leave_the_newest(shop: Shop) -> None:
    jobs = [f"202601{day:02d}t000000-aaaaaa" for day in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda job: shop.ends(job, *({"id": f"p{n}", "by": job} for n in range(5))), jobs))
    assert all(set(ends) <= {W, U} for ends in results)
    assert results[-1] == [W] * 5
    assert {shop.source(f"p{n}")["by"] for n in range(5)} == {jobs[-1]}


def test_a_batch_over_the_limit_of_bytes_is_written_in_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []
    send = bulk_module._answered
    monkeypatch.setattr(bulk_module, "_answered", lambda *args: requests.append(len(args[2])) or send(*args))
    monkeypatch.setattr(bulk_module.Limits, "__init__", _small(Limits.__init__))
    records = [{"id": f"p{n}", "text": "x" * 900} for n in range(6)]
    assert shop.ends(NEW, *records) == [W] * 6
    assert len(requests) >= 2
    assert sum(requests) == 6


def _small(init: Callable[..., None]) -> Callable[..., None]:
    return lambda self, **given: init(self, **{"size": 4000, **given})


# Deletes


def test_a_delete_takes_a_product_away_and_one_that_is_not_there_is_unchanged(shop: Shop) -> None:
    shop.run(OLD, lamp(), {"id": "other"})
    gone = {"id": "lamp", "_op": "delete", "price": "whatever"}
    assert shop.ends(NEW, gone, {"id": "never", "_op": "delete"}) == [D, U]
    assert not shop.has("lamp")
    assert shop.has("other")
    assert shop.ends(NEWEST, lamp()) == [W]


def test_a_delete_of_an_older_job_leaves_what_is_newer(shop: Shop) -> None:
    shop.run(NEW, lamp())
    gone = {"id": "lamp", "_op": "delete"}
    assert shop.ends(OLD, gone) == [U]
    shop.run(OLD, {"id": "late"})
    newer = {"id": "late", "price": 1}
    assert shop.ends(OLD.replace("01t", "01t1"), {**gone, "id": "late"}, meanwhile=lambda: shop.run(NEW, newer)) == [U]
    assert shop.has("lamp")
    assert shop.has("late")


def test_a_delete_whose_answer_was_lost_counts_as_deleted(shop: Shop) -> None:
    """The client sends it again, and finds nothing there."""
    shop.run(OLD, lamp())
    lost = lambda: shop.services.elasticsearch.delete(index=shop.version, id="lamp")  # noqa: E731
    assert shop.ends(NEW, {"id": "lamp", "_op": "delete"}, meanwhile=lost) == [D]


# Updates


def test_an_update_changes_the_fields_it_has_and_keeps_the_vectors(shop: Shop) -> None:
    shop.run(OLD, lamp(price=1, shelves={"here": 1, "there": 2}, images=["images/demo-001-1.jpg"]))
    before = shop.vectors("lamp")
    assert {"text", "image"} <= before
    assert shop.ends(NEW, {"id": "lamp", "_op": "update", "price": 2.5, "shelves": {"here": 0}, "colour": None}) == [W]
    now = shop.source("lamp")
    assert (now["price"], now["shelves"], now["colour"], now["title"]) == (
        2.5,
        {"here": 0, "there": 2},
        None,
        {"en": "Green lamp"},
    )
    assert "_op" not in now
    assert now[FIELD]["job"] == NEW
    assert shop.vectors("lamp") >= before


def test_a_whole_record_after_an_update_is_compared_with_what_the_update_left(shop: Shop) -> None:
    shop.run(OLD, lamp(price=1))
    update = {"id": "lamp", "_op": "update", "price": 2}
    assert shop.ends(NEW, update) == [W]
    assert shop.ends(NEW, update) == [W], "delivered twice"
    assert shop.ends(NEWEST, update) == [U]
    assert shop.ends(NEWEST, lamp(price=2)) == [U]
    assert shop.ends(NEWEST, lamp(price=1)) == [W]
    assert shop.source("lamp")["price"] == 1


def test_an_update_by_a_dotted_name_changes_what_lies_there(shop: Shop) -> None:
    shop.run(OLD, lamp(size={"w": 5, "h": 1}))
    assert shop.ends(NEW, {"id": "lamp", "_op": "update", "size.w": 7}) == [W]
    assert shop.ends(NEWEST, {"id": "lamp", "_op": "update", "size.w": 7}) == [U]
    assert shop.ends(NEWEST, lamp(size={"w": 7, "h": 1})) == [U]
    now = shop.source("lamp")
    assert (now["size"], "size.w" in now) == ({"w": 7, "h": 1}, False)


def test_an_update_of_what_is_embedded_or_not_there_is_a_dead_letter(shop: Shop) -> None:
    shop.run(OLD, lamp())
    update = {"_op": "update"}
    result = shop.run(
        NEW,
        {"id": "lamp", **update, "title": "Red lamp"},
        {"id": "nobody", **update, "price": 1},
        {"id": "odd", "_op": "upsert"},
    )
    assert result.outcomes == [X, X, X]
    codes = [letter.code for letter in result.dead_letters]
    assert sorted(codes) == ["record.invalid", "record.update_embedded", "record.update_missing"]
    assert shop.source("lamp")["title"] == {"en": "Green lamp"}


def test_an_update_of_a_partial_product_leaves_it_to_be_tried_again(shop: Shop) -> None:
    bad = lamp(price=1, images=["images/none.jpg"])
    assert shop.ends(OLD, bad) == [P]
    assert shop.ends(NEW, {"id": "lamp", "_op": "update", "price": 2}) == [W]
    assert shop.ends(NEWEST, {**bad, "price": 2}) == [P]


def test_counters_of_a_job_with_all_operations_add_up(
    command: Any, worker: Any, index: str, catalogue: Callable[..., Path]
) -> None:
    command("index", "add", index, str(catalogue(lamp(), {"id": "b"}, {"id": "c"})), "--follow")
    records = [
        {"id": "lamp", "_op": "delete"},
        {"id": "b", "_op": "update", "price": 3},
        {"id": "c", "_op": "put"},
        {"id": "x", "_op": "delete"},
        {"id": "y", "_op": "update", "price": 1},
    ]
    done = command("index", "add", index, str(catalogue(*records)), "--follow", "--json", check=False)
    job = json.loads(done.stdout)
    counted = {name: job[name] for name in ("read", "written", "unchanged", "partial", "deleted", "dead", "pending")}
    assert counted == {"read": 5, "written": 1, "unchanged": 2, "partial": 0, "deleted": 1, "dead": 1, "pending": 0}


# A picture's server that is away


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "forgotten"])
def test_a_picture_whose_server_is_away_for_a_moment_keeps_its_vector(services: Services, index: str, cached: bool) -> None:
    picture = (SHOP / "images" / "demo-001-1.jpg").read_bytes()
    changes: dict[str, Any] = {"fetch_hosts": "127.0.0.1", "fetch_private": "127.0.0.1", "fetch_attempts": 1}
    with serving() as server:
        changes["fetch_ports"] = str(server.port)
        server.routes["/p.jpg"] = in_turn(reply(200, picture), reply(503))
        url = server.url("/p.jpg")
        own = services.settings.model_validate({**services.settings.model_dump(), **changes})
        shop = Shop(Services(own), index)
        assert shop.ends(OLD, lamp(price=1, images=[url])) == [W]
        if not cached:
            shop = Shop(Services(own.model_copy(update={"cache_bytes": 0})), index)
        same = shop.run(NEW, lamp(price=1, images=[url]))
        assert (same.outcomes, [letter.code for letter in same.dead_letters]) == ([P], ["media.http_status"])
        assert shop.source("lamp")[FIELD]["job"] == OLD, "nothing was written"
        dearer = shop.run(NEW, lamp(price=2, images=[url]))
        assert (dearer.outcomes, [letter.code for letter in dearer.dead_letters]) == ([P], ["media.http_status"])
        assert shop.source("lamp")["price"] == 2
        assert {"image", "image_words"} <= shop.vectors("lamp")
        server.routes["/p.jpg"] = reply(200, picture)
        assert shop.ends(NEWEST, lamp(price=2, images=[url])) == [W]
        server.routes["/p.jpg"] = reply(404)
        assert shop.ends("20260104t000000-aaaaaa", lamp(price=2, images=[url])) == [P]
        assert "image" not in shop.vectors("lamp"), "it is gone for good"
