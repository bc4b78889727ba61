"""Training by epochs: seeded, stopped early, and resumed where it was ended.

    epoch: the seed of this epoch -> batches -> loss -> AdamW -> measured on the validation side -> checkpoint
           -> best so far? -> no better for `patience` epochs? -> the best weights

Each epoch's random numbers begin with a seed of its own and the learning rate is a function of the step, so a training that is
resumed after an epoch goes on as if it had never been ended. A checkpoint is two safetensors files and a state as JSON that
names them; the state is written last.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.vectors import unwritable
from triptych.encoders.classical.contrast import pace, seeded

_LARGEST_SEED = 2**31


class Task(Protocol):
    """What is trained: a network, its loss over batches, and how good it is on the validation side (more is better)."""

    network: nn.Module

    def begin(self, epoch: int) -> None:
        """Called before an epoch's batches, inside its seed."""
        ...

    def batches(self) -> Iterator[Any]: ...

    def loss(self, batch: Any) -> Tensor: ...

    def score(self) -> float:
        """NaN where nothing was held out to stop by: then each epoch is the best so far."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast. `steps` is how many batches an epoch has."""

    epochs: int
    steps: int
    patience: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(slots=True)
class State:
    """What is known after an epoch; `best_score` is -1 where there is none; `losses` has
    each epoch's mean."""

    recipe: str
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


Shown = Callable[[int, float, float], None]
"""Told after each epoch: its number, its loss, its score."""


def train(task: Task, plan: Plan, folder: Path, recipe: str, shown: Shown = lambda *_: None) -> State:
    """Train until the score rises no more; afterwards the network has the best weights and the checkpoint is gone.

    A checkpoint of the same `recipe` (a digest of data and options) in `folder` is resumed, one of another is not.
    """
    optimiser = torch.optim.AdamW(task.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    keeper = Checkpoint(folder, recipe)
    state = keeper.restore(task.network, optimiser)
    while state.epoch < plan.epochs and state.epoch - state.best_epoch < plan.patience:
        started = time.monotonic()
        with seeded((plan.seed * 1_000_003 + state.epoch) % _LARGEST_SEED):
            loss = _epoch(task, plan, optimiser, state.epoch)
            task.network.eval()
            score = task.score()
        state.epoch += 1
        state.seconds += time.monotonic() - started
        state.losses.append(round(loss, 6))
        if score > state.best_score or math.isnan(score):
            state.best_epoch, state.best_score = state.epoch, -1.0 if math.isnan(score) else score
        keeper.keep(state, task.network, optimiser)
        shown(state.epoch, loss, score)
    keeper.restore_best(task.network, state)
    task.network.eval()
    keeper.clear()
    return state


def _epoch(task: Task, plan: Plan, optimiser: torch.optim.Optimizer, epoch: int) -> float:
    """One pass; returns the mean loss."""
    task.network.train()
    task.begin(epoch)
    total, count = 0.0, 0
    for number, batch in enumerate(task.batches()):
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * pace((epoch * plan.steps + number) / (plan.epochs * plan.steps))
        loss = task.loss(batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total, count = total + float(loss.detach()), count + 1
    return total / max(count, 1)


class Checkpoint:
    """The state of a training in a folder."""

    def __init__(self, folder: Path, recipe: str) -> None:
        self._folder, self._recipe = folder, recipe
        self._state = folder / "state.json"

    def restore(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> State:
        """The state that is kept, with network and optimiser as they were then; a new one where none of this recipe is kept."""
        try:
            data = json.loads(self._state.read_text(encoding="utf-8"))
            state = State(**data)
            tensors = load_file(self._last(state.epoch)) if state.recipe == self._recipe else {}
        except (OSError, ValueError, TypeError, SafetensorError):
            return State(self._recipe)
        if not tensors or not self._best(state.best_epoch).is_file():
            return State(self._recipe)
        network.load_state_dict(
            {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        )
        _restore_optimiser(
            optimiser, {n.removeprefix("optimiser."): t for n, t in tensors.items() if n.startswith("optimiser.")}
        )
        return state

    def keep(self, state: State, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write the state after an epoch; what the state before it named is removed afterwards."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        moments = {f"optimiser.{name}": tensor for name, tensor in _moments(optimiser).items()}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save_file({f"network.{name}": tensor for name, tensor in weights.items()} | moments, self._last(state.epoch))
            if state.best_epoch == state.epoch:
                save_file(weights, self._best(state.epoch))
            scratch = self._state.with_suffix(".new")
            scratch.write_text(json.dumps(asdict(state)), encoding="utf-8")
            scratch.replace(self._state)
            kept = {self._state, self._last(state.epoch), self._best(state.best_epoch)}
            for path in set(self._folder.iterdir()) - kept:
                path.unlink()
        except OSError as error:
            raise unwritable(self._folder, error) from error

    def restore_best(self, network: nn.Module, state: State) -> None:
        """Give the network the weights of the best epoch."""
        if state.best_epoch:
            network.load_state_dict(load_file(self._best(state.best_epoch)))

    def clear(self) -> None:
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.is_dir():
            self._folder.rmdir()

    def _last(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:05}.safetensors"

    def _best(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch:05}.safetensors"


def _moments(optimiser: torch.optim.Optimizer) -> Mapping[str, Tensor]:
    """An optimiser's state, flat: "<parameter>.<name>"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": tensor.detach().cpu().contiguous()
        for number, some in state.items()
        for name, tensor in some.items()
    }


def _restore_optimiser(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    whole = optimiser.state_dict()
    for name, tensor in moments.items():
        number, _, moment = name.partition(".")
        whole["state"].setdefault(int(number), {})[moment] = tensor
    optimiser.load_state_dict(whole)
