"""Catalogues that were sent, kept in a real Elasticsearch and read as a source."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from processes import beside
from pyarrow import parquet

from indexer import sweeper
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.catalogues import upload_location
from triptych.errors import InputError, NotFoundError
from triptych.jobs import uploads
from triptych.jobs.job import Job
from triptych.jobs.orphans import drop_orphans
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of ten bytes: most catalogues have several."""
    monkeypatch.setattr(uploads, "PART", 10)


class Dripping(io.BytesIO):
    """Gives a few bytes at a time, as a socket does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size) if size and size > 0 else 3)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 57])
def test_what_was_kept_is_read(services: Services, size: int) -> None:
    data = bytes(range(size))
    kept = services.uploads.keep(Dripping(data))
    assert kept.bytes == size
    assert services.uploads.open(kept.id).read() == data
    assert services.uploads.open(kept.id).read(4) == data[:4]
    services.uploads.forget(kept.id)
    with pytest.raises(NotFoundError) as caught:
        services.uploads.open(kept.id).read()
    assert caught.value.code == "upload.not_found"


def count(services: Services, index: str) -> int:
    services.elasticsearch.indices.refresh(index=index, ignore_unavailable=True)
    return int(services.elasticsearch.count(index=index, ignore_unavailable=True)["count"])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("data", "code"), [(b"", "upload.empty"), (b"x" * 31, "upload.too_large")])
def test_what_is_refused_leaves_nothing(services: Services, data: bytes, code: str) -> None:
    mine = Services(services.settings.model_copy(update={"upload_bytes": 30}))
    index = f"{services.settings.system_prefix}uploads"
    before = count(mine, index)
    with pytest.raises(InputError) as caught:
        mine.uploads.keep(io.BytesIO(data))
    assert caught.value.code == code
    assert count(mine, index) == before


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress])
def test_an_upload_is_a_source_like_any_other(services: Services, compress: Any) -> None:
    lines = b'{"id": "a", "title": "red guitar"}\n{"id": "b", "title": "blue guitar"}\n'
    kept = services.uploads.keep(io.BytesIO(compress(lines)))
    source = open_source(SourceSpec(f"upload:{kept.id}", format="jsonl"), services)
    assert (source.root, source.size_bytes, source.spec.resumable) == (None, None, True)
    assert [record["line"] for record in source.records()] == [1, 2]
    assert [record["text"] for record in source.records(after=1)] == ['{"id": "b", "title": "blue guitar"}']
    rows = services.uploads.keep(io.BytesIO(compress(b"id,title\na,red guitar\n")))
    (row,) = open_source(SourceSpec(f"upload:{rows.id}", format="csv"), services).records()
    assert "red guitar" in row["text"]


def test_parquet_is_sought_in_part_by_part(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART", 5_000)
    out = io.BytesIO()
    columns = {"id": [f"p{n}" for n in range(3000)], "title": [f"Thing {n} {n * 7919}" for n in range(3000)]}
    parquet.write_table(pa.table(columns), out, compression="none", row_group_size=1000)
    assert len(out.getvalue()) > 10 * 5_000
    kept = services.uploads.keep(io.BytesIO(out.getvalue()))
    stream = services.uploads.open(kept.id)
    for offset, whence in ((4_990, 0), (-7, 2), (-30, 1)):
        stream.seek(offset, whence)
        place = stream.tell()
        assert stream.read(20) == out.getvalue()[place : place + 20]
    source = open_source(SourceSpec(f"upload:{kept.id}/feed.parquet"), services)
    assert [json.loads(raw["text"]) for raw in source.records()] == [
        {"id": key, "title": title} for key, title in zip(*columns.values(), strict=True)
    ]
    with pytest.raises(NotFoundError):
        services.uploads.open("none").read()


# Uploads without a job


@pytest.fixture
def alone(services: Services, own_id: str) -> Iterator[Services]:
    """With a ledger of its own, whose leases are short."""
    changes = {"system_prefix": f"orphans-{own_id}-", "batch_lease_seconds": 0.3}
    made = Services(services.settings.model_copy(update=changes))
    made.jobs.prepare()
    yield made
    made.elasticsearch.indices.delete(index=f"orphans-{own_id}-*")


def test_what_was_kept_and_never_got_a_job_is_dropped_in_the_end(alone: Services) -> None:
    def keep(**more: Any) -> str:
        kept = alone.uploads.keep(io.BytesIO(b"data")).id
        if more:
            source = {"location": upload_location(kept, "feed.jsonl")}
            jobs[kept], _ = alone.jobs.open(index="i", alias="i", catalogue="c", root="/", source=source, **more)
        return kept

    jobs: dict[str, Job] = {}
    never, read, half, stopped, whole = keep(), keep(priority=5), keep(key="night"), keep(priority=5), keep(priority=5)
    alone.elasticsearch.delete(index=f"{alone.settings.system_prefix}jobs", id=jobs[half].id, refresh=True)
    alone.control.stop(jobs[stopped].id)
    alone.jobs.update(jobs[whole].id, reading=False)
    uploads = f"{alone.settings.system_prefix}uploads"
    alone.elasticsearch.indices.refresh(index=uploads)
    assert drop_orphans(alone.jobs, alone.uploads, seconds=60) == []
    assert drop_orphans(alone.jobs, alone.uploads, seconds=-60) == sorted([never, whole])
    assert [alone.uploads.parts(one) for one in (never, whole, read, half, stopped)] == [0, 0, 1, 1, 1]
    assert alone.jobs.of_key("i", "night") is not None
    alone.elasticsearch.indices.refresh(index=uploads)
    assert drop_orphans(alone.jobs, alone.uploads, seconds=-60) == []


def test_a_worker_drops_uploads_of_yesterday(alone: Services, wait: Callable[..., None]) -> None:
    young = alone.uploads.keep(io.BytesIO(b"data")).id
    old, unknown = f"20200101t000000-{uuid.uuid4().hex}", uuid.uuid4().hex
    for name in (old, unknown):
        part = {"upload": name, "number": 0, "data": ""}
        alone.elasticsearch.index(index=f"{alone.settings.system_prefix}uploads", id=f"{name}-000000", document=part)
    assert alone.uploads.parts(old) == 1
    with beside(lambda stop: sweeper.run(alone, stop)):
        wait(lambda: alone.uploads.parts(old) == 0, "the end of the old one")
    assert (alone.uploads.parts(young), alone.uploads.parts(unknown)) == (1, 1)
