"""Classifiers that `triptych train classifier` trained, for use on products and queries. Numpy alone, no torch.

vector of a frozen encoder - its mean over the catalogue -> matrix -> logits / temperature -> probabilities
    -> modalities joined: by what each is worth, or by a vote
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from triptych.domain import Vectors
from triptych.encoders import trained
from triptych.encoders.base import Fitted
from triptych.encoders.trained import Arrays, Tower

KIND = "classifier"
CATEGORY, BETWEEN = "category", " > "
"""The field whose value is a path, and what stands between its parts."""

Join = Literal["average", "vote"]
"""How modalities agree: the mean of their probabilities by weight, or each gives its weight to its best class.

Either way the confidence is the mean of their probabilities by weight.
"""

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier for each modality of `towers`; `classes` are the values of `field` that it knows."""

    field: str
    classes: tuple[str, ...]
    join: Join
    towers: Mapping[str, Tower]
    tensors: Arrays

    @classmethod
    def of(cls, found: Fitted) -> Self:
        """From the file of what was trained."""
        facts = found.facts
        return cls(facts["field"], tuple(facts["classes"]), facts["join"], trained.towers_of(facts), found.tensors)

    def probabilities(self, modality: str, rows: Vectors) -> Probabilities:
        """Calibrated, of vectors of the modality's frozen encoder, (n, width): (n, classes)."""
        centred = (rows - self.tensors[f"mean_{modality}"]) * rows.shape[1] ** 0.5
        logits = centred @ self.tensors[f"linear.{modality}.weight"].T + self.tensors[f"linear.{modality}.bias"]
        return _softmax(logits / self.tensors[f"temperature_{modality}"])

    @property
    def weights(self) -> dict[str, float]:
        """What each modality is worth."""
        return {name: float(self.tensors[f"weight_{name}"][0]) for name in self.towers}


def _softmax(logits: Vectors) -> Probabilities:
    """Of each row. SciPy's would bring .2 s of CPU for imports to every command."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


_SAME = 1e-9  # of votes: sums of weights in another order


def read(model: Path | None) -> TrainedClassifier:
    """The classifiers of a folder. Raises EncoderError `encoder.trained` where it holds none."""
    return TrainedClassifier.of(trained.read(model, KIND))


def joined(by_modality: Mapping[str, Probabilities], weights: Mapping[str, float], how: Join) -> Probabilities:
    """The probabilities of things from those of their modalities, each (n, classes); a row of NaN where one lacks it.

    average: weighted mean of the modalities there are. vote: the same, but the class that most weight voted for wins (of those
    with as many votes the likelier), so no other is given more than it has. A thing without any has NaN.
    """
    total = np.zeros_like(next(iter(by_modality.values())), dtype=np.float64)
    votes, sums = np.zeros_like(total), np.zeros((len(total), 1))
    for name, rows in by_modality.items():
        there = ~np.isnan(rows).any(axis=1)
        total[there] += weights[name] * rows[there]
        votes[there, rows[there].argmax(axis=1)] += weights[name]
        sums[there] += weights[name]
    with np.errstate(invalid="ignore"):
        mean = (total / sums).astype(np.float32)
    return mean if how == "average" else _elected(mean, votes)


def _elected(mean: Probabilities, votes: npt.NDArray[np.float64]) -> Probabilities:
    """The probabilities, (n, classes), with none above that of the class with the most votes."""
    most = votes >= votes.max(axis=1, keepdims=True) * (1 - _SAME)
    winner = np.where(most, mean, -1).argmax(axis=1)[:, None]
    won = np.take_along_axis(mean, winner, axis=1)
    found = np.minimum(mean, np.nextafter(won, np.float32(0)))
    np.put_along_axis(found, winner, won, axis=1)
    return found


def parts_of(field: str, value: str) -> tuple[str, ...]:
    """What of an index's field stands for a class: the parts of a category's path, else the value itself."""
    return tuple(value.split(BETWEEN)) if field == CATEGORY else (value,)
