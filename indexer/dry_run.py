"""What indexing a catalogue would come to, without a job and without writing anything.

source -> every record is counted, the first 200 valid ones are checked and their media fetched
       -> 16 of them go through the flow up to their vectors, twice; the second time is taken -> estimates for all
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from os import devnull
from pathlib import Path
from typing import Any, Final

from indexer import pipeline
from indexer.records import RawRecord, parse
from indexer.sources.source import Source, open_source
from indexer.sources.spec import SourceSpec
from indexer.work import Target, Work
from triptych.domain import Product
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.errors import MediaError, TriptychError
from triptych.jobs.dry_runs import DryRuns
from triptych.schema import IndexSchema, IndexType
from triptych.services import Services

log = logging.getLogger(__name__)

CHECKED: Final = 200
TIMED: Final = 16

_GRAPH_BYTES: Final = 128
"""An HNSW graph of m = 16: 32 neighbours on its lowest level, 4 bytes each."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a catalogue is like. `records`, and of `bad` what shows in reading, are counted; all else is from the first records.

    `bad`: records by code. `checked`: valid records looked at. `media` of them by modality; `bad_media` by code. The estimates
    are for all valid records of the catalogue: `embed_seconds` with one process on this machine, nothing in the cache;
    `vector_bytes` on disk, one copy. Both are None where no record is valid.
    """

    records: int
    bad: Mapping[str, int]
    checked: int
    media: Mapping[str, int]
    bad_media: Mapping[str, int]
    timed: int
    valid_estimate: int
    embed_seconds_estimate: float | None
    vector_bytes_estimate: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def dry_run(source: Source, index: str, services: Services) -> Report:
    """Look at `source` as `submit` would for the index behind the alias `index`. Ids that occur twice are not looked for.

    Raises what `submit` raises before a job is entered, but does not need Redis.
    """
    schema = read_schema(services.elasticsearch, current_version(services.elasticsearch, index))
    services.check(schema)
    bad: Counter[str] = Counter()
    sample: list[tuple[RawRecord, Product]] = []
    total = unreadable = parsed = 0
    with closing(source.records()) as lines:
        for raw in lines:
            total += 1
            if "code" in raw:
                bad[raw["code"]] += 1
                unreadable += 1
            elif len(sample) < CHECKED:
                parsed += 1
                product = parse(raw)
                if isinstance(product, Product):
                    sample.append((raw, product))
                else:
                    bad[product.code] += 1
    valid = round((total - unreadable) * len(sample) / parsed) if parsed else 0
    root = source.root or Path(devnull)
    timed = [raw for raw, _ in sample[:TIMED]]
    seconds, size = _tried(timed, Target(index, schema, root, ""), services) if timed else (0.0, 0.0)
    return Report(
        records=total,
        bad=dict(bad),
        checked=len(sample),
        media=dict(Counter(str(media.modality) for _, product in sample for media in product.media)),
        bad_media=_bad_media([product for _, product in sample], root, services),
        timed=len(timed),
        valid_estimate=valid,
        embed_seconds_estimate=valid * seconds if timed else None,
        vector_bytes_estimate=round(valid * size) if timed else None,
    )


def answer(run: str, index: str, source: Mapping[str, Any], services: Services) -> None:
    """Do the dry run that was asked for over HTTP, and keep what it found, or why it could not.

    A catalogue that was sent for it is dropped then, but not where the worker is told to stop: another one begins anew.
    """
    runs = DryRuns(services.redis, services.settings)
    spec = SourceSpec.from_dict(source)
    runs.begin(run)
    try:
        runs.finish(run, dry_run(open_source(spec, services), index, services).to_dict())
    except TriptychError as error:
        log.warning("the dry run %s failed: %s", run, error)
        runs.fail(run, error)
    except Exception as error:
        log.exception("the dry run %s failed", run)
        runs.fail(run, TriptychError(f"The dry run failed: {type(error).__name__}.", code="dry_run.failed"))
    if spec.upload is not None:
        services.uploads.forget(spec.upload)


def _bad_media(products: Sequence[Product], root: Path, services: Services) -> dict[str, int]:
    """Media that cannot be had, by code."""
    with services.fetcher.batch(root) as batch:
        found = batch.digests(media for product in products for media in product.media).values()
    return dict(Counter(one.code for one in found if isinstance(one, MediaError)))


def _tried(some: Sequence[RawRecord], target: Target, services: Services) -> tuple[float, float]:
    """Seconds and bytes of vectors for one record. The first round loads the encoders and is not counted."""
    fresh = Services(services.settings.model_copy(update={"cache_bytes": 0}))  # the cache would make it seem fast
    with fresh.decoder:
        pipeline.embed_only(some, target, fresh)
        started = time.perf_counter()
        work = pipeline.embed_only(some, target, fresh)
        seconds = time.perf_counter() - started
    return seconds / len(some), sum(_bytes(item, target.schema) for item in work) / len(some)


def _bytes(item: Work, schema: IndexSchema) -> float:
    """What the vector fields of one product take on disk."""
    total = 0.0
    for space in (space for space in schema.spaces if space.searched):
        if space.name in item.nested:
            total += len(item.nested[space.name]) * _vector_bytes(space.dims, space.parts_index_type)
        elif space.name in item.vectors:
            total += _vector_bytes(space.dims, space.index_type)
    return total


def _vector_bytes(dims: int, kind: IndexType) -> float:
    """A vector as float32, its shortened copy, and its place in the graph."""
    shortened = next((share for name, share in (("int8", 1.0), ("int4", 0.5), ("bbq", 0.125)) if kind.startswith(name)), 0.0)
    return dims * (4 + shortened) + (_GRAPH_BYTES if kind.endswith("hnsw") else 0)
