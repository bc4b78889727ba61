"""Media in buckets, by boto3 and google-cloud-storage as they are, from a server that speaks a little of both protocols."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media_server import MediaServer, Route, conditional, drip, in_turn, reply, serving, silence

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.sources.stamps import differ, of_blob
from triptych.errors import MediaError
from triptych.media.remote.allowed import Allowed
from triptych.media.remote.buckets import Buckets, google_client
from triptych.media.remote.deadline import Deadline
from triptych.media.remote.hosts import FAILURES
from triptych.media.remote.known import Known
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

UNTIL = Deadline(600)
"""Requests to buckets wait for nobody's."""

BODY = b"a picture " * 100
MOST = 100_000
ETAG = '"0123"'


@pytest.fixture(params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MediaServer]:
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    with serving() as running:
        address = running.url("")
        for name, value in {
            "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none", "STORAGE_EMULATOR_HOST": address,
            "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield running


def put(server: MediaServer, scheme: str, key: str, body: bytes, **more: Any) -> None:
    """An object. Of `gs` the server answers as its JSON API does: what is known of an object, and its bytes."""
    if scheme == "s3":
        encoding = {"Content_Encoding": more["encoding"]} if "encoding" in more else {}
        server.routes[f"/bucket/{key}"] = conditional(body, ETag=ETAG, **encoding)
        return
    known = {"name": key, "bucket": "bucket", "size": str(len(body)), "etag": ETAG, "generation": "7"}
    known |= {"contentEncoding": more["encoding"]} if "encoding" in more else {}
    place = f"/storage/v1/b/bucket/o/{key.replace('/', '%2F')}"
    server.routes[place] = reply(200, json.dumps(known).encode(), Content_Type="application/json")
    server.routes[f"/download{place}"] = reply(200, body)


def refuse(server: MediaServer, scheme: str, key: str, answer: Route) -> None:
    server.routes[f"/bucket/{key}" if scheme == "s3" else f"/storage/v1/b/bucket/o/{key}"] = answer


def buckets(**more: Any) -> Buckets:
    given = {"fetch_hosts": "s3://bucket,gs://bucket", "media_bytes": MOST, "fetch_seconds": 5.0, "fetch_attempts": 2, **more}
    settings = Settings(**given)
    return Buckets(settings, Allowed.of(settings))


def failing(here: Buckets, reference: str) -> tuple[str, bool]:
    with pytest.raises(MediaError) as caught:
        here.get(reference, None, UNTIL)
    return caught.value.code.removeprefix("media."), caught.value.retryable


def test_an_object_is_read_once_while_its_etag_is_the_same(server: MediaServer, scheme: str) -> None:
    put(server, scheme, "folder/a.jpg", BODY)
    here, reference = buckets(), f"{scheme}://bucket/folder/a.jpg"
    found = here.get(reference, None, UNTIL)
    assert found is not None
    assert (found.data, found.place, found.etag) == (BODY, reference, ETAG)
    asked = len(server.seen)
    assert here.get(reference, Known("sha", reference, found.etag, None), UNTIL) is None
    assert {one.path for one in server.seen[asked:]} == {server.seen[0].path}
    again = here.get(reference.replace(scheme, scheme.upper()), Known("sha", reference, '"other"', None), UNTIL)
    assert again is not None
    assert again.data == BODY
    assert all("authorization" not in one.headers for one in server.seen), "without rights nothing is signed"


def test_s3_is_asked_with_the_rights_there_are(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    put(server, "s3", "a.jpg", BODY)
    assert buckets().get("s3://bucket/a.jpg", None, UNTIL) is not None
    assert "Credential=me/" in server.seen[0].headers["authorization"]


def test_sizes_and_encodings(server: MediaServer, scheme: str) -> None:
    put(server, scheme, "large.jpg", b"x" * (MOST + 1))
    put(server, scheme, "empty.jpg", b"")
    put(server, scheme, "packed.jpg", BODY, encoding="gzip")
    put(server, scheme, "most.jpg", b"x" * MOST)
    here = buckets()
    assert failing(here, f"{scheme}://bucket/large.jpg") == ("too_many_bytes", False)
    assert failing(here, f"{scheme}://bucket/empty.jpg") == ("empty", False)
    assert failing(here, f"{scheme}://bucket/packed.jpg") == ("encoded", False)
    assert not [one for one in server.seen if one.path.startswith("/download")], "their bytes are not read"
    assert here.get(f"{scheme}://bucket/most.jpg", None, UNTIL) is not None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, ("not_found", False)),
        (403, ("unreadable", False)),
        (401, ("unreadable", False)),
        (503, ("host_unreachable", True)),
    ],
)
def test_refusals(server: MediaServer, scheme: str, status: int, expected: tuple[str, bool]) -> None:
    refuse(server, scheme, "a.jpg", reply(status))
    assert failing(buckets(fetch_seconds=1.0), f"{scheme}://bucket/a.jpg") == expected


