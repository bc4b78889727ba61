"""Pictures as the classical features want them: the object without its white background, on a white square."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

Pixels = npt.NDArray[np.uint8]

_WHITE = (255, 255, 255)
_NEARLY_WHITE = 245  # of 255, in every channel: JPEG's noise around an object on white
_LOOKED_AT = 256  # pixels a side at which the background is looked for and colours are counted


def reduced(image: Image.Image, side: int = _LOOKED_AT) -> Image.Image:
    """RGB, at most `side` pixels a side; never enlarged."""
    small = image.convert("RGB")
    if max(small.size) > side:
        small.thumbnail((side, side))
    return small


def object_of(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Where the object is, (height, width): everything but the near-white that reaches the border.

    A white part inside an object stays; a picture that is white all over has no object.
    """
    regions, _ = ndimage.label((pixels >= _NEARLY_WHITE).all(axis=2))
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    background = np.unique(border[border > 0])
    return np.asarray(~np.isin(regions, background), dtype=np.bool_)


def square(image: Image.Image, side: int, *, share: float = 1.0) -> Pixels:
    """The object, its background trimmed, scaled to `share` of a white square and centred: (side, side, 3).

    A picture that is white all over is a white square.
    """
    small = reduced(image, max(_LOOKED_AT, side))
    seen = object_of(np.asarray(small))
    if seen.any():
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        small = small.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    scale = side * share / max(small.size)
    width, height = (max(1, round(length * scale)) for length in small.size)
    canvas = Image.new("RGB", (side, side), _WHITE)
    scaled = small.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    canvas.paste(scaled, ((side - width) // 2, (side - height) // 2))
    return np.asarray(canvas)
