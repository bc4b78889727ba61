"""Let the encoders that learn from a catalogue learn from it, before an index is made for it.

catalogue (any source) -> records -> products -> inputs of a modality, decoded one by one -> the family's fit -> kept beside the
indices. It is read once for each encoder that learns.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from indexer import documents, records
from indexer.sources.source import Source, open_source
from indexer.sources.spec import STDIN, SourceSpec, bad_option
from triptych.domain import Modality, Product
from triptych.encoders import registry
from triptych.encoders.base import Input, called
from triptych.errors import MediaError
from triptych.settings import calm_openmp

if TYPE_CHECKING:
    from triptych.services import Services

log = logging.getLogger(__name__)


def fit(
    services: Services, catalogue: Path | Source, *, progress: Callable[[str, int], None] = lambda _space, _seen: None
) -> dict[str, str]:
    """What each space's encoder learned, by its sha256. Spaces whose encoders learn nothing are left out.

    `progress` is told a space and how many inputs were seen. Media that cannot be had are passed over here: the job that
    follows says what is wrong with them. Raises EncoderError `encoder.nothing_to_fit` where a modality has no input at all, and
    InputError where the catalogue cannot be read, or not more than once (stdin).
    """
    source = open_source(SourceSpec(str(catalogue)), services) if isinstance(catalogue, Path) else catalogue
    if source.spec.location == STDIN:
        raise bad_option(
            "fit", "Stdin can be read only once, and each encoder that learns reads the catalogue.", "Give a file."
        )
    calm_openmp()  # before torch or BLAS is loaded: spinning threads made contended fits several times slower
    learned: dict[str, str] = {}
    for name in registry.learning(services.profile):
        family = services.profile.families[name]
        setup = registry.setup_of(services.profile, name, services.settings, parts={})
        with closing(inputs_of(services, source, setup.spec.document_modality)) as inputs:
            seen = _counted(inputs, name, progress)
            learned[name] = services.keep(called(family.fit)(setup, seen))  # type: ignore[arg-type]  # learning: it has fit
    return learned


def _counted(inputs: Iterator[Input], name: str, progress: Callable[[str, int], None]) -> Iterator[Input]:
    for number, value in enumerate(inputs, start=1):
        progress(name, number)
        yield value


def inputs_of(services: Services, source: Source, modality: Modality) -> Generator[Input, None, None]:
    """All that a catalogue's products have of a modality, decoded one by one. Memory does not grow with the catalogue."""
    with closing(source.records()) as lines:
        products = (parsed for raw in lines if isinstance(parsed := records.parse(raw), Product))
        if modality is Modality.TEXT:
            yield from (words for product in products if (words := documents.passage(product)))
            return
        for result in services.decoder.decode_all(_bytes(services, products, modality, source.root or Path(os.devnull))):
            if not isinstance(result, MediaError):
                yield result


def _bytes(services: Services, products: Iterator[Product], modality: Modality, root: Path) -> Iterator[tuple[bytes, Modality]]:
    for product in products:
        with services.fetcher.batch(root) as batch:
            for media in product.of(modality):
                try:
                    yield batch.data(media), modality
                except MediaError as error:
                    log.info("%s of %s is not learned from: %s", media.name, product.id, error)


def fit_shown(services: Services, catalogue: Path | Source, *, quiet: bool = False) -> dict[str, str]:
    """`fit`, with its progress on the terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as shown:
        bars = {name: shown.add_task(f"{name}: waits", total=None) for name in registry.learning(services.profile)}
        return fit(
            services, catalogue, progress=lambda name, seen: shown.update(bars[name], description=f"{name}: learns from {seen}")
        )
