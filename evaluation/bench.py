"""A place to ask judged queries: a real Elasticsearch and Redis, catalogues indexed in this process, rankings as answers.

    recipe -> catalogue's folder -> fit -> create_version -> pipeline.run per batch -> calibrate -> Searcher -> rankings

The one Redis keeps the vectors of what was embedded, so tasks that share pictures, sounds or queries embed them once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from evaluation.catalogues import Data, write
from evaluation.runs import Query
from evaluation.task_list import Recipe, Task
from indexer import calibrate, pipeline, records
from indexer.cli import default_mapping
from indexer.fit import fit
from search_api.legs import wanted
from search_api.query import SearchRequest
from search_api.searcher import Searcher
from triptych.domain import DeadLetter, Modality, Outcome
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import create_version, read_mapping_file, read_schema
from triptych.encoders import profiles
from triptych.encoders.registry import learning
from triptych.errors import NotFoundError, QueryError
from triptych.jobs import batching
from triptych.services import Services
from triptych.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A recipe's catalogue on disk: its records, their ids, and which modalities they have."""

    path: Path
    ids: tuple[str, ...]
    modalities: frozenset[Modality]


@dataclass(frozen=True, slots=True)
class Built:
    """An index and what answers its queries. `seconds` is what indexing took, with what was embedded before at no cost."""

    alias: str
    services: Services
    searcher: Searcher
    catalogue: Catalogue
    outcomes: Mapping[str, int]
    seconds: float


@dataclass(slots=True)
class Bench:
    """Builds each index once. `folder` takes the catalogues and may be deleted afterwards; `reuse`: indices that are there are
    asked as they are.
    """

    settings: Settings
    data: Data
    folder: Path
    progress: Progress = lambda _what, _done, _of: None
    reuse: bool = False
    _catalogues: dict[str, Catalogue] = field(default_factory=dict)
    _services: dict[str, Services] = field(default_factory=dict)
    _built: dict[tuple[str, str], Built] = field(default_factory=dict)

    def built(self, profile: str, recipe: Recipe) -> Built:
        """The index of a recipe under a profile."""
        key = profile, recipe.name
        if key not in self._built:
            catalogue = self.catalogue(recipe)
            services = self.services(self._fitting(profile, catalogue))
            alias = f"eval-{Path(profile).stem if self.reuse else len(self._built)}-{recipe.name}".lower()
            known = there(services, alias) if self.reuse else None
            if known:
                self._built[key] = Built(alias, services, known, catalogue, {}, 0.0)
            else:
                if self.reuse:
                    clear(services, alias)
                self._built[key] = index(services, catalogue, alias, self.progress)
        return self._built[key]

    def catalogue(self, recipe: Recipe) -> Catalogue:
        """The catalogue of a recipe, written once."""
        if recipe.name not in self._catalogues:
            path = write(self.data, recipe, self.folder / recipe.name)
            with closing(records.read(path, self.settings)) as lines:
                products = [p for raw in lines if not isinstance(p := records.parse(raw), DeadLetter)]
            media = {medium.modality for product in products for medium in product.media}
            ids = tuple(product.id for product in products)
            self._catalogues[recipe.name] = Catalogue(path, ids, frozenset(media | {Modality.TEXT}))
        return self._catalogues[recipe.name]

    def services(self, profile: str) -> Services:
        if profile not in self._services:
            self._services[profile] = Services(self.settings.model_copy(update={"profile": profile}))
        return self._services[profile]

    def _fitting(self, name: str, catalogue: Catalogue) -> str:
        """The profile, without the spaces whose encoders have nothing here to learn from: as a file if that changes it."""
        profile = profiles.read(name)
        unable = {s for s in learning(profile) if profile.spaces[s].documents not in catalogue.modalities}
        if not unable:
            return name
        path = self.folder / f"{Path(name).stem}-without-{'-'.join(sorted(unable))}.yaml"
        if not path.exists():
            body = yaml.safe_load(profile.text)
            body["spaces"] = {space: entry for space, entry in body["spaces"].items() if space not in unable}
            path.write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
        return str(path)


def there(services: Services, alias: str) -> Searcher | None:
    """What answers queries of the index that was built under this name; None where there is none, or building was cut short."""
    searcher = Searcher(services)
    with suppress(NotFoundError):
        if searcher.info(alias).schema.levels:
            return searcher
    return None


def clear(services: Services, alias: str) -> None:
    """Delete what a build that was cut short left under this name."""
    client = services.elasticsearch
    with translated():
        for version in client.indices.get_alias(name=alias).body if client.indices.exists_alias(name=alias) else ():
            client.indices.delete(index=version)


def index(services: Services, catalogue: Catalogue, alias: str, progress: Progress) -> Built:
    """Index a catalogue as a worker does, in this process."""
    started = time.monotonic()
    learned = fit(services, catalogue.path, progress=lambda space, seen: progress(f"{alias}: {space} learns", seen, 0))
    base = read_mapping_file(default_mapping())
    version = create_version(services.elasticsearch, alias, base, services.schema(learned))
    target = pipeline.Target(version, read_schema(services.elasticsearch, version), catalogue.path.parent, "evaluation")
    outcomes: Counter[str] = Counter()
    with closing(records.read(catalogue.path, services.settings)) as lines:
        for batch in batching.cut(lines, size=services.settings.batch_size, most_bytes=services.settings.batch_bytes):
            result = pipeline.run(batch.records, target, services)
            outcomes.update(result.outcomes)
            for letter in result.dead_letters:
                log.warning("%s: %s %s: %s", alias, letter.product_id, letter.reference, letter.message)
            progress(f"{alias}: indexed", outcomes.total(), len(catalogue.ids))
    if set(outcomes) != {Outcome.WRITTEN}:
        log.warning("%s: %s", alias, dict(outcomes))
    calibrate.calibrate(services, version)
    return Built(alias, services, Searcher(services), catalogue, dict(outcomes), time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Answers:
    """Rankings by query id; `refused` says of those without an answer why; `took_ms` are the searches' times."""

    rankings: Mapping[str, Sequence[str]]
    refused: Mapping[str, str]
    took_ms: Sequence[float]


def ask(
    built: Built, task: Task, queries: Sequence[Query], *, weights: Mapping[str, float] | None = None, progress: Progress
) -> Answers:
    """Ask an index the queries of a task. A query that is refused (no words were recognised, say) has an empty ranking."""
    rankings: dict[str, list[str]] = {}
    refused: dict[str, str] = {}
    took: list[float] = []
    for number, query in enumerate(queries):
        progress(f"{built.alias}: {task.name} {' '.join(weights or ())}", number, len(queries))
        try:
            result = built.searcher.search(request(built.alias, task, query, weights))
        except QueryError as error:
            rankings[query.id], refused[query.id] = [], error.code
            continue
        took.append(result.took_ms)
        rankings[query.id] = [hit.id for hit in result.hits if hit.id not in query.exclude]
    return Answers(rankings, refused, took)


def request(alias: str, task: Task, query: Query, weights: Mapping[str, float] | None = None) -> SearchRequest:
    """A query as the API takes it."""
    return SearchRequest(
        alias,
        text=query.text,
        image=query.image.read_bytes() if query.image else None,
        audio=query.audio.read_bytes() if query.audio else None,
        audio_as=task.audio_as,
        weights=weights or {},
        size=task.depth,
        window=task.depth,
    )


def legs_of(built: Built, task: Task, query: Query) -> list[str]:
    """The legs that a query of a task has, without its spoken words."""
    return [planned.name for planned in wanted(request(built.alias, task, query), built.searcher.info(built.alias).schema)]
