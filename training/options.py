"""The options that all trainings share. Light: `--help` loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from training.flow import Asked

_SHARE = click.FloatRange(0, 0.5)

_OPTIONS = (
    click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder that what is trained is written to."),
    click.option("--over", multiple=True, metavar="MODALITY=SPACE", help="The frozen encoder of a modality; may be repeated."),
    click.option("--languages", metavar="CODE,...", default="", help="Learn from texts of these languages; default: all."),
    click.option("--texts", default=4, show_default=True, type=click.IntRange(1, 500), help="Most texts of a product."),
    click.option(
        "--queries", type=click.Path(path_type=Path), help='JSON lines {"query": "...", "product": "id"}: learnt too.'
    ),
    click.option(
        "--judgements", type=click.Path(path_type=Path), help="In TREC's form, of --queries with qid and text (evaluate)."
    ),
    click.option("--group-languages", metavar="CODE,...", default="", help="Whose equal texts join products; default: all."),
    click.option("--group-by", multiple=True, metavar="FIELD", help="Equal values stay on one side of the split."),
    click.option("--validation", default=0.1, show_default=True, type=_SHARE, help="Share of products to stop by."),
    click.option("--test", default=0.1, show_default=True, type=_SHARE, help="Share of products that is only reported on."),
    click.option("--copies", default=0, show_default=True, type=click.IntRange(0, 20), help="Changed copies of each medium."),
)
_END = (
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the split and all random numbers."),
    click.option(
        "--compress",
        type=click.Choice(["float32", "bfloat16", "int8"]),
        default="float32",
        show_default=True,
        help="How the weights are kept; the card states what it costs.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the card as JSON."),
)


def training_options(*, epochs: int = 60, learning_rate: float = 1e-3) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command what every training by epochs takes, with these defaults."""
    rate = click.FloatRange(0, 1, min_open=True)
    own = (
        click.option("--epochs", default=epochs, show_default=True, type=click.IntRange(1, 10_000), help="Most epochs."),
        click.option(
            "--patience", default=15, show_default=True, type=click.IntRange(1), help="Epochs without a better score."
        ),
        click.option("--learning-rate", default=learning_rate, show_default=True, type=rate),
    )
    return lambda command: _given(_given(command, _END), (*_OPTIONS, *own))


def fitting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for what is computed at once."""
    return _given(command, (*_OPTIONS, *_END))


def _given(command: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def asked_of(options: dict[str, Any], **more: Any) -> Asked:
    """Takes the shared options out of a command's; what is left is the source's. `more` are of the reading."""
    from training.flow import Asked  # noqa: PLC0415  torch

    taken = {name: options.pop(name) for name in _NAMES if name in options}
    reading = _reading(taken, queries=_queries(taken.pop("queries"), taken.pop("judgements")), **more)
    return Asked(reading=reading, **{**taken, "over": tuple(taken["over"])})


def _queries(queries: Path | None, judgements: Path | None) -> Any:
    from training.queries import read, read_judged  # noqa: PLC0415

    if queries is None:
        if judgements is not None:
            raise click.UsageError("--judgements says which products --queries want: give both.")
        return {}
    return read(queries) if judgements is None else read_judged(queries, judgements)


def _reading(taken: dict[str, Any], **more: Any) -> Any:
    from training.products import Reading  # noqa: PLC0415

    return Reading(
        languages=listed(taken.pop("languages")),
        group_languages=listed(taken.pop("group_languages")),
        group_by=tuple(taken.pop("group_by")),
        texts=taken.pop("texts"),
        **more,
    )


def listed(codes: str) -> tuple[str, ...]:
    """Codes with commas between them."""
    return tuple(code.strip() for code in codes.split(",") if code.strip())


_NAMES = (
    "out", "over", "languages", "texts", "queries", "judgements", "group_languages", "group_by", "validation", "test", "copies",
    "epochs", "patience", "learning_rate", "seed", "compress",
)  # fmt: skip
