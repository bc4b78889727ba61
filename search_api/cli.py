"""Commands of searching: `triptych search`, `triptych serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from triptych.errors import QueryError

if TYPE_CHECKING:
    from search_api.query import SearchResult


@click.command()
@click.argument("index")
@click.argument("text", required=False)
@click.option("--image", type=click.Path(path_type=Path), help="A picture to search with.")
@click.option("--audio", type=click.Path(path_type=Path), help="A sound to search with.")
@click.option(
    "--audio-as",
    type=click.Choice(["sound", "words", "both"]),
    default="sound",
    show_default=True,
    help="What the sound is: something to find the like of, spoken words, or both.",
)
@click.option("--weight", "weights", multiple=True, metavar="LEG=SHARE", help="A leg's share of the score, as image.image=0.5.")
@click.option("--filter", "filters", multiple=True, metavar="FIELD=VALUE", help="Only products with this value, as colour=red.")
@click.option("--size", default=10, show_default=True, help="Products to show.")
@click.option("--window", default=100, show_default=True, help="Hits each leg returns.")
@click.option("--explain", is_flag=True, help="Show each leg's part in each score.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of POST /v1/search.")
def search(  # noqa: PLR0917  click gives a command its options by name
    index: str,
    text: str | None,
    image: Path | None,
    audio: Path | None,
    audio_as: Literal["sound", "words", "both"],
    weights: tuple[str, ...],
    filters: tuple[str, ...],
    size: int,
    window: int,
    *,
    explain: bool,
    as_json: bool,
) -> None:
    """Search INDEX with any mix of TEXT, a picture and a sound."""
    from search_api.query import SearchRequest  # noqa: PLC0415
    from search_api.schemas import to_json  # noqa: PLC0415
    from search_api.searcher import Searcher  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    request = SearchRequest(
        index=index,
        text=text,
        image=_bytes("image", image),
        audio=_bytes("audio", audio),
        audio_as=audio_as,
        weights={name: _number(name, value) for name, value in _pairs("--weight", weights)},
        filters=dict(_pairs("--filter", filters)),
        size=size,
        window=max(window, size),
        explain=explain,
    )
    result = Searcher(build()).search(request)
    if as_json:
        click.echo(json.dumps(to_json(result), ensure_ascii=False))
    else:
        show(result, explain=explain)


def _bytes(name: str, path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}.", code="query.unreadable_file", field=name) from error


def _pairs(option: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [value.partition("=") for value in values]
    for (name, equals, _), value in zip(pairs, values, strict=True):
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", param_hint=option)
    return [(name, value) for name, _, value in pairs]


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise click.BadParameter(f"the share of {name} is {value!r}, not a number.", param_hint="--weight") from error


def show(result: SearchResult, *, explain: bool) -> None:
    """Print an answer as a table; with `explain` a column per leg: contribution (weight x normalised score)."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    legs = list(result.hits[0].legs) if result.hits else []
    table = Table("#", "score", "id", "title", "price", *(legs if explain else ()))
    for rank, hit in enumerate(result.hits, start=1):
        cells = [str(rank), f"{hit.score:.3f}", hit.id, title_of(hit.product), str(hit.product.get("price", ""))]
        if explain:
            cells += [_cell(hit.legs[leg]) for leg in legs]
        table.add_row(*cells)
    for name, heard in result.recognised.items():
        console.print(f"{name}: [bold]{heard.text}[/bold] ({heard.language}, {heard.confidence:.0%} sure)")
    console.print(table)
    console.print(f"{len(result.hits)} of {result.total_matched} products in {result.took_ms:.0f} ms", style="dim")
    for leg in result.degraded:
        console.print(f"[yellow]{leg} did not answer and was left out[/yellow]")


def _cell(leg: Any) -> str:
    if leg.raw is None:
        return "-"
    return f"{leg.contribution:.2f} ({leg.weight:.2f} x {leg.normalised:.2f}){'*' if leg.completed else ''}"


def title_of(product: Any) -> str:
    """A title to show, in whatever languages there are."""
    title = product.get("title") or ""
    return " / ".join(title.values()) if isinstance(title, dict) else str(title)


@click.command()
@click.option("--host", help="Address to listen on; default TRIPTYCH_API_HOST or 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default TRIPTYCH_API_PORT or 8000.")
@click.option("--processes", default=1, show_default=True, help="Server processes, each with its own encoders.")
@click.option("--threads", default=8, show_default=True, help="Threads per process.")
def serve(host: str | None, port: int | None, processes: int, threads: int) -> None:
    """Serve the HTTP API until Ctrl-C or SIGTERM."""
    from search_api.serve import serve as run  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    settings = load()
    run(host=host or settings.api_host, port=settings.api_port if port is None else port, processes=processes, threads=threads)
