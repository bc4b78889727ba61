"""What a page must know of an index to show it: which fields to count, where titles and media stand, and examples to click.

The examples are those of TRIPTYCH_PAGES_EXAMPLES, else a few products of the index itself. All is kept for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from search_api.filters import NUMERIC, VALUES
from search_api.legs import ours
from search_api.searcher import Searcher
from triptych.domain import Modality
from triptych.elastic.engine import search
from triptych.elastic.lifecycle import IndexInfo
from triptych.elastic.listing import searchable
from triptych.elastic.paths import values_at
from triptych.errors import SettingsError
from triptych.schema import IndexSchema
from triptych.services import Services

KEPT_SECONDS: Final = 60.0
MOST_KEPT: Final = 100

_MOST_COUNTED: Final = 40
"""Fields of each kind that are looked at."""
_MOST_SHOWN: Final = 6
_MOST_VALUES: Final = 300
_DISTINCT: Final = 0.9
"""A field with more values, or with one for more than this share of the products, is an identifier or as good as one."""

_LOOKED_AT: Final = 50_000
"""Documents of a shard that are counted: which fields have few values shows in those."""

_SAMPLE: Final = 60
_EACH: Final = 2
"""Examples of each kind."""
_LONGEST: Final = 40
"""Characters of a title that serves as an example of words."""

MOST_REFERENCES: Final = 64
_ADDRESSES: Final = ("path", "url", "href", "src")


class Examples(BaseModel):
    """What a user of an index can click to try it: words, and the ids of products whose picture or sound is the query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[str, ...] = Field((), max_length=8)
    image: tuple[str, ...] = Field((), max_length=8)
    audio: tuple[str, ...] = Field((), max_length=8)


_FILE: Final = TypeAdapter(dict[str, Examples])


def read_examples(path: Path | None) -> Mapping[str, Examples]:
    """The examples of a file, by index. Raises SettingsError."""
    if path is None:
        return {}
    try:
        return _FILE.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors(include_input=False)[0]["msg"]
        raise SettingsError(
            f"TRIPTYCH_PAGES_EXAMPLES: {path} cannot be used: {reason}.",
            field="TRIPTYCH_PAGES_EXAMPLES",
            remedy='Write it as {"shop": {"words": ["red hat"], "image": ["p-1"], "audio": ["p-2"]}}.',
        ) from error


