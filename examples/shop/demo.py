"""The demo: a real Elasticsearch and Redis, a worker, the API, the shop indexed through Celery, and searches with answers.

    make demo                        serves on http://127.0.0.1:8000 until Ctrl-C
    make demo ARGS=--exit            ends after the searches; exit code 0 only if all of it worked
    make demo ARGS="--exit --json FILE"

Where TRIPTYCH_ELASTICSEARCH_URL and TRIPTYCH_REDIS_URL are set, those services are used and none is started.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine import elasticsearch_node, redis_server
from engine.process import Child, Command, start_guarded
from evaluation.metrics import read_qrels
from evaluation.runs import DEPTHS, Hits, Query, by_kind, count, read_queries
from indexer.cli import default_mapping, follow_job
from indexer.fit import fit_shown
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.submit import submit
from search_api.shown import title_of
from triptych import TriptychError
from triptych.elastic.lifecycle import create_version, current_version, read_mapping_file, read_schema
from triptych.encoders import profiles
from triptych.encoders.prepare import prepare
from triptych.errors import EncoderError, EngineError, NotFoundError
from triptych.services import Services
from triptych.settings import Settings, load

SHOP = Path(__file__).parent
INDEX = "shop"
SAMPLES: list[dict[str, Any]] = [
    {"text": "red hat"},
    {"text": "保暖的帽子"},
    {"image": SHOP / "queries" / "images" / "i-08.jpg"},
    {"audio": SHOP / "queries" / "audio" / "a-03.ogg"},
    {"text": "the same thing in blue", "image": SHOP / "queries" / "images" / "ti-03.jpg"},
]
NAMES = {"words_en": "words, English", "words_zh": "words, Chinese", "image": "a picture", "audio": "a sound"} | {
    "words_image": "words + a picture",
    "words_audio": "words + a sound",
}
console = Console(record=True, width=100)


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End after the searches instead of serving.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Also write the hit rates as JSON to this file.")
@click.option("--picture", type=click.Path(path_type=Path), help="Also save what is shown as an SVG picture to this file.")
@click.option("--port", type=int, help="Port of the API; default TRIPTYCH_API_PORT or 8000.")
def main(*, leave: bool, report: Path | None, picture: Path | None, port: int | None) -> None:
    """Run the demo shop."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the `with` blocks stop what they started
    with ExitStack() as stack:
        settings = load()
        with step("encoders"):
            prepare(profiles.read(settings.active_profile), settings)
        with step("Elasticsearch and Redis"):
            settings = start_services(stack, settings)
        with step("worker and API"):
            processes = start_processes(stack, settings, port or settings.api_port)
            index_shop(Services(settings), processes)
            wait_ready(processes)
        url = processes.url
        show_samples(url)
        rates = measure(url)
        show_rates(rates)
        if report is not None:
            report.write_text(json.dumps({kind: rates[kind].to_dict() for kind in NAMES}, indent=1) + "\n", encoding="utf-8")
        if picture is not None:
            console.save_svg(str(picture), title="make demo", clear=False)
        console.print(f"Ready after {time.monotonic() - started:.0f} s.")
        if leave:
            return
        try:
            show_address(url, settings)
            signal.pause()
        except KeyboardInterrupt:
            console.print("\nStopping what was started.")


