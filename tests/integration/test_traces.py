"""Spans of a real API and a real worker, taken by a collector."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_shop
import pytest
from collector import collecting
from processes import Command, end, free_port, http_ok, wait_for

from triptych.services import Services
from triptych.traces import ids_of

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
pytestmark = pytest.mark.integration

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_a_request_and_its_stages_are_in_the_trace_of_who_sent_it(
    command: Command, services: Services, tmp_path: Path, own_id: str
) -> None:
    made = made_shop.services_of(services, tmp_path)
    name = f"traces-{own_id}-{uuid.uuid4().hex[:6]}"
    made_shop.create(made, name, made_shop.things(30))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with collecting() as collector:
        own = {"TRIPTYCH_PROFILE": str(made.settings.profile), "TRIPTYCH_TRACES": collector.url}
        process = command.start("serve", "--port", str(port), log=tmp_path / "api.log", **own)
        try:
            wait_for(lambda: http_ok(f"{url}/v1/health/ready"), "the API", alive=process)
            body = json.dumps({"index": name, "text": "red"}).encode()
            headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{PARENT}-01"}
            with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/search", body, headers), timeout=60) as answer:
                legs_asked = json.load(answer)["hits"][0]["legs"]
            wait_for(lambda: bool(collector.named("POST /v1/search")), "the spans", seconds=30)
            several = json.dumps({"searches": [json.loads(body), json.loads(body)]}).encode()
            with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/msearch", several, headers), timeout=60) as answer:
                assert answer.status == 200
            wait_for(lambda: bool(collector.named("POST /v1/msearch")), "the spans", seconds=30)
        finally:
            end(process)
        (request,) = collector.named("POST /v1/search")
        assert (request.service, request.trace, request.parent) == ("triptych-api", TRACE, PARENT)
        assert request.attributes["http.response.status_code"] == 200
        (whole,) = collector.named("POST /v1/msearch")
        queries = collector.named("query")
        assert [(span.trace, span.parent) for span in queries] == [(TRACE, whole.id)] * 2
        of_several = {span.parent for span in collector.named("legs")} - {request.id}
        assert of_several == {span.id for span in queries}
        inside = [span for span in collector.spans if span.parent == request.id]
        stages = [span for span in inside if span.name in {"embedding", "legs", "ranking", "products"}]
        assert {span.name for span in stages} == {"embedding", "legs", "ranking", "products"}
        assert {(span.trace, span.parent) for span in stages} == {(TRACE, request.id)}
        legs = next(span for span in stages if span.name == "legs")
        assert "msearch" in {span.name for span in collector.spans if span.parent == legs.id}
        each = [span for span in collector.spans if span.parent == legs.id and span.name.startswith("leg ")]
        assert {span.name for span in each} == {f"leg {name}" for name in legs_asked} >= {"leg lexical"}
        assert "red" not in json.dumps([span.attributes for span in collector.spans]), "no query is told"


def test_batches_of_a_job_are_one_trace(
    command: Command, services: Services, tmp_path: Path, own_id: str, start_worker: Callable[..., Any]
) -> None:
    made = made_shop.services_of(services, tmp_path)
    name = f"traced-{own_id}-{uuid.uuid4().hex[:6]}"
    own = {"TRIPTYCH_PROFILE": str(made.settings.profile), "TRIPTYCH_BATCH_SIZE": "1"}
    own |= {"TRIPTYCH_QUEUE": name, "TRIPTYCH_SYSTEM_PREFIX": f"{name}-"}
    catalogue = tmp_path / "catalogue.jsonl"
    catalogue.write_text("".join(json.dumps({"id": f"p{n}", "title": {"en": "red hat"}}) + "\n" for n in range(40)))
    command("index", "create", name, **own)
    with collecting() as collector:
        with start_worker("--concurrency", "1", **own, TRIPTYCH_TRACES=collector.url):
            job = command.json("index", "add", name, str(catalogue), "--follow", **own)
            assert job["state"] == "completed", job
            wait_for(lambda: bool(collector.named("finish")), "the spans", seconds=30)
        trace_id, job_id = ids_of(job["id"])
        batches = collector.named("batch")
        assert len(batches) >= 2
        assert {(span.trace, span.parent) for span in batches} == {(f"{trace_id:032x}", f"{job_id:016x}")}
        assert {span.attributes["triptych.job"] for span in batches} == {job["id"]}
        assert {span.service for span in batches} == {"triptych-worker"}
        inside = {span.name for span in collector.spans if span.parent in {batch.id for batch in batches}}
        assert "bulk" in inside
