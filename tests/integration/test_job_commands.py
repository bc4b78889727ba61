"""`triptych job letters|record|export|redrive|watch|forget` on a small job of real services: what they print and write.

The job's records: a good one, one whose picture is missing, one of a wrong form, a second one of the same id. Batches are
run in this process.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from processes import SHOP

from indexer import cli
from indexer.cli import index
from indexer.job_cli import job as jobs
from indexer.tasks import finish_job, index_batch
from search_api.app import create_app
from triptych.errors import InputError, NotFoundError
from triptych.jobs.letters import LetterFilter
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

PROFILE = """description: pictures by colour, and vectors that come with the record
spaces:
  given: {family: precomputed, fingerprint: here, documents: text, dims: 2, licence: none}
  colour: {family: colour_histogram, documents: image, queries: [image], dims: 114, licence: none needed}
"""
RECORDS: list[dict[str, Any]] = [
    {"id": "good", "title": "Good", "vectors": {"given": [1.0, 0.0]}},
    {"id": "late", "title": "Late", "images": ["late.jpg"], "vectors": {"given": [0.0, 1.0]}},
    {"id": "bad", "title": 7},
    {"id": "good", "title": "Again"},
]
PICTURE = next(iter(sorted((SHOP / "images").iterdir())))


@dataclass
class Shop:
    """An index with a job that ended with dead letters, and the commands' environment."""

    services: Services
    environment: dict[str, str]
    folder: Path
    name: str
    job: str = ""

    def run(self, *args: str, group: Any = jobs) -> Result:
        return CliRunner().invoke(group, args, env=self.environment)

    def json(self, *args: str, code: int = 0, group: Any = jobs) -> Any:
        done = self.run(*args, "--json", group=group)
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout)

    def add(self, records: list[dict[str, Any]]) -> str:
        path = self.folder / "catalogue.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return str(self.json("add", self.name, str(path), group=index)["id"])

    def work(self, job: str) -> None:
        """What a worker does for a job of one batch."""
        index_batch(self.services, job, 0)
        finish_job(self.services, job)


