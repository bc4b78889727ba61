"""What one machine can do: queries a second, memory, disk, products indexed a second. Fills the table of docs/operations.md.

    python benchmarks/capacity.py [--write docs/operations.md] [--json FILE]

A real Elasticsearch and Redis, `triptych worker` and `triptych serve`, and the encoders of the profile. First the demo shop
and three catalogues of one modality each are indexed by the worker. Then an index of --count products is made of its vectors,
mixed and with noise, every tenth with a sound; and clients ask it over HTTP, 1 to 16 at once, each as soon as its last answer
is there: with words, with a picture, and with both. No vector comes from the cache: all is embedded, as if nobody asked twice.

Everything shares the machine, the clients too. Memory of processes is PSS: what several share counts in parts.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import capacity_shop as shops
import click
import psutil  # type: ignore[import-untyped]
import urllib3
from asking import serving
from capacity_table import Answered, Capacity, Held, machine, markdown, placed
from paced import follow, worker
from rich.console import Console
from rich.progress import Progress

from engine import Jvm, elasticsearch_node, redis_server
from triptych import __version__
from triptych.elastic.client import translated
from triptych.encoders.device import kind_of_device
from triptych.services import Services
from triptych.settings import Settings, hand_down, load

SHOP, LARGE = "capacity-shop", "capacity"
KINDS = ("words", "a picture", "words and a picture")
_PICTURES = 200
_READY_SECONDS = 300
_OK = 200

Ask = Callable[[urllib3.HTTPConnectionPool, int], None]


class Bench:
    """What is measured on: the services, a folder, and a progress bar."""

    def __init__(self, services: Services, heap: str, folder: Path, progress: Progress) -> None:
        self.services, self.heap, self.folder, self.progress = services, heap, folder, progress
        self.task = progress.add_task("starting", total=None)

    def say(self, text: str, *, ended: bool = False) -> None:
        self.progress.update(self.task, description=text, advance=1 if ended else 0)


def pss(pids: Sequence[int]) -> int:
    """Bytes of processes; what several share counts in parts."""
    return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)


def indexed(bench: Bench, counts: Mapping[str, int]) -> tuple[dict[str, float], int]:
    """Products a second by what they hold, of one worker with one pool process, and its highest memory."""
    services, folder, rates, highest = bench.services, bench.folder, {}, 0
    made = {
        "words": shops.words(folder, counts["words"]),
        "a picture": shops.pictures(folder, counts["pictures"]),
        "a sound": shops.sounds(folder, counts["sounds"], services.settings),
    }
    with worker(services.settings, 1, folder / "worker.log") as pool:
        shops.index_for(services, SHOP)
        follow(services, SHOP, shops.SHOP / "catalogue.jsonl", len(shops.shop_records()), pool)  # and all is warm
        for (name, path), count in zip(made.items(), counts.values(), strict=True):
            bench.say(f"indexing {count} products of {name}", ended=True)
            alias = f"{LARGE}-{path.stem}"
            shops.index_for(services, alias)
            rates[name] = follow(services, alias, path, count, pool).pace(0.0, 1.0)
            highest = max(highest, pss([pool[0].ppid(), *(one.pid for one in pool)]))
            with translated():
                services.elasticsearch.indices.delete(index=f"{alias}-*")
    return rates, highest


def bodies(kind: str) -> Ask:
    """What asks the query of a number."""
    records = [one for one in shops.shop_records() if one.get("images")]
    files = [shops.SHOP / shops.picture_of(one) for one in records]
    titles = [one["title"]["en"] for one in records]
    pictures = [shops.brightened(file, n) for n, file in zip(range(_PICTURES), itertools.cycle(files), strict=False)]

    def ask(pool: urllib3.HTTPConnectionPool, number: int) -> None:
        query: dict[str, Any] = {"index": LARGE, "size": 10}
        if kind != "a picture":
            query["text"] = f"{titles[number % len(titles)]} {titles[number * 7 % len(titles)]}"
        if kind == "words":
            answer = pool.request("POST", "/v1/search", body=json.dumps(query), headers={"Content-Type": "application/json"})
        else:
            fields: dict[str, Any] = {"query": json.dumps(query), "image": ("query.jpg", pictures[number % len(pictures)])}
            answer = pool.request("POST", "/v1/search", fields=fields)
        if answer.status != _OK or json.loads(answer.data)["degraded"]:
            raise RuntimeError(f"{answer.status} {answer.data[:500].decode(errors='replace')}")

    return ask


def asked(url: str, ask: Ask, kind: str, clients: int, seconds: float) -> Answered:
    """So many clients for so long. Raises what the first that failed raised."""
    times: list[float] = []
    failed: list[Exception] = []
    began = time.perf_counter()

    def client(first: int) -> None:
        pool = urllib3.connection_from_url(url, maxsize=1, block=True, timeout=60, retries=False)
        try:
            for number in itertools.count(first, 17):
                started = time.perf_counter()
                if started - began > seconds:
                    return
                ask(pool, number)
                times.append((time.perf_counter() - started) * 1000)
        except Exception as error:  # noqa: BLE001  of a thread: raised below
            failed.append(error)

    threads = [threading.Thread(target=client, args=(number * 1009,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return Answered(kind, clients, time.perf_counter() - began, times)


def searched(bench: Bench, clients: Sequence[int], seconds: float) -> tuple[list[Answered], int]:
    """Every kind of query by every number of clients, and the API's highest memory."""
    found, highest = [], 0
    with serving(bench.services.settings, bench.folder / "serve.log") as (url, api):
        until = time.monotonic() + _READY_SECONDS
        while urllib3.request("GET", f"{url}/v1/health/ready", retries=False, timeout=60).status != _OK:
            if time.monotonic() > until:
                raise RuntimeError(f"the API is not ready: {bench.folder / 'serve.log'}")
            time.sleep(0.5)
        pids = [api[0], *(one.pid for one in psutil.Process(api[0]).children(recursive=True))]
        for kind in KINDS:
            ask = bodies(kind)
            asked(url, ask, kind, 2, max(2.0, seconds / 3))  # to warm up
            for number in clients:
                bench.say(f"{kind}, {number} clients", ended=True)
                found.append(asked(url, ask, kind, number, seconds))
                highest = max(highest, pss(pids))
    return found, highest


