"""Classifiers of a field, one for each modality, over frozen encoders; their probabilities are calibrated and joined.

    vector of a text, picture or sound -> matrix -> logits / temperature -> probabilities, of each input
        -> a product's inputs of a modality: their mean -> its modalities: weighed by what each is worth, or a vote

The temperature of each modality is chosen on the validation side (Guo et al. 2017, arXiv:1706.04599), so .8 means right in four
of five. A modality's weight is how far its accuracy there is beyond that of always saying the most frequent value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.catalogue import Catalogue
from training.flow import Made, Make
from training.groups import Split
from training.over import Base
from training.vectors import Rows
from training.weights import arrays_of, put_back
from triptych.domain import Modality, Vectors
from triptych.encoders.trained import Arrays
from triptych.encoders.trained_classifier import KIND, Join, Probabilities, joined
from triptych.errors import InputError

_BLOCK = 4096
_BINS = 10
_RARE = 2  # products that must have a value for it to be learned


@dataclass(frozen=True, slots=True)
class ClassifierOptions:
    """`field` is what is predicted, `join` how modalities agree."""

    field: str = "category"
    join: Join = "average"
    dropout: float = 0.2
    batch: int = 256


class Classifiers(nn.Module):
    """A linear classifier for each modality: (n, width) to (n, classes) logits; `temperature` and `weight` come last."""

    def __init__(self, widths: Mapping[str, int], classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.ModuleDict({name: nn.Linear(width, classes) for name, width in widths.items()})
        for name, width in widths.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"temperature_{name}", torch.ones(1))
            self.register_buffer(f"weight_{name}", torch.ones(1))

    def forward(self, modality: str, rows: Tensor) -> Tensor:
        # vectors have length 1, so their differences are small: the factor brings logits to where softmax works
        centred = (rows - self.get_buffer(f"mean_{modality}")) * rows.shape[1] ** 0.5
        found: Tensor = self.linear[modality](self.dropout(centred))
        return found

    @torch.inference_mode()
    def probabilities(self, modality: str, rows: Vectors) -> Probabilities:
        """Calibrated: (n, classes)."""
        device = self.get_buffer(f"mean_{modality}").device
        parts = [
            functional.softmax(
                self(modality, torch.from_numpy(rows[at : at + _BLOCK]).to(device))
                / self.get_buffer(f"temperature_{modality}"),
                1,
            )
            .cpu()
            .numpy()
            for at in range(0, len(rows), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self._classes), dtype=np.float32)

    @property
    def _classes(self) -> int:
        return int(next(iter(self.linear.values())).out_features)  # type: ignore[arg-type]

    def weight(self, modality: str) -> float:
        return float(self.get_buffer(f"weight_{modality}"))


def calibration_error(probabilities: Probabilities, right: Rows) -> float:
    """Expected calibration error over ten bins of confidence: how far stated confidence is from the share that is right."""
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == right
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    parts = [abs(hit[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(np.sum(parts))


def temperature_of(logits: Tensor, right: Tensor) -> float:
    """The temperature, .05 to 20, by which the logits of the validation side are most likely to be right."""
    grid = torch.logspace(-1.3, 1.3, 105)
    losses = [float(functional.cross_entropy(logits / one, right)) for one in grid]
    return float(grid[int(np.argmin(losses))])


class ClassifierTask:
    """Classifiers of a catalogue's labels, as loop.Task."""

    def __init__(
        self,
        catalogue: Catalogue,
        split: Split,
        modalities: Sequence[Modality],
        options: ClassifierOptions,
        device: torch.device,
    ) -> None:
        self.catalogue, self.split, self.options, self._device = catalogue, split, options, device
        counts = Counter(label for n in split.train if (label := catalogue.label[n]) is not None)
        self.classes = sorted(name for name, count in counts.items() if count >= _RARE)
        known = {name: number for number, name in enumerate(self.classes)}
        self.label = np.array([known.get(str(label), -1) if label is not None else -1 for label in catalogue.label])
        self._rows = {m: self._labelled(m, split.train, copies=True) for m in modalities}
        self.modalities = [m for m in modalities if len(self._rows[m])]
        if len(self.classes) < 2 or not self.modalities:  # noqa: PLR2004  one class needs no telling apart
            raise InputError(
                f"{options.field} has {len(self.classes)} values that {_RARE} products or more to learn from have.",
                code="training.nothing",
                field="field",
                remedy="Name a field with --field that many products have in common.",
            )
        widths = {str(m): catalogue.inputs[m].vectors.dims for m in self.modalities}
        self.classifiers = Classifiers(widths, len(self.classes), dropout=options.dropout).to(device)
        self.network: nn.Module = self.classifiers
        for m in self.modalities:
            self.classifiers.get_buffer(f"mean_{m}").copy_(torch.from_numpy(self._mean(m)))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return sum(-(-len(self._rows[m]) // self.options.batch) for m in self.modalities)

    def _labelled(self, modality: Modality, products: Rows, *, copies: bool) -> Rows:
        which = self.catalogue.inputs[modality].of(products, copies=copies, queries=copies)
        return which[self.label[self.catalogue.inputs[modality].product[which]] >= 0]

    def _mean(self, modality: Modality) -> Vectors:
        which, inputs = self._rows[modality], self.catalogue.inputs[modality]
        sums = [inputs.read(which[at : at + _BLOCK]).sum(axis=0, dtype=np.float64) for at in range(0, len(which), _BLOCK)]
        return np.asarray(np.sum(sums, axis=0) / len(which), dtype=np.float32)

    def begin(self, epoch: int) -> None:
        """Nothing to prepare."""

    def batches(self) -> Iterator[tuple[Modality, Rows]]:
        """Batches of all modalities, in a random order."""
        every = []
        for modality in self.modalities:
            order = self._rows[modality][torch.randperm(len(self._rows[modality])).numpy()]
            every += [(modality, order[at : at + self.options.batch]) for at in range(0, len(order), self.options.batch)]
        return (every[number] for number in torch.randperm(len(every)).tolist())

    def loss(self, batch: tuple[Modality, Rows]) -> Tensor:
        modality, which = batch
        inputs = self.catalogue.inputs[modality]
        rows = torch.from_numpy(inputs.read(which)).to(self._device)
        return functional.cross_entropy(self.classifiers(modality, rows), self._right(modality, which))

    def _right(self, modality: Modality, which: Rows) -> Tensor:
        return torch.from_numpy(self.label[self.catalogue.inputs[modality].product[which]]).to(self._device)

    def score(self) -> float:
        """The mean log likelihood on the validation side, brought to 0 to 1: it moves more smoothly than accuracy."""
        found = []
        for modality in self.modalities:
            which = self._labelled(modality, self.split.validation, copies=False)
            if len(which):
                found.append(float(functional.cross_entropy(self._logits(modality, which), self._right(modality, which))))
        return float(np.exp(-np.mean(found))) if found else float("nan")

    @torch.inference_mode()
    def _logits(self, modality: Modality, which: Rows) -> Tensor:
        inputs = self.catalogue.inputs[modality]
        parts = [torch.from_numpy(inputs.read(which[at : at + _BLOCK])).to(self._device) for at in range(0, len(which), _BLOCK)]
        return torch.cat([self.classifiers(modality, rows) for rows in parts])

    def finish(self) -> None:
        """Choose temperatures and weights on the validation side; without one they stay 1."""
        labels = self.label[self.split.validation]
        usual = max(Counter(labels[labels >= 0].tolist()).values(), default=0) / max((labels >= 0).sum(), 1)
        for modality in self.modalities:
            which = self._labelled(modality, self.split.validation, copies=False)
            if not len(which):
                continue
            logits, right = self._logits(modality, which), self._right(modality, which)
            accuracy = float((logits.argmax(dim=1) == right).float().mean())
            self.classifiers.get_buffer(f"temperature_{modality}").fill_(temperature_of(logits.cpu(), right.cpu()))
            self.classifiers.get_buffer(f"weight_{modality}").fill_(max((accuracy - usual) / max(1 - usual, 1e-6), 0.01))

    def predicted(self, products: Rows) -> dict[str, Probabilities]:
        """The probabilities of products, by modality, (n, classes); NaN where a product lacks it."""
        return predict(self.classifiers, self.catalogue, products, self.modalities)

    def measured(self, products: Rows) -> dict[str, dict[str, float]]:
        """Accuracy and calibration on a side, of each modality and joined, among products of known classes.

        "unknown" counts those that have a value that is none of the classes: they are left out.
        """
        wanted = products[self.label[products] >= 0]
        if not len(wanted):
            return {}
        unknown = sum(self.catalogue.label[number] is not None for number in products) - len(wanted)
        found = self.predicted(wanted)
        weights = {name: self.classifiers.weight(name) for name in found}
        found[f"joined by {self.options.join}"] = joined(found, weights, self.options.join)
        right = self.label[wanted]
        usual = max(Counter(right.tolist()).values()) / len(right)
        there = {name: rows for name, rows in found.items() if not np.isnan(rows).all()}
        return {name: {**_measures(rows, right, usual), "unknown": unknown} for name, rows in there.items()}

    def arrays(self) -> Arrays:
        """What is kept: weights, means, temperatures, weights of modalities."""
        return arrays_of(self.classifiers)

    def restore(self, arrays: Arrays) -> None:
        put_back(self.classifiers, arrays)


class Predicting(Protocol):
    """Classifiers in training, or in use."""

    def probabilities(self, modality: str, rows: Vectors) -> Probabilities: ...


def predict(
    classifiers: Predicting, catalogue: Catalogue, products: Rows, modalities: Sequence[Modality]
) -> dict[str, Probabilities]:
    """The probabilities of products by modality, (n, classes): the mean over a product's inputs; NaN where it has none."""
    found: dict[str, Probabilities] = {}
    for modality in modalities:
        inputs = catalogue.inputs[modality]
        which = inputs.of(products, copies=False, queries=False)
        place = np.searchsorted(products, inputs.product[which])
        rows = classifiers.probabilities(modality, inputs.read(which))
        sums = np.zeros((len(products), rows.shape[1]), dtype=np.float64)
        counts = np.zeros((len(products), 1))
        np.add.at(sums, place, rows)
        np.add.at(counts, place, 1)
        with np.errstate(invalid="ignore"):
            found[str(modality)] = (sums / counts).astype(np.float32)
    return found


def _measures(rows: Probabilities, right: Rows, usual: float) -> dict[str, float]:
    there = ~np.isnan(rows).any(axis=1)
    told, wanted = rows[there], right[there]
    return {
        "products": int(there.sum()),
        "accuracy": round(float((told.argmax(axis=1) == wanted).mean()), 4),
        "most frequent": round(float(usual), 4),
        "calibration error": round(calibration_error(told, wanted), 4),
    }


def maker(options: ClassifierOptions) -> Make:
    """Classifiers as a kind of training."""

    def make(catalogue: Catalogue, split: Split, bases: Mapping[Modality, Base], device: torch.device) -> Made:
        task = ClassifierTask(catalogue, split, list(bases), options, device)
        facts = {
            "kind": KIND,
            "field": options.field,
            "join": options.join,
            "classes": task.classes,
            "towers": {
                str(m): {"width": base.dims, "base": base.fingerprint, "head": str(m)}
                for m, base in bases.items()
                if m in task.modalities
            },
        }
        return Made(KIND, task, facts, asdict(options), "accuracy", section="classifiers")

    return make
