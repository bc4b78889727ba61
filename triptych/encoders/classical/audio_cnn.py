"""A small convolutional network over log-mel bands, trained on the catalogue by contrasting changed copies.

    sound -> mel power -> decibels -> 4 convolutions -> mean and strongest over time -> dims

The copies differ in what should not matter: which part of the sound, how loud, how filtered, how noisy; after COLA, Saeed et
al. 2021, arXiv:2010.10915, and SimCLR, Chen et al. 2020, arXiv:2002.05709.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical import contrast
from triptych.encoders.classical.families import AudioCnnOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows, nothing_to_fit, require_fitted, reservoir
from triptych.encoders.classical.mel import audible, mel_power
from triptych.encoders.inputs import sounds

_BANDS = 64
_FRAMES = 86  # 2 s of 22 050 Hz: what the network is shown of a sound in training
_KEPT = 4 * _FRAMES  # of a sound's beginning, for training
_CHANNELS = (16, 32, 64, 128)
_RANGE_DB = 60.0

Power = npt.NDArray[np.float32]


class AudioCnn(nn.Module):
    """Bands in decibels scaled to 0 to 1, (n, 1, 64, frames), to (n, dims); any number of frames."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)
        places = _BANDS // 2 ** len(_CHANNELS)
        self.out = nn.Linear(2 * _CHANNELS[-1] * places, dims)

    def forward(self, bands: Tensor) -> Tensor:
        # Where in time does not matter, where in frequency does.
        maps = self.layers(bands).flatten(1, 2)
        found: Tensor = self.out(torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1))
        return found


def scaled(power: Tensor) -> Tensor:
    """Mel power (n, 64, frames) as decibels below each sound's loudest, 60 dB of them as 0 to 1: (n, 1, 64, frames)."""
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    level = 10 * torch.log10((power / loudest).clamp(min=10 ** (-_RANGE_DB / 10)))
    return (1 + level / _RANGE_DB).unsqueeze(1)


def _copy(power: Tensor) -> Tensor:
    """Part of each sound, filtered, with noise: (n, 64, frames) to (n, 1, 64, 86)."""
    count, bands, frames = power.shape
    starts = (torch.rand(count) * (frames - _FRAMES + 1)).long()
    part = power[torch.arange(count)[:, None], :, starts[:, None] + torch.arange(_FRAMES)].transpose(1, 2)
    slope = torch.linspace(-1, 1, bands)
    tilt = 10 ** (0.6 * (2 * torch.rand(count, 1, 1) - 1) * slope[:, None])  # up to 6 dB up or down at the ends
    colour = 10 ** (-2.0 * torch.rand(count, 1, 1) * (slope[:, None] + 1))  # white to darker than pink
    random = -torch.log(torch.rand(part.shape).clamp(min=1e-6))  # the power of a noise's band is exponential
    noise = colour * random
    ratio = 10 ** -(0.5 + 3.5 * torch.rand(count, 1, 1))  # 5 to 40 dB below the sound
    gain = part.mean(dim=(1, 2), keepdim=True) / noise.mean(dim=(1, 2), keepdim=True)
    return scaled(part * tilt + ratio * gain * noise)


def _kept(item: Input, rate: int) -> Power | None:
    """The mel power of a sound's beginning, repeated to fill: (64, 344), with a peak of 1; None for silence."""
    found = audible(sounds([item])[0], rate)
    if found is None:
        return None
    power = mel_power(found, rate, _BANDS)[:, :_KEPT]
    times = math.ceil(_KEPT / power.shape[1])
    return np.asarray(np.tile(power, (1, times))[:, :_KEPT] / power.max(), dtype=np.float32)


def fit(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """The weights. Raises EncoderError `encoder.nothing_to_fit`."""
    options: AudioCnnOptions = setup.options
    sample = reservoir(inputs, lambda item: _kept(item, options.rate), size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "sounds")
    power = torch.from_numpy(np.stack(sample))

    def copies(batch: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
        return (_copy(power[batch]),), (_copy(power[batch]),)

    with contrast.seeded(options.seed):
        network = AudioCnn(setup.spec.dims)
        done = contrast.train(network, copies, count=len(power), width=setup.spec.dims, options=options)
    return contrast.fitted_of(network, done)


def encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: AudioCnnOptions = setup.options
    network, device = contrast.restored(AudioCnn(setup.spec.dims), require_fitted(setup), setup)

    @torch.inference_mode()
    def describe(inputs: Sequence[Input]) -> Rows:
        rows = np.zeros((len(inputs), setup.spec.dims), dtype=np.float32)
        for row, sound in zip(rows, sounds(inputs), strict=True):
            found = audible(sound, options.rate)
            if found is not None:
                power = torch.from_numpy(mel_power(found, options.rate, _BANDS)).unsqueeze(0)
                row[:] = network(scaled(power.to(device)))[0].cpu().numpy()
        return rows

    return FeatureEncoder(setup.spec, describe)
