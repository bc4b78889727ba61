"""Training of a fusion (triptych/encoders/fusion_network.py): one network for products and for queries.

It is trained so that a query of one modality finds the product it is of, whichever of the product's
modalities are there: some are left out in each batch, and mostly the one the query is of, so that no input only finds itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training import losses
from training.catalogue import Catalogue, Inputs
from training.drawing import Owned
from training.flow import Made, Make
from training.groups import Split
from training.measuring import first_places, mean_of
from training.over import Base
from training.ranking import MOST_QUERIES, answers_of, queries_of
from training.vectors import Rows
from training.weights import arrays_of, put_back
from triptych.domain import Modality, Vectors
from triptych.encoders.fusion_network import Fusion
from triptych.encoders.trained import Arrays, Tower
from triptych.encoders.trained_fusion import KIND
from triptych.errors import InputError

_BLOCK = 2048
_DROPOUT = 0.3


@dataclass(frozen=True, slots=True)
class FusionOptions:
    """How a fusion is trained. `own` is the chance that a product goes without the modality that its query is of."""

    dims: int = 256
    hidden: int = 512
    noise: float = 0.05
    scale: float = 12.0
    modality_dropout: float = 0.3
    own: float = 0.8
    batch: int = 128


class _Trained(nn.Module):
    def __init__(self, fusion: Fusion, scale: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(scale))))


class FusionTask:
    """A fusion of a catalogue, as loop.Task. Of words, products have their passage and queries their texts."""

    def __init__(
        self, catalogue: Catalogue, split: Split, towers: Mapping[str, Tower], options: FusionOptions, device: torch.device
    ) -> None:
        self.catalogue, self.split, self.options, self._device = catalogue, split, options, device
        self._held = held_inputs(catalogue, towers)
        self._asking = {m: Owned(catalogue.inputs[m], split.train, copies=True) for m in self._held}
        self._having = {m: Owned(some, split.train, copies=False) for m, some in self._held.items()}
        several = sum(owned.has(split.train).astype(int) for owned in self._having.values())
        self.products = split.train[np.asarray(several) > 1]
        self.fusion = Fusion(towers, options.dims, options.hidden, dropout=_DROPOUT)
        self.network: nn.Module = _Trained(self.fusion, options.scale)
        for modality, owned in self._having.items():
            mean = self.fusion.tokens.heads[modality].mean
            mean.copy_(torch.from_numpy(owned.mean()))  # type: ignore[operator]
        self.network.to(device)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, -(-len(self.products) // self.options.batch))

    def begin(self, epoch: int) -> None:
        """Nothing to prepare."""

    def batches(self) -> Iterator[Rows]:
        order = torch.randperm(len(self.products)).numpy()
        return (self.products[order[at : at + self.options.batch]] for at in range(0, len(order), self.options.batch))

    def loss(self, batch: Rows) -> Tensor:
        asked, asking, led = self._queries(batch)
        having: dict[str, tuple[Tensor, Tensor]] = {}
        chance = torch.rand(len(batch)).numpy()
        for modality, owned in self._having.items():
            places, chosen = owned.draw(batch, drop=self.options.modality_dropout)
            kept = (asked[places] != str(modality)) | (chance[places] >= self.options.own)
            having[str(modality)] = self._tensors(places[kept], self._held[modality].read(chosen[kept]))
        queries, documents = self.fusion(asking, len(batch)), self.fusion(having, len(batch))
        there = (queries.abs().sum(dim=1) > 0)[:, None] & (documents.abs().sum(dim=1) > 0)[None]
        positives = torch.from_numpy(self.catalogue.alike(batch, batch) | led).to(self._device) & there
        scale = self.network.log_scale.clamp(max=losses.HOTTEST).exp()  # type: ignore[operator]
        return losses.info_nce(queries @ documents.T * scale, positives)

    def _queries(self, batch: Rows) -> tuple[npt.NDArray[np.str_], dict[str, tuple[Tensor, Tensor]], npt.NDArray[np.bool_]]:
        """The modality that each product is asked by, one that it has; the inputs; which products of the batch they led to."""
        drawn = {str(m): owned.draw(batch, drop=0.0) for m, owned in self._asking.items()}
        chance = torch.rand(len(drawn), len(batch)).numpy()
        for number, (places, _) in enumerate(drawn.values()):
            chance[number, np.setdiff1d(np.arange(len(batch)), places)] = -1
        asked = np.array(list(drawn))[chance.argmax(axis=0)]
        found, led = {}, np.zeros((len(batch), len(batch)), dtype=np.bool_)
        for modality, (places, chosen) in drawn.items():
            kept = asked[places] == modality
            rows = self.catalogue.inputs[Modality(modality)].read(chosen[kept])
            found[modality] = self._tensors(places[kept], rows)
            led[places[kept]] = self.catalogue.led(Modality(modality), chosen[kept], batch)
        return asked, found, led

    def _tensors(self, places: Rows, rows: Vectors) -> tuple[Tensor, Tensor]:
        noisy = torch.from_numpy(rows) + self.options.noise * rows.shape[1] ** -0.5 * torch.randn(rows.shape)
        return torch.from_numpy(places).to(self._device), noisy.to(self._device)

    def score(self) -> float:
        """The mean reciprocal rank on the validation side, over all kinds of query."""
        return mean_of(self.measured(self.split.validation), "MRR")

    def measured(self, products: Rows) -> dict[str, dict[str, float]]:
        """Measures on a side: of each modality's inputs as queries, to products of all modalities, and of all others."""
        self.network.eval()
        found: dict[str, dict[str, float]] = {}
        for asked in self._held:
            inputs = self.catalogue.inputs[asked]
            which = queries_of(inputs, products)[:MOST_QUERIES]
            queries = self.fusion.vectors({str(asked): (np.arange(len(which)), inputs.read(which))}, len(which))
            for name, modalities in (("product", list(self._held)), ("the rest", [m for m in self._held if m is not asked])):
                documents = product_vectors(self.fusion, self._held, products, modalities)
                there = documents.any(axis=1)
                answers = answers_of(self.catalogue, asked, which, products[there])
                found[f"{asked}>{name}"] = first_places(queries, documents[there], answers).measures()
        return found

    def finish(self) -> None:
        """Nothing more to learn."""

    def arrays(self) -> Arrays:
        """The network's weights, without the scale of cosines."""
        return arrays_of(self.fusion)

    def restore(self, arrays: Arrays) -> None:
        put_back(self.fusion, arrays)


