"""Embed the parts of a batch in the spaces of one modality: from the cache, or decoded and embedded, each input once.

    parts -> owners by digest -> known to the cache? -> decode -> cut -> encoder -> cache -> Work.parts

In a space where the best part counts, a sound is cut into segments and each is embedded by itself.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np
from celery.exceptions import SoftTimeLimitExceeded

from indexer.work import Embedded, Part
from triptych.domain import Media, Modality, Vector, Waveform
from triptych.encoders.base import Encoder, Input, Preparing
from triptych.encoders.cache import digest_of
from triptych.errors import MediaError, TriptychError
from triptych.media.fetcher import BatchMedia
from triptych.media.sound import KEPT_SECONDS, WINDOWS
from triptych.schema import Space
from triptych.services import Services

log = logging.getLogger(__name__)

AT_ONCE = {Modality.TEXT: 32, Modality.IMAGE: 8, Modality.AUDIO: 8}
"""Inputs embedded at once, while the next are decoded; bounds a worker's memory whatever a record brings.

With 8 pictures the pipeline has .91 of the pace of the network alone; with a whole batch of 32 nothing overlaps and it has .86
(benchmarks/encoders.py).
"""

MOST_PARTS = 64
"""Parts of a product in a space; the later ones are left out."""

_LEAST_SECONDS = 1
"""A rest of a sound that is shorter joins the segment before."""


_computing = threading.Lock()
"""A worker's threads share the encoders, which know one at a time."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A space and the encoder that fills it."""

    space: Space
    encoder: Encoder

    @property
    def cuts(self) -> bool:
        """Whether its inputs are cut into segments."""
        return self.space.has_parts and self.space.document_modality is Modality.AUDIO

    def wanted(self, parts: Sequence[Part]) -> bool:
        """Whether one of these parts is of a product whose vector is not there already."""
        return any(self.space.name not in part.work.copied for part in parts)

    def key(self, digest: str) -> str:
        """What the cache knows an input by."""
        return digest_of(f"{digest} in segments of {self.space.segment_seconds:g} s") if self.cuts else digest

    def pieces(self, value: Input) -> list[tuple[float, Input]]:
        """What of an input is embedded by itself, and the second at which it begins."""
        if self.cuts and isinstance(value, Waveform):
            return list(segments(value, self.space.segment_seconds))
        return [(0.0, value)]

    def as_value(self, starts: Sequence[float], vectors: Sequence[Vector]) -> Vector:
        """The vectors of an input's pieces as one value of the cache: a row of the start and the vector for each segment."""
        if not self.cuts:
            return vectors[0]
        return np.concatenate(
            [np.asarray([start, *vector], dtype=np.float32) for start, vector in zip(starts, vectors, strict=True)]
        )

    def parts(self, value: Vector, reference: str | None) -> list[Embedded]:
        """The inverse of `as_value`, without the pieces in which the encoder found nothing (a vector of zeros)."""
        if not self.cuts:
            return [Embedded(value, reference)] if value.any() else []
        rows = value.reshape(-1, self.space.dims + 1)
        return [Embedded(row[1:], reference, None if math.isnan(row[0]) else float(row[0])) for row in rows if row[1:].any()]


def segments(sound: Waveform, seconds: float) -> Iterator[tuple[float, Waveform]]:
    """A sound in parts of `seconds`, with the second at which each begins (NaN where it is not known).

    Of a sound over KEPT_SECONDS the decoder keeps WINDOWS stretches, joined: none is cut across a joint, and only where the
    first lies in the whole sound is known.
    """
    window = int(KEPT_SECONDS / WINDOWS * sound.rate)
    joined = len(sound.samples) >= WINDOWS * window
    stretches = [sound.samples[n * window : (n + 1) * window] for n in range(WINDOWS)] if joined else [sound.samples]
    for number, samples in enumerate(stretches):
        for start, end in _bounds(len(samples), max(round(seconds * sound.rate), 1), _LEAST_SECONDS * sound.rate):
            yield math.nan if number else start / sound.rate, Waveform(samples[start:end], sound.rate)


