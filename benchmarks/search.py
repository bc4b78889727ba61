"""The speed of searching, as ratios to one request written by hand against the same node.

    python benchmarks/search.py DATA --folder FOLDER [--count 100000] [--json FILE]

    raw              one request of elasticsearch-py: words (multi_match) and three kNN clauses, k = 100, 10 products
    raw k=10         the same with k = 10
    calibrated       Searcher in this process, with every candidate's exact score in every leg
    native           Searcher in this process, one request
    http calibrated  POST /v1/search of `triptych serve`, over one connection that stays open
    http native

All ways answer the same queries in turns on one index (scale.py), so that a busy machine slows them alike. A query is words
and a vector for each of three spaces whose legs are independent of each other: what one finds the others did not, which is the
most that completing scores can cost. No encoder runs. Figures are medians over the rounds, with their range. Then several
clients at once, each a process, ask by hand and over HTTP in turns: requests per second.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import asking
import click
import numpy as np
import numpy.typing as npt
import scale
from asking import Api, Crowd, Target
from bars import LEAST, MOST, Bar, bar, barred
from rich.console import Console
from rich.table import Table
from scale import Question, Scale

from engine import ElasticsearchNode, Jvm, elasticsearch_node, redis_server
from search_api.query import FusionMethod, SearchRequest
from search_api.searcher import Searcher
from search_api.warmth import calm_garbage_collector
from triptych.errors import QueryError
from triptych.services import Services
from triptych.settings import load

RAW, RAW_10 = "raw", "raw k=10"
FUSIONS: tuple[FusionMethod, ...] = ("calibrated", "native")
Way = Callable[[int], None]
"""Answers the query of that number."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one request took, in ms: by the clock, and CPU of this process, of `triptych serve` and of Elasticsearch."""

    wall: float
    client: float
    app: float
    server: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A way's figures in ms: medians over the rounds. Wall and client CPU are a round's medians, the others its means."""

    way: str
    p50: float
    least: float
    most: float
    client_cpu: float
    app_cpu: float
    server_cpu: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the ways need; `app` are the process ids of `triptych serve`."""

    services: Services
    searcher: Searcher
    target: Target
    questions: Sequence[Question]
    url: str
    app: Sequence[int]
    node: ElasticsearchNode

    def ways(self) -> dict[str, Way]:
        """The ways there are, by name; a fusion that Triptych does not have is left out."""
        found: dict[str, Way] = {RAW: self._by_hand(asking.WINDOW), RAW_10: self._by_hand(asking.SIZE)}
        there = [fusion for fusion in FUSIONS if self._has(fusion)]
        found |= {fusion: self._in_process(fusion) for fusion in there}
        return found | {f"http {fusion}": self._over_http(fusion) for fusion in there}

    def _has(self, fusion: FusionMethod) -> bool:
        try:
            self._in_process(fusion)(0)
        except QueryError as error:
            if error.code == "query.unknown_fusion":
                return False
            raise
        return True

    def _by_hand(self, k: int) -> Way:
        client = asking.plain_client(self.services.settings)

        def ask(number: int) -> None:
            client.search(index=self.target.alias, **asking.by_hand(self.target, self.questions[number], k=k))

        return ask

    def _in_process(self, fusion: FusionMethod) -> Way:
        def ask(number: int) -> None:
            one = self.questions[number]
            self.searcher.search(SearchRequest(self.target.alias, text=one.text, vectors=one.vectors, fusion=fusion))

        return ask

    def _over_http(self, fusion: FusionMethod) -> Way:
        api = Api(self.url)
        bodies = [asking.over_http(self.target, one, fusion) for one in self.questions]
        return lambda number: api.search(bodies[number])


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where what is made is kept.")
@click.option("--count", type=click.IntRange(min=1000), default=100_000, show_default=True, help="Products of the index.")
@click.option("--merge/--no-merge", default=True, show_default=True, help="Merge the index into one segment.")
@click.option("--heap", default="2g", show_default=True, help="Heap of the node.")
@click.option("--warm", type=click.IntRange(min=0), default=5000, show_default=True, help="Searches before the first round.")
@click.option("--queries", type=click.IntRange(min=10), default=480, show_default=True, help="Queries a round, at most.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--clients", type=click.IntRange(min=0), default=8, show_default=True, help="Clients at once; 0: leave out.")
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How long the clients ask.")
@click.option("--json", "report", type=click.Path(path_type=Path))
def main(  # noqa: PLR0913, PLR0917  click gives a command its options by name
    data: Path,
    folder: Path,
    count: int,
    merge: bool,
    heap: str,
    warm: int,
    queries: int,
    rounds: int,
    clients: int,
    seconds: float,
    report: Path | None,
) -> None:
    """Measure searching on COUNT products made of the developers' DATA."""
    console = Console(width=140)
    plan = Scale(
        data.resolve(), folder.resolve(), count, lambda text: console.print(f"[dim]{time.strftime('%X')} {text}[/dim]")
    )
    with ExitStack() as stack:
        bench = started(stack, plan, heap, merge=merge, queries=queries)
        ways = bench.ways()
        facts = {**described(bench, plan), "absent": [fusion for fusion in FUSIONS if fusion not in ways]}
        plan.say(f"{warm} searches to warm up")
        _warm(ways, warm, len(bench.questions))
        calm_garbage_collector()  # as `triptych serve` does; the request by hand profits as well
        facts["load_before"] = os.getloadavg()
        taken = [_round(bench, ways, number, plan) for number in range(rounds)]
        bars = compared(taken)
        if clients:
            crowd = Crowd(bench.target, bench.questions, bench.services.settings, bench.url, clients, seconds)
            bars += _crowded(crowd, [fusion for fusion in FUSIONS if fusion in ways], rounds, plan)
        facts["load_after"] = os.getloadavg()
    figures = [figure(way, [one[way] for one in taken]) for way in ways]
    console.print(table(figures, facts), barred(bars))
    if report is not None:
        found = {"facts": facts, "figures": [asdict(one) for one in figures], "bars": [asdict(one) for one in bars]}
        report.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def started(stack: ExitStack, plan: Scale, heap: str, *, merge: bool, queries: int) -> Bench:
    """The services, the index and `triptych serve`; all end with the stack."""
    settings = load()
    questions = some(scale.questions(plan, settings), queries)
    jvm = Jvm(heap=heap, compiler="full")
    node = stack.enter_context(elasticsearch_node(settings, data_dir=plan.folder / "node", jvm=jvm))
    redis = stack.enter_context(redis_server(settings))  # where Searcher keeps the scores for the next page
    own = asking.settings(node.url, redis.url, plan.profile)
    services = Services(own)
    alias = scale.index(plan, services, merge=merge)
    searcher = Searcher(services)
    target = Target(alias, searcher.info(alias).schema.lexical_fields, services.server)
    url, app = stack.enter_context(asking.serving(own, plan.folder / "serve.log"))
    return Bench(services, searcher, target, questions, url, app, node)


