"""Heads over frozen encoders, trained so that a product's words, pictures and sounds are alike in one space.

    batch of products (and a hard negative of each) -> one input of each modality, some modalities left out
        -> frozen vectors, mixed in pairs of products, with some noise -> heads
        -> cosines of each pair of modalities -> InfoNCE, triplets, or both

Positives are all products of the same group or of the same value of a field, so a variant is never a negative; of a query those
that it led to. What is mixed counts as of the product that has the larger share of it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from training import losses
from training.catalogue import Catalogue
from training.drawing import Mixed, Owned
from training.flow import Made, Make
from training.groups import Split
from training.measuring import mean_of
from training.negatives import by_turns, mine
from training.over import Base
from training.ranking import directions
from training.vectors import Rows
from training.weights import arrays_of, put_back
from triptych.domain import Modality, Vectors
from triptych.encoders.head_network import Heads
from triptych.encoders.trained import Arrays, Tower
from triptych.errors import InputError

Loss = Literal["infonce", "triplet", "both"]

_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How heads are trained. The defaults were chosen on stamps with words in seven languages (docs/training.md).

    `mixup`: part of each product's vectors is those of another product of the batch, in its words and its picture by the same
    share, drawn from Beta(mixup, mixup) and at most a half (Zhang et al. 2018, arXiv:1710.09412); 0: none. `sets` of heads are
    trained beside each other, each with `hidden` and its part of `dims`: their mistakes differ.
    """

    dims: int = 512
    hidden: int = 512
    sets: int = 4
    dropout: Mapping[str, float] = field(default_factory=lambda: {"text": 0.2, "image": 0.4, "audio": 0.4})
    noise: float = 0.05
    mixup: float = 2.0
    loss: Loss = "infonce"
    margin: float = 0.2
    scale: float = 12.0
    siamese: bool = False
    modality_dropout: float = 0.1
    batch: int = 128
    hard_negatives: int = 0
    mine_every: int = 5
    copies: bool = True

    def __post_init__(self) -> None:
        if self.dims % self.sets:
            raise InputError(
                f"{self.sets} sets of heads cannot share {self.dims} dims evenly.",
                code="training.sets",
                field="sets",
                remedy="Give --dims as a multiple of --sets.",
            )


