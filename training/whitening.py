"""Fusion at the level of features: each part's vectors whitened, then joined end to end by weights that the catalogue teaches.

    vectors of a modality -> their mean and covariance, shrunk -> its largest directions, each scaled toward length 1
        -> matrix and bias -> length 1 -> a part of a fused space (triptych.encoders.fused)

A whitening is a straight matrix, so it is kept as heads without a layer between, and the family `trained_head` embeds by it.
How far each part is whitened (`strength`: 0 not at all, 1 to variances of one), and the weights, are those that find most
products of the validation side again: by their words, by a changed copy of their picture or sound, and by both together;
where a field says which products are alike, those that find most others of its value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.catalogue import Catalogue
from training.flow import Made, Make
from training.fusion import held_inputs, means_of
from training.groups import Split
from training.measuring import Answers, first_places, mean_of
from training.over import Base
from training.ranking import queries_of
from training.vectors import Rows
from training.weights import arrays_of, put_back
from triptych.domain import Modality, Vectors
from triptych.encoders.base import unit
from triptych.encoders.head_network import Head, Heads
from triptych.encoders.trained import Arrays, Tower
from triptych.errors import InputError

KIND = "heads"
NAME = "whitened"
STRENGTHS = (0.0, 0.5, 1.0)
_BLOCK = 4096
_MOST = 1000  # products, and queries of a kind, that weights are chosen by
_TRIALS = 200
_FLOOR = 1e-9  # of a variance: vectors have length 1
_LEAST = 1e-4  # of a part's share

Weights = Mapping[Modality, float]


@dataclass(frozen=True, slots=True)
class WhiteningOptions:
    """`dims` of each part; `trials` are the weights that are tried, of a seed."""

    dims: int = 256
    trials: int = _TRIALS
    seed: int = 0


def shrunk(covariance: Tensor, count: int) -> Tensor:
    """A covariance of `count` vectors, (d, d), drawn toward equal variances as far as it is uncertain.

    Oracle approximating shrinkage, Chen et al. 2010, doi:10.1109/TSP.2010.2053029.
    """
    dims = len(covariance)
    square, whole = float((covariance**2).sum()), float(covariance.trace())
    above = (1 - 2 / dims) * square + whole**2
    below = (count + 1 - 2 / dims) * (square - whole**2 / dims)
    share = min(1.0, above / below) if below > 0 else 1.0
    return (1 - share) * covariance + share * whole / dims * torch.eye(dims, dtype=covariance.dtype)


@dataclass(frozen=True, slots=True)
class Directions:
    """Of vectors of a modality: their mean, (d,), and the variances, (k,), along their largest directions, (d, k)."""

    mean: Tensor
    variances: Tensor
    axes: Tensor

    def matrix(self, strength: float) -> Tensor:
        """(k, d): the vectors along these directions, each divided by its deviation to the power `strength`."""
        return (self.axes * self.variances.clamp(min=_FLOOR) ** (-strength / 2)).T


def directions_of(blocks: Sequence[Vectors], dims: int) -> Directions:
    """The `dims` largest directions of vectors that come in blocks, (n, d) each."""
    width = blocks[0].shape[1]
    total, products, count = torch.zeros(width).double(), torch.zeros(width, width).double(), 0
    for block in blocks:
        rows = torch.from_numpy(block).double()
        total, products, count = total + rows.sum(0), products + rows.T @ rows, count + len(rows)
    mean = total / count
    variances, axes = torch.linalg.eigh(shrunk(products / count - torch.outer(mean, mean), count))
    return Directions(mean.float(), variances.flip(0)[:dims].float(), axes.flip(1)[:, :dims].float())


@dataclass(frozen=True, slots=True)
class Side:
    """Products of a side, n, and what is asked of them, by kind: vectors by modality, (n, d) and (queries, d), or zeros."""

    documents: Mapping[Modality, Vectors]
    asked: Mapping[str, Mapping[Modality, Vectors]]
    answers: Mapping[str, Answers]
    passed: Mapping[str, Answers]

    def ranked(self, weights: Weights) -> dict[str, dict[str, float]]:
        """Measures by kind of query, of vectors joined by these weights as a fused space joins them."""
        documents = joined(self.documents, weights)
        found = {}
        for kind, some in self.asked.items():
            places = first_places(joined(some, weights), documents, self.answers[kind], self.passed.get(kind))
            found[kind] = places.measures()
        return found

    def through(self, change: Callable[[Modality, Vectors], Vectors]) -> Side:
        """The same with other vectors."""

        def changed(some: Mapping[Modality, Vectors]) -> dict[Modality, Vectors]:
            return {modality: change(modality, rows) for modality, rows in some.items()}

        asked = {kind: changed(some) for kind, some in self.asked.items()}
        return Side(changed(self.documents), asked, self.answers, self.passed)


def joined(vectors: Mapping[Modality, Vectors], weights: Weights) -> Vectors:
    """Parts end to end by weight, of length 1: (n, all dims)."""
    return unit(np.concatenate([weights[modality] * vectors[modality] for modality in weights], axis=1))


def _either(one: Answers, other: Answers | None) -> Answers:
    return one if other is None else lambda some: one(some) | other(some)


class WhiteningTask:
    """The whitening of a catalogue's vectors, as flow.Trained that has no epochs."""

    def __init__(self, catalogue: Catalogue, split: Split, towers: Mapping[str, Tower], options: WhiteningOptions) -> None:
        self.catalogue, self.split, self.options = catalogue, split, options
        self.modalities = [m for m in Modality if str(m) in towers]
        self.heads = Heads(towers, options.dims, 0).requires_grad_(requires_grad=False)
        self.network: nn.Module = self.heads
        self._held = held_inputs(catalogue, towers)
        self._directions: dict[Modality, Directions] = {}
        self.strengths: dict[Modality, float] = dict.fromkeys(self.modalities, 1.0)
        self.weights: dict[Modality, float] = dict.fromkeys(self.modalities, 1.0)
        self.plain: dict[Modality, float] = dict.fromkeys(self.modalities, 1.0)

    @property
    def steps(self) -> int:
        """Nothing is learned step by step."""
        return 1

    def begin(self, epoch: int) -> None:
        """Nothing to prepare."""

    def batches(self) -> Iterator[Any]:
        return iter(())

    def loss(self, batch: Any) -> Tensor:
        raise NotImplementedError(batch)

    def score(self) -> float:
        return float("nan")

    def finish(self) -> None:
        """Find the directions on the train side; choose strengths, then weights, on the validation side."""
        for modality in self.modalities:
            self._directions[modality] = directions_of(list(self._blocks(modality)), self.options.dims)
            self._set(modality, 1.0)
        if not len(self.split.validation):
            return
        side = self._side(self.split.validation[:_MOST])
        for modality in self.modalities:
            found = {strength: self._alone(modality, strength, side) for strength in STRENGTHS}
            self.strengths[modality] = max(found, key=lambda strength: found[strength])
            self._set(modality, self.strengths[modality])
        self.weights, self.plain = self._best(side.through(self._whitened)), self._best(side)

    def _blocks(self, modality: Modality) -> Iterator[Vectors]:
        """Vectors of the train side, as queries have them and as products have them."""
        inputs, held = self.catalogue.inputs[modality], self._held[modality]
        for some in (inputs,) if inputs is held else (inputs, held):
            which = some.of(self.split.train, copies=False)
            yield from (some.read(which[at : at + _BLOCK]) for at in range(0, len(which), _BLOCK))

    def _set(self, modality: Modality, strength: float) -> None:
        head, found = self.heads.heads[str(modality)], self._directions[modality]
        assert isinstance(head, Head)  # noqa: S101  of Heads
        head.mean.copy_(found.mean)
        head.straight.weight.copy_(found.matrix(strength))
        head.straight.bias.zero_()

    def _whitened(self, modality: Modality, rows: Vectors) -> Vectors:
        found: Vectors = self.heads(modality, torch.from_numpy(rows)).numpy()
        return found * rows.any(axis=1, keepdims=True)

    def _alone(self, modality: Modality, strength: float, side: Side) -> float:
        """How well this part alone, whitened so far, finds the products by queries of its own."""
        self._set(modality, strength)
        kind = str(modality)
        if kind not in side.asked:
            return 0.0
        asked = {kind: {modality: side.asked[kind][modality]}}
        mine = Side({modality: side.documents[modality]}, asked, side.answers, side.passed)
        return mine.through(self._whitened).ranked({modality: 1.0})[kind]["MRR"]

    def _best(self, side: Side) -> dict[Modality, float]:
        """Equal weights, or those of the trials that find more."""
        random = np.random.default_rng(self.options.seed)
        best = dict.fromkeys(self.modalities, 1.0)
        most = mean_of(side.ranked(best), "MRR")
        for shares in random.dirichlet(np.ones(len(self.modalities)), self.options.trials):
            tried = dict(zip(self.modalities, np.sqrt(np.maximum(shares, _LEAST)).tolist(), strict=True))
            found = mean_of(side.ranked(tried), "MRR")
            if found > most:
                best, most = tried, found
        return {modality: round(weight / max(best.values()), 3) for modality, weight in best.items()}

    def measured(self, products: Rows) -> dict[str, dict[str, float]]:
        """Measures by kind of query: whitened; of the vectors as they are by weights found for them; and by equal weights."""
        side = self._side(products)
        found = side.through(self._whitened).ranked(self.weights)
        for name, weights in (("only weighed", self.plain), ("as it is", dict.fromkeys(self.modalities, 1.0))):
            found |= {f"{kind}, {name}": row for kind, row in side.ranked(weights).items()}
        return found

    def _side(self, products: Rows) -> Side:
        asked: dict[str, dict[Modality, Vectors]] = {}
        owners_of: dict[str, Rows] = {}
        led: dict[str, Answers] = {}
        firsts: dict[Modality, Rows] = {}
        for modality in self.modalities:
            which = self._asking(modality, products)
            inputs = self.catalogue.inputs[modality]
            if len(which):
                asked[str(modality)] = self._only({modality: inputs.read(which)}, len(which))
                owners_of[str(modality)] = inputs.product[which]
                led[str(modality)] = functools.partial(self._led, modality, which, products)
            owners, at = np.unique(inputs.product[which], return_index=True)
            firsts[modality] = np.full(len(products), -1)
            firsts[modality][np.searchsorted(products, owners)] = which[at]
        several = np.flatnonzero(sum((first >= 0).astype(int) for first in firsts.values()) > 1)[:_MOST]
        if len(several):
            asked["together"] = {m: self._rows(m, first[several]) for m, first in firsts.items()}
            owners_of["together"] = products[several]
        documents = {m: np.zeros((len(products), some.vectors.dims), dtype=np.float32) for m, some in self._held.items()}
        for modality, held in self._held.items():
            places, rows = means_of(held, products)
            documents[modality][places] = rows
        same = {kind: functools.partial(self._same, owners, products) for kind, owners in owners_of.items()}
        if not self.catalogue.positive.shape[1]:
            return Side(documents, asked, {kind: _either(some, led.get(kind)) for kind, some in same.items()}, {})
        like = {kind: functools.partial(self._like, owners, products) for kind, owners in owners_of.items()}
        return Side(documents, asked, like, same)

    def _led(self, modality: Modality, which: Rows, products: Rows, some: slice) -> Any:
        return self.catalogue.led(modality, which[some], products)

    def _same(self, owners: Rows, products: Rows, some: slice) -> Any:
        """Of the same group: the products that queries are of."""
        return self.catalogue.group[owners[some]][:, None] == self.catalogue.group[products][None]

    def _like(self, owners: Rows, products: Rows, some: slice) -> Any:
        """Others of the same value of a field."""
        return self.catalogue.alike(owners[some], products) & ~self._same(owners, products, some)

    def _asking(self, modality: Modality, products: Rows) -> Rows:
        """The inputs that ask: words, and of pictures and sounds changed copies where there are some."""
        inputs = self.catalogue.inputs[modality]
        changed = inputs.of(products, copies=True)
        changed = changed[inputs.copy[changed] > 0]
        return changed[:_MOST] if len(changed) else queries_of(inputs, products)[:_MOST]

    def _rows(self, modality: Modality, which: Rows) -> Vectors:
        """The vectors of inputs, zeros where there is none (-1)."""
        inputs = self.catalogue.inputs[modality]
        found = np.zeros((len(which), inputs.vectors.dims), dtype=np.float32)
        found[which >= 0] = inputs.read(which[which >= 0])
        return found

    def _only(self, given: Mapping[Modality, Vectors], count: int) -> dict[Modality, Vectors]:
        """Queries of some modalities, zeros in the others."""
        widths = {m: self.catalogue.inputs[m].vectors.dims for m in self.modalities}
        return {m: given.get(m, np.zeros((count, width), dtype=np.float32)) for m, width in widths.items()}

    def learned(self) -> dict[str, Any]:
        """How far each part is whitened, and its weight."""
        return {
            "strengths": {str(m): strength for m, strength in self.strengths.items()},
            "weights": {str(m): weight for m, weight in self.weights.items()},
            "weights without whitening": {str(m): weight for m, weight in self.plain.items()},
        }

    def arrays(self) -> Arrays:
        """The means and matrices."""
        return arrays_of(self.heads)

    def restore(self, arrays: Arrays) -> None:
        put_back(self.heads, arrays)


