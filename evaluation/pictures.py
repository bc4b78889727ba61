"""Small pictures of queries and products as data: addresses, for a report that is one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from triptych.domain import Modality
from triptych.errors import TriptychError
from triptych.services import Services

_SIDE: Final = 120
_QUALITY: Final = 70


class Pictures:
    """Makes small pictures, each file once. `media` is the catalogue's folder; without it products have none."""

    def __init__(self, services: Services, media: Path | None) -> None:
        self._services, self._media = services, None if media is None else media.resolve()
        self._made: dict[Path, str | None] = {}

    def of_product(self, source: Mapping[str, Any]) -> str | None:
        """The first picture of a product that is a file of the catalogue's folder."""
        if self._media is None:
            return None
        images = source.get("images")
        for image in images if isinstance(images, list) else [images]:
            reference = image.get("path") if isinstance(image, Mapping) else image
            path = _below(self._media, reference)
            if path is not None:
                return self.of_file(path)
        return None

    def of_file(self, path: Path) -> str | None:
        """A picture from a file, None where it cannot be decoded. Decoded in a child process."""
        if path not in self._made:
            try:
                self._made[path] = _small(self._services.decoder.decode(path.read_bytes(), Modality.IMAGE))
            except (OSError, TriptychError):
                self._made[path] = None
        return self._made[path]


def _below(folder: Path, reference: object) -> Path | None:
    """The file of a folder that is meant; None for an address, what is no path at all, or lies elsewhere."""
    if not isinstance(reference, str):
        return None
    try:
        path = (folder / reference).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError):  # too long, or a character that no name has
        return None


def _small(picture: object) -> str | None:
    """A JPEG of at most _SIDE a side, as a data: address."""
    if not isinstance(picture, Image.Image):
        return None
    copy = picture.convert("RGB")
    copy.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    copy.save(out, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
