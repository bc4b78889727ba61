"""A small convolutional network over pictures, trained on the catalogue by contrasting changed copies (SimCLR).

    picture -> the object on a white square -> 4 convolutions, each at half the size of the last -> mean -> dims

The copies differ in what should not matter: place, size, slant, mirroring, light, tint; Chen et al. 2020, arXiv:2002.05709.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical import contrast
from triptych.encoders.classical.families import ImageCnnOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows, nothing_to_fit, require_fitted, reservoir
from triptych.encoders.classical.pictures import Pixels, square
from triptych.encoders.inputs import pictures

_CHANNELS = (16, 32, 64, 128)
_SHARE = 0.9
_BATCH = 64


class ImageCnn(nn.Module):
    """Ink, (n, 3, side, side), to (n, dims)."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *_CHANNELS), _CHANNELS, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(2 * _CHANNELS[-1], dims)

    def forward(self, ink: Tensor) -> Tensor:
        maps = self.layers(ink)
        found: Tensor = self.out(torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1))
        return found


def ink_of(pixels: Tensor) -> Tensor:
    """Pixels (n, side, side, 3) of 0 to 255 as (n, 3, side, side) of 0, which is white, to 1: so that edges fade to white."""
    return 1 - pixels.permute(0, 3, 1, 2).float() / 255


def _copy(ink: Tensor) -> Tensor:
    """Each picture moved, scaled, turned, mirrored and re-lit on its own."""
    count = len(ink)
    angle = _between(count, -0.35, 0.35)  # radians, 20 degrees
    scale = _between(count, 0.6, 1.25)  # of the part seen: below 1 a crop
    stretch = _between(count, 0.85, 1.18)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = _between(2 * count, -0.2, 0.2).reshape(count, 2)
    rows = [
        torch.stack([cosine * mirror, -sine * stretch, shift[:, 0]], dim=1),
        torch.stack([sine * mirror, cosine * stretch, shift[:, 1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(ink.shape), align_corners=False)
    moved = functional.grid_sample(ink, grid, align_corners=False)
    tint = torch.exp(math.log(1.3) * (2 * torch.rand(count, 3, 1, 1) - 1)) * _between(count, 0.7, 1.3).reshape(-1, 1, 1, 1)
    grey = moved.mean(dim=1, keepdim=True).expand_as(moved)
    colourless = torch.rand(count, 1, 1, 1) < 0.2  # noqa: PLR2004  (SimCLR's share)
    noise = 0.03 * torch.randn(moved.shape)
    return (torch.where(colourless, grey, moved) * tint).clamp(0, 1) + noise


def _between(count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count)


def fit(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """The weights. Raises EncoderError `encoder.nothing_to_fit`."""
    options: ImageCnnOptions = setup.options

    def keep(item: Input) -> Pixels:
        return square(pictures([item])[0], options.side, share=_SHARE)

    sample = reservoir(inputs, keep, size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "pictures")
    pixels = torch.from_numpy(np.stack(sample))

    def copies(batch: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
        ink = ink_of(pixels[batch])
        return (_copy(ink),), (_copy(ink),)

    with contrast.seeded(options.seed):
        network = ImageCnn(setup.spec.dims)
        done = contrast.train(network, copies, count=len(pixels), width=setup.spec.dims, options=options)
    return contrast.fitted_of(network, done)


def encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: ImageCnnOptions = setup.options
    network, device = contrast.restored(ImageCnn(setup.spec.dims), require_fitted(setup), setup)

    @torch.inference_mode()
    def forward(pixels: Sequence[Pixels]) -> Rows:
        ink = ink_of(torch.from_numpy(np.stack(pixels)).to(device))
        seen = ink.amax(dim=(1, 2, 3)) > ink.amin(dim=(1, 2, 3))  # a uniform picture shows nothing
        return np.asarray((network(ink) * seen[:, None]).cpu().numpy(), dtype=np.float32)

    def describe(inputs: Sequence[Input]) -> Rows:
        pixels = [square(image, options.side, share=_SHARE) for image in pictures(inputs)]
        return np.concatenate([forward(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)])

    return FeatureEncoder(setup.spec, describe)
