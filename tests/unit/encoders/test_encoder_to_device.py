"""The one way by which networks get their inputs."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.unit


def test_floating_inputs_take_the_runtimes_precision_and_whole_numbers_stay() -> None:
    import torch

    from triptych.encoders.runtime import Runtime, to_device

    runtime = Runtime(torch.device("cpu"), torch.bfloat16)
    given = {"ids": torch.tensor([1]), "mask": torch.tensor([True]), "pixels": torch.tensor([0.5], dtype=torch.float64)}
    moved = to_device(given, runtime)
    assert {name: tensor.dtype for name, tensor in moved.items()} == {
        "ids": torch.int64,
        "mask": torch.bool,
        "pixels": torch.bfloat16,
    }
    assert to_device(given, runtime, torch.float32)["pixels"].dtype == torch.float32
