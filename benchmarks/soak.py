"""Half an hour of all that users do at once: does any answer fail, does any process grow?

    python benchmarks/soak.py [--minutes 30] [--clients 4] [--json FILE]

A real Elasticsearch and Redis, `triptych worker` and `triptych serve`, which asks for keys and counts requests, and the demo
shop. The clients ask with words, uploaded pictures and sounds, weigh answers anew, turn pages, look at the pages and previews
for people, and send what must be refused: broken pictures, broken JSON, unknown indices. Meanwhile one catalogue after another
becomes a job: in turns uploaded, with products that are new, changed, deleted and broken, and named by its address, with
products that have pictures.

Told are the requests by status, the median and 99th percentile of their milliseconds, and the memory of each process with its
children (PSS: what several share counts in parts): the mean of the tenth of the time that begins when all is warm, and of the
last tenth. Bars: no answer of 500 or more, none that was not to be expected, none that did not come, no job that is refused,
fails or does not end, and no process whose memory grew by more than 5 %.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import psutil  # type: ignore[import-untyped]
import urllib3
from asking import serving
from bars import MOST, bar, barred
from paced import follow, worker
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine import elasticsearch_node, redis_server
from triptych.access import KeyStore
from triptych.elastic.lifecycle import create_version, read_mapping_file
from triptych.jobs.job import JobState
from triptych.services import Services
from triptych.settings import Settings, hand_down, load

SHOP = Path(__file__).parents[1] / "examples" / "shop"
INDEX = "soak"
LOOK_SECONDS = 5.0
WARM_SHARE = 0.2
"""Of the time, after which memory is measured first: caches and arenas have their size."""

JOB_SECONDS = 20.0
MOST_TOLD = 20
OK, ACCEPTED, REFUSED = (200,), (202,), (400, 404, 422)
ASKED_PER_SECOND = 2.0
"""Requests a second of each client; the machine's processors are shared with all that answers."""

MEDIA_SHARE = 0.5
"""Of the looks; the others are at pages."""

DONE = (JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS)

RATE_LIMIT = "1000/second"
"""More than is asked: requests are counted, and none is refused."""

_BROKEN = b"\x89PNG\r\n\x1a\n" + bytes(200)


@dataclass(slots=True)
class Seen:
    """What the clients and the looks at memory found."""

    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: int = 0
    failed: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    key: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, what: str, status: int, seconds: float, said: bytes, expected: Sequence[int]) -> None:
        """Count an answer; status 0 is one that did not come."""
        with self.lock:
            self.statuses[status] += 1
            self.milliseconds.append(seconds * 1000)
            if status not in expected:
                self.unexpected += 1
                if len(self.failed) < MOST_TOLD:
                    self.failed.append(f"{what}: {status} {said[:300].decode(errors='replace')}")


