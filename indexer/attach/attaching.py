"""Attach an index, fill it, and leave it again.

planned: inspect -> plan (-> some documents embedded, to tell the time)
attach:  our object field into the mapping, the schema beside our ledger, a job that fills all documents
detach:  our object fields out of every document, the schema forgotten
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from indexer import pipeline
from indexer.attach import reading
from indexer.attach.flow import WORDS
from indexer.attach.inspection import inspect
from indexer.attach.pace import paced
from indexer.attach.plan import Plan, plan, timed
from indexer.attach.wanted import Wanted
from indexer.records import RawRecord
from indexer.sources.source import Source
from indexer.sources.spec import SourceSpec
from indexer.standing import Standing
from indexer.submit import submit
from indexer.work import Target, Work
from triptych.closing import until_closed
from triptych.elastic import attached
from triptych.elastic.bulk import Write, bulk
from triptych.elastic.client import Client, translated
from triptych.elastic.lifecycle import current_version, mapping_of, read_schema
from triptych.elastic.raw import RawDocument, scan_raw, without
from triptych.elastic.scan import Hits, scan
from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.jobs.job import Job
from triptych.jobs.queue import NORMAL
from triptych.jobs.upgrades import UpgradeState, already_open
from triptych.schema import Attachment, IndexSchema
from triptych.services import Services

TRIED: Final = 16
"""Documents of the sample that are embedded, to tell what time all take."""

ROUNDS: Final = 10
"""Times that detaching goes through an index whose owner changes documents meanwhile."""


def planned(services: Services, name: str, wanted: Wanted, *, tried: int = TRIED) -> Plan:
    """What attaching the index `name` would come to. `tried` documents are embedded, none with 0.

    Raises NotFoundError `index.not_found`, InputError for a wish that no index could follow, EncoderError.
    """
    found = inspect(services.elasticsearch, name, services.server, id_field=wanted.id)
    made = plan(found, wanted, services.schema(), attached.home_of(services.settings.system_prefix))
    hits = found.documents[:tried]
    return _tried(made, hits, services) if hits and not made.refusals else made


def _tried(made: Plan, hits: Sequence[Mapping[str, Any]], services: Services) -> Plan:
    how = made.schema.attachment or Attachment()
    fresh = Services(services.settings.model_copy(update={"cache_bytes": 0}))  # the cache would make it seem fast
    target = Target(made.index, made.schema, root_of(how), "")

    def once() -> list[Work]:
        work = [Work(n, reading.read(str(hit["_id"]), hit["_source"], how).product) for n, hit in enumerate(hits)]
        pipeline.fill(work, {item.product.id: Standing() for item in work}, target, fresh)
        return work

    with fresh.decoder:
        first = once()  # loads the encoders, and is not counted
        started = time.perf_counter()
        once()
        seconds = time.perf_counter() - started
    bad = Counter(letter.code for item in first for letter in item.errors)
    return timed(made, seconds=seconds / len(hits), documents=len(hits), bad_media=bad)


def root_of(how: Attachment | None) -> Path:
    """The folder that an attached index's media are relative to; one without anything in it where none was given."""
    return Path((how and how.root) or os.devnull)


def attach(services: Services, made: Plan) -> None:
    """Put our object field into the index's mapping and keep its schema. Raises InputError for a plan with refusals, and
    `upgrade.open` while its encoders are changed.

    What was measured of an index that was attached before stays until it is measured anew.
    """
    made.check()
    upgrade = services.upgrades.get(made.index)
    if upgrade is not None and upgrade.state is not UpgradeState.CLOSED:
        raise already_open(made.index)
    home = attached.home_of(services.settings.system_prefix)
    before = attached.read(services.elasticsearch, home, made.index)
    schema = made.schema
    if before is not None:
        schema = schema.model_copy(update={"levels": before.levels, "weight_sets": before.weight_sets})
    with translated():
        services.elasticsearch.indices.put_mapping(index=made.index, properties=dict(made.mapping["properties"]))
    attached.attach(services.elasticsearch, home, made.index, schema)
    attached.write_seen(services.elasticsearch, home, made.index, {})  # an index of that name may have been another before


def fill(services: Services, index: str, *, priority: int = NORMAL) -> Job:
    """Submit the job that fills our field in all documents of an attached index. Raises as `submit` does."""
    version = current_version(services.elasticsearch, index)
    schema = read_schema(services.elasticsearch, version)
    return submit(source_of(services, version, schema), index, services, priority=priority)


def source_of(services: Services, index: str, schema: IndexSchema) -> Source:
    """The documents of an attached index as a catalogue: their ids, and a medium of each kind.

    The documents themselves are read when their batch is worked on, with their versions.
    """
    how = schema.attachment or Attachment()
    hits = lambda _: _records(scan(services.elasticsearch, index, includes=(*how.image, *how.audio)), how)  # noqa: E731
    location = f"elasticsearch:{index}"
    return Source(SourceSpec(location, format="elasticsearch"), location, root_of(how), None, hits)


def _records(hits: Hits, how: Attachment) -> Iterator[RawRecord]:
    return until_closed((record_of(hit, line, how) for line, hit in enumerate(hits, start=1)), hits.close)


