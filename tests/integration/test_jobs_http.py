"""Jobs over HTTP, on a real worker: sent, named, followed, paused, redriven."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from media_server import MediaServer, reply, serving
from pyarrow import parquet
from said import check_said
from upgrade_place import COLOURS
from worlds import World

from search_api.app import create_app
from triptych.catalogues import upload_of
from triptych.jobs.uploads import Upload
from triptych.services import Services

pytestmark = pytest.mark.integration

LINES = [{"id": f"p{number}", "title": {"en": f"thing number {number}"}} for number in range(40)]


def jsonl(records: list[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalogues")


@pytest.fixture(scope="module")
def services(world: World, folder: Path) -> Services:
    return Services(world.settings.model_copy(update={"catalogues": f"{folder}/"}))


@pytest.fixture(scope="module")
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def name(world: World) -> str:
    return world.create()


@contextmanager
def worker_with(world: World, **variables: str) -> Iterator[None]:
    """No worker at first, and one that has these variables once it is begun."""
    world.kill_worker()
    usual, world.of_the_worker = world.of_the_worker, variables
    try:
        yield
    finally:
        world.kill_worker()
        world.of_the_worker = usual


@pytest.fixture
def hasty(world: World) -> Iterator[None]:
    """A worker whose leases are short: it takes the place of a lost reader, which is one after ten, in ten seconds."""
    with worker_with(world, TRIPTYCH_BATCH_LEASE_SECONDS="1"):
        yield


def send(client: FlaskClient, job: dict[str, Any], data: bytes, file: str = "a.jsonl", **headers: str) -> Any:
    form = {"job": json.dumps(job), "catalogue": (io.BytesIO(data), file)}
    answer = client.post("/v1/jobs", data=form, content_type="multipart/form-data", headers=headers)
    answer.request.environ["wsgi.input"].close()  # of a large form werkzeug's client leaves its file open
    return answer


def ids(world: World, index: str) -> set[str]:
    client = world.services.elasticsearch
    client.indices.refresh(index=index)
    return {hit["_id"] for hit in client.search(index=index, size=1000, source=False)["hits"]["hits"]}


def uploads(world: World) -> set[str]:
    """The uploads that are kept at this moment."""
    client, index = world.services.elasticsearch, f"{world.settings.system_prefix}uploads"
    client.indices.refresh(index=index, ignore_unavailable=True)
    hits = client.search(index=index, size=1000, source_includes=["upload"], ignore_unavailable=True)["hits"]["hits"]
    return {hit["_source"]["upload"] for hit in hits}


def events(client: FlaskClient, job: str) -> list[tuple[str, dict[str, Any]]]:
    """All events of a job until it rests."""
    answer = client.get(f"/v1/jobs/{job}/events")
    assert answer.content_type == "text/event-stream"
    found = []
    for block in answer.get_data(as_text=True).split("\n\n"):
        if block.startswith("event: "):
            event, data = block.split("\n", 1)
            found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_catalogue_may_be_larger_than_a_query_and_no_larger_than_the_setting(world: World, name: str) -> None:
    """The bound of other requests (pictures and sounds in base64) is not that of catalogues."""
    own = world.settings.model_copy(update={"media_bytes": 1000, "upload_bytes": 3_000_000})
    narrow = create_app(Services(own)).test_client()
    assert narrow.application.config["MAX_CONTENT_LENGTH"] < 1_100_000
    padded = [{**record, "note": "x" * 50_000} for record in LINES]
    assert send(narrow, {"index": name}, jsonl(padded)).status_code == 202
    for times in (2, 4):  # over the bound of the catalogue, and over that of the form
        answer = send(narrow, {"index": name}, jsonl(padded * times))
        assert (answer.status_code, answer.json["code"]) == (400, "upload.too_large"), times
    answer = narrow.post("/v1/search", data=b" " * 2_000_000, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (413, "http.too_large")


def test_a_catalogue_that_is_sent_is_indexed_and_followed(world: World, client: FlaskClient, name: str) -> None:
    world.begin_worker()
    answer = send(client, {"index": name}, gzip.compress(jsonl(LINES)), "feed.jsonl.gz")
    job = answer.get_json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    seen = events(client, job["id"])
    assert [event for event, _ in seen][-1] == "end"
    last = seen[-1][1]
    assert (last["state"], last["read"], last["written"], last["pending"]) == ("completed", 40, 40, 0)
    for _, at in seen:
        assert at["read"] == sum(at[n] for n in ("written", "unchanged", "partial", "deleted", "dead", "pending"))
    assert ids(world, name) == {record["id"] for record in LINES}
    uploads = f"{world.settings.system_prefix}uploads"
    world.services.elasticsearch.indices.refresh(index=uploads)
    assert world.services.elasticsearch.count(index=uploads)["count"] == 0, "what was read is not kept"
    listed = client.get("/v1/jobs?size=5").get_json()["jobs"]
    assert job["id"] in {one["id"] for one in listed}


@pytest.mark.parametrize(
    ("body", "headers", "code", "field"),
    [
        (b"", {"content_type": "application/json"}, "request.not_json", "body"),
        (b"{}", {"content_type": "text/plain"}, "request.content_type", "Content-Type"),
        (b'{"id": "a"}\n', {"content_type": "application/x-ndjson"}, "request.content_type", "Content-Type"),
    ],
)
def test_a_job_that_is_no_json_is_refused(
    client: FlaskClient, body: bytes, headers: dict[str, str], code: str, field: str
) -> None:
    answer = client.post("/v1/jobs", data=body, **headers)  # type: ignore[arg-type]  # headers are its keywords
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, code, field)


def test_of_two_catalogues_none_is_left_out(client: FlaskClient, name: str) -> None:
    files = [(io.BytesIO(jsonl(LINES)), "a.jsonl"), (io.BytesIO(jsonl(LINES)), "b.jsonl")]
    answer = client.post("/v1/jobs", data={"job": json.dumps({"index": name}), "catalogue": files})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "request.invalid", "catalogue")


def test_the_events_of_a_job_that_is_forgotten_end(world: World, client: FlaskClient, name: str) -> None:
    world.kill_worker()
    job = send(client, {"index": name}, jsonl(LINES)).get_json()["id"]
    blocks = client.get(f"/v1/jobs/{job}/events").response
    stream = iter(blocks)
    assert next(stream).startswith(b"event: progress")
    client.post(f"/v1/jobs/{job}/stop")
    world.services.jobs.update(job, finished_at="2026-01-01T00:00:00Z")
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert [block for block in stream if block.startswith(b"event: end")] in ([], [b""])


def test_parquet_is_sent_told_by_its_name_and_its_job_forgotten(world: World, client: FlaskClient, name: str) -> None:
    world.begin_worker()
    out = io.BytesIO()
    parquet.write_table(pa.table({"sku": ["a", "b"], "title": ["Hat", "Lamp"]}), out)
    answer = send(client, {"index": name, "catalogue": {"columns": "sku=id"}}, out.getvalue(), "feed.parquet")
    job = answer.get_json()
    assert job["catalogue"].endswith("/feed.parquet")
    end = events(client, job["id"])[-1][1]
    assert (end["state"], end["written"]) == ("completed", 2), end
    assert ids(world, name) == {"a", "b"}
    gone = client.delete(f"/v1/jobs/{job['id']}")
    assert (gone.status_code, gone.get_data()) == (204, b"")
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert client.delete(f"/v1/jobs/{job['id']}").get_json()["code"] == "job.not_found"
    assert ids(world, name) == {"a", "b"}


def test_a_dry_run_is_done_by_a_worker_and_enters_no_job(world: World, client: FlaskClient, name: str) -> None:
    world.begin_worker()
    before = {job.id for job in world.services.jobs.newest(size=1000)}

    def tried(data: bytes, file: str) -> dict[str, Any]:
        answer = send(client, {"index": name, "dry_run": True}, data, file)
        place, body = answer.headers["Location"], answer.get_json()
        assert (answer.status_code, place) == (202, f"/v1/dry-runs/{body['id']}")
        world.wait(lambda: client.get(place).get_json()["state"] in ("done", "failed"), "the dry run")
        found = dict(client.get(place).get_json())
        check_said("SubmittedAnswer", body)
        check_said("DryRunAnswer", found)
        return found

    found = tried(jsonl([*LINES, {"id": ""}]), "feed.jsonl")
    assert found["state"] == "done"
    assert (found["report"]["records"], found["report"]["bad"]) == (41, {"record.invalid": 1})
    assert found["report"]["embed_seconds_estimate"] > 0
    failed = tried(b"name\nred guitar\n", "feed.csv")
    assert (failed["state"], failed["problem"]["code"]) == ("failed", "catalogue.bad_header")
    assert {job.id for job in world.services.jobs.newest(size=1000)} == before
    assert ids(world, name) == set()
    uploads = f"{world.settings.system_prefix}uploads"

    def kept() -> int:
        world.services.elasticsearch.indices.refresh(index=uploads)
        return int(world.services.elasticsearch.count(index=uploads)["count"])

    world.wait(lambda: kept() == 0, "the end of what was sent for the dry runs", seconds=20)


def test_the_same_key_makes_one_job(
    world: World, services: Services, client: FlaskClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kill_worker()
    made: list[str] = []
    keep, together = services.uploads.keep, threading.Barrier(4)

    def keep_together(stream: BinaryIO) -> Upload:
        kept = keep(stream)
        together.wait(60)
        return kept

    monkeypatch.setattr(services.uploads, "keep", keep_together)  # none of the four finds the job of another before it sends
    before = uploads(world)

    def submit() -> None:
        answer = send(client, {"index": name}, jsonl(LINES[:3]), **{"Idempotency-Key": f"once-{name}"})
        made.append(answer.get_json()["id"])

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    source = world.services.jobs.get(made[0]).source
    assert source is not None
    assert uploads(world) - before == {upload_of(source["location"])}, "only what the job reads is kept"
    world.begin_worker()
    world.wait(lambda: world.services.jobs.get(made[0]).finished_at is not None, "the job", seconds=60)
    assert ids(world, name) == {"p0", "p1", "p2"}
    world.wait(lambda: uploads(world) <= before, "the end of what was sent", seconds=20)


@pytest.fixture
def clogged(world: World) -> Iterator[None]:
    """A queue that takes no message of the normal priority, while the rest of Redis answers."""
    world.kill_worker()
    name = f"{world.settings.queue}\x06\x164"
    world.services.redis.set(name, "not a list")
    yield
    world.services.redis.delete(name)


@pytest.mark.usefixtures("clogged")
def test_a_dry_run_that_cannot_be_asked_for_keeps_nothing(world: World, client: FlaskClient, name: str) -> None:
    before = uploads(world)
    answer = send(client, {"index": name, "dry_run": True}, jsonl(LINES))
    assert (answer.status_code, answer.get_json()["code"]) == (503, "queue.unavailable")
    assert uploads(world) == before


@pytest.mark.usefixtures("hasty", "clogged")
def test_a_job_whose_message_was_not_sent_keeps_its_catalogue(world: World, client: FlaskClient, name: str) -> None:
    before = uploads(world)
    key = {"Idempotency-Key": f"late-{name}"}
    answer = send(client, {"index": name}, jsonl(LINES), **key)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "queue.unavailable")
    assert len(uploads(world) - before) == 1
    job = send(client, {"index": name}, jsonl(LINES), **key).get_json()["id"]
    world.services.redis.flushall()
    world.begin_worker()
    world.wait(lambda: world.services.jobs.get(job).finished_at is not None, "the job", seconds=120)
    assert ids(world, name) == {record["id"] for record in LINES}
    world.wait(lambda: uploads(world) <= before, "the end of what was sent", seconds=20)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("key", [False, True])
def test_a_job_that_cannot_be_entered_keeps_only_what_may_be_entered_later(
    world: World, client: FlaskClient, name: str, *, key: bool
) -> None:
    """A key that was taken has the job in it: whoever comes with it next enters that one."""
    before, headers = uploads(world), {"Idempotency-Key": f"blocked-{name}"} if key else {}
    world.services.jobs.prepare()
    ledger = world.services.elasticsearch.indices
    ledger.put_settings(index=f"{world.settings.system_prefix}jobs", settings={"index.blocks.write": True})
    try:
        answer = send(client, {"index": name}, jsonl(LINES[:2]), **headers)
    finally:
        ledger.put_settings(index=f"{world.settings.system_prefix}jobs", settings={"index.blocks.write": None})
    assert answer.status_code >= 400
    assert len(uploads(world) - before) == (1 if key else 0)
    world.begin_worker()
    job = send(client, {"index": name}, jsonl(LINES[:2]), **headers).get_json()["id"]
    world.wait(lambda: world.services.jobs.get(job).finished_at is not None, "the job", seconds=120)
    assert ids(world, name) == {"p0", "p1"}
    world.wait(lambda: uploads(world) <= before, "the end of what was sent", seconds=20)


def test_a_catalogue_by_its_address_where_that_is_allowed(world: World, client: FlaskClient, name: str, folder: Path) -> None:
    world.begin_worker()
    (folder / "shop.csv").write_bytes(b"sku,name\na1,red guitar\na2,blue guitar\n")
    options = {"location": str(folder / "shop.csv"), "columns": "sku=id,name=title.en"}
    answer = client.post("/v1/jobs", json={"index": name, "catalogue": options, "name": "guitars"})
    job = answer.get_json()
    assert (answer.status_code, job["catalogue"]) == (202, "guitars")
    assert events(client, job["id"])[-1][1]["written"] == 2
    assert ids(world, name) == {"a1", "a2"}


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd", "{folder}/../x.jsonl", "{folder}/link.jsonl", "https://example.com/a.jsonl", "elasticsearch:secret",
        "https://feeds.example@169.254.169.254/", "https://feeds.example.evil/", "https://anna:hunter2@feeds.example/a?x=hunter2",
        "https://feeds.example/public/%2e%2e/private", "elasticsearch:feeds-a,triptych-keys",
    ],
)  # fmt: skip
def test_other_addresses_are_refused(world: World, name: str, folder: Path, location: str) -> None:
    own = {"catalogues": f"{folder}/,https://feeds.example,elasticsearch:feeds-"}
    client = create_app(Services(world.settings.model_copy(update=own))).test_client()
    (folder / "link.jsonl").unlink(missing_ok=True)
    (folder / "link.jsonl").symlink_to("/etc/passwd")
    where = location.replace("{folder}", str(folder))
    answer = client.post("/v1/jobs", json={"index": name, "catalogue": {"location": where}})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "catalogue.not_allowed")
    assert "hunter2" not in answer.get_data(as_text=True)


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with serving() as made:
        yield made


@pytest.fixture
def reader(world: World, server: MediaServer) -> FlaskClient:
    """An API that allows the server's folder /feeds/."""
    return create_app(Services(world.settings.model_copy(update={"catalogues": server.url("/feeds/")}))).test_client()