class HeadTask:
    """The heads of a catalogue, as loop.Task. Call `loss` within a seed."""

    def __init__(
        self, catalogue: Catalogue, split: Split, towers: Mapping[str, Tower], options: HeadOptions, device: torch.device
    ) -> None:
        self.catalogue, self.split, self.options, self._device = catalogue, split, options, device
        self._train = {
            m: Owned(some, split.train, copies=options.copies) for m, some in catalogue.inputs.items() if m in towers
        }
        several = sum(owned.has(split.train).astype(int) for owned in self._train.values())
        self.products = split.train[np.asarray(several) > 1]
        heads = Heads(towers, options.dims, options.hidden, dropout=options.dropout, sets=options.sets)
        self.network: nn.Module = _Trained(heads, options.scale, (len(self.products), options.hard_negatives))
        with torch.no_grad():
            for name, mean in self._means(towers).items():
                for head in self.heads.of(name):
                    head.mean.copy_(torch.from_numpy(mean))
        self.network.to(device)

    @property
    def heads(self) -> Heads:
        found = self.network.heads
        assert isinstance(found, Heads)  # noqa: S101  of _Trained
        return found

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, -(-len(self.products) // self.options.batch))

    def _means(self, towers: Mapping[str, Tower]) -> dict[str, Vectors]:
        """The mean vector of what each head takes, over the train side."""
        sums: dict[str, list[Vectors]] = {}
        for modality, owned in self._train.items():
            sums.setdefault(towers[modality].head, []).append(owned.mean())
        return {head: np.mean(some, axis=0, dtype=np.float32) for head, some in sums.items()}

    def begin(self, epoch: int) -> None:
        """Look for hard negatives, every few epochs once the heads know something."""
        every = self.options.mine_every
        if self.options.hard_negatives and epoch and epoch % every == 0:
            self._hard.copy_(torch.from_numpy(self._mined()))
            self.network.train()

    @property
    def _hard(self) -> Tensor:
        """Hard negatives of each of `products`, (n, hard_negatives); -1 where there is none, or none was looked for yet."""
        found = self.network.hard
        assert isinstance(found, Tensor)  # noqa: S101  of _Trained
        return found

    def batches(self) -> Iterator[Rows]:
        order = torch.randperm(len(self.products)).numpy()
        for start in range(0, len(order), self.options.batch):
            anchors = order[start : start + self.options.batch]
            yield self._with_hard(anchors)

    def _with_hard(self, anchors: Rows) -> Rows:
        """The products of a batch: with hard negatives, one more for each, that is near it."""
        if not self.options.hard_negatives:
            return self.products[anchors]
        drawn = torch.randint(self.options.hard_negatives, (len(anchors),)).numpy()
        near = self._hard.cpu().numpy()[anchors, drawn]
        return np.unique(np.concatenate([self.products[anchors], near[near >= 0]]))

    def loss(self, batch: Rows) -> Tensor:
        """The mean loss over the sets of heads; each sees inputs of its own of the batch."""
        return torch.stack([self._loss_of(number, batch) for number in range(self.options.sets)]).mean()

    def _loss_of(self, number: int, batch: Rows) -> Tensor:
        """The mean loss of a set of heads over the pairs of modalities that the batch has."""
        seen = {modality: owned.draw(batch, drop=self.options.modality_dropout) for modality, owned in self._train.items()}
        mixed = Mixed.drawn(len(batch), self.options.mixup) if self.options.mixup else None
        given = {m: self._given(m, places, chosen, mixed) for m, (places, chosen) in seen.items() if len(chosen)}
        found = {m: self.heads.by_set(number, m, rows) for m, rows in given.items()}
        parts = []
        for one, other in itertools.combinations(found, 2):
            rows, columns = batch[seen[one][0]], batch[seen[other][0]]
            positives = self.catalogue.alike(rows, columns)
            positives |= self.catalogue.led(one, seen[one][1], columns) | self.catalogue.led(other, seen[other][1], rows).T
            parts.append(self._told(number, found[one] @ found[other].T, torch.from_numpy(positives).to(self._device)))
        return torch.stack(parts).mean() if parts else next(self.network.parameters()).sum() * 0

    def _told(self, number: int, cosines: Tensor, positives: Tensor) -> Tensor:
        scale = self.network.log_scale[number].clamp(max=losses.HOTTEST).exp()  # type: ignore[index]
        which = self.options.loss
        told = losses.info_nce(cosines * scale, positives) if which != "triplet" else cosines.sum() * 0
        return told if which == "infonce" else told + losses.triplet(cosines, positives, self.options.margin)

    def _given(self, modality: Modality, places: Rows, chosen: Rows, mixed: Mixed | None) -> Tensor:
        """What the heads are given of the products in these places: the chosen inputs' vectors, mixed and with noise."""
        vectors = self._train[modality].inputs.read(chosen)
        if mixed is not None:
            vectors = mixed.of(places, vectors)
        rows = torch.from_numpy(vectors).to(self._device)
        if self.options.noise:
            rows = rows + self.options.noise * rows.shape[1] ** -0.5 * torch.randn(rows.shape).to(self._device)
        return rows

    def score(self) -> float:
        """The mean reciprocal rank on the validation side, over all directions: it moves more smoothly than recall."""
        return mean_of(self.measured(self.split.validation, languages=False), "MRR")

    def measured(self, products: Rows, *, languages: bool = True) -> dict[str, dict[str, float]]:
        """Measures on a side of the split by direction, "text>image"; of words also by language, "text.en>image"."""
        return directions(self.catalogue, products, self.embed, set(self._train), languages=languages)

    @torch.inference_mode()
    def embed(self, modality: Modality, which: Rows) -> Vectors:
        """The heads' vectors of inputs, by their numbers."""
        self.network.eval()
        found = [np.empty((0, self.options.dims), dtype=np.float32)]
        for start in range(0, len(which), _BLOCK):
            rows = torch.from_numpy(self.catalogue.inputs[modality].read(which[start : start + _BLOCK])).to(self._device)
            found.append(self.heads(modality, rows).cpu().numpy())
        return np.concatenate(found)

    def _mined(self) -> Rows:
        """Hard negatives of each of `products`: its words among the pictures and sounds of all, its picture among the sounds.

        The nearest by each come first, by turns: cosines to pictures and to sounds are no one scale.
        """
        present = [modality for modality in Modality if modality in self._train]
        return by_turns([self._near(one, other) for one, other in itertools.combinations(present, 2)])

    def _near(self, asking: Modality, having: Modality) -> Rows:
        """The nearest wrong products by one pair of modalities: by the first input of each; -1 where there are no more."""
        asked, held = self._train[asking].first(self.products), self._train[having].first(self.split.train)
        known, documents = asked >= 0, held[held >= 0]
        found = np.full((len(self.products), self.options.hard_negatives), -1, dtype=np.int64)
        found[known] = mine(
            self.embed(asking, asked[known]),
            asked[known],
            self.embed(having, documents),
            self.catalogue.inputs[having].product[documents],
            functools.partial(self.catalogue.answers, asking),
            most=self.options.hard_negatives,
        )
        return found

    def finish(self) -> None:
        """Nothing more to learn."""

    def arrays(self) -> Arrays:
        """The heads' weights; the scale of cosines is of no use to anyone later."""
        return arrays_of(self.heads)

    def restore(self, arrays: Arrays) -> None:
        put_back(self.heads, arrays)


def maker(options: HeadOptions) -> Make:
    """Heads as a kind of training."""

    def make(catalogue: Catalogue, split: Split, bases: Mapping[Modality, Base], device: torch.device) -> Made:
        towers = towers_of(bases, siamese=options.siamese)
        task = HeadTask(catalogue, split, towers, options, device)
        if not len(task.products):
            raise InputError(
                f"No product of {catalogue.name} to learn from has two modalities.",
                code="training.nothing",
                field="catalogue",
                remedy="Heads learn what words, pictures and sounds belong together: give products that have two of them.",
            )
        facts = {
            "kind": "heads",
            "dims": options.dims,
            "hidden": options.hidden,
            "sets": options.sets,
            "towers": {str(modality): asdict(tower) for modality, tower in towers.items()},
        }
        return Made("heads", task, facts, asdict(options), "R@10", lambda found, model: entry(found, model, options))

    return make


def towers_of(bases: Mapping[Modality, Base], *, siamese: bool) -> dict[str, Tower]:
    """A tower for each base. Raises InputError `training.over` where one head cannot take them all."""
    widths = {base.dims for base in bases.values()}
    if siamese and len(widths) > 1:
        raise InputError(
            f"One head for all takes vectors of one width, and these have {sorted(widths)}.",
            code="training.over",
            field="siamese",
            remedy="Leave --siamese out, or name spaces of one encoder by --over.",
        )
    return {str(m): Tower(base.dims, base.fingerprint, "shared" if siamese else str(m)) for m, base in bases.items()}


def entry(bases: Mapping[Modality, Base], model: str, options: HeadOptions) -> dict[str, Any]:
    """The space a profile can name: pictures (or sounds) by all that the heads know."""
    documents = next((m for m in (Modality.IMAGE, Modality.AUDIO) if m in bases), Modality.TEXT)
    queries = [str(modality) for modality in Modality if modality in bases]
    return {
        "family": "trained_head",
        "model": model,
        "over": {str(modality): base.space for modality, base in bases.items()},
        "documents": str(documents),
        "queries": queries,
        "dims": options.dims,
        "licence": " and ".join(sorted({base.encoder.spec.licence for base in bases.values()})),
        "label": "aligned",
    }


class _Trained(nn.Module):
    """The heads, and what only training needs: the scale of their cosines, and the hard negatives found last."""

    def __init__(self, heads: Heads, scale: float, mined: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("hard", torch.full(mined, -1, dtype=torch.int64))
        self.heads = heads
        self.log_scale = nn.Parameter(torch.full((heads.sets,), float(np.log(scale))))