class Client:
    """Somebody at the shop's pages: asks what a seeded dice says."""

    def __init__(self, url: str, number: int, seen: Seen) -> None:
        self.pool = urllib3.connection_from_url(url, maxsize=1, block=True, timeout=60, retries=False)
        self.dice, self.seen = random.Random(number), seen  # noqa: S311  the same each time
        self.queries = [json.loads(line) for line in (SHOP / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
        self.last: Mapping[str, Any] = {}
        self.kinds: Sequence[tuple[Callable[[], None], float]] = (
            (self.search, 6.0),
            (self.reweigh, 2.0),
            (self.turn, 1.0),
            (self.look, 1.0),
            (self.mistake, 1.0),
        )

    def run(self, until: float) -> None:
        kinds, shares = zip(*self.kinds, strict=True)
        while time.monotonic() < until:
            started = time.monotonic()
            self.dice.choices(kinds, shares)[0]()
            time.sleep(max(0.0, 1 / ASKED_PER_SECOND - (time.monotonic() - started)))

    def search(self) -> None:
        one = self.dice.choice(self.queries)
        query = {"index": INDEX, "size": 5, "facets": {"colour": {}}, **({"text": one["text"]} if "text" in one else {})}
        files = {name: (one[name], (SHOP / one[name]).read_bytes()) for name in ("image", "audio") if name in one}
        if files:
            self.last = self._ask("POST", "/v1/search", OK, fields={"query": json.dumps(query), **files})
        else:
            self.last = self._send("/v1/search", query)

    def reweigh(self) -> None:
        if self.last.get("hits"):
            leg = self.dice.choice(sorted(self.last["hits"][0]["legs"]))
            self._send("/v1/reweigh", {"query_id": self.last["query_id"], "weights": {leg: self.dice.random()}})

    def turn(self) -> None:
        if self.last.get("next"):
            self._send("/v1/search", {"index": INDEX, "page": self.last["next"]})

    def look(self) -> None:
        hit = self.dice.choice(self.last.get("hits") or [{"id": "demo-001"}])
        if self.dice.random() < MEDIA_SHARE:
            self._ask("GET", f"/media/image?index={INDEX}&id={hit['id']}&n=0", (200, 404))  # not every product has a picture
        else:
            self._ask("GET", self.dice.choice(["/", "/jobs", "/bench", "/v1/health/ready", "/metrics"]), OK)

    def mistake(self) -> None:
        bad: Sequence[Callable[[], object]] = (
            lambda: self._ask("POST", "/v1/search", REFUSED, body=b"{", headers={"Content-Type": "application/json"}),
            lambda: self._send("/v1/search", {"index": "nowhere", "text": "hat"}, REFUSED),
            lambda: self._send("/v1/search", {"index": INDEX, "text": "hat", "weights": {"no.leg": 1}}, REFUSED),
            lambda: self._ask(
                "POST", "/v1/search", REFUSED, fields={"query": json.dumps({"index": INDEX}), "image": ("broken.png", _BROKEN)}
            ),
        )
        self.dice.choice(bad)()

    def _send(self, path: str, body: Mapping[str, Any], expected: Sequence[int] = OK) -> Mapping[str, Any]:
        return self._ask("POST", path, expected, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, expected: Sequence[int], **more: Any) -> Mapping[str, Any]:
        return ask(self.pool, self.seen, method, path, expected, **more)


def ask(
    pool: urllib3.HTTPConnectionPool, seen: Seen, method: str, path: str, expected: Sequence[int], **more: Any
) -> Mapping[str, Any]:
    """One request, noted in `seen`: its answer, {} where it is none of those expected, or no JSON."""
    started = time.perf_counter()
    more["headers"] = {**more.get("headers", {}), "X-API-Key": seen.key}
    try:
        answer = pool.request(method, path, **more)
    except urllib3.exceptions.HTTPError as error:
        seen.answered(f"{method} {path}", 0, time.perf_counter() - started, repr(error).encode(), expected)
        return {}
    seen.answered(f"{method} {path}", answer.status, time.perf_counter() - started, answer.data, expected)
    plain = answer.headers.get("Content-Type", "").startswith("application/json")
    return json.loads(answer.data) if plain and answer.status in {*OK, *ACCEPTED} else {}


def catalogue(number: int) -> bytes:
    """Products of a job: new ones, changed ones, deleted ones, and lines that are none."""
    new = [{"id": f"s-{number}-{n}", "title": {"en": f"Thing {n} of feed {number}"}, "price": n} for n in range(20)]
    gone = [{"_op": "delete", "id": f"s-{number - 2}-{n}"} for n in range(20)]
    changed = [{"_op": "update", "id": f"demo-{n:03}", "price": number + 0.5} for n in range(1, 20)]
    lines = [json.dumps(one).encode() for one in (*new, *gone, *changed)]
    return b"\n".join([*lines, b"{broken", b'{"id": ""}'])


def pictured(number: int, folder: Path) -> Path:
    """A catalogue file of products with pictures, some of which are not there."""
    files = sorted((SHOP / "images").glob("*.jpg"))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for n in range(10):
        file = files[(number * 10 + n) % len(files)]
        (folder / "images" / file.name).write_bytes(file.read_bytes())
        names = [f"images/{file.name}", *(["images/none.jpg"] if n == 0 else [])]
        lines.append(json.dumps({"id": f"r-{n}", "title": f"Seen {n} in feed {number}", "images": names}))
    path = folder / f"named-{number}.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def feed(url: str, folder: Path, seen: Seen, until: float) -> None:
    """One job after the other over HTTP: uploaded, and named by its address."""
    pool = urllib3.connection_from_url(url, maxsize=1, block=True, timeout=60, retries=False)
    number = 0
    while time.monotonic() < until:
        number += 1
        due = time.monotonic() + JOB_SECONDS
        if number % 2:
            file = (f"feed-{number}.jsonl", catalogue(number))
            found = ask(
                pool, seen, "POST", "/v1/jobs", ACCEPTED, fields={"job": json.dumps({"index": INDEX}), "catalogue": file}
            )
        else:
            body = json.dumps({"index": INDEX, "catalogue": {"location": str(pictured(number, folder))}})
            found = ask(pool, seen, "POST", "/v1/jobs", ACCEPTED, body=body, headers={"Content-Type": "application/json"})
        if "id" in found:
            seen.jobs.append(found["id"])
        time.sleep(max(0.0, due - time.monotonic()))


def held(pid: int) -> int:
    """Bytes of a process and its children now; what several share counts in parts."""
    found = 0
    first = psutil.Process(pid)
    for one in (first, *first.children(recursive=True)):
        try:
            found += int(one.memory_full_info().pss)
        except psutil.NoSuchProcess:
            continue  # a child that ended meanwhile
    return found


def watch(processes: Mapping[str, int], seen: Seen, seconds: float) -> None:
    """Looks at the memory of each process with its children until the time is over."""
    began = time.monotonic()
    for _ in track(range(int(seconds / LOOK_SECONDS)), description="asking", console=Console(stderr=True)):
        for name, pid in processes.items():
            seen.memory.setdefault(name, []).append((time.monotonic() - began, held(pid)))
        time.sleep(LOOK_SECONDS)


def grown(moments: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Mean MB of the tenth of the time after the warming, and of the last tenth."""
    last = moments[-1][0]
    first = [held for at, held in moments if WARM_SHARE * last <= at <= (WARM_SHARE + 0.1) * last]
    end = [held for at, held in moments if at >= 0.9 * last]
    return float(np.mean(first)) / 1e6, float(np.mean(end)) / 1e6


def unended(services: Services, jobs: Sequence[str]) -> int:
    """The jobs that have not ended a minute after the last was sent, or ended as anything but completed."""
    until = time.monotonic() + 60
    while any(services.jobs.get(job).finished_at is None for job in jobs) and time.monotonic() < until:
        time.sleep(1)
    return sum(services.control.state(job) not in DONE for job in jobs)


def soak(services: Services, folder: Path, clients: int, seconds: float) -> tuple[Seen, int]:
    own = services.settings
    seen = Seen(key=KeyStore(services.elasticsearch, own).create("soak", ("admin",))[1])
    with worker(own, 1, folder / "worker.log") as pool, serving(own, folder / "serve.log") as (url, api):
        follow(services, INDEX, SHOP / "catalogue.jsonl", 131, pool)
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=Client(url, n, seen).run, args=(until,)) for n in range(clients)]
        threads.append(threading.Thread(target=feed, args=(url, folder / "feeds", seen, until)))
        for thread in threads:
            thread.start()
        watch({"api": api[0], "worker": pool[0].ppid()}, seen, seconds)
        for thread in threads:
            thread.join()
        return seen, unended(services, seen.jobs)


def shown(seen: Seen, left: int, console: Console) -> dict[str, Any]:
    """Prints the figures and their bars, and gives them."""
    times = np.asarray(seen.milliseconds)
    grows = {name: grown(moments) for name, moments in seen.memory.items()}
    table = Table("status", "answers")
    for status, number in sorted(seen.statuses.items()):
        table.add_row(str(status), str(number))
    console.print(table)
    console.print(f"{len(seen.jobs)} jobs; ms: median {np.median(times):.0f}, 99th percentile {np.quantile(times, 0.99):.0f}")
    for text in seen.failed:
        console.print(text, highlight=False, markup=False)
    failed = sum(number for status, number in seen.statuses.items() if status >= 500)  # noqa: PLR2004
    bars = [
        bar("answers of 500 or more", [float(failed)], MOST, 0),
        bar("answers that were not to be expected", [float(seen.unexpected)], MOST, 0),
        bar("jobs that did not end well", [float(left)], MOST, 0),
        *(bar(f"memory of {name}, end / begin", [end / begin], MOST, 1.05) for name, (begin, end) in grows.items()),
    ]
    console.print(barred(bars))
    return {
        "statuses": dict(seen.statuses),
        "unexpected": seen.unexpected,
        "jobs": len(seen.jobs),
        "p50_ms": round(float(np.median(times)), 1),
        "p99_ms": round(float(np.quantile(times, 0.99)), 1),
        "memory_mb": {name: [round(begin), round(end)] for name, (begin, end) in grows.items()},
        "holds": all(one.holds for one in bars),
    }


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long.")
@click.option("--clients", default=4, show_default=True, help="Clients at once.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(minutes: float, clients: int, file: Path | None) -> None:
    base = load()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="triptych-soak-")))
        # what may be named over HTTP; and where the pictures of products lie that an upload has changed
        hand_down(CATALOGUES=f"{folder / 'feeds'}/", MEDIA_ROOT=str(SHOP), API_KEYS="true", RATE_LIMIT=RATE_LIMIT)
        node = stack.enter_context(elasticsearch_node(base))
        redis = stack.enter_context(redis_server(base))
        urls: dict[str, Any] = {"elasticsearch_url": node.url, "redis_url": redis.url, "profile": base.active_profile}
        services = Services(Settings(**{**base.model_dump(exclude_unset=True), **urls}))
        mapping = read_mapping_file(SHOP.parents[1] / "mappings" / "products.json")
        create_version(services.elasticsearch, INDEX, mapping, services.schema())
        found = shown(*soak(services, folder, clients, minutes * 60), Console())
    if file is not None:
        file.write_text(json.dumps(found, indent=2), encoding="utf-8")
    raise SystemExit(0 if found["holds"] else 1)


if __name__ == "__main__":
    main()