def maker(options: WhiteningOptions) -> Make:
    """A whitening as a kind of training."""

    def make(catalogue: Catalogue, split: Split, bases: Mapping[Modality, Base], device: torch.device) -> Made:
        del device  # one decomposition, on the CPU
        narrow = {str(m): base.dims for m, base in bases.items() if base.dims < options.dims}
        if narrow or len(bases) < 2:  # noqa: PLR2004  one part is that space itself
            raise InputError(
                f"{options.dims} dims of {narrow}." if narrow else f"{catalogue.name} has inputs of {len(bases)} modality.",
                code="training.over",
                field="dims" if narrow else "over",
                remedy="Give --dims of the narrowest space, or fewer." if narrow else "A fused space is made of two or more.",
            )
        towers = {str(m): Tower(base.dims, base.fingerprint, str(m)) for m, base in bases.items()}
        task = WhiteningTask(catalogue, split, towers, options)
        facts = {"kind": KIND, "dims": options.dims, "hidden": 0, "towers": {n: asdict(t) for n, t in towers.items()}}

        def spaces(found: Mapping[Modality, Base], model: str) -> dict[str, dict[str, Any]]:
            return spaces_of(found, model, task.weights, options.dims)

        return Made(KIND, task, facts, asdict(options), "MRR", spaces=spaces, learned=task.learned)

    return make


def spaces_of(bases: Mapping[Modality, Base], model: str, weights: Weights, dims: int) -> dict[str, dict[str, Any]]:
    """The spaces that a profile can name: each part, whitened and without a field of its own, and all as one."""
    parts = {m: f"{m}_white" for m in bases}
    licences = {m: base.encoder.spec.licence for m, base in bases.items()}
    found: dict[str, dict[str, Any]] = {
        parts[m]: {
            "family": "trained_head",
            "model": model,
            "over": {str(m): base.space},
            "documents": str(m),
            "queries": [str(m)],
            "dims": dims,
            "licence": licences[m],
            "label": parts[m],
            "index": "none",
        }
        for m, base in bases.items()
    }
    whole = {"family": "fused", "parts": {parts[m]: weights[m] for m in bases}, "dims": dims * len(bases)}
    return {**found, NAME: {**whole, "licence": " and ".join(sorted(set(licences.values())))}}
