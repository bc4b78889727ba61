"""What the encoders of pictures share: fitting a product picture into a network's square, the ImageNet classes. No torch."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from triptych.domain import Vectors
from triptych.encoders.sources import check, sha256_of_text

IMAGENET_CLASSES_SHA256 = "571ae1c583b4be7da87519494c52bf405a46af05d5815627c7a0dee997068b60"
"""Of the 1000 names in imagenet_classes.txt joined by line feeds."""

BORDER = 224 / 256
"""The border that ImageNet's own evaluation crops off, given back to trimmed product pictures."""

_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a classifier makes of n pictures: `features` (n, width) before its last layer, `logits` (n, classes) after it."""

    features: Vectors
    logits: Vectors


_Last = tuple[list[weakref.ref[Image.Image]], Seen]


class Remembered:
    """What a network made of the last pictures it was shown: two spaces of one network ask for the very same pictures in turn.

    Each thread has a memory of its own: other threads ask between the two. The pictures are held weakly, so none is kept
    alive. A picture changed in place between two calls is not noticed.
    """

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def look(self, images: Sequence[Image.Image], forward: Callable[[Sequence[Image.Image]], Seen], *, size: int) -> Seen:
        """What was made of at least one picture, `forward` asked for `size` at once unless these are the last call's."""
        last: _Last | None = getattr(self._of_thread, "last", None)
        if last is not None and len(last[0]) == len(images) and all(a() is b for a, b in zip(last[0], images, strict=True)):
            return last[1]
        parts = [forward(images[start : start + size]) for start in range(0, len(images), size)]
        seen = Seen(np.concatenate([p.features for p in parts]), np.concatenate([p.logits for p in parts]))
        self._of_thread.last = ([weakref.ref(image) for image in images], seen)
        return seen


class Classifier(Protocol):
    """An encoder of pictures whose classes have names."""

    def look(self, images: Sequence[Image.Image]) -> Seen: ...

    def class_names(self) -> list[str]: ...


def letterbox(image: Image.Image, *, side: int = 224, border: float = BORDER) -> npt.NDArray[np.uint8]:
    """The whole picture, scaled to `border` of `side` and centred on white: (side, side, 3).

    Product pictures are objects on white, often trimmed to their edges: a centre crop cuts off the ends of long ones, and an
    object that touches the border is unlike the pictures the network was trained on (demo shop, hit@1 of 17 picture queries:
    crop .65, letterbox without border .71, with it .82).
    """
    scale = side * border / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    upright = image if image.mode == "RGB" else image.convert("RGB")
    small = upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    canvas = Image.new("RGB", (side, side), _WHITE)
    canvas.paste(small, ((side - width) // 2, (side - height) // 2))
    return np.asarray(canvas)


class Letterboxes:
    """Pictures letterboxed into a square of `side`: when they are asked for, or before that in another thread.

    What was made before is kept until it is asked for, or its picture is gone.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._made: dict[int, tuple[weakref.ref[Image.Image], npt.NDArray[np.uint8]]] = {}

    def prepare(self, image: Image.Image) -> None:
        """Make a picture's before it is asked for. For any thread."""
        key = id(image)
        if key not in self._made:
            gone = weakref.ref(image, lambda _: self._made.pop(key, None))
            self._made[key] = (gone, letterbox(image, side=self._side))

    def of(self, images: Sequence[Image.Image]) -> npt.NDArray[np.uint8]:
        """All of them: (n, side, side, 3)."""
        made = [self._made.pop(id(image), None) for image in images]
        return np.stack([letterbox(i, side=self._side) if m is None else m[1] for i, m in zip(images, made, strict=True)])


def imagenet_names() -> list[str]:
    """The 1000 ImageNet class names in the order of the logits. Raises EncoderError `encoder.checksum` for a changed list."""
    lines = resources.files("triptych.encoders").joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if not line.startswith("#")]
    check(sha256_of_text("\n".join(names)), IMAGENET_CLASSES_SHA256, what="the list of ImageNet classes")
    return names