def everything_kept(world: World) -> str:
    """The ledger's jobs and keys, as they lie in Elasticsearch."""
    client, prefix = world.services.elasticsearch, world.settings.system_prefix
    index = f"{prefix}jobs,{prefix}keys"
    client.indices.refresh(index=index)
    return json.dumps([hit["_source"] for hit in client.search(index=index, size=1000)["hits"]["hits"]])


def test_an_address_with_a_signature_is_read_but_never_shown(
    world: World, server: MediaServer, reader: FlaskClient, name: str
) -> None:
    world.kill_worker()
    server.routes["/feeds/a.jsonl"] = reply(200, jsonl(LINES[:3]))
    body = {"index": name, "catalogue": {"location": server.url("/feeds/a.jsonl?X-Amz-Signature=hunter2")}}
    answer = reader.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"signed-{name}"})
    assert answer.status_code == 202, answer.get_json()
    job = answer.get_json()["id"]
    assert answer.get_json()["catalogue"] == server.url("/feeds/a.jsonl")
    assert "hunter2" in everything_kept(world), "it is needed until the catalogue is read"
    shown = [answer.get_data(as_text=True), reader.get("/v1/jobs").get_data(as_text=True)]
    shown += [str(world.command(*words, **world.environment)) for words in (("job", "list"), ("job", "show", job))]
    world.begin_worker()
    seen = events(reader, job)
    assert (seen[-1][1]["state"], seen[-1][1]["written"]) == ("completed", 3)
    assert [request.path for request in server.seen] == ["/feeds/a.jsonl?X-Amz-Signature=hunter2"]
    shown += [json.dumps(seen), reader.get(f"/v1/jobs/{job}").get_data(as_text=True), world.log.read_text()]
    assert all("hunter2" not in text for text in shown)
    world.wait(lambda: "hunter2" not in everything_kept(world), "the end of the signature", seconds=20)
    again = reader.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"signed-{name}"})
    assert again.get_json()["id"] == job