def show_address(url: str, settings: Settings) -> None:
    """Where the API listens, and what other terminals need to know."""
    console.print(f"\nServing on [bold]{url}[/bold] until Ctrl-C: open it in a browser, or try:")
    console.print("It listens to this machine only and asks for no keys; anywhere else it would (docs/access.md).")
    example = """{"index": "shop", "text": "red hat"}"""
    console.print(f"  curl -s {url}/v1/search -H 'content-type: application/json' -d '{example}'", highlight=False)
    console.print("The triptych commands in another terminal, after `. .venv/bin/activate`, want:")
    given = load()  # what the user gave, perhaps with a password, is not shown
    if given.elasticsearch_url is None:
        console.print(f"  export TRIPTYCH_ELASTICSEARCH_URL={settings.elasticsearch_address}", highlight=False)
    if given.redis_url is None:
        console.print(f"  export TRIPTYCH_REDIS_URL={settings.redis_address}", highlight=False)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is being done and how long it took."""
    started = time.monotonic()
    console.print(f"[bold]{name}[/bold] ...")
    yield
    console.print(f"[green]ok[/green] {name} ({time.monotonic() - started:.1f} s)")


def start_services(stack: ExitStack, settings: Settings) -> Settings:
    """Start what the user has not: the settings with the addresses of both services."""
    changes: dict[str, Any] = {}
    if settings.elasticsearch_url is None:
        node = stack.enter_context(elasticsearch_node(settings, data_dir=settings.data_dir / "demo" / "elasticsearch"))
        changes["elasticsearch_url"] = SecretStr(node.url)
    if settings.redis_url is None:
        redis = stack.enter_context(redis_server(settings, data_dir=settings.data_dir / "demo" / "redis"))
        changes["redis_url"] = SecretStr(redis.url)
    return settings.model_copy(update=changes)


def start_processes(stack: ExitStack, settings: Settings, port: int) -> Processes:
    """Start a worker and the API as processes of their own, which end with this one."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            remedy = "End what listens there, or set TRIPTYCH_API_PORT."
            raise EngineError(f"Port {port} is taken.", code="engine.port_taken", field="port", remedy=remedy)
    variables = {
        "TRIPTYCH_ELASTICSEARCH_URL": settings.elasticsearch_address,
        "TRIPTYCH_REDIS_URL": settings.redis_address,
        "TRIPTYCH_API_HOST": "127.0.0.1",  # whatever the user's own API has: this one asks for no keys
        "TRIPTYCH_API_KEYS": "false",
        "TRIPTYCH_API_PORT": str(port),
        "TRIPTYCH_PAGES_EXAMPLES": str(SHOP / "examples.json"),
    }
    folder = settings.data_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    started: dict[Path, Child] = {}
    for name in ("worker", "serve"):
        log = folder / f"{name}.log"
        log.unlink(missing_ok=True)
        program = str(Path(sys.executable).with_name("triptych"))
        child = start_guarded(Command((program, name), log, Path.cwd(), variables))
        stack.callback(child.stop, 20)
        started[log] = child
    return Processes(f"http://127.0.0.1:{port}", started)


@dataclass(frozen=True)
class Processes:
    """The API's address, and the worker and the API by the files their output goes to."""

    url: str
    started: Mapping[Path, Child]

    def check(self) -> None:
        """Raise if one has ended by itself."""
        for log, child in self.started.items():
            if not child.running:
                raise EngineError(
                    f"triptych {log.stem} ended with {child.exit_code}.", code="engine.ended", remedy=f"See {log}."
                )


def index_shop(services: Services, processes: Processes) -> None:
    """Index the catalogue through Celery. A second time every product is unchanged, and nothing is embedded."""
    try:
        version = current_version(services.elasticsearch, INDEX)
        services.check(read_schema(services.elasticsearch, version))
    except NotFoundError:
        create_shop(services)
    except EncoderError:
        console.print("The shop was indexed with other encoders; it is indexed anew.")
        services.elasticsearch.indices.delete(index=version)
        create_shop(services)
    job = submit(open_source(SourceSpec(str(SHOP / "catalogue.jsonl")), services), INDEX, services)
    follow_job(services, job, check=processes.check)
    counts = services.jobs.counts(job.id)
    state = services.control.state(job.id)
    console.print(f"job {job.id}: {state}, {counts.written} written, {counts.unchanged} unchanged of {counts.read} products")
    if counts.written + counts.unchanged != counts.read:
        raise TriptychError(f"The job ended as {state}.", code="demo.job_failed", remedy=f"triptych job show {job.id}")


