"""What attaching an index costs its owner: filled by a worker while he writes and searches as ever.

    python benchmarks/attach.py --catalogue icecat.jsonl [--count 2000] [--rate 50] [--max-docs-per-second N] [--json FILE]

The index is made as a shop would make it: strict mapping, an analyzer of its own, an alias, thousands of attribute names as
`flattened`. The owner updates `rate` documents a second, partly or whole, and one of his own queries runs after the other,
before attaching, while the job fills the index, and after it. Then the watcher goes over it once and the index is detached.

Told are the latency of his searches, how many of them find the same by the same scores afterwards, his writes that are lost
and the documents that leaving changed outside our field by any byte: there must be none of both. Encoders take the processors
of this machine from Elasticsearch, so latencies here are worse than where workers run elsewhere.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from paced import worker

from engine import elasticsearch_node, redis_server
from indexer.attach import attaching
from indexer.attach.wanted import Wanted
from indexer.attach.watching import look_through
from triptych.elastic.raw import scan_raw, without
from triptych.services import Services
from triptych.settings import Settings, load

MAPPINGS: Mapping[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "sku": {"type": "keyword"},
        "title": {"type": "text", "analyzer": "shop", "fields": {"raw": {"type": "keyword", "ignore_above": 256}}},
        "description": {"type": "text", "analyzer": "shop"},
        "brand": {"type": "keyword"},
        "price": {"type": "integer"},
        "stock": {"type": "integer"},
        "attributes": {"type": "flattened", "ignore_above": 1000},
    },
}
ANALYZER: Mapping[str, Any] = {"analyzer": {"shop": {"tokenizer": "standard", "filter": ["lowercase"]}}}
WANTED = ("title^2", "description")
WHOLE_SHARE = 0.3
"""Of the owner's writes that replace the document, and with it lose our field."""


@dataclass(slots=True)
class Measured:
    """Milliseconds of the owner's searches by phase, and what became of his documents."""

    count: int
    fill_seconds: float = 0.0
    owner_writes: int = 0
    lost_writes: int = 0
    other_bytes: int = 0
    watched: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Any] = field(default_factory=dict)
    milliseconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    queries: int = 0
    queries_kept: int = 0