def test_a_server_that_is_allowed_cannot_send_us_elsewhere(
    world: World, server: MediaServer, reader: FlaskClient, name: str
) -> None:
    world.begin_worker()
    server.routes["/private/a.jsonl"] = reply(200, jsonl(LINES[:3]))
    server.routes["/feeds/a.jsonl"] = reply(302, Location=server.url("/private/a.jsonl"))
    body = {"index": name, "catalogue": {"location": server.url("/feeds/a.jsonl?X-Amz-Signature=hunter2")}}
    end = events(reader, reader.post("/v1/jobs", json=body).get_json()["id"])[-1][1]
    assert (end["state"], end["written"]) == ("failed", 0)
    assert "redirects" in end["error"]
    assert "hunter2" not in json.dumps(end)
    place = reader.post("/v1/jobs", json={**body, "dry_run": True}).headers["Location"]
    world.wait(lambda: reader.get(place).get_json()["state"] in ("done", "failed"), "the dry run")
    tried = reader.get(place)
    assert tried.get_json()["problem"]["code"] == "catalogue.unreadable"
    assert "hunter2" not in tried.get_data(as_text=True)
    assert server.asked("/private/a.jsonl") == 0


def test_dead_letters_are_counted_shown_exported_and_redriven(world: World, client: FlaskClient, name: str) -> None:
    world.begin_worker()
    records = [LINES[0], {**LINES[1], "images": ["https://nowhere.invalid/a.jpg"]}, {"id": ""}, LINES[2]]
    job = send(client, {"index": name}, jsonl(records)).get_json()["id"]
    end = events(client, job)[-1][1]
    assert (end["state"], end["written"], end["partial"], end["dead"]) == ("completed_with_dead_letters", 2, 1, 1)
    told = client.get(f"/v1/jobs/{job}").get_json()
    check_said("JobAnswer", told)
    reasons = told["reasons"]
    assert {reason["code"]: reason["letters"] for reason in reasons} == {"media.host_not_allowed": 1, "record.invalid": 1}
    check_said("JobsAnswer", client.get("/v1/jobs").get_json())
    answer = client.get(f"/v1/jobs/{job}/letters?modality=image").get_json()
    check_said("LettersAnswer", answer)
    shown = answer["letters"]
    assert [letter["product_id"] for letter in shown] == ["p1"]
    exported = [json.loads(line) for line in client.get(f"/v1/jobs/{job}/export").get_data().splitlines()]
    assert sorted(json.loads(letter["record"])["id"] for letter in exported) == ["", "p1"]
    answer = client.post(f"/v1/jobs/{job}/redrive", json={"modality": "image"})
    redriven = answer.get_json()
    check_said("RedriveAnswer", redriven)
    assert (answer.status_code, redriven["redrive_of"], redriven["redriven"]["records"]) == (202, job, 1)
    assert events(client, redriven["id"])[-1][1]["partial"] == 1
    forced = client.post(f"/v1/jobs/{job}/redrive", json={"modality": "image", "force": True}).get_json()
    assert redriven["id"].startswith(job)
    assert not forced["id"].startswith(job), "as one that is submitted now"
    assert events(client, forced["id"])[-1][1]["partial"] == 1