def create_shop(services: Services) -> None:
    """An index of the profile in force; what learns from a catalogue learns from the shop's."""
    learned = fit_shown(services, SHOP / "catalogue.jsonl")
    create_version(services.elasticsearch, INDEX, read_mapping_file(default_mapping()), services.schema(learned))


def wait_ready(processes: Processes) -> None:
    """Wait until the API answers queries."""
    columns = (SpinnerColumn(), TextColumn("the API loads its encoders"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task("ready", total=None)
        for _ in range(600):
            processes.check()
            try:
                with urllib.request.urlopen(f"{processes.url}/v1/health/ready", timeout=5):  # noqa: S310  our own address
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
    raise TriptychError(
        "The API was not ready in two minutes.", code="demo.not_ready", remedy="See serve.log in the data folder."
    )


def ask(url: str, query: Mapping[str, Any], *, size: int = 5) -> dict[str, Any]:
    """`POST /v1/search`. Raises TriptychError with the problem's title."""
    media = {name: {"base64": b64encode(query[name].read_bytes()).decode()} for name in ("image", "audio") if query.get(name)}
    body = {"index": INDEX, "size": size, **({"text": query["text"]} if query.get("text") else {}), **media}
    request = urllib.request.Request(  # noqa: S310  our own address
        f"{url}/v1/search", data=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            data: dict[str, Any] = json.load(answer)
            return data
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise TriptychError(problem["title"], code=problem["code"]) from error


def show_samples(url: str) -> None:
    for sample in SAMPLES:
        answer = ask(url, sample, size=3)
        asked = " + ".join(value if isinstance(value, str) else value.name for value in sample.values())
        table = Table(
            "score",
            "product",
            "contributions of the legs",
            title=f"{asked}  ({answer['took_ms']:.0f} ms)",
            title_justify="left",
        )
        for hit in answer["hits"]:
            parts = ", ".join(f"{name}\u00a0{round(leg['contribution'], 2) + 0.0:.2f}" for name, leg in hit["legs"].items())
            table.add_row(f"{hit['score']:.2f}", title_of(hit["product"]), parts)
        console.print(table)


def measure(url: str) -> dict[str, Hits]:
    """Hit rates per kind of query, and of the parts of mixed queries alone."""

    def search(query: Query) -> list[str]:
        given = {"text": query.text, "image": query.image, "audio": query.audio}
        return [hit["id"] for hit in ask(url, given)["hits"]]

    queries = read_queries(SHOP / "queries.jsonl")
    judgements = read_qrels(SHOP / "qrels.txt")
    rates = by_kind(queries, judgements, search)
    for kind, part, name in (("words_image", "image", "picture"), ("words_audio", "audio", "sound")):
        mixed = [query for query in queries if query.kind == kind]
        rates[f"{kind}: the words alone"] = count([query.only("text") for query in mixed], judgements, search)
        rates[f"{kind}: the {name} alone"] = count([query.only(part) for query in mixed], judgements, search)
    return rates


def show_rates(rates: Mapping[str, Hits]) -> None:
    table = Table(
        "query",
        *(f"hit@{k}" for k in DEPTHS),
        "queries",
        title="How often the wanted product is among the best",
        title_justify="left",
    )
    for kind, name in NAMES.items():
        table.add_row(name, *(f"{rates[kind].rate(k):.2f}" for k in DEPTHS), str(rates[kind].queries))
        for part, found in rates.items():
            if part.startswith(f"{kind}: "):
                alone = "  " + part.partition(": ")[2]
                table.add_row(alone, *(f"{found.rate(k):.2f}" for k in DEPTHS), str(found.queries), style="dim")
    console.print(table)


if __name__ == "__main__":
    try:
        main()
    except TriptychError as problem:
        console.print(f"[red]{problem.message}[/red] {problem.remedy or ''} ({problem.code})")
        sys.exit(1)
