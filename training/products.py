"""The products of a catalogue as training reads them: which of its texts, and the values of fields."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from indexer import records
from indexer.records import TEXT_FIELDS
from indexer.sources.source import Source
from training.groups import normalised
from triptych.domain import Operation, Product
from triptych.encoders.trained_classifier import BETWEEN, CATEGORY


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a catalogue is read.

    `languages`: whose texts; () for all. `texts`: most texts of a product. `group_languages`: whose texts join products that
    share one; () for all that are read. `group_by`, `positives_by`: fields whose
    equal values keep products on one side of the split, and make them answers to each other. `label`: what is predicted.
    `queries` are words by product id, of people who looked for it, beyond `texts`; they join no products. `passages`: also each
    product's words as an index has them.
    """

    languages: tuple[str, ...] = ()
    texts: int = 4
    group_languages: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    positives_by: tuple[str, ...] = ()
    label: str | None = None
    queries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    passages: bool = False


def products_of(source: Source) -> Generator[Product, None, None]:
    """The whole products of a catalogue; what is no record, or only changes one, is passed over."""
    with closing(source.records()) as lines:
        for raw in lines:
            parsed = records.parse(raw)
            if isinstance(parsed, Product) and parsed.operation is Operation.PUT:
                yield parsed


def value_of(product: Product, name: str) -> str | None:
    """The value of a field as text; of `category` the whole path; None where there is none, or it is an object or several."""
    if name == CATEGORY:
        return BETWEEN.join(part.strip() for part in product.category if part.strip()) or None
    value: Any = product.fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def every_text(product: Product, reading: Reading) -> list[tuple[str, str]]:
    """Language and text of all titles, then all descriptions; those of `languages` only."""
    return [
        (language, text.strip())
        for name in TEXT_FIELDS
        for language, text in _ordered(product.texts.get(name, {}), reading.languages)
        if text.strip()
    ]


def joining_texts(product: Product, reading: Reading) -> list[str]:
    """The texts by which a product is of a group."""
    among = reading.group_languages
    return [normalised(text) for language, text in every_text(product, reading) if not among or language in among]


def _ordered(texts: Mapping[str, str], languages: Sequence[str]) -> Iterable[tuple[str, str]]:
    return [(name, texts[name]) for name in languages if name in texts] if languages else texts.items()


def texts_of(product: Product, reading: Reading) -> list[tuple[str, str]]:
    """The texts that are learned from: the first title, the first description, then others drawn by the id.

    No two are the same but for case and stops.
    """
    every: dict[str, tuple[str, str]] = {}
    for language, text in _firsts(product, reading):
        every.setdefault(normalised(text), (language, text))
    first = list(every.values())
    for language, text in every_text(product, reading):
        every.setdefault(normalised(text), (language, text))
    others = list(every.values())[len(first) :]
    more = max(reading.texts - len(first), 0)
    if len(others) > more:
        drawn = random.Random(product.id).sample(range(len(others)), more)  # noqa: S311  no secret
        others = [others[number] for number in sorted(drawn)]
    return first[: reading.texts] + others


def _firsts(product: Product, reading: Reading) -> Iterator[tuple[str, str]]:
    for name in TEXT_FIELDS:
        found = _ordered(product.texts.get(name, {}), reading.languages)
        yield from islice(((language, text.strip()) for language, text in found if text.strip()), 1)
