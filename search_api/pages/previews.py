"""Pictures and sounds of products, made small for pages: never the file itself.

    index, id, modality, number -> the product's stored reference -> its bytes, through the fetcher with all its guards
        -> decoded in a child process -> a JPEG of at most SIDE pixels, or a WAV of at most SECONDS

Only what a product of that index names can be had. What was made is kept, up to KEPT_BYTES.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import wave
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from search_api.asking import product_of
from search_api.pages.about import paths_of, references
from search_api.searcher import Searcher
from triptych.domain import Media, Modality, Waveform
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, NotFoundError, TriptychError
from triptych.media.data_uri import is_data_uri
from triptych.services import Services

SIDE: Final = 320
QUALITY: Final = 82
SECONDS: Final = 10.0
MOST_RATE: Final = 24_000
"""Samples a second of a sound: what is above is halved, or parted by three, until it is not."""

KEPT_BYTES: Final = 64_000_000
AT_ONCE: Final = 3
"""Previews made at once, so that slow hosts leave the server's threads to queries."""
WAIT_SECONDS: Final = 5.0
_MOST_ROOTS: Final = 1000
_FORM: Final = 2
"""Raise it when previews are made in another way: browsers ask for them anew."""


@dataclass(frozen=True, slots=True)
class Source:
    """A medium of a product: where it is, the folder it is relative to, and a mark that changes when its content does."""

    media: Media
    root: Path
    mark: str


class Previews:
    """Makes and keeps previews. Share one between threads."""

    def __init__(self, services: Services, searcher: Searcher) -> None:
        self._services, self._searcher = services, searcher
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._touching = threading.Lock()
        self._making = threading.BoundedSemaphore(AT_ONCE)
        self._roots: dict[str, Path] = {}

    def find(self, index: str, product: str, modality: Modality, *, number: int = 0, name: str | None = None) -> Source:
        """The `number`-th medium of a product, or the one whose reference is told as `name` in answers and dead letters.

        Raises NotFoundError where there is no such product, or no such medium of it.
        """
        info = self._searcher.info(index)
        schema = info.schema
        _, images, audio = paths_of(schema)
        paths = images if modality is Modality.IMAGE else audio
        own = schema.object_field
        stored = product_of(
            self._services.elasticsearch, info, product, includes=[*paths, f"{own}.job", f"{own}.hash", schema.key_field]
        )
        if stored is None:
            raise NotFoundError(f"There is no product {product!r} in {index!r}.", code="product.not_found", field="id")
        media = [Media(modality, reference) for reference in references(stored, paths)]
        found = next((m for n, m in enumerate(media) if (n == number if name is None else m.name == name)), None)
        if found is None:
            raise NotFoundError(f"The product {product!r} has no such {modality}.", code="product.no_medium", field="n")
        mine = stored.get(own, {})
        mark = json.dumps([_FORM, info.version, mine.get("hash"), modality, found.reference])
        return Source(found, self._root(info, found, mine), hashlib.sha256(mark.encode()).hexdigest()[:32])

    def make(self, source: Source) -> bytes:
        """The preview of a medium, JPEG or WAV; of a picture that breaks off what there is of it.

        Raises MediaError, or TriptychError `preview.busy` where too many are made.
        """
        with self._touching:
            if source.mark in self._kept:
                self._kept.move_to_end(source.mark)
                return self._kept[source.mark]
        with self._slot(), self._services.fetcher.batch(source.root) as batch:
            decoded = self._services.decoder.decode(batch.data(source.media), source.media.modality, lenient=True)
        made = wav(decoded) if isinstance(decoded, Waveform) else jpeg(decoded)
        with self._touching:
            if source.mark not in self._kept:
                self._kept[source.mark] = made
                self._size += len(made)
            while self._size > KEPT_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._making.acquire(timeout=WAIT_SECONDS):
            raise TriptychError(
                "Too many previews are being made.", code="preview.busy", retryable=True, remedy="Ask again in a moment."
            )
        try:
            yield
        finally:
            self._making.release()

    def _root(self, info: IndexInfo, media: Media, own: Mapping[str, Any]) -> Path:
        """The folder that a file's reference is relative to: the setting's, else that of the job that wrote the product."""
        given = self._services.settings.media_root
        if self._services.fetcher.source(media) is not None or is_data_uri(media.reference):
            return Path(os.devnull)  # it needs none
        if given is not None:
            return given
        if info.schema.attachment is not None:
            return Path(info.schema.attachment.root or os.devnull)
        job = str(own.get("job"))
        if job not in self._roots:
            if len(self._roots) >= _MOST_ROOTS:
                self._roots.clear()
            try:
                self._roots[job] = Path(self._services.jobs.get(job).root)
            except (NotFoundError, ElasticsearchError) as error:  # deleted from the ledger, or not ours to read
                if error.retryable:
                    raise
                raise _no_root() from error
        if self._roots[job] == Path(os.devnull):  # its catalogue was sent over HTTP, or lies in no folder
            raise _no_root()
        return self._roots[job]


def _no_root() -> NotFoundError:
    return NotFoundError(
        "It is not known which folder the product's files are relative to.",
        code="product.no_root",
        field="id",
        remedy="Set TRIPTYCH_MEDIA_ROOT to the catalogue's folder.",
    )


def jpeg(picture: Image.Image) -> bytes:
    """An RGB picture as JPEG of at most SIDE pixels a side."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def wav(sound: Waveform) -> bytes:
    """A sound as mono WAV of 16 bits, cut to SECONDS, of at most MOST_RATE samples a second."""
    samples = sound.samples[: int(SECONDS * sound.rate)]
    step = -(-sound.rate // MOST_RATE)
    if step > 1:
        samples = resample_poly(samples, 1, step)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(round(sound.rate / step))
        file.writeframes((np.clip(samples, -1, 1) * (2**15 - 1)).astype("<i2").tobytes())
    return out.getvalue()