def described(bench: Bench, plan: Scale) -> dict[str, object]:
    """What the figures depend on."""
    version = bench.searcher.info(bench.target.alias).version
    return {
        "products": plan.count,
        "segments": scale.segments(bench.services, version),
        "elasticsearch": bench.services.server.version,
        "native_vectors": bench.node.native_vectors,
    }


def some(questions: Sequence[Question], most: int) -> Sequence[Question]:
    """At most so many, evenly taken. Pure."""
    count = min(most, len(questions))
    return [questions[number * len(questions) // count] for number in range(count)]


def _warm(ways: Mapping[str, Way], searches: int, queries: int) -> None:
    """A cold Java machine is three to ten times slower."""
    for number in range(searches // len(ways) + 1):
        for ask in ways.values():
            ask(number % queries)


def _round(bench: Bench, ways: Mapping[str, Way], number: int, plan: Scale) -> dict[str, list[Taken]]:
    """Every query by every way, in an order that turns."""
    plan.say(f"round {number + 1}: {len(bench.questions)} queries, {len(ways)} ways")
    names = list(ways)
    found: dict[str, list[Taken]] = {way: [] for way in names}
    for query in range(len(bench.questions)):
        turn = (query + number) % len(names)
        for way in (*names[turn:], *names[:turn]):
            found[way].append(_taken(bench, ways[way], query))
    return found


def _taken(bench: Bench, ask: Way, query: int) -> Taken:
    before = _clocks(bench)
    ask(query)
    return Taken(*((after - earlier) / 1e6 for after, earlier in zip(_clocks(bench), before, strict=True)))


def _clocks(bench: Bench) -> tuple[int, int, int, int]:
    """Nanoseconds: the time, and CPU of this process, of the API and of the node."""
    app = sum(cpu_clock(pid) for pid in bench.app)
    return time.perf_counter_ns(), time.process_time_ns(), app, cpu_clock(bench.node.pid)


def cpu_clock(pid: int) -> int:
    """CPU nanoseconds of another process. psutil counts in steps of 10 ms, longer than a search.

    Linux's clock ids of processes: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def figure(way: str, rounds: Sequence[Sequence[Taken]]) -> Figure:
    """A way's figures. Pure."""
    p50 = [median(one.wall for one in some) for some in rounds]

    def mean(some: Sequence[float]) -> float:
        return float(np.mean(some))

    return Figure(
        way=way,
        p50=round(median(p50), 3),
        least=round(min(p50), 3),
        most=round(max(p50), 3),
        client_cpu=round(median(median(one.client for one in some) for some in rounds), 3),
        app_cpu=round(median(mean([one.app for one in some]) for some in rounds), 3),
        server_cpu=round(median(mean([one.server for one in some]) for some in rounds), 3),
    )


def compared(rounds: Sequence[Mapping[str, Sequence[Taken]]]) -> list[Bar]:
    """The bars of one client: ratios of p50, and over HTTP the paired difference. Pure."""

    def walls(one: Mapping[str, Sequence[Taken]], way: str) -> npt.NDArray[np.float64]:
        return np.asarray([taken.wall for taken in one[way]])

    def ratios(way: str) -> list[float]:
        return [float(np.median(walls(one, way)) / np.median(walls(one, RAW))) for one in rounds]

    found = []
    for fusion, most in (("calibrated", 2.0), ("native", 1.15)):
        if fusion not in rounds[0]:
            continue
        found.append(bar(f"{fusion} / raw, p50", ratios(fusion), MOST, most))
        added = [float(np.median(walls(one, f"http {fusion}") - walls(one, fusion))) for one in rounds]
        app = [float(np.mean([taken.app for taken in one[f"http {fusion}"]])) for one in rounds]
        if fusion == "native":
            found.append(bar("http native, ms added", added, MOST, 1.0))
            found.append(bar("http native, app CPU ms", app, MOST, 1.0))
    return found


def _crowded(crowd: Crowd, fusions: Sequence[str], rounds: int, plan: Scale) -> list[Bar]:
    """Requests per second over HTTP in parts of those by hand, in turns."""
    shares: dict[str, list[float]] = {fusion: [] for fusion in fusions}
    ways = [None, *fusions]
    for number in range(rounds):
        turn = number % len(ways)
        found = {way: asking.throughput(crowd, way) for way in (*ways[turn:], *ways[:turn])}
        said = ", ".join(f"{rate:.0f}/s {'by hand' if way is None else f'over HTTP ({way})'}" for way, rate in found.items())
        plan.say(f"round {number + 1}, {crowd.clients} clients: {said}")
        for fusion in fusions:
            shares[fusion].append(found[fusion] / found[None])
    return [bar(f"http {f}, throughput / raw's", some, LEAST, 0.8) for f, some in shares.items() if f == "native"]


def table(figures: Sequence[Figure], facts: Mapping[str, object]) -> Table:
    """A row per way; `x raw` is its p50 in parts of the raw request's."""
    title = ", ".join(f"{name} {value}" for name, value in facts.items() if value != [])
    heads = ("way", "p50 ms", "range", "x raw", "client CPU ms", "app CPU ms", "server CPU ms")
    found = Table(*heads, title=title, title_justify="left")
    raw = next(one.p50 for one in figures if one.way == RAW)
    for one in figures:
        cells = [f"{one.p50:.2f}", f"{one.least:.2f}-{one.most:.2f}", f"{one.p50 / raw:.2f}", f"{one.client_cpu:.2f}"]
        app = f"{one.app_cpu:.2f}" if one.way.startswith("http") else ""
        found.add_row(one.way, *cells, app, f"{one.server_cpu:.2f}")
    return found


if __name__ == "__main__":
    main()
