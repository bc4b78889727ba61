"""Find what was changed in the version that serves since the other one saw it, and carry it over.

Each shard numbers its operations, so what has a greater number than was looked through is new; the number that is kept is the
one that all copies had before the refresh (attach/watching.py). A deletion has a number too but no document: where fewer
documents than numbers are found, the ids of both versions are compared.

In an attached index both versions are fields of the same documents. Then the flow of attached indices makes the other one of
the owner's document as it is, and leaves it alone where it is so already.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from indexer.attach.attaching import record_of, root_of
from indexer.attach.watching import by_number, checkpoints, round_id
from indexer.records import RawRecord
from indexer.upgrade import carrying
from indexer.upgrade.copying import holds, made_anew
from indexer.upgrade.routing import Route
from indexer.work import Target
from triptych.closing import until_closed
from triptych.domain import Outcome
from triptych.elastic.attached import index_of
from triptych.elastic.client import Client, translated
from triptych.elastic.engine import mget
from triptych.elastic.lifecycle import read_schema
from triptych.elastic.scan import one_by_one, scan
from triptych.errors import ElasticsearchError
from triptych.jobs.upgrades import Upgrade
from triptych.schema import KEY_FIELD
from triptych.services import Services

log = logging.getLogger(__name__)

_AT_ONCE: Final = 1000
_QUIET_SECONDS: Final = 60.0
"""How long copies may take to hear of the last operation; Elasticsearch tells them every 30 s where nothing else does."""


@dataclass(slots=True)
class Changes:
    """What of a version the other one has not seen: the records that name it, and `shards` to keep once it is carried over."""

    records: Generator[RawRecord, None, None]
    shards: Mapping[str, int]


@dataclass(slots=True)
class Round:
    """What a round carried: documents looked at, how they ended, and which could not be carried, with the reason."""

    seen: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


def changes(services: Services, upgrade: Upgrade) -> Changes:
    """What is new in the version that serves. Nothing is lost between this call and the reading of the records."""
    client, source, target = services.elasticsearch, upgrade.serving, upgrade.waiting
    before = upgrade.seen.get(source, {})
    how = read_schema(client, target).attachment
    if how is not None:
        new, shards = by_number(client, index_of(source), how, before)
        documents = (record_of(hit, line, how) for line, hit in enumerate(new, start=1))
        return Changes(until_closed(documents, new.close), shards)
    shards = checkpoints(client, source)
    if any(shards.get(shard, -1) < number for shard, number in before.items()):
        before = {}  # it was restored since
    with translated():
        client.indices.refresh(index=[source, target])
    made = made_anew(read_schema(client, source), read_schema(client, target))
    hits = one_by_one(
        scan(client, source, query=_after(before.get(shard, -1)), includes=("images", "audio"), shard=int(shard))
        for shard, last in shards.items()
        if last > before.get(shard, -1)
    )
    there = ((str(hit["_id"]), holds(hit.get("_source", {}), made)) for hit in hits)
    gone = _gone(client, source, target) if _deleted(client, source, before, shards) else None
    named = chain(there, ((key, dict[str, Any]()) for key in gone or ()))
    records = (carrying.record_of(key, line, some) for line, (key, some) in enumerate(named, start=1))
    return Changes(until_closed(records, lambda: [one.close() for one in (hits, gone) if one is not None]), shards)


def _after(number: int) -> Mapping[str, object]:
    return {"range": {"_seq_no": {"gt": number}}} if number >= 0 else {"match_all": {}}


def _deleted(client: Client, source: str, before: Mapping[str, int], shards: Mapping[str, int]) -> bool:
    """Whether numbers were given since that no document has: something was deleted, or written more than once."""
    for shard, last in shards.items():
        first = before.get(shard, -1)
        if last > first:
            query = {"range": {"_seq_no": {"gt": first, "lte": last}}}
            with translated():
                found = client.count(index=source, query=query, preference=f"_shards:{shard}")["count"]
            if found != last - first:
                return True
    return False


def _gone(client: Client, source: str, target: str) -> Generator[str, None, None]:
    """The ids that only `target` has."""
    with closing(scan(client, target, includes=())) as hits:
        ids = (str(hit["_id"]) for hit in hits)
        while some := list(islice(ids, _AT_ONCE)):
            there = mget(client, source, some, includes=[KEY_FIELD])
            yield from (key for key in some if key not in there)


def carry(services: Services, upgrade: Upgrade, *, again: Iterable[str] = ()) -> tuple[Round, Changes]:
    """Carry over what is new, and `again` the documents of these ids, in this process. Raises as `carrying.run` does."""
    found, done = changes(services, upgrade), Round()
    schema = read_schema(services.elasticsearch, upgrade.waiting)
    how = schema.attachment
    more = (carrying.record_of(key, 0, {}) if how is None else record_of({"_id": key}, 0, how) for key in again)
    root = Path(upgrade.root or os.devnull) if how is None else root_of(how)
    target = Target(index_of(upgrade.waiting), schema, root, "" if how is None else round_id())
    flow = Route(upgrade.waiting, (), upgrade.serving).flow(schema)
    with closing(found.records) as new:
        records = chain(more, new)
        while batch := list(islice(records, services.settings.batch_size)):
            numbered = [{**record, "line": line} for line, record in enumerate(batch, start=1)]
            result = flow(numbered, target, services)
            done.seen += len(batch)
            for outcome in result.outcomes:
                done.outcomes[outcome] = done.outcomes.get(outcome, 0) + 1
            ends = dict(zip(range(1, len(batch) + 1), result.outcomes, strict=True))
            for letter in result.dead_letters:
                log.warning("%s: %s: %s", letter.product_id, letter.code, letter.message)
                if ends[letter.line] is Outcome.DEAD:
                    done.lost[str(letter.product_id)] = f"{letter.code}: {letter.message}"
    return done, found


def behind(services: Services, upgrade: Upgrade) -> int:
    """How many operations of the version that serves the other one has not seen."""
    seen = upgrade.seen.get(upgrade.serving, {})
    last = checkpoints(services.elasticsearch, index_of(upgrade.serving), number="max_seq_no")
    return sum(max(number - seen.get(shard, -1), 0) for shard, number in last.items())


def settled(services: Services, upgrade: Upgrade) -> None:
    """Wait until all copies of the version that serves have its last operation, so that a round sees all there is.

    Raises ElasticsearchError, retryable, where that takes too long.
    """
    until = time.monotonic() + _QUIET_SECONDS
    client, source = services.elasticsearch, upgrade.serving
    while checkpoints(client, source) != checkpoints(client, source, number="max_seq_no"):
        if time.monotonic() > until:
            message = f"The copies of {source!r} are not alike after {_QUIET_SECONDS:g} s."
            raise ElasticsearchError(message, code="elasticsearch.unavailable", retryable=True, remedy="See its health.")
        time.sleep(0.1)
