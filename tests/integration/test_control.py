"""Control of jobs on real services: pause, resume, stop, one job per key, redrive, leases without clocks.

Batches are run in this process, so each test decides when; `test_faults` has real workers.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from worlds import BATCH, World

from indexer import submit as submitting
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.sweeper import Sweeper
from indexer.tasks import finish_job, index_batch
from triptych.domain import Outcome
from triptych.errors import InputError, TriptychError
from triptych.jobs import batches
from triptych.jobs import job as states
from triptych.jobs.job import Batch, Counts, Job, batch_id
from triptych.jobs.letters import LetterFilter
from triptych.jobs.packing import unpacked
from triptych.jobs.queue import waiting
from triptych.jobs.tombstones import Beside
from triptych.services import Services

pytestmark = pytest.mark.integration


def things(number: int) -> list[dict[str, Any]]:
    return [{"id": f"t-{n}", "title": f"Thing {n}"} for n in range(number)]


def submit(services: Services, path: Path, index: str, **more: Any) -> Job:
    return submitting.submit(open_source(SourceSpec(str(path)), services), index, services, **more)


def numbers(services: Services, job: str) -> list[int]:
    c = services.jobs.counts(job)
    assert c.read == c.written + c.unchanged + c.partial + c.dead + c.pending
    return [c.read, c.written, c.unchanged, c.partial, c.dead, c.pending]


def run_all(services: Services, job: str, batches: int) -> str:
    for number in range(batches):
        index_batch(services, job, number)
    finish_job(services, job)
    return str(services.jobs.state(job))


def test_paused_stopped_and_resumed(quiet: Services, index: str, catalogue: Callable[..., Path], world: World) -> None:
    job = submit(quiet, catalogue(*things(3 * BATCH)), index, priority=8).id
    assert quiet.jobs.state(job) == "queued"
    index_batch(quiet, job, 0)
    claim = quiet.jobs.claim(job, 1, "somebody")
    assert claim is not None
    quiet.control.pause(job)
    assert quiet.jobs.state(job) == "pausing"
    assert quiet.jobs.release(claim)
    assert not quiet.jobs.holds(claim), "a piece that waits for its turn is not written any more"
    assert quiet.jobs.state(job) == "paused"
    assert run_all(quiet, job, 3) == "paused"
    assert numbers(quiet, job) == [3 * BATCH, BATCH, 0, 0, 0, 2 * BATCH]
    assert world.command.json("job", "stop", job, **world.environment)["state"] == "stopped"
    assert run_all(quiet, job, 3) == "stopped"
    quiet.redis.flushall()
    quiet.control.resume(job)
    assert waiting(quiet.redis, quiet.settings) == 2, "both queued batches are sent again"
    assert quiet.redis.llen(f"{quiet.settings.queue}\x06\x161") == 2, "where they went first: 9 - priority"
    assert run_all(quiet, job, 3) == "completed"
    assert numbers(quiet, job) == [3 * BATCH, 3 * BATCH, 0, 0, 0, 0]
    with pytest.raises(InputError, match="completed"):
        quiet.control.pause(job)
    attempts = quiet.elasticsearch.search(index=f"{quiet.settings.system_prefix}batches", query={"term": {"job": job}})
    assert {hit["_source"]["attempts"] for hit in attempts["hits"]["hits"]} == {1}, "what was put back counts no attempt"


def test_stopped_while_it_is_read_and_resumed(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    path = catalogue(*things(5 * BATCH))
    source = open_source(SourceSpec(str(path)), quiet)
    whole = source._read

    def stopped_in_the_middle(progress: Any) -> Any:
        for record in whole(progress):
            if record["line"] == 2 * BATCH + 2:
                quiet.control.stop(quiet.jobs.newest(size=1)[0].id)
            yield record

    object.__setattr__(source, "_read", stopped_in_the_middle)
    job = submitting.submit(source, index, quiet)
    assert job.reading
    assert job.reader is None
    read = quiet.jobs.counts(job.id).read
    assert 0 < read < 5 * BATCH
    assert submitting.resume(job.id, quiet).reading is False
    assert quiet.jobs.counts(job.id).read == 5 * BATCH
    assert run_all(quiet, job.id, 5) == "completed"
    assert numbers(quiet, job.id) == [5 * BATCH, 5 * BATCH, 0, 0, 0, 0]


def test_one_job_for_one_key(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    path = catalogue(*things(2 * BATCH))
    before = {job.id for job in quiet.jobs.newest(size=1000)}
    with ThreadPoolExecutor(4) as pool:
        ids = {job.id for job in pool.map(lambda _: submit(quiet, path, index, key="night"), range(4))}
    assert len(ids) == 1
    assert {job.id for job in quiet.jobs.newest(size=1000)} - before == ids
    (job,) = ids
    assert quiet.jobs.counts(job).read == 2 * BATCH
    assert submit(quiet, path, index, key="other").id > job, "ids rise whatever the clock says"


def test_redriven_once_the_cause_is_mended(
    quiet: Services, index: str, catalogue: Callable[..., Path], shop_products: Any
) -> None:
    picture = shop_products[0]["images"][0]
    long = "x" * 50_000
    records = [
        {"id": "good", "title": "Good"},
        {"id": "late", "title": "Late", "images": ["late.jpg"], "note": long},
        {"id": "bad", "title": 7},
        {"id": "good", "title": "Again"},
    ]
    path = catalogue(*records, {"id": "p", "images": [picture]}, b"no json")
    job = submit(quiet, path, index).id
    assert run_all(quiet, job, 2) == "completed_with_dead_letters"
    assert numbers(quiet, job) == [6, 2, 0, 1, 3, 0]
    reasons = {row["code"]: row["letters"] for row in quiet.control.reasons(job)}
    assert reasons == {"media.not_found": 1, "record.invalid": 1, "record.duplicate_id": 1, "record.not_json": 1}
    exported = {letter["code"]: letter for letter in quiet.control.export(job)}
    assert json.loads(exported["media.not_found"]["record"])["note"] == long, "the whole record"
    assert [json.loads(text)["id"] for text in quiet.control.export_records(job)] == ["late", "bad", "good"]
    assert [x["line"] for x in quiet.control.letters(job, LetterFilter(modality="image"))] == [2]
    root = Path(quiet.jobs.get(job).root)
    (root / "late.jpg").write_bytes((root / (picture["path"] if isinstance(picture, dict) else picture)).read_bytes())
    done = quiet.control.redrive(job)
    assert (done.records, done.duplicates, done.without_record, done.superseded) == (2, 1, 1, 0)
    assert run_all(quiet, done.job.id, 1) == "completed_with_dead_letters"
    assert numbers(quiet, done.job.id) == [2, 1, 0, 0, 1, 0]
    assert quiet.jobs.get(done.job.id).redrive_of == job
    again = quiet.control.redrive(job)
    assert (again.records, again.superseded) == (1, 1), "what a newer job wrote is not undone"
    with pytest.raises(InputError, match="no such dead letter"):
        quiet.control.redrive(job, LetterFilter(code="media.too_long"))


def test_a_job_whose_records_die_pauses_itself(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    strict = Services(quiet.settings.model_copy(update={"job_window": 2 * BATCH}))
    job = submit(strict, catalogue(*({"id": f"d-{n}", "title": n} for n in range(4 * BATCH))), index).id
    assert run_all(strict, job, 4) == "paused"
    assert numbers(strict, job) == [4 * BATCH, 0, 0, 0, 2 * BATCH, 2 * BATCH]
    assert "TRIPTYCH_JOB_BAD_SHARE" in str(strict.jobs.get(job).paused_because)
    strict.control.resume(job)
    index_batch(strict, job, 2)
    assert strict.jobs.state(job) == "running", "whoever resumes it accepts what died so far"
    index_batch(strict, job, 3)
    assert strict.jobs.counts(job).pending == 0


def test_a_job_pauses_itself_for_dead_records_in_a_row(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    """It has fewer records than a window, and any share of them may be bad. The row begins and ends in the middle of batches,
    which end in another order."""
    row = 2 * BATCH - 1
    changes = {"job_bad_share": 1.0, "job_dead_in_row": row - 1}
    strict = Services(quiet.settings.model_copy(update=changes))
    bad = [{"id": f"d-{n}", "title": n} for n in range(row + BATCH)]
    good = things(BATCH + 1)
    job = submit(strict, catalogue(*bad[row:], *good[:-1], *bad[:row], good[-1]), index).id
    for number in (0, 3, 1):
        index_batch(strict, job, number)
        assert strict.jobs.state(job) == "running", number
    index_batch(strict, job, 2)
    assert strict.jobs.state(job) == "paused"
    why = str(strict.jobs.get(job).paused_because)
    assert f"{row} records" in why
    assert "TRIPTYCH_JOB_DEAD_IN_ROW" in why


def test_a_worker_asks_whether_it_has_its_batch_only_when_its_last_sign_of_life_is_old(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    job = submit(quiet, catalogue(*things(BATCH)), index).id
    claim = quiet.jobs.claim(job, 0, "mine")
    assert claim is not None
    (seen,) = [one for one in quiet.jobs.running() if one.job == job]
    assert quiet.jobs.holds(claim)
    assert [one.entry.seq_no for one in quiet.jobs.running() if one.job == job] == [seen.entry.seq_no], "nobody was asked"
    claim.until = time.monotonic()
    assert quiet.jobs.holds(claim), "the ledger says so"
    assert claim.until > time.monotonic()
    (later,) = [one for one in quiet.jobs.running() if one.job == job]
    assert later.entry.seq_no != seen.entry.seq_no
    assert quiet.jobs.give_back(later)
    assert quiet.jobs.holds(claim), "no sweeper gives back so early"
    claim.until = time.monotonic()
    assert not quiet.jobs.holds(claim)
    assert run_all(quiet, job, 1) == "completed"


def test_no_lease_depends_on_a_clock(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that has the batch is a minute ahead or behind; only a sweeper's own monotonic clock decides."""
    at = [0.0]
    sweeper = Sweeper(quiet, clock=lambda: at[0])
    lease = quiet.settings.batch_lease_seconds
    real = time.time
    for skew in (-60.0, 60.0):
        job = submit(quiet, catalogue(*things(BATCH)), index).id
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        claim = quiet.jobs.claim(job, 0, "skewed")
        monkeypatch.setattr(time, "time", real)
        assert claim is not None
        sweeper.sweep()
        for _ in range(3):  # it lives: nobody takes its batch
            at[0] += lease * 0.9
            assert quiet.jobs.renew(claim)
            sweeper.sweep()
            assert quiet.jobs.renew(claim)
            assert quiet.jobs.claim(job, 0, "another") is None
            sweeper.sweep()
        at[0] += lease
        sweeper.sweep()  # it said nothing for a lease
        assert not quiet.jobs.renew(claim)
        assert not quiet.jobs.holds(claim)
        assert run_all(quiet, job, 1) == "completed"
        index_batch(quiet, job, 0)
        assert quiet.jobs.counts(job).pending == 0


