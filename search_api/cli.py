"""Commands of searching: `triptych search`, `triptych weights`, `triptych serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triptych.errors import QueryError

if TYPE_CHECKING:
    from search_api.query import SearchRequest

FUSIONS = ("calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf", "native")


@click.command()
@click.argument("index")
@click.argument("text", required=False)
@click.option("--image", "images", multiple=True, type=click.Path(path_type=Path), help="A picture to search with; may repeat.")
@click.option("--audio", type=click.Path(path_type=Path), help="A sound to search with.")
@click.option(
    "--audio-as",
    type=click.Choice(["sound", "words", "both"]),
    default="sound",
    show_default=True,
    help="What the sound is: something to find the like of, spoken words, or both.",
)
@click.option("--like", multiple=True, metavar="ID", help="Find the like of this product; may repeat.")
@click.option("--not", "unwanted", multiple=True, metavar="TEXT", help="Push away what these words match; may repeat.")
@click.option("--not-like", multiple=True, metavar="ID", help="Push away the like of this product; may repeat.")
@click.option("--language", metavar="CODE", help="Search only the words of this language, as en.")
@click.option("--weight", "weights", multiple=True, metavar="LEG=SHARE", help="A leg's share of the score, as image.image=0.5.")
@click.option("--weight-set", metavar="NAME", help="Weights kept with the index (triptych weights).")
@click.option(
    "--filter", "filters", multiple=True, metavar="FIELD=VALUE", help='Only such products: colour=red, price={"lte": 50}.'
)
@click.option("--facet", "facets", multiple=True, metavar="FIELD", help="Count the values of this field; may repeat.")
@click.option("--sort", multiple=True, metavar="FIELD[:desc]", help="Sort what was found by this field; may repeat.")
@click.option("--collapse", metavar="FIELD", help="Only the best product for each value of this field.")
@click.option("--vote", metavar="FIELD", help="Let the neighbours vote on this field, as category.")
@click.option("--min-relevance", default=0.0, show_default=True, help="0 to 1: leave out what noise would reach as well.")
@click.option("--fusion", type=click.Choice(FUSIONS), default="calibrated", show_default=True, help="How scores are fused.")
@click.option("--size", default=10, show_default=True, help="Products to show.")
@click.option("--window", default=100, show_default=True, help="Hits each leg returns.")
@click.option("--session", metavar="ID", help="A visit whose events lift what is like the products they are of.")
@click.option("--certify", is_flag=True, help="Widen the window until the answer is proved.")
@click.option("--page", metavar="TOKEN", help="The next page of an answer, by the token it gave.")
@click.option("--why", metavar="ID", help="Explain why this product stands where it stands, or in no answer.")
@click.option("--explain", is_flag=True, help="Show each leg's part in each score.")
@click.option(
    "--body",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file, or -, of JSON as of POST /v1/search, /v1/msearch, /v1/explain or /v1/reweigh, in place of all other options.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer of POST /v1/search (with --why: of POST /v1/explain).")
def search(*, why: str | None, as_json: bool, body: Path | None, **given: Any) -> None:
    """Search INDEX with any mix of TEXT, pictures, a sound and products."""
    if body is not None:
        from search_api import body_cli  # noqa: PLC0415

        body_cli.refuse_others(click.get_current_context())
        body_cli.answer(given["index"], body, as_json=as_json)
        return
    import orjson  # noqa: PLC0415

    from search_api import shown  # noqa: PLC0415
    from search_api.schemas import to_json  # noqa: PLC0415
    from search_api.searcher import Searcher  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    request = request_of(given)
    searcher = Searcher(build())
    if why is not None:
        reasons = searcher.explain(request, why)
        click.echo(orjson.dumps(reasons)) if as_json else shown.why(reasons)
        return
    result = searcher.search(request)
    if as_json:
        click.echo(orjson.dumps(to_json(result)))
    else:
        shown.result(result, explain=given["explain"])


def request_of(given: dict[str, Any]) -> SearchRequest:
    """The request of the command's options."""
    from search_api.query import QueryInput, SearchRequest  # noqa: PLC0415
    from search_api.words import TextOptions  # noqa: PLC0415

    inputs = [QueryInput("image", data=_bytes("image", path), where="image") for path in given["images"]]
    inputs += [QueryInput("text", -0.5, text=text, where="--not") for text in given["unwanted"]]
    inputs += [QueryInput("products", -0.5, products=(key,), where="--not-like") for key in given["not_like"]]
    return SearchRequest(
        index=given["index"],
        text=given["text"],
        audio=None if given["audio"] is None else _bytes("audio", given["audio"]),
        audio_as=given["audio_as"],
        products=tuple(given["like"]),
        inputs=tuple(inputs),
        text_options=TextOptions(language=given["language"]),
        weights={name: number_of(name, value) for name, value in pairs_of("--weight", given["weights"])},
        weight_set=given["weight_set"],
        filters=filters_of(given["filters"]),
        facets={name: {} for name in given["facets"]},
        sort=[_sort(one) for one in given["sort"]],
        collapse=given["collapse"],
        vote=None if given["vote"] is None else {"field": given["vote"]},
        min_relevance=given["min_relevance"],
        fusion=given["fusion"],
        size=given["size"],
        window=max(given["window"], given["size"]),
        certify=given["certify"],
        page=given["page"],
        explain=given["explain"] and given["page"] is None,  # a page has its legs' parts in any case
        session_id=given["session"],
    )