@dataclass(frozen=True, slots=True)
class PageIndex:
    """An index as pages show it. `title`, `images` and `audio` are paths in a product; `facets` are fields whose values are
    counted, `numbers` those with a range, and `takes` says which inputs a query may have.
    """

    index: str
    title: str
    images: tuple[str, ...]
    audio: tuple[str, ...]
    facets: tuple[str, ...]
    numbers: tuple[str, ...]
    takes: Mapping[str, bool]
    legs: tuple[str, ...]
    weight_sets: tuple[str, ...]
    examples: Mapping[str, Sequence[str]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class About:
    """What is known of indices for pages. Share one between threads."""

    def __init__(self, services: Services, searcher: Searcher) -> None:
        self._services, self._searcher = services, searcher
        self.asks_for_keys = services.settings.api_keys
        self._examples = read_examples(services.settings.pages_examples)
        self._kept: dict[str, tuple[float, PageIndex]] = {}
        self._names: tuple[float, list[str]] | None = None

    def names(self) -> list[str]:
        """The indices that can be searched. Raises ElasticsearchError."""
        if self._names is None or time.monotonic() - self._names[0] > KEPT_SECONDS / 10:
            self._names = (time.monotonic(), searchable(self._services.elasticsearch))
        return self._names[1]

    def of(self, index: str) -> PageIndex:
        """Raises NotFoundError where there is no such index, and what `Searcher.info` raises."""
        known = self._kept.get(index)
        if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            known = self._kept[index] = (time.monotonic(), self._read(index))
        return known[1]

    def _read(self, index: str) -> PageIndex:
        info = self._searcher.info(index)
        schema = info.schema
        words, numbers = candidates(info)
        counted = {f"v{i}": {"cardinality": {"field": name}} for i, name in enumerate(words)}
        measured = {f"n{i}": {"stats": {"field": name}} for i, name in enumerate(numbers)}
        title, images, audio = paths_of(schema)
        body = {
            "size": _SAMPLE,
            "query": {"function_score": {"query": ours(schema.key_field), "random_score": {"seed": 7, "field": "_seq_no"}}},
            "_source": [title, *images, *audio, schema.key_field],
            "aggregations": {**counted, **measured},
            "track_total_hits": True,
            "terminate_after": _LOOKED_AT,
        }
        found = search(self._services.elasticsearch, info.index, body)
        values = found.aggregations or {}
        few = {name: values[f"v{i}"]["value"] for i, name in enumerate(words)}
        ranges = {name: values[f"n{i}"] for i, name in enumerate(numbers)}
        given = self._examples.get(index)
        modalities = {modality for space in schema.spaces for modality in space.query_modalities}
        return PageIndex(
            index=index,
            title=title,
            images=images,
            audio=audio,
            facets=tuple(name for name in words if 1 < few[name] <= min(_MOST_VALUES, max(found.total * _DISTINCT, 2)))[
                :_MOST_SHOWN
            ],
            numbers=tuple(name for name in numbers if (ranges[name]["min"] or 0) < (ranges[name]["max"] or 0))[:_MOST_SHOWN],
            takes={
                "image": Modality.IMAGE in modalities,
                "audio": Modality.AUDIO in modalities,
                "speech": self._services.profile.speech is not None,
            },
            legs=schema.legs,
            weight_sets=tuple(schema.weight_sets),
            examples=sampled([hit["_source"] for hit in found.hits], schema) if given is None else given.model_dump(),
        )


def candidates(info: IndexInfo) -> tuple[list[str], list[str]]:
    """Fields of a mapping whose values may be counted, and fields of numbers, in the mapping's order."""
    able = [
        (name, kind)
        for name, kind in info.fields.items()
        if not info.schema.is_ours(name)
        and name not in info.no_doc_values
        and not any(info.fields.get(parent) == "nested" for parent in _parents(name))
        and not any(parent in info.fields for parent in _parents(name))  # title.keyword: another form of its parent
    ]
    words = [name for name, kind in able if kind in VALUES]
    return words[:_MOST_COUNTED], [name for name, kind in able if kind in NUMERIC][:_MOST_COUNTED]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:size]) for size in range(1, len(parts))]


def paths_of(schema: IndexSchema) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Where in a product its title, its pictures and its sounds stand."""
    how = schema.attachment
    return ("title", ("images",), ("audio",)) if how is None else ((how.text or ("title",))[0], how.image, how.audio)


def references(product: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """The media references at some paths of a product, each once, in their order: a preview's address counts them from 0."""
    found: list[str] = []
    for path in paths:
        for value in values_at(product, path.split(".")):
            one = next((value[n] for n in _ADDRESSES if n in value), None) if isinstance(value, Mapping) else value
            if isinstance(one, str) and one and one not in found:
                found.append(one)
    return found[:MOST_REFERENCES]


def sampled(products: Sequence[Mapping[str, Any]], schema: IndexSchema) -> dict[str, list[str]]:
    """Examples made of products: short titles, one of each language first; ids of products with a picture, and with a sound."""
    title, images, audio = paths_of(schema)
    named = [(str(key), one) for one in products if (key := next(iter(values_at(one, schema.key_field.split("."))), None))]
    by_language: dict[str, str] = {}
    for _, product in named:
        for value in values_at(product, title.split(".")):
            texts = value if isinstance(value, Mapping) else {"": value}
            for language, text in texts.items():
                if isinstance(text, str) and 0 < len(text) <= _LONGEST:
                    by_language.setdefault(str(language), text)
    return {
        "words": list(by_language.values())[:_EACH],
        "image": [key for key, one in named if references(one, images)][:_EACH],
        "audio": [key for key, one in named if references(one, audio)][:_EACH],
    }