def held_inputs(catalogue: Catalogue, modalities: Collection[str]) -> dict[Modality, Inputs]:
    """What products have, by modality: of words their passages."""
    found = {m: some for m, some in catalogue.inputs.items() if str(m) in modalities}
    if Modality.TEXT in found and catalogue.passages is not None:
        found[Modality.TEXT] = catalogue.passages
    return found


def product_vectors(fusion: Fusion, held: Mapping[Modality, Inputs], products: Rows, modalities: Sequence[Modality]) -> Vectors:
    """The vectors of products by these of their modalities, (n, dims); zeros for one that has none. `products` rise."""
    found = [np.zeros((0, fusion.dims), dtype=np.float32)]
    for at in range(0, len(products), _BLOCK):
        some = products[at : at + _BLOCK]
        given = {str(m): means_of(held[m], some) for m in modalities}
        found.append(fusion.vectors(given, len(some)))
    return np.concatenate(found)


def means_of(inputs: Inputs, products: Rows) -> tuple[Rows, Vectors]:
    """The places of the products that have inputs, and the mean of each one's vectors, as an index makes it."""
    which = inputs.of(products, copies=False)
    owners, place = np.unique(inputs.product[which], return_inverse=True)
    sums = np.zeros((len(owners), inputs.vectors.dims), dtype=np.float32)
    np.add.at(sums, place, inputs.read(which))
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return np.searchsorted(products, owners), sums / lengths


def maker(options: FusionOptions) -> Make:
    """A fusion as a kind of training."""

    def make(catalogue: Catalogue, split: Split, bases: Mapping[Modality, Base], device: torch.device) -> Made:
        check(bases)
        towers = {str(m): Tower(base.dims, base.fingerprint, str(m)) for m, base in bases.items()}
        task = FusionTask(catalogue, split, towers, options, device)
        if not len(task.products):
            raise InputError(
                f"No product of {catalogue.name} to learn from has two modalities.",
                code="training.nothing",
                field="catalogue",
                remedy="Give products that have two of words, pictures and sounds.",
            )
        facts = {
            "kind": KIND,
            "dims": options.dims,
            "hidden": options.hidden,
            "towers": {name: asdict(tower) for name, tower in towers.items()},
        }
        return Made(KIND, task, facts, asdict(options), "R@10", spaces=lambda some, model: {KIND: _entry(some, model, options)})

    return make


def _entry(bases: Mapping[Modality, Base], model: str, options: FusionOptions) -> dict[str, Any]:
    """The space of a profile."""
    licence = " and ".join(sorted({base.encoder.spec.licence for base in bases.values()}))
    parts = {base.space: 1 for base in bases.values()}
    entry = {"family": "fused", "combine": "network", "model": model, "parts": parts, "dims": options.dims}
    return {**entry, "licence": licence}


def check(bases: Mapping[Modality, Base]) -> None:
    """Raise InputError `training.over` unless there are two, each a space that holds this modality of products."""
    other = [f"{m}={base.space}" for m, base in bases.items() if base.encoder.spec.document_modality is not m]
    if other or len(bases) < 2:  # noqa: PLR2004  one alone is nothing to fuse
        raise InputError(
            f"A fusion stands on spaces that hold what products have, of two modalities or more: {', '.join(other) or 'one'}.",
            code="training.over",
            field="over",
            remedy="Name spaces whose documents are of the modality, such as --over text=text --over image=image.",
        )