class Owner:
    """The shop's own software."""

    def __init__(self, services: Services, index: str, alias: str, documents: dict[str, dict[str, Any]]) -> None:
        self.client, self.index, self.alias, self.documents = services.elasticsearch, index, alias, documents
        self.writes = 0
        titles = random.Random(2).sample([d["title"] for d in documents.values()], 40)  # noqa: S311  the same each time
        self.queries = [" ".join(title.split()[:3]) for title in titles]

    def create(self) -> None:
        self.client.indices.create(
            index=self.index,
            mappings=MAPPINGS,
            settings={"analysis": ANALYZER, "number_of_replicas": 0},
            aliases={self.alias: {}},
        )
        keys = list(self.documents)
        for at in range(0, len(keys), 500):
            lines: list[Any] = []
            for key in keys[at : at + 500]:
                lines += [{"index": {"_id": key}}, self.documents[key]]
            self.client.bulk(index=self.index, operations=lines)
        self.client.indices.refresh(index=self.index)

    def best_ten(self, text: str) -> list[tuple[str, float]]:
        query = {"multi_match": {"query": text, "fields": ["title^2", "description"]}}
        answer = self.client.search(index=self.alias, query=query, size=10, source_includes=["title"])
        return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]

    def results(self) -> list[list[tuple[str, float]]]:
        """The best ten of each query, without what deleted copies of documents add to BM25's counts: each write leaves one."""
        self.client.indices.forcemerge(index=self.index, max_num_segments=1)
        self.client.indices.refresh(index=self.index)
        return [self.best_ten(text) for text in self.queries]

    def searched(self, over: Callable[[], bool]) -> tuple[float, float]:
        """Median and 95th percentile of the milliseconds of searches until it is over."""
        taken: list[float] = []
        while not over() or len(taken) < len(self.queries):
            started = time.perf_counter()
            self.best_ten(self.queries[len(taken) % len(self.queries)])
            taken.append((time.perf_counter() - started) * 1000)
            time.sleep(0.05)
        return round(float(np.median(taken)), 1), round(float(np.quantile(taken, 0.95)), 1)

    @contextmanager
    def writing(self, rate: float) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._write, args=(over, rate))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _write(self, over: threading.Event, rate: float) -> None:
        some = random.Random(1)  # noqa: S311
        keys = list(self.documents)
        due = time.monotonic()
        while not over.is_set():
            key = some.choice(keys)
            document = {**self.documents[key], "stock": some.randrange(10**6)}
            if some.random() < WHOLE_SHARE:
                self.client.index(index=self.index, id=key, document=document)
            else:
                self.client.update(index=self.index, id=key, doc={"stock": document["stock"]}, retry_on_conflict=50)
            self.documents[key] = document
            self.writes += 1
            due = max(due + 1 / rate, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


def measure(services: Services, log: Path, documents: dict[str, dict[str, Any]], rate: float, most: float | None) -> Measured:
    index = f"attach-{uuid.uuid4().hex[:8]}"
    owner = Owner(services, index, f"{index}-alias", documents)
    owner.create()
    made = Measured(len(documents), queries=len(owner.queries))
    before = owner.results()
    with owner.writing(rate):
        until = time.monotonic() + 15
        made.milliseconds["before"] = owner.searched(lambda: time.monotonic() > until)
        plan = attaching.planned(services, owner.alias, Wanted(WANTED, most_per_second=most), tried=0)
        attaching.attach(services, plan)
        with worker(services.settings, 1, log):
            started = time.monotonic()
            job = attaching.fill(services, index)
            made.milliseconds["while it is filled"] = owner.searched(lambda: services.jobs.state(job.id).rests)
            made.fill_seconds = round(time.monotonic() - started, 1)
        made.outcomes = asdict(services.jobs.counts(job.id))
        until = time.monotonic() + 15
        made.milliseconds["after"] = owner.searched(lambda: time.monotonic() > until)
    made.owner_writes = owner.writes
    made.watched = look_through(services, index).to_dict()
    made.queries_kept = sum(map(alike, before, owner.results()))
    made.lost_writes, filled = compared(services, index, documents)
    attaching.detach(services, index)
    services.elasticsearch.indices.refresh(index=index)
    _, left = compared(services, index, documents)
    made.other_bytes = sum(1 for key, source in filled.items() if left.get(key) != source)
    return made


def alike(one: list[tuple[str, float]], other: list[tuple[str, float]]) -> bool:
    """Whether two lists of ids and scores are the same; of equal scores, which stand in no order, only the scores count."""

    def surely(found: list[tuple[str, float]]) -> set[str]:
        return {key for key, score in found if score > found[-1][1] * 1.0001}

    mine, theirs = ([score for _, score in found] for found in (one, other))
    return len(mine) == len(theirs) and np.allclose(mine, theirs, rtol=1e-4) and (not one or surely(one) == surely(other))


def compared(services: Services, index: str, documents: Mapping[str, Any]) -> tuple[int, dict[str, bytes]]:
    """Documents that are not what the owner wrote last, and the bytes of all without our field."""
    services.elasticsearch.indices.refresh(index=index)
    pages = scan_raw(services.elasticsearch, index, {"match_all": {}}, services.server)
    found = {one.id: without(one.source, "triptych") for page in pages for one in page}
    return sum(1 for key, document in documents.items() if json.loads(found.get(key, b"{}")) != document), found


def read(catalogue: Path, count: int) -> dict[str, dict[str, Any]]:
    documents: dict[str, dict[str, Any]] = {}
    with catalogue.open(encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            documents[one["id"]] = {
                "sku": one["id"],
                "title": one["title"].get("en", ""),
                "description": one["description"].get("en", ""),
                "brand": one.get("brand"),
                "price": one.get("price_cents"),
                "stock": 0,
                "attributes": one.get("attrs", {}),
            }
            if len(documents) == count:
                break
    return documents


@click.command()
@click.option("--catalogue", type=click.Path(path_type=Path, exists=True), required=True, help="JSON lines of a shop.")
@click.option("--count", default=2000, show_default=True, help="Products of it.")
@click.option("--rate", default=50.0, show_default=True, help="The owner's writes a second.")
@click.option("--max-docs-per-second", "most", type=float, help="Ours, at most.")
@click.option("--log", type=click.Path(path_type=Path), default=Path("attach-worker.log"), help="The worker's log.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(catalogue: Path, count: int, rate: float, most: float | None, log: Path, file: Path | None) -> None:
    base = load()
    documents = read(catalogue, count)
    with elasticsearch_node(base) as node, redis_server(base) as redis:
        own: dict[str, Any] = {"elasticsearch_url": node.url, "redis_url": redis.url, "profile": base.active_profile}
        own["queue"] = f"attach-{uuid.uuid4().hex[:8]}"
        services = Services(Settings(**{**base.model_dump(exclude_unset=True), **own}))
        found = asdict(measure(services, log, documents, rate, most))
    text = json.dumps(found, indent=2)
    click.echo(text)
    if file is not None:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