def test_a_ledger_of_an_older_version_gets_the_new_fields(quiet: Services) -> None:
    old = Services(quiet.settings.model_copy(update={"system_prefix": f"{quiet.settings.system_prefix}old-"}))
    name = f"{old.settings.system_prefix}jobs"
    old.elasticsearch.indices.create(index=name, mappings={"dynamic": False, "properties": {"id": {"type": "keyword"}}})
    old.jobs.prepare()
    old.jobs.prepare()
    mapping = old.elasticsearch.indices.get_mapping(index=name)[name]["mappings"]["properties"]
    assert {"wanted", "redrive_of", "reading"} <= set(mapping)


def test_a_batch_is_entered_once_though_the_answer_was_lost(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends a request again that was not answered; the second finds the entry of the first."""
    job = submit(quiet, catalogue(*things(1)), index)
    monkeypatch.setattr(batches.uuid, "uuid4", lambda: uuid.UUID(int=7))
    batch = Batch(job.id, 9, ({"line": 90, "text": "{}"},))
    quiet.jobs.add(batch)
    quiet.jobs.add(batch)
    monkeypatch.undo()
    claim = quiet.jobs.claim(job.id, 9, "me")
    assert claim is not None
    assert claim.batch.records == batch.records
    assert quiet.jobs.place_at(job.id, 90) is not None
    with pytest.raises(TriptychError, match="Another process reads"):
        quiet.jobs.add(batch)


def test_records_that_an_older_version_entered_are_read(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    """It did not pack them, and kept no lines beside them."""
    job = submit(quiet, catalogue(*things(3)), index)
    entry = quiet.elasticsearch.get(index=f"{quiet.settings.system_prefix}batches", id=batch_id(job.id, 0))["_source"]
    where = f"{quiet.settings.system_prefix}records"
    whole = quiet.elasticsearch.get(index=where, id=entry["body"])["_source"]
    assert "records" not in whole
    records = list(unpacked(whole.pop("packed")))
    assert whole.pop("lines") == [record["line"] for record in records] == [1, 2, 3]
    quiet.elasticsearch.index(index=where, id=entry["body"], document={**whole, "records": records})
    place = quiet.jobs.place_at(job.id, 2)
    assert place is not None
    assert quiet.jobs.places_of(job.id, str(place.product)) == [place]
    assert run_all(quiet, job.id, 1) == "completed"
    assert quiet.jobs.counts(job.id).written == 3


def test_what_a_newer_job_deleted_that_ended_first_an_older_one_does_not_write_again(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    old = submit(quiet, catalogue({"id": "lamp", "title": "Lamp"}), index)
    new = submit(quiet, catalogue({"id": "lamp", "_op": "delete"}, name="gone.jsonl"), index)
    assert run_all(quiet, new.id, 1) == "completed"
    assert quiet.jobs.get(new.id).finished_at is not None
    assert quiet.jobs.beside(old) == Beside(newer=True)
    assert quiet.jobs.beside(new) == Beside(old.id, alone=False)
    assert run_all(quiet, old.id, 1) == "completed"
    assert not quiet.elasticsearch.exists(index=old.index, id="lamp")
    assert numbers(quiet, old.id)[:3] == [1, 0, 1]


def test_a_stopped_job_is_beside_others_as_long_as_it_has_something_to_write(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    old, new = (submit(quiet, catalogue(*things(1)), index) for _ in range(2))
    claim = quiet.jobs.claim(old.id, 0, "me")
    assert claim is not None
    quiet.control.stop(old.id)
    assert quiet.jobs.beside(new).older == old.id
    assert quiet.jobs.release(claim)
    assert quiet.jobs.beside(new).older == old.id
    quiet.jobs.update(old.id, reading=True, resumable=False)
    assert quiet.jobs.beside(new).older == "", "half read from what cannot be read again: nobody can resume it"


@pytest.mark.parametrize("end", ["stopped", "failed"])
def test_a_job_resumed_after_a_newer_one_ended_undoes_nothing_of_it(
    quiet: Services, index: str, catalogue: Callable[..., Path], end: str
) -> None:
    """Neither what the newer one wrote, nor what it left as it was, nor what it deleted or found gone."""
    names = ("written", "left", "deleted", "gone")
    first = submit(quiet, catalogue(*({"id": name, "price": 0} for name in names[:3])), index)
    assert run_all(quiet, first.id, 1) == "completed"
    old = submit(quiet, catalogue(*({"id": name, "price": 1} for name in names)), index)
    if end == "stopped":
        quiet.control.stop(old.id)
    else:
        quiet.jobs.update(old.id, error="the encoder is away")
    gone = [{"id": name, "_op": "delete"} for name in names[2:]]
    new = submit(quiet, catalogue({"id": "written", "price": 2}, {"id": "left", "price": 0}, *gone), index)
    assert run_all(quiet, new.id, 1) == "completed"
    quiet.control.forget(new.id)
    quiet.control.resume(old.id)
    assert run_all(quiet, old.id, 1) == "completed"
    assert numbers(quiet, old.id) == [4, 0, 4, 0, 0, 0]
    assert prices(quiet, first.index, *names) == {"written": 2, "left": 0}
    tombstones = f"{quiet.settings.system_prefix}deleted"
    quiet.elasticsearch.indices.refresh(index=tombstones)
    assert quiet.elasticsearch.count(index=tombstones, query={"term": {"index": first.index}})["count"] == 0


def test_a_redrive_is_as_old_as_its_job_unless_it_is_forced(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    """Neither what a newer job wrote, left as it was, deleted or found gone is undone; what none had is written."""
    names = ("written", "left", "deleted", "gone", "mine")
    first = submit(quiet, catalogue(*({"id": name, "price": 0} for name in names[:3])), index)
    assert run_all(quiet, first.id, 1) == "completed"
    hasty = Services(quiet.settings.model_copy(update={"batch_attempts": 0, "batch_size": 1}))
    old = submit(hasty, catalogue(*({"id": name, "price": 1} for name in names)), index)
    assert run_all(hasty, old.id, 1) == "completed_with_dead_letters"
    assert numbers(quiet, old.id) == [5, 0, 0, 0, 5, 0]
    gone = [{"id": name, "_op": "delete"} for name in names[2:4]]
    new = submit(quiet, catalogue({"id": "written", "price": 2}, {"id": "left", "price": 0}, *gone), index)
    assert run_all(quiet, new.id, 1) == "completed"
    done = quiet.control.redrive(old.id)
    assert (done.records, done.superseded) == (1, 4)
    assert old.id < done.job.id < new.id
    assert quiet.jobs.newest(size=1)[0].id == done.job.id
    assert run_all(quiet, done.job.id, 1) == "completed"
    assert prices(quiet, first.index, *names) == {"written": 2, "left": 0, "mine": 1}
    forced = quiet.control.redrive(old.id, force=True)
    assert (forced.records, forced.superseded, forced.job.id > new.id) == (5, 0, True)
    assert run_all(quiet, forced.job.id, 1) == "completed"
    assert prices(quiet, first.index, *names) == dict.fromkeys(names, 1)


def test_a_redrive_that_runs_beside_a_newer_job_looks_again_when_it_writes(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    hasty = Services(quiet.settings.model_copy(update={"batch_attempts": 0}))
    old = submit(hasty, catalogue(*({"id": name, "price": 1} for name in "ab")), index)
    assert run_all(hasty, old.id, 1) == "completed_with_dead_letters"
    done = quiet.control.redrive(old.id)
    new = submit(quiet, catalogue({"id": "a", "price": 2}, {"id": "b", "_op": "delete"}), index)
    assert run_all(quiet, new.id, 1) == "completed"
    assert run_all(quiet, done.job.id, 1) == "completed"
    assert prices(quiet, old.index, "a", "b") == {"a": 2}


def test_redrives_of_one_job_have_ids_in_their_order(quiet: Services, index: str, catalogue: Callable[..., Path]) -> None:
    old = submit(quiet, catalogue({"id": "a", "title": 7}), index)
    assert run_all(quiet, old.id, 1) == "completed_with_dead_letters"
    with ThreadPoolExecutor(3) as pool:
        first = sorted(pool.map(lambda _: quiet.control.redrive(old.id).job.id, range(3)))
    assert first == [states.redrive_id(old.id, number) for number in (1, 2, 3)]
    run_all(quiet, first[2], 1)
    assert quiet.control.redrive(first[2]).job.id == states.redrive_id(old.id, 4), "of a redrive: its job's records still"
    quiet.control.stop(states.redrive_id(old.id, 4))
    quiet.control.forget(states.redrive_id(old.id, 4))
    assert quiet.control.redrive(old.id).job.id == states.redrive_id(old.id, 5)
    assert submit(quiet, catalogue(*things(1)), index).id > states.redrive_id(old.id, 999)


def prices(services: Services, index: str, *products: str) -> dict[str, int]:
    """The price of each of these products that is there."""
    found = services.elasticsearch.mget(index=index, ids=list(products))["docs"]
    return {one["_id"]: one["_source"]["price"] for one in found if one["found"]}


def test_what_a_lost_worker_deleted_counts_as_deleted(
    quiet: Services, index: str, catalogue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was lost once it had deleted them, at the first attempt, or at the second, which goes record by record."""
    assert run_all(quiet, submit(quiet, catalogue(*things(3)), index).id, 1) == "completed"
    gone = [{"id": f"t-{n}", "_op": "delete"} for n in range(4)]
    job = submit(quiet, catalogue(*gone, name="gone.jsonl"), index).id

    def lost(*_: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as during:
            during.setattr(quiet.jobs, "finish", lost)
            with pytest.raises(KeyboardInterrupt):
                index_batch(quiet, job, 0)
        assert not quiet.elasticsearch.exists(index=index, id="t-0")
        (seen,) = [one for one in quiet.jobs.running() if one.job == job]
        assert quiet.jobs.give_back(seen)
    assert run_all(quiet, job, 1) == "completed"
    counts = quiet.jobs.counts(job)
    assert (counts.deleted, counts.unchanged) == (3, 1), "one was never there"


def test_a_worker_changes_its_batch_without_reading_it_and_notices_who_took_it(
    quiet: Services, index: str, catalogue: Callable[..., Path]
) -> None:
    job = submit(quiet, catalogue(*things(1)), index)
    claim = quiet.jobs.claim(job.id, 0, "me")
    assert claim is not None
    assert quiet.jobs.renew(claim)
    assert quiet.jobs.renew(claim)
    (seen,) = [one for one in quiet.jobs.running() if one.job == job.id]
    assert quiet.jobs.give_back(seen)
    assert not quiet.jobs.renew(claim)
    other = quiet.jobs.claim(job.id, 0, "another")
    assert other is not None
    assert not quiet.jobs.finish(claim, Counts(read=1, written=1), [Outcome.WRITTEN])
    assert quiet.jobs.finish(other, Counts(read=1, unchanged=1), [Outcome.UNCHANGED])
    assert numbers(quiet, job.id) == [1, 0, 1, 0, 0, 0]