def _bytes(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}.", code="query.unreadable_file", field=name) from error


def pairs_of(option: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """The NAME=VALUE of an option. Raises click.BadParameter."""
    pairs = [value.partition("=") for value in values]
    for (name, equals, _), value in zip(pairs, values, strict=True):
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", param_hint=option)
    return [(name, value) for name, _, value in pairs]


def filters_of(values: tuple[str, ...]) -> dict[str, Any]:
    """Conditions by field: a value as it stands, or an object or a list as JSON."""
    found: dict[str, Any] = {}
    for name, value in pairs_of("--filter", values):
        try:
            found[name] = json.loads(value) if value.startswith(("{", "[")) else value
        except ValueError as error:
            raise click.BadParameter(f"the condition of {name} is not JSON: {error}.", param_hint="--filter") from error
    return found


def _sort(value: str) -> str | dict[str, str]:
    name, colon, direction = value.rpartition(":")
    return {name: direction} if colon else value


def number_of(name: str, value: str) -> float:
    """A leg's share. Raises click.BadParameter."""
    try:
        return float(value)
    except ValueError as error:
        raise click.BadParameter(f"the share of {name} is {value!r}, not a number.", param_hint="--weight") from error


@click.group()
def weights() -> None:
    """Named sets of weights, kept with an index for queries to use."""


@weights.command("list")
@click.argument("index")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_sets(index: str, *, as_json: bool) -> None:
    """Show the weight sets of INDEX and what the legs weigh without one."""
    from search_api import shown  # noqa: PLC0415
    from triptych.elastic.lifecycle import describe  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    schema = describe(build().elasticsearch, index).schema
    if as_json:
        click.echo(json.dumps({name: dict(shares) for name, shares in schema.weight_sets.items()}))
    else:
        shown.weight_sets(schema)


@weights.command("set")
@click.argument("index")
@click.argument("name")
@click.argument("shares", nargs=-1, required=True, metavar="LEG=SHARE...")
def set_set(index: str, name: str, shares: tuple[str, ...]) -> None:
    """Keep the shares of legs with INDEX under NAME. A leg not named keeps its measured proportion."""
    from search_api.weights import share  # noqa: PLC0415
    from triptych.elastic.lifecycle import describe, write_weight_sets  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    client = build().elasticsearch
    info = describe(client, index)
    given = {leg: number_of(leg, value) for leg, value in pairs_of("LEG=SHARE", shares)}
    share(given, dict.fromkeys(info.schema.legs, 1.0), info.schema.legs)
    write_weight_sets(client, info.version, {**info.schema.weight_sets, name: given})
    click.echo(f"{index}: {name} is kept.")


@weights.command("delete")
@click.argument("index")
@click.argument("name")
def delete_set(index: str, name: str) -> None:
    """Forget the weight set NAME of INDEX."""
    from triptych.elastic.lifecycle import describe, write_weight_sets  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    client = build().elasticsearch
    info = describe(client, index)
    if name not in info.schema.weight_sets:
        raise QueryError(f"{index!r} has no weight set {name!r}.", code="query.unknown_weight_set", field="name")
    write_weight_sets(client, info.version, {key: some for key, some in info.schema.weight_sets.items() if key != name})
    click.echo(f"{index}: {name} is forgotten.")


@click.command()
@click.option("--host", help="Address to listen on; default TRIPTYCH_API_HOST or 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default TRIPTYCH_API_PORT or 8000.")
@click.option("--processes", default=1, show_default=True, help="Server processes, each with its own encoders.")
@click.option("--threads", default=8, show_default=True, help="Threads per process.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Format of the logs; default TRIPTYCH_LOG_FORMAT.")
@click.option(
    "--env-file", type=click.Path(path_type=Path), help="Lines NAME=VALUE that add to the environment, read again at SIGHUP."
)
def serve(
    host: str | None, port: int | None, processes: int, threads: int, log_format: str | None, env_file: Path | None
) -> None:
    """Serve the HTTP API and the pages until Ctrl-C or SIGTERM. SIGHUP: take new settings and code, without a gap."""
    from search_api.serve import serve as run  # noqa: PLC0415
    from triptych.settings import hand_down  # noqa: PLC0415

    if log_format is not None:
        hand_down(LOG_FORMAT=log_format)
    run(host=host, port=port, processes=processes, threads=threads, env_file=env_file)
