"""How benchmarks/search.py asks: by a request written by hand, in this process, over HTTP, or by many clients at once."""

from __future__ import annotations

import base64
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil  # type: ignore[import-untyped]
import pycurl
import urllib3
from elasticsearch import Elasticsearch
from elasticsearch.serializer import OrjsonSerializer
from scale import SOURCES, Question

from engine.process import free_ports
from search_api.legs import OVERSAMPLE
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.elastic.lexical import lexical_query
from triptych.schema import FIELD
from triptych.settings import Settings, child_environment

SIZE = 10
WINDOW = 100
_START_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: the index, its fields of words, and the node's version."""

    alias: str
    fields: tuple[str, ...]
    server: Server


def plain_client(own: Settings) -> Elasticsearch:
    """elasticsearch-py as it comes, with the faster of its two readers of JSON."""
    return Elasticsearch(own.elasticsearch_address, serializer=OrjsonSerializer(), request_timeout=300)


def by_hand(target: Target, question: Question, *, k: int) -> dict[str, Any]:
    """One request: the words and a kNN clause per space, their scores added up, with the clauses Triptych's legs have."""
    knn = [
        {
            "field": f"{FIELD}.{space}",
            "query_vector": pack(np.asarray(question.vectors[space], dtype=np.float32), target.server),
            "k": k,
            "num_candidates": max(100, int(k * OVERSAMPLE) + 1),
            "rescore_vector": {"oversample": OVERSAMPLE},
        }
        for space in SOURCES
    ]
    return {"query": lexical_query(question.text, target.fields), "knn": knn, "size": SIZE, "source_excludes": [FIELD]}


def over_http(target: Target, question: Question, fusion: str) -> bytes:
    """The body of POST /v1/search."""
    vectors = {
        space: base64.b64encode(np.asarray(vector, dtype=">f4").tobytes()).decode()
        for space, vector in question.vectors.items()
    }
    body = {"index": target.alias, "text": question.text, "vectors": vectors, "fusion": fusion, "size": SIZE}
    return orjson.dumps({**body, "window": WINDOW})


class Api:
    """A client of the HTTP API over libcurl, with one connection that stays open.

    libcurl, because the server is what is measured: urllib3 takes its process .5 ms more of a request, on the same cores.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._curl = pycurl.Curl()
        self._curl.setopt(pycurl.URL, f"{url}/v1/search")
        self._curl.setopt(pycurl.TIMEOUT, 60)
        self._curl.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json", "Expect:"])

    def search(self, body: bytes) -> None:
        """Raises RuntimeError with the API's words where it refuses."""
        self._curl.setopt(pycurl.POSTFIELDS, body)
        answer = self._curl.perform_rb()
        if self._curl.getinfo(pycurl.RESPONSE_CODE) != 200:  # noqa: PLR2004
            raise RuntimeError(answer.decode())
        orjson.loads(answer)

    def live(self) -> bool:
        try:
            return bool(urllib3.request("GET", f"{self._url}/v1/health/live", retries=False, timeout=60).status == 200)  # noqa: PLR2004
        except urllib3.exceptions.HTTPError:
            return False


def settings(elasticsearch: str, redis: str, profile: Path) -> Settings:
    """Those of the benchmark. The time-out is long because the first requests of a cold node take long."""
    found: dict[str, Any] = {"elasticsearch_url": elasticsearch, "redis_url": redis, "profile": str(profile)}
    return Settings(**found, elasticsearch_timeout_seconds=300)


@contextmanager
def serving(own: Settings, log: Path) -> Iterator[tuple[str, list[int]]]:
    """`triptych serve` as a child process: its address, and the process ids of it and its workers."""
    (port,) = free_ports(1)
    environment = child_environment(
        TRIPTYCH_ELASTICSEARCH_URL=own.elasticsearch_address,
        TRIPTYCH_REDIS_URL=own.redis_address,
        TRIPTYCH_PROFILE=own.active_profile,
    )
    command: list[str | Path] = [Path(sys.executable).with_name("triptych"), "serve", "--port", str(port)]
    with log.open("wb") as file:
        child = subprocess.Popen(command, env=environment, stdout=file, stderr=file)  # noqa: S603
    try:
        url = f"http://127.0.0.1:{port}"
        api, until = Api(url), time.monotonic() + _START_SECONDS
        while not api.live():
            if child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"`triptych serve` did not start: see {log}")
            time.sleep(0.2)
        yield url, [child.pid, *(process.pid for process in psutil.Process(child.pid).children(recursive=True))]
    finally:
        child.terminate()
        child.wait(timeout=60)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Several clients at once, each a process. Exactly one of `url` (the API's) and `settings` (Elasticsearch's) is used."""

    target: Target
    questions: Sequence[Question]
    settings: Settings
    url: str
    clients: int
    seconds: float


def throughput(crowd: Crowd, fusion: str | None) -> float:
    """Requests per second of all clients: over HTTP with a fusion, or by hand with None."""
    context = multiprocessing.get_context("fork")  # others import everything anew in each client, 5 s of CPU
    start, found = context.Barrier(crowd.clients), context.SimpleQueue()
    clients = [
        context.Process(target=_client, args=(crowd, fusion, number, start, found.put), daemon=True)
        for number in range(crowd.clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if any(client.exitcode for client in clients):
        raise RuntimeError("A client failed; its error stands above.")
    return float(sum(found.get() for _ in clients))


def _client(crowd: Crowd, fusion: str | None, number: int, start: Barrier, report: Callable[[float], None]) -> None:
    """One client: warms its connection, waits for the others, asks for some seconds; reports requests per second."""
    ask = asker(crowd, fusion)
    mine = [(number * len(crowd.questions) // crowd.clients + n) % len(crowd.questions) for n in range(len(crowd.questions))]
    for n in mine[:20]:
        ask(n)
    start.wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < crowd.seconds:
        ask(mine[done % len(mine)])
        done += 1
    report(done / (time.perf_counter() - began))
    start.wait()  # nobody ends before the others are done: starting and ending cost CPU


def asker(crowd: Crowd, fusion: str | None) -> Callable[[int], None]:
    """What asks the query of a number. The bodies are made before, so that the client is not what limits."""
    if fusion is None:
        client = plain_client(crowd.settings)
        bodies: list[Mapping[str, Any]] = [by_hand(crowd.target, question, k=WINDOW) for question in crowd.questions]

        def ask(number: int) -> None:
            client.search(index=crowd.target.alias, **bodies[number])

        return ask
    api = Api(crowd.url)
    sent = [over_http(crowd.target, question, fusion) for question in crowd.questions]
    return lambda number: api.search(sent[number])
