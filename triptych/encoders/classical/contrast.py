"""Training a small network so that two changed copies of a product are alike, and unlike all other products of the batch.

InfoNCE over pairs of copies: van den Oord et al. 2018, arXiv:1807.03748; SimCLR, Chen et al. 2020, arXiv:2002.05709, whose
projection head, thrown away after training, is used too. On the CPU, seeded: the same inputs and options give the same weights.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from triptych.encoders.base import Fitted, Setup
from triptych.encoders.runtime import runtime_of

_HEAD = 128
_WEIGHT_DECAY = 1e-4
_WARM_UP = 0.1  # of the steps

Copies = Callable[[Tensor], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
"""From the numbers of a batch's products, (n,), to the network's inputs for two changed copies of each."""


class Training(Protocol):
    """The options of training."""

    epochs: int
    steps: int
    batch: int
    seconds: float
    temperature: float
    learning_rate: float


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers are those of the seed, on one thread; afterwards all is as before.

    One thread, because sums over several are rounded by how many they are, and because networks this small gain little from
    more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean loss over n pairs, each (n, dims): how badly a copy is told from the other 2 n - 2 of the batch.

    -ln(exp(s_ij / t) / sum over k != i of exp(s_ik / t)), s the cosine and j the other copy of i: NT-Xent of SimCLR.
    """
    rows = functional.normalize(torch.cat([first, second]), dim=1)
    scores = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
    count = len(first)
    others = torch.cat([torch.arange(count, 2 * count), torch.arange(count)])
    return functional.cross_entropy(scores, others)


def train(network: nn.Module, copies: Copies, *, count: int, width: int, options: Any) -> dict[str, int]:
    """Train in place, on `count` products; call it within `seeded`. The network gives (n, width).

    Returns the facts: `steps` done, fewer than asked for where the time was up. One product has nothing to be told from: the
    network keeps its random weights.
    """
    wanted: Training = options
    head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _HEAD))
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *head.parameters()], lr=wanted.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    end = time.monotonic() + wanted.seconds
    total = min(wanted.steps, wanted.epochs * math.ceil(count / wanted.batch)) if count > 1 else 0
    network.train()
    for step in range(total):
        if time.monotonic() > end:
            total = step
            break
        for group in optimiser.param_groups:
            group["lr"] = wanted.learning_rate * pace(step / total)
        first, second = copies(torch.randperm(count)[: wanted.batch])
        loss = info_nce(head(network(*first)), head(network(*second)), wanted.temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    return {"steps": total}


def pace(share: float) -> float:
    """Of the learning rate: up in a line, then down by a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    if share < _WARM_UP:
        return (share + 0.01) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))


def fitted_of(network: nn.Module, facts: Mapping[str, Any]) -> Fitted:
    """The trained weights as arrays."""
    tensors: dict[str, npt.NDArray[Any]] = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    return Fitted(tensors, facts)


def restored(network: nn.Module, fitted: Fitted, setup: Setup) -> tuple[nn.Module, torch.device]:
    """The network with the fitted weights, on the settings' device, for use and not for training."""
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in fitted.tensors.items()})
    device = runtime_of(setup.settings).device
    return network.eval().to(device), device
