"""A network's weights as arrays, which are what is kept of it, and back."""

from __future__ import annotations

import torch
from torch import nn

from triptych.encoders.trained import Arrays


def arrays_of(network: nn.Module) -> Arrays:
    """Copies of its weights, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def put_back(network: nn.Module, arrays: Arrays) -> None:
    """Give it these weights."""
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