def test_a_job_is_paused_resumed_and_stopped(world: World, client: FlaskClient, name: str) -> None:
    world.kill_worker()
    job = send(client, {"index": name}, jsonl(LINES)).get_json()["id"]
    refused = client.delete(f"/v1/jobs/{job}")
    assert (refused.status_code, refused.get_json()["code"]) == (400, "job.not_ended")
    paused = client.post(f"/v1/jobs/{job}/pause").get_json()
    check_said("JobSummary", paused)
    assert paused["state"] == "paused"
    world.begin_worker()
    assert client.get(f"/v1/jobs/{job}").get_json()["state"] == "paused"
    answer = client.post(f"/v1/jobs/{job}/resume")
    assert (answer.status_code, answer.get_json()["state"]) == (202, "queued")
    assert events(client, job)[-1][1]["written"] == 40
    again = client.post(f"/v1/jobs/{job}/stop")
    assert (again.status_code, again.get_json()["code"]) == (400, "job.ended")


@pytest.mark.usefixtures("hasty")
def test_a_reader_that_was_lost_is_replaced(world: World, client: FlaskClient, name: str) -> None:
    """Redis loses the message that asks for the reading: the sweeper of a worker sends it again."""
    job = send(client, {"index": name}, jsonl(LINES)).get_json()["id"]
    world.services.redis.flushall()
    world.begin_worker()
    world.wait(lambda: world.services.jobs.get(job).finished_at is not None, "the job", seconds=120)
    assert ids(world, name) == {record["id"] for record in LINES}


