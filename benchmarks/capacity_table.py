"""The figures of benchmarks/capacity.py as markdown, and their place in a page. Pure but for `machine`."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

BEGIN, END = "<!-- capacity: begin -->", "<!-- capacity: end -->"
PER = 100_000
"""Products that memory is told for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What so many clients at once got in `seconds`: the milliseconds of each answer."""

    kind: str
    clients: int
    seconds: float
    milliseconds: Sequence[float]

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds

    def quantile(self, share: float) -> float:
        return float(np.quantile(np.asarray(self.milliseconds), share))


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes: the highest of the API's and the worker's processes; of the index on disk, its vectors as they are and what is
    searched of them (quantised, with the graph), and the Java heap in use after a collection."""

    products: int
    api: int
    worker: int
    disk: int
    whole_vectors: int
    searched_vectors: int
    heap: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """All that was measured. `indexed`: products a second by what they hold."""

    answered: Sequence[Answered]
    indexed: Mapping[str, float]
    held: Held
    facts: Mapping[str, str]


def machine() -> str:
    """Cores, processor, memory and GPU of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        model = None
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{cores} cores ({name}), {psutil.virtual_memory().total / 2**30:.0f} GiB"


def markdown(found: Capacity) -> str:
    """The tables, with what they were measured on and by which command."""
    held, per = found.held, PER / found.held.products
    facts = "; ".join(f"{name}: {value}" for name, value in found.facts.items())
    rows = [
        f"| {one.kind} | {one.clients} | {one.rate:.1f} | {one.quantile(0.5):.0f} | {one.quantile(0.95):.0f} |"
        for one in found.answered
    ]
    sizes = [
        *((f"products indexed a second, {name}", f"{rate:.1f}") for name, rate in found.indexed.items()),
        ("memory of the API, one process, highest", f"{held.api / 1e9:.2f} GB"),
        ("memory of the worker, one pool process, highest", f"{held.worker / 1e9:.2f} GB"),
        (f"Elasticsearch, {PER:,} products: vectors that are searched, in the page cache", _gb(held.searched_vectors * per)),
        (f"Elasticsearch, {PER:,} products: whole vectors, better in the page cache too", _gb(held.whole_vectors * per)),
        (f"Elasticsearch: Java heap in use, {held.products:,} products", _gb(held.heap)),
        ("disk for each product", f"{held.disk / held.products / 1000:.1f} kB"),
    ]
    return "\n".join(
        [
            facts,
            "",
            "| queries | clients at once | a second | p50 ms | p95 ms |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "| what | how much |",
            "|---|---|",
            *(f"| {what} | {much} |" for what, much in sizes),
        ]
    )


def placed(page: str, table: str) -> str:
    """A page with the table between its two marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