def held(bench: Bench, version: str, count: int, *, api: int, worker_bytes: int) -> Held:
    client = bench.services.elasticsearch
    with translated():
        stats = client.indices.stats(index=version, metric=["store", "dense_vector"])["_all"]["primaries"]
        heap = client.nodes.stats(metric="jvm")["nodes"]
    off = stats.get("dense_vector", {}).get("off_heap", {})
    whole = int(off.get("total_vec_size_bytes", 0))
    used = next(iter(heap.values()))["jvm"]["mem"]["heap_used_in_bytes"]
    disk = int(stats["store"]["size_in_bytes"])
    return Held(count, api, worker_bytes, disk, whole, int(off.get("total_size_bytes", 0)) - whole, int(used))


def measure(bench: Bench, count: int, counts: Mapping[str, int], clients: Sequence[int], seconds: float) -> Capacity:
    bench.progress.update(bench.task, total=len(counts) + 2 + len(KINDS) * len(clients))
    rates, worker_bytes = indexed(bench, counts)
    bench.say(f"{count} products", ended=True)
    version = shops.fill(bench.services, SHOP, LARGE, count, bench.say)
    bench.say("starting the API", ended=True)
    answered, api = searched(bench, clients, seconds)
    own = bench.services
    facts = {
        "measured": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d} with `python benchmarks/capacity.py --count {count}`",
        "machine": f"{machine()}, which the clients share",
        "encoders on": kind_of_device(own.settings),
        "profile": own.settings.active_profile,
        "Elasticsearch": f"{own.server.version} with a heap of {bench.heap}",
        "Triptych": __version__,
        "index": f"{count:,} products with words and a picture, every tenth with a sound",
    }
    return Capacity(answered, rates, held(bench, version, count, api=api, worker_bytes=worker_bytes), facts)


@click.command()
@click.option("--count", type=click.IntRange(min=200), default=20_000, show_default=True, help="Products of the large index.")
@click.option("--clients", multiple=True, type=click.IntRange(min=1), default=(1, 4, 8, 16), show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How long each number asks.")
@click.option("--words", type=click.IntRange(min=64), default=640, show_default=True, help="Products of words to index.")
@click.option("--pictures", type=click.IntRange(min=64), default=192, show_default=True, help="Products of a picture.")
@click.option("--sounds", type=click.IntRange(min=64), default=96, show_default=True, help="Products of a sound.")
@click.option("--heap", default="1g", show_default=True, help="Heap of the node.")
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Put the tables into this page.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(*, heap: str, page: Path | None, report: Path | None, count: int, clients: Sequence[int], **given: Any) -> None:
    """Measure what this machine can do."""
    hand_down(CACHE_BYTES="0")
    base = load()
    seconds = given.pop("seconds")
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(console=Console(stderr=True)))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="triptych-capacity-")))
        node = stack.enter_context(elasticsearch_node(base, jvm=Jvm(heap=heap, compiler="full")))
        redis = stack.enter_context(redis_server(base))
        urls: dict[str, Any] = {"elasticsearch_url": node.url, "redis_url": redis.url, "profile": base.active_profile}
        services = Services(Settings(**{**base.model_dump(exclude_unset=True), **urls}))
        found = measure(Bench(services, heap, folder, progress), count, given, clients, seconds)
    table = markdown(found)
    click.echo(table)
    if page is not None:
        page.write_text(placed(page.read_text(encoding="utf-8"), table), encoding="utf-8")
    if report is not None:
        report.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
