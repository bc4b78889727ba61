"""One product on its way through the flow, and the parts of it that are embedded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triptych.domain import DeadLetter, Media, Modality, Outcome, Product, Vector
from triptych.encoders.cache import digest_of
from triptych.errors import TriptychError
from triptych.schema import IndexSchema, Space

SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """Where a batch goes: the index version and what it says of itself, the folder the media lie in, and the job that asks.

    `older` and `newer` say what other jobs the index has (`tombstones.Beside`), `first` that it is expected to have none of the
    batch's products, `others` are the other versions of the index whose late jobs write here, and `aliases` the names by which
    dead letters know the index. `begun` are the lines whose products an earlier attempt at the batch was about to delete;
    `begin` writes down those that this one is about to delete, and says whether the batch is this worker's still.
    """

    index: str
    schema: IndexSchema
    root: Path
    job: str
    older: str = ""
    newer: bool = False
    first: bool = False
    others: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    begun: frozenset[int] = frozenset()
    begin: Callable[[Collection[int]], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector of one part of a product: its words, a whole medium, or the segment of a sound that begins at `start` s.

    `start` is None for what is no segment, and for a segment of which it is not known.
    """

    vector: Vector
    reference: str | None = None
    start: float | None = None


@dataclass(slots=True)
class Work:
    """One product on its way through the flow.

    `errors` are its dead letters so far, one per part given up. `parts` are what the encoders made, by space; `vectors` one
    vector per space; `nested` the parts that are written one by one in place of that vector, where the best part counts. `made`
    says what the vectors are made of, `digest` is the content hash (documents.py). `stays_as` is the outcome of a product that
    stays as it is and is only marked as seen by this job. `copied` are the spaces whose vectors are there already, made by the
    same encoder for another index version.
    """

    line: int
    product: Product
    digests: dict[str, str] = field(default_factory=dict)
    errors: list[DeadLetter] = field(default_factory=list)
    parts: dict[str, list[Embedded]] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    nested: dict[str, list[Embedded]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    away: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    stays_as: Outcome | None = None
    copied: set[str] = field(default_factory=set)

    def give_up(self, error: TriptychError, stage: str, modality: Modality | None, reference: str | None = None) -> None:
        letter = DeadLetter(error.code, error.message, stage, self.line, self.product.id, modality, reference)
        self.errors.append(letter)

    def apart(self, space: Space) -> list[Embedded]:
        """The parts to be written one by one; none where the product has one medium and that is one part."""
        some = self.parts.get(space.name, [])
        alone = len(some) == 1 and space.document_modality is not None and len(self.product.of(space.document_modality)) == 1
        return [] if alone or not space.has_parts else some


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to embed: a product's words, or one of its media; `digest` is the sha256 of its bytes."""

    work: Work
    what: Media | str
    digest: str

    @property
    def reference(self) -> str | None:
        return self.what.name if isinstance(self.what, Media) else None

    @property
    def away(self) -> bool:
        """Whether its server is away: then only what is known of it already can be had, and it was given up before."""
        return isinstance(self.what, Media) and self.what.reference in self.work.away

    def give_up(self, error: TriptychError, stage: str, modality: Modality) -> None:
        self.work.give_up(error, stage, modality, self.reference)


def parts_of(item: Work, modality: Modality, words: str) -> list[Part]:
    """What of a product is embedded in a modality's spaces: its `words`, or each medium that was there when fetched."""
    if modality is Modality.TEXT:
        return [Part(item, words, digest_of(words))] if words else []
    digests = [(media, item.digests[media.reference]) for media in item.product.of(modality)]
    return [Part(item, media, digest) for media, digest in digests if len(digest) == SHA256_DIGITS]