def test_a_store_that_says_nothing(server: MediaServer, scheme: str) -> None:
    refuse(server, scheme, "a.jpg", silence(server))
    code, again = failing(buckets(fetch_seconds=0.3, fetch_attempts=1), f"{scheme}://bucket/a.jpg")
    assert code in ("host_unreachable", "fetch_timeout"), "whichever of two clocks is first"
    assert again


@pytest.mark.parametrize("place", ["head", "body"])
def test_a_store_that_drips_is_bounded_in_time_and_then_left_alone(server: MediaServer, scheme: str, place: str) -> None:
    """A byte each .05 s is never a silence; without a bound of all it would take the time of its length."""
    put(server, scheme, "a.jpg", b"x" * 50_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\nETag: " + ETAG.encode() + b"\r\n"
    dripping = drip(server, head + (b"X-Long: " if place == "head" else b"\r\n"), every=0.05)
    refuse(server, scheme, "a.jpg", dripping)
    if scheme == "gs" and place == "body":
        put(server, scheme, "a.jpg", b"x" * 50_000)
        server.routes["/download/storage/v1/b/bucket/o/a.jpg"] = dripping
    here = buckets(fetch_seconds=0.5, fetch_attempts=1)
    began = time.monotonic()
    assert failing(here, f"{scheme}://bucket/a.jpg") == ("fetch_timeout", True)
    assert time.monotonic() - began < 5, "one try of half a second"
    for _ in range(FAILURES - 1):
        assert failing(here, f"{scheme}://bucket/a.jpg") == ("fetch_timeout", True)
    asked = len(server.seen)
    assert failing(here, f"{scheme}://bucket/a.jpg") == ("host_resting", True)
    assert len(server.seen) == asked


def test_what_names_no_object_or_another_bucket_is_not_asked(server: MediaServer, scheme: str) -> None:
    here = buckets()
    for reference in (f"{scheme}://bucket", f"{scheme}://bucket/", f"{scheme}:///a.jpg"):
        assert failing(here, reference) == ("bad_url", False)
    assert failing(here, f"{scheme}://other/a.jpg") == ("host_not_allowed", False)
    assert server.seen == []


def test_a_missing_package_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3" if scheme == "s3" else "google.cloud.storage", None)
    with pytest.raises(MediaError) as caught:
        buckets().get(f"{scheme}://bucket/a.jpg", None, UNTIL)
    assert (caught.value.code, caught.value.remedy) == (
        "media.needs_package", f"pip install 'triptych[{scheme}]' where the workers run.",
    )  # fmt: skip


# Catalogues in buckets


def test_a_catalogue_in_a_bucket_of_googles_is_read_and_known_by_its_generation(server: MediaServer) -> None:
    lines = b"id,title\n1,a\n2,b\n"
    place = "/storage/v1/b/bucket/o/a.csv"

    def part(sock: Any, request: Any) -> None:
        """The bytes that are asked for, and none beyond the end."""
        start = int(request.headers.get("range", "bytes=0-").partition("=")[2].partition("-")[0])
        (reply(206, lines[start:]) if start < len(lines) else reply(416))(sock, request)

    def written(generation: str) -> None:
        known = {"name": "a.csv", "bucket": "bucket", "size": str(len(lines)), "etag": ETAG, "generation": generation}
        server.routes[place] = reply(200, json.dumps(known).encode(), Content_Type="application/json")

    server.routes[f"/download{place}"] = part
    stamps = []
    for generation in ("7", "7", "8"):
        written(generation)
        source = open_source(SourceSpec("gs://bucket/a.csv"), Services(Settings()))
        assert [json.loads(record["text"])["id"] for record in source.records()] == ["1", "2"]
        stamps.append(source.progress.stamp)
    assert stamps[0] == {"version": "7", "size": str(len(lines))}
    assert not differ(stamps[0], stamps[1])
    assert differ(stamps[1], stamps[2])


def test_a_generation_that_may_not_be_asked_for_is_no_error(server: MediaServer) -> None:
    place = "/storage/v1/b/bucket/o/a.csv"
    server.routes[place] = in_turn(reply(403), reply(403))
    stamp = of_blob(google_client(), "bucket", "a.csv")
    assert stamp == {}
