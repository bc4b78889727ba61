"""A network run by ONNX Runtime gives what torch gives, for any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from triptych.encoders import onnx_runtime

pytestmark = pytest.mark.unit


class Two(nn.Module):
    """Two outputs of one picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.convolution(pixels)).mean(dim=(2, 3))
        return features, self.head(features)


def test_any_batch_gives_what_torch_gives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = Two().eval()
    onnx_runtime.export(network, torch.zeros(2, 3, 16, 16), tmp_path / "network.onnx")
    run = onnx_runtime.session(tmp_path / "network.onnx", threads=1)
    for count in (1, 2, 7):
        pixels = torch.randn(count, 3, 16, 16)
        with torch.inference_mode():
            wanted = [part.numpy() for part in network(pixels)]
        found = run(pixels.numpy())
        assert [part.shape for part in found] == [(count, 4), (count, 5)]
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_it_is_installed_here_and_not_where_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnx_runtime.is_installed()
    monkeypatch.setattr(onnx_runtime, "_PACKAGES", ("onnxruntime", "no_such_package"))
    assert not onnx_runtime.is_installed()
