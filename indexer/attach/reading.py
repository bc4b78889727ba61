"""What of an attached index's document makes a product: its words, its media, its name. Pure.

A path such as `attributes.photo` is followed through objects and lists, and through names that have dots themselves. A text may
also be an object of texts, per language; a picture or sound an object with `path` or `url`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from indexer import documents
from indexer.records import UNKNOWN_LANGUAGE
from triptych.domain import LONGEST_NAME, Media, Modality, Product
from triptych.elastic.paths import values_at
from triptych.schema import Attachment, Space

MOST_MEDIA: Final = 64
"""Pictures, and sounds, of one product: as many as a record may have."""

_ADDRESSES: Final = ("path", "url", "href", "src")


@dataclass(frozen=True, slots=True)
class Read:
    """A document as it is read: the product, whose `id` is that of the document; its `key`, None where it has no name; and the
    values that should be references and are none, as modality and what is said of them.
    """

    product: Product
    key: str | None
    faults: tuple[tuple[Modality, str], ...] = ()


def read(document: str, source: Mapping[str, Any], how: Attachment) -> Read:
    """The product of a document of this `_id` and `_source`, of which only the attachment's paths are needed."""
    faults: list[tuple[Modality, str]] = []
    media = [*_media(Modality.IMAGE, how.image, source, faults), *_media(Modality.AUDIO, how.audio, source, faults)]
    texts = {"title": texts_at(source, how.text[:1]), "description": texts_at(source, how.text[1:])}
    used = {path: list(values_at(source, path.split("."))) for path in how.paths}
    return Read(Product(document, texts, used, tuple(media)), _key(document, source, how), tuple(faults))


def digest_of(product: Product, spaces: Sequence[Space], how: Attachment) -> str:
    """64 hex digits that change when a field that is read changes, what it is read for, or an encoder; not when a picture's
    file does."""
    read_for = how.model_dump(include={"text", "image", "audio", "id"})
    fields = {"read": read_for, "fields": product.fields}
    return documents.hash_of(fields, documents.vectors_hash(product, {}, spaces))


def titles_of(source: Mapping[str, Any], how: Attachment) -> list[str]:
    """The titles of a document: its first text, in each language it has."""
    return [text for text in texts_at(source, how.text[:1]).values() if text]


def texts_at(source: Mapping[str, Any], paths: Sequence[str]) -> dict[str, str]:
    """The words at some paths by language; several of one language as one text."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for value in values_at(source, path.split(".")):
            languages = value if isinstance(value, Mapping) else {UNKNOWN_LANGUAGE: value}
            for language, some in languages.items():
                for text in _flat(some):
                    if isinstance(text, str | int | float) and not isinstance(text, bool) and str(text).strip():
                        found.setdefault(str(language), []).append(str(text).strip())
    return {language: " ".join(texts) for language, texts in found.items()}


def references_at(source: Mapping[str, Any], paths: Sequence[str]) -> list[object]:
    """The references at some paths, each once, in their order; what should be one and is not comes as it is."""
    found: list[object] = []
    for path in paths:
        for value in values_at(source, path.split(".")):
            address = (
                next((value[name] for name in _ADDRESSES if name in value), value) if isinstance(value, Mapping) else value
            )
            if address not in (None, "") and address not in found:
                found.append(address)
    return found


def _media(
    modality: Modality, paths: Sequence[str], source: Mapping[str, Any], faults: list[tuple[Modality, str]]
) -> Iterator[Media]:
    for number, address in enumerate(references_at(source, paths)):
        if not isinstance(address, str):
            faults.append((modality, f"{str(address)[:100]!r} is no reference to a file."))
        elif number >= MOST_MEDIA:
            faults.append((modality, f"There are more than {MOST_MEDIA} of them."))
            return
        elif len(address) > LONGEST_NAME and not address.startswith("data:"):
            faults.append((modality, f"A reference is longer than {LONGEST_NAME} characters."))
        else:
            yield Media(modality, address)


def _key(document: str, source: Mapping[str, Any], how: Attachment) -> str | None:
    if how.id is None:
        return document
    values = [value for value in values_at(source, how.id.split(".")) if isinstance(value, str | int) and value != ""]
    return str(values[0]) if values else None


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    else:
        yield value
