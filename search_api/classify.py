"""What trained classifiers say a query is of: the value of a field, from the query's own vectors and no product. Pure.

Decisions of the modalities are joined as the classifiers were trained to (`triptych.encoders.trained_classifier`): weighted by
what each was worth on held-out products, or by a vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from triptych.domain import Vector
from triptych.encoders.trained_classifier import Probabilities, TrainedClassifier, joined

MOST_SHARES: Final = 10
"""Values that are told, those with the greatest probability: a classifier knows hundreds."""

Weighed = tuple[float, Vector]
"""An input's weight in the query, and its vector in the space of its modality."""


@dataclass(frozen=True, slots=True)
class Classified:
    """The values of a field with their probabilities, greatest first; `modalities` has each one's own value and confidence."""

    field: str
    shares: tuple[tuple[str, float], ...]
    modalities: Mapping[str, Mapping[str, Any]]


def classify(classifier: TrainedClassifier, inputs: Mapping[str, Sequence[Weighed]]) -> Classified | None:
    """What the classifier says of a query's inputs, by modality; None where it knows none of them.

    Several inputs of a modality are averaged by their weights. Those that push away (a weight below zero) say nothing.
    """
    found: dict[str, Probabilities] = {}
    for modality, some in inputs.items():
        heard = [(weight, vector) for weight, vector in some if weight > 0 and vector.any()]
        if heard and modality in classifier.towers:
            rows = classifier.probabilities(modality, np.stack([vector for _, vector in heard]))
            found[modality] = np.average(rows, axis=0, weights=[weight for weight, _ in heard])[None].astype(np.float32)
    if not found:
        return None
    whole = joined(found, classifier.weights, classifier.join)[0]
    order = np.argsort(-whole, kind="stable")[:MOST_SHARES]
    shares = tuple((classifier.classes[at], float(whole[at])) for at in order.tolist() if whole[at] > 0)
    return Classified(classifier.field, shares, {name: _best(rows[0], classifier) for name, rows in found.items()})


def _best(row: Any, classifier: TrainedClassifier) -> dict[str, Any]:
    at = int(row.argmax())
    return {"value": classifier.classes[at], "confidence": round(float(row[at]), 4)}
