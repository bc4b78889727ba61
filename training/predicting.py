"""Predict a field of products by trained classifiers, into JSON lines.

predictions   {"id", FIELD, "confidence", "by": {modality: ...}}, to look at
filled        lines that `triptych index add` takes: the whole record where the field is embedded (a category), else an update
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from indexer import records
from indexer.sources.source import Source
from training import over
from training.catalogue import Catalogue, Progress
from training.classifier import predict as probabilities_of
from training.products import Reading
from training.vectors import unwritable
from triptych.domain import Modality, Operation, Product
from triptych.encoders import trained, trained_classifier
from triptych.encoders.trained_classifier import CATEGORY, Probabilities, TrainedClassifier, joined, parts_of
from triptych.errors import InputError
from triptych.services import Services

_AT_ONCE = 1024  # products

FILL_LEAST = 0.8
"""The confidence from which a field is filled in, where none is said: of such predictions four of five or more are right."""

Lines = Literal["predictions", "filled"]
"""What is written: predictions with their confidence, or lines of a catalogue with the field filled in."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which products: all, or (`every` False) those without a value; of at least which confidence; as which lines."""

    over: tuple[str, ...]
    reading: Reading
    every: bool
    least: float
    lines: Lines = "predictions"


def predict(services: Services, source: Source, folder: Path, out: Path, wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Write the predictions; returns how many products were read, asked and written.

    Raises EncoderError `encoder.trained` where the frozen encoders are not those that it was trained on.
    """
    classifier = trained_classifier.read(folder)
    spaces = {m: s for m, s in over.named(services.profile, wanted.over).items() if m in classifier.towers}
    if not spaces:
        towers = ", ".join(classifier.towers)
        raise InputError(f"No space of the profile serves {towers}.", code="training.over", field="over")
    bases = over.bases_of(services.profile, services.settings, spaces)
    trained.check_bases(str(folder), classifier.towers, {str(m): base.encoder for m, base in bases.items()})
    reading = dataclasses.replace(wanted.reading, label=classifier.field)
    with over.embedded(services, source, bases, reading, progress=progress) as catalogue:
        products = np.array([n for n, label in enumerate(catalogue.label) if wanted.every or label is None], dtype=np.int64)
        predictions = _predictions(classifier, catalogue, products, list(bases), wanted.least, progress)
        written = 0
        try:
            with out.open("wb") as lines:
                for line in predictions if wanted.lines == "predictions" else filled(source, classifier.field, predictions):
                    lines.write(orjson.dumps(line) + b"\n")
                    written += 1
        except OSError as error:
            raise unwritable(out, error) from error
    return {"products": len(catalogue.ids), "asked": len(products), "written": written, "field": classifier.field}


def _predictions(
    classifier: TrainedClassifier, catalogue: Catalogue, products: Any, modalities: list[Modality], least: float, told: Progress
) -> Iterator[dict[str, Any]]:
    """In the order of the catalogue."""
    for at in range(0, len(products), _AT_ONCE):
        some = products[at : at + _AT_ONCE]
        by = probabilities_of(classifier, catalogue, some, modalities)
        whole = joined(by, classifier.weights, classifier.join)
        for row, number in enumerate(some):
            said = {name: _best(rows[row], classifier) for name, rows in by.items() if not np.isnan(rows[row]).any()}
            best = _best(whole[row], classifier) if said else {"confidence": -1.0}
            if best["confidence"] >= least:
                yield {
                    "id": catalogue.ids[number],
                    classifier.field: best["value"],
                    "confidence": best["confidence"],
                    "by": said,
                }
        told("predicted", min(at + _AT_ONCE, len(products)), len(products))


def filled(source: Source, field: str, predictions: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines of a catalogue for what was predicted: an update, or the whole record with its category.

    A category is embedded with the words, so no update can change it (docs/records.md).
    """
    if field != CATEGORY:
        for line in predictions:
            yield {"id": line["id"], "_op": "update", field: line[field]}
        return
    wanted = next(predictions, None)
    with closing(source.records()) as given:
        for raw in given:
            parsed = records.parse(raw) if wanted is not None else None
            if wanted is None:
                return
            if isinstance(parsed, Product) and parsed.operation is Operation.PUT and parsed.id == wanted["id"]:
                yield {**orjson.loads(str(raw["text"])), CATEGORY: list(parts_of(CATEGORY, wanted[CATEGORY]))}
                wanted = next(predictions, None)


def _best(probabilities: Probabilities, classifier: TrainedClassifier) -> dict[str, Any]:
    best = int(probabilities.argmax())
    return {"value": classifier.classes[best], "confidence": round(float(probabilities[best]), 4)}