SLOW_READING = """
import time
from triptych.jobs.batches import BatchStore
add = BatchStore.add
def slowly(*args):
    time.sleep(1)
    return add(*args)
BatchStore.add = slowly
"""


def test_a_catalogue_may_take_longer_to_read_than_a_task(world: World, tmp_path: Path) -> None:
    """What can be read on in is read by several tasks, an index by one without a limit: ten batches, a second for each.

    The profile has no encoder of words, so that to index a batch takes a moment of the eight seconds on a slow machine too.
    """
    (tmp_path / "sitecustomize.py").write_text(SLOW_READING, encoding="utf-8")
    colours = tmp_path / "colours.yaml"
    colours.write_text(COLOURS, encoding="utf-8")
    name, copy = (world.create(profile=str(colours)) for _ in range(2))
    reads = create_app(Services(world.settings.model_copy(update={"catalogues": "es://"}))).test_client()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with worker_with(world, PYTHONPATH=path, TRIPTYCH_TASK_SECONDS="8", TRIPTYCH_BATCH_BYTES="200"):
        world.begin_worker()
        first = send(reads, {"index": name}, jsonl(LINES)).get_json()["id"]
        assert world.wait_for_end(first)["written"] == len(LINES)
        assert len(re.findall(r"read_catalogue\[.*\] received", world.log.read_text())) > 1
        answer = reads.post("/v1/jobs", json={"index": copy, "catalogue": {"location": f"es://{name}"}})
        assert not world.services.jobs.get(answer.get_json()["id"]).resumable
        assert world.wait_for_end(answer.get_json()["id"])["written"] == len(LINES)
        assert not [line for line in world.log.read_text().splitlines() if "read_catalogue" in line and "raised" in line]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/dry-runs/none", "dry_run.not_found"),
        ("/v1/jobs/none", "job.not_found"),
        ("/v1/jobs/none/events", "job.not_found"),
        ("/v1/jobs/none/letters", "job.not_found"),
    ],
)
def test_a_job_that_is_not_there(client: FlaskClient, path: str, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()["code"]) == (404, code)
