"""Commands of `triptych train`: what is trained, and what is made by it. Light: torch comes with the work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indexer.sources.options import source_options
from training.options import asked_of, fitting_options, listed, training_options

if TYPE_CHECKING:
    from training.flow import Asked, Make

_C = TypeVar("_C", bound=Callable[..., Any])


@click.group()
def train() -> None:
    """Train on your own catalogue what a profile can name: heads, a fusion of all modalities, classifiers."""


_FOLDER = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
_MODALITY_DROPOUT = click.option(
    "--modality-dropout",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 0.9),
    help="Chance that a modality of a product is left out of a batch.",
)


def _dims(default: int) -> Callable[[_C], _C]:
    return click.option(
        "--dims", default=default, show_default=True, type=click.IntRange(8, 4096), help="Of the space that is made."
    )


_HIDDEN = click.option("--hidden", default=512, show_default=True, type=click.IntRange(0, 8192), help="Of the layer between.")
_BATCH = click.option("--batch", default=128, show_default=True, type=click.IntRange(2, 65_536), help="Products a batch.")
_POSITIVES = click.option("--positives-by", multiple=True, metavar="FIELD", help="Equal values answer each other's queries.")


@train.command()
@click.argument("catalogue")
@source_options
@training_options(epochs=40, learning_rate=5e-4)
@_dims(512)
@_HIDDEN
@_BATCH
@_POSITIVES
@_MODALITY_DROPOUT
@click.option(
    "--mixup", default=2.0, show_default=True, type=click.FloatRange(0, 100), help="Mixes products by Beta(A, A); 0: none."
)
@click.option("--sets", default=4, show_default=True, type=click.IntRange(1, 64), help="Heads side by side that share --dims.")
@click.option("--loss", type=click.Choice(["infonce", "triplet", "both"]), default="infonce", show_default=True)
@click.option("--margin", default=0.2, show_default=True, type=click.FloatRange(0, 2), help="Of triplets, in cosines.")
@click.option("--siamese", is_flag=True, help="One head for all modalities; their encoders must give vectors of one width.")
@click.option("--hard-negatives", default=0, show_default=True, type=click.IntRange(0, 100), help="Mined for each product.")
def heads(
    catalogue: str,
    *,
    dims: int,
    hidden: int,
    batch: int,
    positives_by: tuple[str, ...],
    modality_dropout: float,
    mixup: float,
    sets: int,
    loss: Any,
    margin: float,
    siamese: bool,
    hard_negatives: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Train heads on CATALOGUE: words, pictures and sounds of frozen encoders brought into one space.

    CATALOGUE is any that `triptych index add` takes, but not stdin; the options from --format to --root say how it is read.
    """
    from training.heads import HeadOptions, maker  # noqa: PLC0415

    chosen = HeadOptions(
        dims=dims,
        hidden=hidden,
        batch=batch,
        loss=loss,
        margin=margin,
        siamese=siamese,
        modality_dropout=modality_dropout,
        mixup=mixup,
        sets=sets,
        hard_negatives=hard_negatives,
    )
    _train(catalogue, asked_of(options, positives_by=positives_by), maker(chosen), options, as_json=as_json)


@train.command()
@click.argument("catalogue")
@source_options
@training_options()
@click.option("--field", default="category", show_default=True, help="What is predicted; `category` is the whole path.")
@click.option("--join", type=click.Choice(["average", "vote"]), default="average", show_default=True, help="Of modalities.")
@_BATCH
def classifier(catalogue: str, *, field: str, join: Any, batch: int, as_json: bool, **options: Any) -> None:
    """Train a classifier of a field for each modality of CATALOGUE, with calibrated probabilities."""
    from training.classifier import ClassifierOptions, maker  # noqa: PLC0415

    chosen = ClassifierOptions(field=field, join=join, batch=batch)
    _train(catalogue, asked_of(options, label=field), maker(chosen), options, as_json=as_json)