def _bounds(total: int, length: int, least: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of `length`; a rest under `least` joins the one before."""
    starts = list(range(0, total, length)) or [0]
    if len(starts) > 1 and total - starts[-1] < least:
        starts.pop()
    yield from zip(starts, [*starts[1:], total], strict=True)


def embed(
    parts: Sequence[Part], modality: Modality, fillings: Sequence[Filling], media: BatchMedia, services: Services
) -> None:
    """Give each product its parts' vectors; an input that stands in several products, or was seen before, is embedded once."""
    owners: dict[str, list[Part]] = {}
    for part in parts:
        owners.setdefault(part.digest, []).append(part)
    known = {f.space.name: _known(f, list(owners), services) for f in fillings}
    unknown = {
        f.space.name: {d for d, mine in owners.items() if d not in known[f.space.name] and f.wanted(mine)} for f in fillings
    }
    fresh = {digest: mine for digest, mine in owners.items() if any(digest in some for some in unknown.values())}
    preparing = [f.encoder for f in fillings if unknown[f.space.name] and isinstance(f.encoder, Preparing) and not f.cuts]
    inputs = _decoded(fresh, modality, media, services, preparing)
    while chunk := dict(islice(inputs, AT_ONCE[modality])):
        for filling in fillings:
            missing = {digest: value for digest, value in chunk.items() if digest in unknown[filling.space.name]}
            values = _embed_all(filling, missing, owners)
            keyed = {filling.key(digest): value for digest, value in values.items()}
            services.cache.put(filling.encoder.spec.fingerprint, "d", keyed)
            known[filling.space.name].update(values)
    for part in parts:
        for filling in fillings:
            _give(part, filling, known[filling.space.name].get(part.digest))


def _known(filling: Filling, digests: Sequence[str], services: Services) -> dict[str, Vector]:
    """What the cache has of these inputs, by digest."""
    keys = {filling.key(digest): digest for digest in digests}
    found = services.cache.get(filling.encoder.spec.fingerprint, "d", list(keys))
    return {keys[key]: value for key, value in found.items()}


def _give(part: Part, filling: Filling, value: Vector | None) -> None:
    """Add what was made of a part to its product, unless that was copied; None: it was given up before."""
    if filling.space.name in part.work.copied:
        return
    if value is None:
        if part.away:
            part.work.lacking.add(filling.space.name)
        return
    mine = part.work.parts.setdefault(filling.space.name, [])
    found = filling.parts(value, part.reference)
    mine += found[: MOST_PARTS - len(mine)]
    if not found:
        error = TriptychError("The encoder found nothing in it (a vector of zeros).", code="encoder.no_vector")
        part.give_up(error, "embed", filling.encoder.spec.document_modality)


def _decoded(
    owners: Mapping[str, list[Part]],
    modality: Modality,
    media: BatchMedia,
    services: Services,
    preparing: Sequence[Preparing] = (),
) -> Iterator[tuple[str, Input]]:
    """Digest and input, in order, decoded ahead of whoever takes them and prepared for the encoders that can; what does not
    decode is given up and left out.
    """
    if modality is Modality.TEXT:
        yield from ((digest, str(mine[0].what)) for digest, mine in owners.items())
        return
    sent: deque[str] = deque()

    def feed() -> Iterator[tuple[bytes, Modality]]:
        for digest, mine in owners.items():
            data = next((data for part in mine if (data := _same_bytes(part, media)) is not None), None)
            if data is not None:
                sent.append(digest)
                yield data, modality

    def prepare(value: Input) -> None:
        for encoder in preparing:
            with suppress(Exception):  # embedding does it then, and tells of it
                encoder.prepare(value)

    for result in services.decoder.decode_all(feed(), then=prepare):
        digest = sent.popleft()
        if isinstance(result, MediaError):
            for part in owners[digest]:
                part.give_up(result, "decode", modality)
        else:
            yield digest, result


def _same_bytes(part: Part, media: BatchMedia) -> bytes | None:
    """The bytes that were hashed, had again; None if they are gone or others by now; then the part is given up."""
    if not isinstance(part.what, Media) or part.away:
        return None
    try:
        data = media.data(part.what)
    except MediaError as error:
        part.give_up(error, "decode", part.what.modality)
        return None
    if digest_of(data) == part.digest:
        return data
    changed = MediaError(f"{part.what.name!r} was changed while it was read.", code="media.changed")
    part.give_up(changed, "decode", part.what.modality)
    return None


def _embed_all(filling: Filling, inputs: Mapping[str, Input], owners: Mapping[str, list[Part]]) -> dict[str, Vector]:
    """What the cache keeps of each input, by digest; an input that does not embed is given up."""
    cut = {digest: filling.pieces(value) for digest, value in inputs.items()}
    flat = iter([piece for pieces in cut.values() for _, piece in pieces])
    vectors: list[Vector | str] = []
    while some := list(islice(flat, max(AT_ONCE.values()))):
        vectors += _embed_some(filling.encoder, some)
    values: dict[str, Vector] = {}
    made = iter(vectors)
    for digest, pieces in cut.items():
        mine = list(islice(made, len(pieces)))
        why = next((vector for vector in mine if isinstance(vector, str)), None)
        if why is None:
            values[digest] = filling.as_value([start for start, _ in pieces], [v for v in mine if not isinstance(v, str)])
        else:
            _failed(filling.encoder, owners[digest], why)
    return values


def _embed_some(encoder: Encoder, inputs: Sequence[Input]) -> list[Vector | str]:
    """The vector of each input, or why it has none; one bad input must not take its neighbours along."""
    try:
        vectors = _alone(encoder, inputs)
    except (TriptychError, SoftTimeLimitExceeded):
        raise
    except Exception:
        log.warning(
            "a batch of %d did not embed in space %s; trying one by one", len(inputs), encoder.spec.space, exc_info=True
        )
        vectors = [_embed_one(encoder, value) for value in inputs]
    return [_checked(vector) for vector in vectors]


def _alone(encoder: Encoder, inputs: Sequence[Input]) -> list[Vector | str]:
    with _computing:
        return list(encoder.embed_documents(inputs))


def _embed_one(encoder: Encoder, value: Input) -> Vector | str:
    try:
        vector = _alone(encoder, [value])[0]
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001  a stranger's input broke the encoder: it becomes a dead letter with the reason
        return str(error)
    return vector


def _checked(vector: Vector | str) -> Vector | str:
    return vector if isinstance(vector, str) or np.isfinite(vector).all() else "it gave a vector with numbers that are none"


def _failed(encoder: Encoder, owners: Sequence[Part], why: str) -> None:
    for part in owners:
        error = TriptychError(f"The encoder {encoder.spec.name} failed: {why}.", code="encoder.failed")
        part.give_up(error, "embed", encoder.spec.document_modality)
