"""Pictures as bags of visual words: SIFT descriptors, counted by the catalogue's own clusters of them.

    picture -> grey -> points described by SIFT -> RootSIFT -> nearest of `dims` visual words -> root of counts, by rarity

Lowe 2004 for SIFT, Sivic and Zisserman 2003, "Video Google", for the words, Arandjelovic and Zisserman 2012 for RootSIFT,
Jégou et al. 2009 for the root against bursts. OpenCV finds and describes the points, scikit-learn clusters them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.cluster import MiniBatchKMeans  # type: ignore[import-untyped]
from sklearn.metrics import pairwise_distances_argmin  # type: ignore[import-untyped]

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical.families import SiftOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows, nothing_to_fit, require_fitted, reservoir
from triptych.encoders.classical.pictures import square
from triptych.encoders.inputs import pictures
from triptych.errors import EncoderError

_VALUES = 128  # of a SIFT descriptor
_SHARE = 0.9  # of the square for the object, so that its outline is within
_MOST = 200_000  # descriptors clustered: 100 MB
_DIMS_PER_BATCH = 4  # scikit-learn's advice: a batch of several times the clusters

Descriptors = npt.NDArray[np.uint8]


def opencv() -> Any:
    """The module cv2. Raises EncoderError `encoder.package_missing`."""
    try:
        import cv2  # noqa: PLC0415  (of the extra `classical`)
    except ImportError as error:
        raise EncoderError(
            "The package opencv-python-headless is not installed.",
            code="encoder.package_missing",
            remedy='Run: pip install "triptych[classical]"',
        ) from error
    return cv2


def described(image: Image.Image, options: SiftOptions) -> Descriptors:
    """The picture's SIFT descriptors, (points, 128); none for a picture without detail."""
    cv2 = opencv()
    grey = np.asarray(Image.fromarray(square(image, options.side, share=_SHARE)).convert("L"))
    _, found = cv2.SIFT_create(nfeatures=options.points).detectAndCompute(grey, None)
    if found is None:
        return np.empty((0, _VALUES), dtype=np.uint8)
    return np.asarray(found, dtype=np.uint8)  # OpenCV gives whole numbers of 0 to 255 as floats


def rooted(found: Descriptors) -> Rows:
    """RootSIFT: each descriptor's shares, their roots: (points, 128), each of length 1."""
    rows = found.astype(np.float32)
    return np.asarray(np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1.0)), dtype=np.float32)


def fit(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """The visual words, (at most dims, 128), and their idf. Raises EncoderError `encoder.nothing_to_fit`."""
    options: SiftOptions = setup.options

    def keep(item: Input) -> Descriptors | None:
        found = described(pictures([item])[0], options)
        return found if len(found) else None

    sample = reservoir(inputs, keep, size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "pictures with detail")
    every = np.concatenate(sample)
    some = every[:: -(-len(every) // _MOST)]
    centres = cluster(rooted(some), setup.spec.dims, options.seed)
    has = np.stack([counted(rooted(found), centres) > 0 for found in sample]).sum(axis=0)
    idf = np.log((1 + len(sample)) / (1 + has)) + 1
    return Fitted({"centres": centres, "idf": idf.astype(np.float32)})


def cluster(rows: Rows, most: int, seed: int) -> Rows:
    """At most `most` centres of rows (n, values): the rows themselves where they are no more than that."""
    different = np.unique(rows, axis=0)
    if len(different) <= most:
        return different
    batch = max(1024, _DIMS_PER_BATCH * most)
    found = MiniBatchKMeans(most, batch_size=batch, n_init=1, max_iter=30, random_state=seed).fit(rows)
    return np.asarray(found.cluster_centers_, dtype=np.float32)


def counted(found: Rows, centres: Rows) -> Rows:
    """How many descriptors are nearest to each centre, (centres,)."""
    if not len(found):
        return np.zeros(len(centres), dtype=np.float32)
    return np.bincount(pairwise_distances_argmin(found, centres), minlength=len(centres)).astype(np.float32)


def encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted` and, on first use, `encoder.package_missing`."""
    options: SiftOptions = setup.options
    fitted = require_fitted(setup)
    centres, idf = fitted.tensors["centres"], fitted.tensors["idf"]

    def describe(inputs: Sequence[Input]) -> Rows:
        counts = np.stack([counted(rooted(described(image, options)), centres) for image in pictures(inputs)])
        return np.asarray(np.sqrt(counts) * idf, dtype=np.float32)

    return FeatureEncoder(setup.spec, describe)
