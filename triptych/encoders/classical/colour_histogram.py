"""Pictures by colour: how much of the object is of which colour (Swain and Ballard 1991, "Color indexing").

    picture -> the object's pixels -> hue, saturation, value -> joint histogram, greys apart, by shares -> square root

The root of shares makes the cosine the Bhattacharyya coefficient, so one large area does not decide alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from triptych.encoders.base import Encoder, Input, Setup
from triptych.encoders.classical.families import ColourOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows
from triptych.encoders.classical.pictures import object_of, reduced
from triptych.encoders.inputs import pictures

_COLOURLESS, _COLOURED = 0.10, 0.25
"""Chroma up to which a pixel is grey, and from which it is coloured; between, it is partly both."""

Values = npt.NDArray[np.float64]


def histogram(image: Image.Image, options: ColourOptions) -> Rows:
    """Of one picture: (hues * saturations * values + greys,), its squares sum to 1; zeros for one that is white all over.

    Between the middles of two bins a pixel counts for both by its distance, so a slight change of colour is a slight change
    of the vector.
    """
    small = reduced(image)
    seen = object_of(np.asarray(small))
    hsv = np.asarray(small.convert("HSV"), dtype=np.float64)[seen] / 255
    coloured_bins = options.hues * options.saturations * options.values
    if not len(hsv):
        return np.zeros(coloured_bins + options.greys, dtype=np.float32)
    hue, saturation, value = hsv.T
    # The saturation of a dark pixel is noise; its chroma, saturation times value, is what an eye sees.
    colour = np.clip((saturation * value - _COLOURLESS) / (_COLOURED - _COLOURLESS), 0.0, 1.0)
    counts = np.zeros((options.hues, options.saturations, options.values))
    for h, of_h in _around(hue, options.hues):
        for s, of_s in _between(saturation, options.saturations):
            for v, of_v in _between(value, options.values):
                np.add.at(counts, (h, s, v), colour * of_h * of_s * of_v)
    greys = np.zeros(options.greys)
    for v, of_v in _between(value, options.greys):
        np.add.at(greys, v, (1 - colour) * of_v)
    return np.sqrt(np.concatenate([counts.ravel(), greys]) / len(hsv)).astype(np.float32)


def _between(values: Values, bins: int) -> list[tuple[npt.NDArray[np.int64], Values]]:
    """The two bins whose middles each value of [0, 1] lies between, with their shares; at the ends, the end's bin twice."""
    position = np.clip(values * bins - 0.5, 0, bins - 1)
    lower = np.floor(position).astype(np.int64)
    share = position - lower
    return [(lower, 1 - share), (np.minimum(lower + 1, bins - 1), share)]


def _around(values: Values, bins: int) -> list[tuple[npt.NDArray[np.int64], Values]]:
    """As `_between`, for a circle whose first bin has its middle at 0 (red)."""
    position = values * bins
    lower = np.floor(position).astype(np.int64)
    share = position - lower
    return [(lower % bins, 1 - share), ((lower + 1) % bins, share)]


def encoder(setup: Setup) -> Encoder:
    """Nothing is fitted; a histogram longer than dims is projected."""
    options: ColourOptions = setup.options

    def describe(inputs: Sequence[Input]) -> Rows:
        return np.stack([histogram(image, options) for image in pictures(inputs)])

    return FeatureEncoder(setup.spec, describe)