def record_of(hit: Mapping[str, Any], line: int, how: Attachment) -> RawRecord:
    """The record that names a document. Its title only says that there may be words (`triptych.jobs.routing.holds`)."""
    source = hit.get("_source", {})
    some = {"images": reading.references_at(source, how.image), "audio": reading.references_at(source, how.audio)}
    named: dict[str, Any] = {name: [str(found[0])[:1000]] for name, found in some.items() if found}
    if how.text:
        named["title"] = WORDS
    if "_routing" in hit:
        named["routing"] = str(hit["_routing"])
    return {"line": line, "text": orjson.dumps({"id": hit["_id"], **named}).decode()}


def detach(services: Services, name: str, *, most_per_second: float | None = None) -> int:
    """Take our object fields out of every document of an attached index, and forget it. Gives the number of documents written.

    A document is written on condition of the version that was read, with all else as it is. May be repeated where it was cut
    off. An index that its owner deleted or made anew is forgotten. Raises NotFoundError where the index is not attached,
    InputError `upgrade.busy` in the moment of a swap, ElasticsearchError, retryable, where the owner is too quick.
    """
    client = services.elasticsearch
    try:
        index = current_version(client, name)
    except NotFoundError:
        if _forgotten(services, name):
            return 0
        raise
    mapping = mapping_of(client, index)
    marks = attached.marks_of(mapping)
    if not marks:
        if _forgotten(services, index):
            return 0
        raise attached.not_attached(name)
    _end_upgrade(services, index)
    for home in set(marks.values()):
        attached.forget(client, home, index)  # from now on no worker writes: a batch looks whether the field is there
    written = free(services, index, tuple(marks), most_per_second=most_per_second, again=f"triptych detach {name}")
    _unmark(client, index, mapping, marks)
    return written


def _forgotten(services: Services, index: str) -> bool:
    """Forget an index that was attached and that its owner has deleted, or made anew, since; False where it was not."""
    client, home = services.elasticsearch, attached.home_of(services.settings.system_prefix)
    if index not in attached.names(client, home):
        return False
    _end_upgrade(services, index)
    attached.forget(client, home, index)
    return True


def _end_upgrade(services: Services, index: str) -> None:
    upgrade = services.upgrades.get(index)
    if upgrade is None or upgrade.state is UpgradeState.CLOSED:
        return
    if upgrade.job is not None:
        with suppress(InputError, NotFoundError):  # it has ended, or was forgotten
            services.control.stop(upgrade.job)
    services.upgrades.close(upgrade)


def free(services: Services, index: str, fields: Sequence[str], *, most_per_second: float | None = None, again: str) -> int:
    """Take object fields of ours out of every document. Gives how many were written; `again` is the command to repeat.

    Nobody may write them any more. Raises ElasticsearchError, retryable, where the owner is too quick.
    """
    client, written = services.elasticsearch, 0
    with translated():
        settings = client.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    for _ in range(ROUNDS):
        with translated():
            client.indices.refresh(index=index)
        done, left = _round(services, index, fields, most_per_second, whole=not _finally(settings))
        written += done
        if not left and not done:
            return written
    raise ElasticsearchError(
        f"Documents of {index!r} were changed by others each time; {written} are free of our field.",
        code="elasticsearch.conflict",
        retryable=True,
        remedy=f"Stop the jobs and watchers of the index, then again: {again}",
    )


def _round(services: Services, index: str, fields: Sequence[str], most: float | None, *, whole: bool) -> tuple[int, int]:
    """Go through the documents that have one of our fields once: how many were freed, and with how many others were quicker."""
    done = left = 0
    pace = f"{services.settings.queue}:pace:{index}"
    query = {"bool": {"should": [{"exists": {"field": f"{field}.key"}} for field in fields]}}
    for page in scan_raw(services.elasticsearch, index, query, services.server):
        for piece in paced(page, services.redis, pace, most) if most is not None else (page,):
            writes = [_free(one, fields, whole=whole) for one in piece]
            for one in bulk(services.elasticsearch, index, writes, pipeline="_none").values():
                if one.reason is not None and not one.conflict:
                    message = f"{one.id!r} could not be written: {one.reason}"
                    raise ElasticsearchError(message, code="elasticsearch.rejected")
                left += one.conflict
                done += not one.conflict
    return done, left


def _free(one: RawDocument, fields: Sequence[str], *, whole: bool) -> Write:
    """The document without our fields; with empty ones where a final pipeline would change it otherwise."""
    if whole:
        return Write(one.id, "index", orjson.Fragment(without(one.source, *fields)), one.version, one.routing)
    return Write(one.id, "update", {"doc": dict.fromkeys(fields)}, one.version, one.routing)


def _finally(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("index.final_pipeline", "_none") != "_none")


def _unmark(client: Client, index: str, mapping: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Let the mapping no longer lead to a schema."""
    keys = {field: {**mapping["properties"][field]["properties"]["key"], "meta": {}} for field in fields}
    with translated():
        client.indices.put_mapping(index=index, properties={field: {"properties": {"key": key}} for field, key in keys.items()})