@train.command()
@_FOLDER
@click.argument("catalogue")
@source_options
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="JSON lines that are written.")
@click.option("--over", multiple=True, metavar="MODALITY=SPACE", help="As when it was trained.")
@click.option("--languages", metavar="CODE,...", default="", help="As when it was trained.")
@click.option("--texts", default=4, show_default=True, type=click.IntRange(1, 500), help="Most texts of a product.")
@click.option("--every", is_flag=True, help="Also the products that have the field; default: those that lack it.")
@click.option("--fill", is_flag=True, help="Write lines that `triptych index add` takes, with the field filled in.")
@click.option("--least", type=click.FloatRange(0, 1), help="Least confidence that is written; default 0, with --fill 0.8.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def predict(
    folder: Path,
    catalogue: str,
    *,
    out: Path,
    over: tuple[str, ...],
    languages: str,
    texts: int,
    every: bool,
    fill: bool,
    least: float | None,
    as_json: bool,
    **source: Any,
) -> None:
    """Predict the field of products of CATALOGUE by the classifier in FOLDER: value, confidence, each modality alone."""
    from indexer.sources.source import open_source  # noqa: PLC0415
    from indexer.sources.spec import SourceSpec  # noqa: PLC0415
    from training import predicting, shown  # noqa: PLC0415
    from training.products import Reading  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    reading = Reading(languages=listed(languages), texts=texts)
    sure = least if least is not None else predicting.FILL_LEAST if fill else 0.0
    wanted = predicting.Wanted(over, reading, every=every, least=sure, lines="filled" if fill else "predictions")
    with shown.bars(quiet=as_json) as progress:
        done = predicting.predict(
            services, open_source(SourceSpec(catalogue, **source), services), folder, out, wanted, progress
        )
    if as_json:
        click.echo(json.dumps(done))
    else:
        click.echo(f"{done['written']} of {done['products']} products: {out}")


@train.command()
@click.argument("catalogue")
@source_options
@training_options()
@_dims(256)
@_HIDDEN
@_BATCH
@click.option(
    "--modality-dropout",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 0.9),
    help="Chance that a modality of a product is left out of a batch.",
)
def fusion(
    catalogue: str, *, dims: int, hidden: int, batch: int, modality_dropout: float, as_json: bool, **options: Any
) -> None:
    """Train one network on CATALOGUE that makes one vector of a product's words, pictures and sounds, or a query's."""
    from training.fusion import FusionOptions, check, maker  # noqa: PLC0415

    chosen = FusionOptions(dims=dims, hidden=hidden, batch=batch, modality_dropout=modality_dropout)
    asked = dataclasses.replace(asked_of(options, passages=True), check=check)
    _train(catalogue, asked, maker(chosen), options, as_json=as_json)


@train.command()
@click.argument("catalogue")
@source_options
@fitting_options
@_dims(256)
@click.option("--positives-by", multiple=True, metavar="FIELD", help="Others of an equal value are to be found, not itself.")
@click.option("--trials", default=200, show_default=True, type=click.IntRange(0, 100_000), help="Weights that are tried.")
def whitening(catalogue: str, *, dims: int, positives_by: tuple[str, ...], trials: int, as_json: bool, **options: Any) -> None:
    """Whiten the vectors of CATALOGUE's words, pictures and sounds, and weigh them, for a fused space of a profile."""
    from training.whitening import WhiteningOptions, maker  # noqa: PLC0415

    chosen = WhiteningOptions(dims=dims, trials=trials, seed=options["seed"])
    asked = dataclasses.replace(asked_of(options, passages=True, positives_by=positives_by), epochs=0)
    _train(catalogue, asked, maker(chosen), options, as_json=as_json)


@train.command()
@click.option("--unused-days", default=0.0, show_default=True, type=click.FloatRange(0), help="Only what is unused so long.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def clear(*, unused_days: float, as_json: bool) -> None:
    """Remove the vectors that trainings kept in TRIPTYCH_DATA_DIR; those that a training has open stay."""
    from training import vectors  # noqa: PLC0415
    from triptych.settings import load  # noqa: PLC0415

    done = vectors.clear(load().data_dir / "training", unused_days=unused_days)
    if as_json:
        click.echo(json.dumps({"removed": dict(done.removed), "in_use": list(done.in_use)}))
        return
    for name, size in done.removed.items():
        click.echo(f"{name}: {size / 1e6:.1f} MB removed")
    for name in done.in_use:
        click.echo(f"{name}: in use, left")
    click.echo(f"{sum(done.removed.values()) / 1e6:.1f} MB removed")


def _train(catalogue: str, asked: Asked, make: Make, source: Mapping[str, Any], *, as_json: bool) -> None:
    """Train and show the card."""
    from indexer.sources.source import open_source  # noqa: PLC0415
    from indexer.sources.spec import STDIN, SourceSpec, bad_option  # noqa: PLC0415
    from training import flow, shown  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    if catalogue == STDIN:
        raise bad_option(
            "catalogue", "A training that was ended reads its catalogue again, and stdin cannot be.", "Give a file."
        )
    services = build()
    with shown.bars(quiet=as_json) as progress:
        card = flow.train(services, open_source(SourceSpec(catalogue, **source), services), asked, make, progress)
    if as_json:
        click.echo(json.dumps(card, ensure_ascii=False))
    else:
        shown.show(card)
