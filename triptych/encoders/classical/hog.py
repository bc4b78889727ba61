"""Histograms of oriented gradients: pictures by their outlines (Dalal and Triggs 2005).

    picture -> the object on a white square, grey -> gradients -> 9 directions in cells of 8 x 8 pixels
            -> blocks of 2 x 2 cells of bounded length -> dims

Own arithmetic, because OpenCV 5 has its HOGDescriptor no more in the main modules, and it is short. Directions are unsigned,
so an object brighter than its ground is like one darker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical.families import HogOptions, HogPcaOptions
from triptych.encoders.classical.fitting import (
    FeatureEncoder,
    Rows,
    Standard,
    directions,
    nothing_to_fit,
    require_fitted,
    reservoir,
)
from triptych.encoders.classical.pictures import square
from triptych.encoders.inputs import pictures

_CELL, _BLOCK, _ORIENTATIONS = 8, 2, 9  # of the paper
_MOST = 0.2  # likewise: no direction of a block may count more (L2-Hys)
_SHARE = 0.875  # of the square for the object, so that its outline is within
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255  # ITU-R BT.601
_FLAT = 0.01  # of a full step from black to white: less is the noise of a scaled flat picture


def hog(grey: npt.NDArray[np.float32]) -> Rows:
    """The descriptor of grey values in [0, 1], (side, side): ((side / 8 - 1)^2 * 36,), float32; zeros for a uniform one."""
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    strength[strength < _FLAT] = 0.0
    position = (np.arctan2(down, across) % np.pi) / np.pi * _ORIENTATIONS
    lower = np.floor(position).astype(int)
    upper_share = position - lower
    cells = len(grey) // _CELL
    votes = np.zeros((len(grey), len(grey), _ORIENTATIONS), dtype=np.float32)
    rows, columns = np.indices(grey.shape)
    # Each pixel votes for the two directions it lies between; the two are never the same, so plain addition serves.
    votes[rows, columns, lower % _ORIENTATIONS] += strength * (1 - upper_share)
    votes[rows, columns, (lower + 1) % _ORIENTATIONS] += strength * upper_share
    table = votes.reshape(cells, _CELL, cells, _CELL, _ORIENTATIONS).sum(axis=(1, 3))
    blocks = sliding_window_view(table, (_BLOCK, _BLOCK), axis=(0, 1)).reshape(-1, _ORIENTATIONS * _BLOCK**2)
    return np.asarray(_bounded(blocks).ravel(), dtype=np.float32)


def _bounded(blocks: Rows) -> Rows:
    """Of length 1, no value above 0.2, of length 1 again; `1e-2` keeps faint blocks faint."""
    once = blocks / np.sqrt((blocks**2).sum(axis=1, keepdims=True) + 1e-2)
    cut = np.minimum(once, _MOST)
    return np.asarray(cut / np.sqrt((cut**2).sum(axis=1, keepdims=True) + 1e-2), dtype=np.float32)


def describe(images: Sequence[Image.Image], side: int) -> Rows:
    """The descriptors of n pictures, (n, values)."""
    return np.stack([hog(_grey(image, side)) for image in images])


def _grey(image: Image.Image, side: int) -> Rows:
    return np.asarray(square(image, side, share=_SHARE) @ _GREY, dtype=np.float32)


def encoder(setup: Setup) -> Encoder:
    """Nothing is fitted; descriptors longer than dims are projected."""
    options: HogOptions = setup.options
    return FeatureEncoder(setup.spec, lambda inputs: describe(pictures(inputs), options.side))


def fit_pca(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """The mean and the principal components of the catalogue's descriptors. Raises EncoderError `encoder.nothing_to_fit`."""
    options: HogPcaOptions = setup.options

    def keep(item: Input) -> Rows | None:
        row = describe(pictures([item]), options.side)[0]
        return row if row.any() else None

    sample = reservoir(inputs, keep, size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "pictures")
    rows = np.stack(sample)
    mean = Standard.of(rows).mean
    return Fitted({"mean": mean, "directions": directions(rows - mean, setup.spec.dims, options.seed)})


def pca_encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: HogPcaOptions = setup.options
    fitted = require_fitted(setup)
    mean, across = fitted.tensors["mean"], fitted.tensors["directions"].T

    def principal(inputs: Sequence[Input]) -> Rows:
        rows = describe(pictures(inputs), options.side)
        seen = rows.any(axis=1, keepdims=True)
        return np.asarray(np.where(seen, (rows - mean) @ across, 0.0), dtype=np.float32)

    return FeatureEncoder(setup.spec, principal)
