"""`triptych similar`: products like a product."""

from __future__ import annotations

import click

from search_api.cli import filters_of, number_of, pairs_of


@click.command()
@click.argument("index")
@click.argument("id_", metavar="ID")
@click.option("--space", "spaces", multiple=True, metavar="NAME", help="Only by this space; may repeat. Default: by all.")
@click.option("--weight", "weights", multiple=True, metavar="LEG=SHARE", help="A leg's share, as products.image=0.7.")
@click.option("--filter", "filters", multiple=True, metavar="FIELD=VALUE", help="Only such products, as with triptych search.")
@click.option("--min-relevance", default=0.0, show_default=True, help="0 to 1: leave out what noise would reach as well.")
@click.option("--diversity", default=0.0, show_default=True, help="0 to 1: what a product loses for being like one above it.")
@click.option("--cap", metavar="N:FIELD", help="At most N products of the same value, as 2:category.")
@click.option("--complementary", default=0, show_default=True, help="Also so many products that are bought together with it.")
@click.option("--size", default=10, show_default=True, help="Products to show.")
@click.option("--window", default=100, show_default=True, help="Hits each leg returns.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of GET /v1/products/{id}/similar.")
def similar(
    index: str,
    id_: str,
    *,
    spaces: tuple[str, ...],
    weights: tuple[str, ...],
    filters: tuple[str, ...],
    min_relevance: float,
    diversity: float,
    cap: str | None,
    complementary: int,
    size: int,
    window: int,
    as_json: bool,
) -> None:
    """Find products like the product ID of INDEX, by its vectors."""
    import orjson  # noqa: PLC0415

    from search_api import shown  # noqa: PLC0415
    from search_api.searcher import Searcher  # noqa: PLC0415
    from search_api.similar import SimilarRequest  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    most, field = _cap(cap)
    request = SimilarRequest(
        index=index,
        product=id_,
        size=size,
        window=max(window, size),
        spaces=spaces,
        weights={name: number_of(name, value) for name, value in pairs_of("--weight", weights)},
        filters=filters_of(filters),
        min_relevance=min_relevance,
        diversity=diversity,
        cap=most,
        cap_field=field,
        complementary=complementary,
    )
    found = Searcher(build()).similar(request)
    if as_json:
        click.echo(orjson.dumps(found))
    else:
        shown.similar(found)


def _cap(text: str | None) -> tuple[int | None, str | None]:
    if text is None:
        return None, None
    number, _, field = text.partition(":")
    if not number.isdecimal() or not field:
        raise click.BadParameter(f"{text!r} is not N:FIELD.", param_hint="--cap")
    return int(number), field