@pytest.fixture(autouse=True, scope="module")
def not_nice() -> Iterator[None]:
    """The commands run in this process, which must not stand back for good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_stand_back", lambda: None)
        yield


@pytest.fixture(scope="module")
def shop(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, name = tmp_path_factory.mktemp("jobs"), f"jobs-{uuid.uuid4().hex[:8]}"
    (folder / "profile.yaml").write_text(PROFILE, encoding="utf-8")
    own = {"queue": name, "system_prefix": f"t-{name}-", "profile": str(folder / "profile.yaml"), "decode_processes": 1}
    mine = settings.model_copy(update=own)
    environment = {f"TRIPTYCH_{key.upper()}": str(value) for key, value in own.items()} | {
        "TRIPTYCH_ELASTICSEARCH_URL": settings.elasticsearch_address,
        "TRIPTYCH_REDIS_URL": settings.redis_address,
        "COLUMNS": "200",
    }
    services = Services(mine)
    made = Shop(services, environment, folder, name)
    with services.decoder:
        made.json("create", name, group=index)
        made.job = made.add(RECORDS)
        made.work(made.job)
        yield made


def test_letters_are_counted_and_listed(shop: Shop) -> None:
    found = shop.json("letters", shop.job)
    reasons = {(row["code"], row["stage"], row["modality"]): row["letters"] for row in found["reasons"]}
    assert reasons == {
        ("media.not_found", "fetch", "image"): 1, ("record.invalid", "parse", None): 1,
        ("record.duplicate_id", "parse", None): 1,
    }  # fmt: skip
    assert [(letter["line"], letter["product_id"]) for letter in found["letters"]] == [(2, "late"), (3, "bad"), (4, "good")]
    assert all("record" not in letter for letter in found["letters"]), "a list does not carry whole records"
    said = shop.run("letters", shop.job).stdout
    for words in ("media.not_found", "late.jpg", "record.duplicate_id", "reasons", "dead letters"):
        assert words in said


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("--code", "record.invalid"), [3]), (("--stage", "parse"), [3, 4]), (("--modality", "image"), [2]),
        (("--product", "good"), [4]), (("--product", "good", "--stage", "fetch"), []),
    ],
)  # fmt: skip
def test_filters_narrow_letters_and_exports_alike(shop: Shop, options: tuple[str, ...], lines: list[int]) -> None:
    assert [letter["line"] for letter in shop.json("letters", shop.job, *options)["letters"]] == lines
    exported = shop.run("export", shop.job, *options)
    assert [json.loads(line)["line"] for line in exported.stdout.splitlines()] == lines
    assert f"{len(lines)} dead letters of job {shop.job}" in exported.stderr


def test_an_export_has_the_whole_records(shop: Shop) -> None:
    path = shop.folder / "letters.jsonl"
    assert shop.json("export", shop.job, str(path)) == {"file": str(path), "lines": 3}
    letters = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [json.loads(letter["record"]) for letter in letters] == RECORDS[1:]
    records = shop.run("export", shop.job, "--records")
    assert [json.loads(line) for line in records.stdout.splitlines()] == RECORDS[1:]
    assert "3 records of job" in records.stderr


def test_what_became_of_each_record(shop: Shop) -> None:
    def told(*which: str) -> dict[str, Any]:
        found = shop.json("record", shop.job, *which)
        assert (found["job"], found["batch"], found["attempt"]) == (shop.job, 0, 1)
        return dict(found)

    def shown(found: dict[str, Any]) -> tuple[Any, ...]:
        codes = [why["code"] for why in found["reasons"]]
        return found["line"], found["product"], found["state"], found["outcome"], found["stage"], codes, found["lines"]

    assert shown(told("good")) == (1, "good", "written", "written", "write", [], [4])
    assert shown(told("late")) == (2, "late", "partial", "partial", "fetch", ["media.not_found"], [])
    assert shown(told("bad")) == (3, "bad", "dead", "dead", "parse", ["record.invalid"], [])
    assert shown(told("--line", "4")) == (4, "good", "dead", "dead", "parse", ["record.duplicate_id"], [])
    assert told("--line", "2") == told("late")
    kept = {key: shop.services.elasticsearch.get(index=shop.name, id=key)["_source"]["triptych"] for key in ("good", "late")}
    assert [told("good")["hash"], told("late")["hash"], told("bad")["hash"]] == [
        kept["good"]["hash"],
        kept["late"]["hash"],
        None,
    ]
    assert len(kept["good"]["hash"]) == 64
    said = shop.run("record", shop.job, "late").stdout
    for words in ("line 2, product late: partial", "stage fetch", "late.jpg", "media.not_found", kept["late"]["hash"]):
        assert words in said
    assert "the same id is on line 4 too" in shop.run("record", shop.job, "good").stdout
    for unknown in (("none",), ("--line", "5")):
        with pytest.raises(NotFoundError) as caught:
            raise_of(shop.run("record", shop.job, *unknown))
        assert caught.value.code == "job.record_not_found"
    assert [shop.run("record", shop.job, *wrong).exit_code for wrong in ((), ("good", "--line", "1"))] == [2, 2]


def test_a_record_from_its_entering_to_what_later_jobs_make_of_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(job: str, which: str | int = "a/b") -> tuple[Any, ...]:
        found = shop.services.control.record(job, which)
        return found.state, found.outcome, found.stage, found.attempt, found.hash is not None, found.overtaken_by

    jobs_ = shop.services.jobs
    record = {"id": "a/b", "title": "A", "vectors": {"given": [1.0, 0.0]}}
    first = shop.add([record])
    assert told(first) == ("pending", None, "queued", 0, False, None)
    claim = jobs_.claim(first, 0, "somebody")
    assert claim is not None
    assert told(first, 1) == ("pending", None, "running", 1, False, None)
    jobs_.release(claim)
    monkeypatch.setattr(jobs_, "keep_names", lambda *_: None)  # its process is lost once the batch is done
    shop.work(first)
    monkeypatch.undo()
    assert told(first) == told(first, 1) == ("written", "written", "write", 1, True, None)

    same, newer, gone = shop.add([record]), shop.add([{**record, "title": "B"}]), shop.add([{"id": "a/b", "_op": "delete"}])
    shop.work(same)
    assert told(same) == ("unchanged", "unchanged", "compare", 1, True, None)
    assert told(first)[0] == "written", "another job found it so"
    shop.work(newer)
    assert told(newer) == ("written", "written", "write", 1, True, None)
    assert told(same) == ("overtaken", "unchanged", "compare", 1, False, newer)
    assert told(first) == ("overtaken", "written", "write", 1, False, newer)
    shop.work(gone)
    assert told(gone) == ("deleted", "deleted", "write", 1, False, None)
    assert told(newer) == ("overtaken", "written", "write", 1, False, None), "it is gone"
    said = shop.run("record", first, "a/b").stdout
    assert "line 1, product a/b: overtaken (it ended as written)" in said


def test_a_record_over_http(shop: Shop) -> None:
    client = create_app(shop.services).test_client()
    first = next(job.id for job in reversed(shop.services.jobs.newest(size=100)) if job.id > shop.job)
    answer = client.get(f"/v1/jobs/{first}/records/a/b")
    assert (answer.status_code, answer.get_json()) == (200, shop.json("record", first, "a/b"))
    assert client.get(f"/v1/jobs/{shop.job}/records/late").get_json()["reasons"][0]["code"] == "media.not_found"
    for path, code in (
        (f"/v1/jobs/{shop.job}/records/none", "job.record_not_found"),
        ("/v1/jobs/none/records/x", "job.not_found"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["code"]) == (404, code)


def test_redriven_and_watched_to_its_end(shop: Shop) -> None:
    (shop.folder / "late.jpg").write_bytes(PICTURE.read_bytes())
    with pytest.raises(InputError, match="no such dead letter"):
        raise_of(shop.run("redrive", shop.job, "--code", "media.too_long"))
    redriven = shop.json("redrive", shop.job, "--code", "media.not_found")
    assert (redriven["read"], redriven["redrive_of"], redriven["state"]) == (1, shop.job, "queued")
    assert redriven["redriven"] == {"records": 1, "without_record": 0, "superseded": 0, "duplicates": 0}

    worker = threading.Timer(1.0, shop.work, [redriven["id"]])
    worker.start()
    watched = shop.run("watch", redriven["id"])
    worker.join()
    assert (watched.exit_code, watched.exception) == (0, None), watched.output
    assert f"job {redriven['id']}: completed" in watched.stdout
    assert "1/1" in watched.stderr, "the bar goes to stderr"
    assert shop.services.elasticsearch.get(index=shop.name, id="late")["_source"]["triptych"]["outcome"] == "written"

    said = shop.run("redrive", shop.job)
    assert "1 records, 1 superseded, 1 duplicates" in said.stdout, "what a newer job wrote is not undone"
    forced = shop.json("redrive", shop.job, "--product", "late", "--force")
    assert (forced["redriven"]["records"], forced["redriven"]["superseded"]) == (1, 0)
    assert redriven["id"].startswith(shop.job)
    assert not forced["id"].startswith(shop.job), "as one that is submitted now"


def test_followed_it_ends_with_the_state(shop: Shop) -> None:
    before = {one.id for one in shop.services.jobs.newest(size=100)}

    def work() -> None:
        """Runs the redrive as soon as it is there."""
        fresh: set[str] = set()
        while not stop.is_set() and not fresh:
            fresh = {one.id for one in shop.services.jobs.newest(size=100) if not one.reading} - before
        for one in fresh:
            shop.work(one)

    stop = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    done = shop.run("redrive", shop.job, "--code", "record.invalid", "--follow", "--json")
    stop.set()
    worker.join()
    found = json.loads(done.stdout)
    assert (done.exit_code, found["state"], found["dead"]) == (3, "completed_with_dead_letters", 1)
    assert [letter["code"] for letter in found["letters"]] == ["record.invalid"]


def test_a_watch_of_a_job_that_rests_ends_at_once(shop: Shop) -> None:
    assert shop.json("watch", shop.job, code=3)["state"] == "completed_with_dead_letters"
    held = shop.add([{"id": "held", "vectors": {"given": [1.0, 0.0]}}])
    shop.json("pause", held)
    assert shop.json("watch", held, code=4)["state"] == "paused"
    with pytest.raises(NotFoundError):
        raise_of(shop.run("watch", "none"))


def test_what_looks_like_markup_is_shown_as_it_is(shop: Shop) -> None:
    """An id, a path, a reason: rich takes [/b] for the end of bold type that nobody began, and leaves out [red]."""
    path = shop.folder / "odd[/x].jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"id": "m[/b] [red]", "title": 7}), encoding="utf-8")
    added = shop.run("add", shop.name, str(path), group=index)
    assert (added.exit_code, added.exception) == (0, None)
    job = next(one.id for one in shop.services.jobs.newest(size=5) if one.catalogue.endswith("odd[/x].jsonl"))
    shop.work(job)
    for command in ("show", "letters", "watch"):
        said = shop.run(command, job)
        assert said.exception is None or isinstance(said.exception, SystemExit), command
        assert "m[/b] [red]" in said.stdout, command
    assert "odd[/x].jsonl" in shop.run("show", job).stdout


def test_a_list_has_whole_ids_however_narrow_the_terminal_is(shop: Shop) -> None:
    said = CliRunner().invoke(jobs, ["list"], env={**shop.environment, "COLUMNS": "80"}).stdout
    assert shop.job in said
    assert "partial" in said


def test_a_key_of_a_job_that_failed_submits_nothing_and_says_so(shop: Shop) -> None:
    path = shop.folder / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000))[:50_000])
    arguments = ("add", shop.name, str(path), "--idempotency-key", "nightly")
    first = shop.run(*arguments, group=index)
    job = shop.services.jobs.of_key(shop.name, "nightly")
    assert (first.exit_code, job is not None) == (1, True)
    assert job is not None
    assert f"Job {job.id}: " in str(first.exception)
    path.write_bytes(gzip.compress(json.dumps(RECORDS[0]).encode()))
    again = shop.run(*arguments, group=index)
    assert again.exit_code == 1
    assert f"Nothing was submitted: 'nightly' is the key of job {job.id}, which failed." in again.stderr
    assert shop.json(*arguments, group=index, code=1)["state"] == "failed"
    shop.json("forget", job.id)


def test_an_export_into_a_folder_that_is_not_there(shop: Shop) -> None:
    done = shop.run("export", shop.job, str(shop.folder / "none" / "x.jsonl"))
    assert done.exit_code == 1
    assert "Could not open file" in done.output


def test_a_forgotten_job_leaves_nothing_but_its_products(shop: Shop) -> None:
    path = shop.folder / "forgotten.jsonl"
    lines = [json.dumps({"id": f"f-{n}", "title": n if n else "F", "vectors": {"given": [1.0, 0.0]}}) for n in range(3)]
    path.write_text("\n".join(lines), encoding="utf-8")
    arguments = ("add", shop.name, str(path), "--idempotency-key", "once")
    name = shop.json(*arguments, group=index)["id"]
    for refused in ("queued", "paused"):
        with pytest.raises(InputError, match=refused) as caught:
            raise_of(shop.run("forget", name))
        assert caught.value.code == "job.not_ended"
        shop.json("pause", name)
    shop.json("resume", name)
    shop.work(name)
    assert shop.json("show", name)["state"] == "completed_with_dead_letters"
    assert shop.json("forget", name) == {"job": name, "batches": 1, "dead_letters": 2}

    client, prefix = shop.services.elasticsearch, shop.services.settings.system_prefix
    client.indices.refresh(index=f"{prefix}*")
    for kind in ("batches", "records", "dead-letters", "keys"):
        assert client.count(index=f"{prefix}{kind}", query={"term": {"job": name}})["count"] == 0, kind
    assert client.get(index=shop.name, id="f-0")["_source"]["triptych"]["job"] == name
    with pytest.raises(NotFoundError):
        raise_of(shop.run("forget", name))
    index_batch(shop.services, name, 0)  # a message that comes late
    again = shop.json(*arguments, group=index)["id"]
    assert again > name, "the key is free, and the id is greater than the forgotten one"
    assert shop.services.control.letters(shop.job, LetterFilter(code="record.invalid")), "other jobs keep theirs"


def test_the_ids_of_later_jobs_are_greater_whatever_the_clock_says(shop: Shop) -> None:
    """The alias's newest job was submitted by a machine whose clock is ahead, and is forgotten."""
    ahead = "29990101t000000-abcdef"
    entry = {**shop.services.jobs.get(shop.job).to_dict(), "id": ahead}
    shop.services.elasticsearch.index(
        index=f"{shop.services.settings.system_prefix}jobs", id=ahead, document=entry, refresh=True
    )
    said = shop.run("forget", ahead).stdout
    assert f"Forgot job {ahead}: 0 batches, 0 dead letters" in said
    first, second = (shop.add([{"id": "x", "vectors": {"given": [1.0, 0.0]}}]) for _ in range(2))
    assert ahead < first < second


def raise_of(done: Result) -> None:
    """Raise what a command raised; `triptych` itself makes a line and exit code 1 of it (test_commands)."""
    assert done.exit_code == 1
    assert done.exception is not None
    raise done.exception
