"""Keep up with the owner of an attached index: documents he adds, changes or writes anew, which loses our field.

Each shard numbers its operations. A round asks for the documents whose number is greater than what the last round had looked
through, and takes them through the flow, which leaves alone what is as it was. What a round looks through is what the shard had
whole (its global checkpoint) before the refresh that made it visible, so nothing falls between two rounds.
https://www.elastic.co/docs/reference/elasticsearch/rest-apis/optimistic-concurrency-control

Shards tell their numbers only to who may monitor the index. Who may not, goes by a field in which the owner notes when he
changed a document: a round asks for what was changed since the latest time that the last round saw, and a little before.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from indexer.attach import flow
from indexer.attach.attaching import record_of, root_of
from indexer.pipeline import LeaseLostError
from indexer.records import RawRecord
from indexer.work import Target
from triptych.domain import Outcome
from triptych.elastic import attached
from triptych.elastic.client import Client, translated
from triptych.elastic.lifecycle import current_version, describe, mapping_of, read_schema
from triptych.elastic.scan import Hits, one_by_one, scan
from triptych.errors import ElasticsearchError, EncoderError, InputError
from triptych.schema import Attachment
from triptych.services import Services

log = logging.getLogger(__name__)

OVERLAP: Final = 60_000
"""Milliseconds before the latest time seen that a round by time looks at again: for documents that were noted but not yet
visible then, and for clocks of the owner's machines that differ."""


@dataclass(slots=True)
class Round:
    """What a round found: documents looked at, and how they ended; the dead letters' codes with their number."""

    seen: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)

    @property
    def news(self) -> bool:
        """Whether any document was not found as it was."""
        return any(number for outcome, number in self.outcomes.items() if outcome != Outcome.UNCHANGED)

    def to_dict(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            **{str(one): self.outcomes.get(one, 0) for one in Outcome},
            "dead_letters": self.dead_letters,
        }


def look_through(services: Services, name: str, *, sweep: bool = False, changed_at: str | None = None) -> Round:
    """One round over an attached index; with `sweep` over all of its documents, whatever was looked through before; by the
    date field `changed_at`, or by sequence numbers without it.

    Documents are embedded and written by this process, and searches find them afterwards. Raises NotFoundError where the index
    is not attached, InputError `attach.bad_option` where `changed_at` is no date, a retryable error where a service is away:
    then the round may be begun again.
    """
    client = services.elasticsearch
    index = current_version(client, name)
    schema = read_schema(client, index)
    home = attached.home_in(mapping_of(client, index))
    if schema.attachment is None or home is None:
        raise attached.not_attached(name)
    services.check(schema)
    targets = _targets(services, home, index)
    seen = attached.seen(client, home, index)
    before = {} if sweep else seen
    how = schema.attachment
    new, whole = _by_time(client, index, how, changed_at, before) if changed_at else by_number(client, index, how, before)
    found = Round()
    with closing(new) as hits:
        records = (record_of(hit, number, how) for number, hit in enumerate(hits, start=1))
        while batch := tuple(islice(records, services.settings.batch_size)):
            _take(batch, targets, services, found)
    if found.news and not changed_at:  # who goes by a date may not be allowed to
        with translated():
            client.indices.refresh(index=index)  # the owner may refresh seldom, or never by himself
    attached.write_seen(client, home, index, {**seen, **whole} if changed_at else whole)
    return found


def _targets(services: Services, home: str, index: str) -> list[Target]:
    """Our field that is read, and the one that waits while its encoders are changed: without the latter's encoders here
    `triptych reindex promote` carries over what is lacking.
    """
    job = round_id()
    able = []
    for schema in attached.both(services.elasticsearch, home, index):
        try:
            services.check(schema)
        except EncoderError as error:
            log.warning("%s is not kept up to date: %s", attached.version_of(index, schema.object_field), error)
        else:
            able.append(Target(index, schema, root_of(schema.attachment), job))
    return able


def round_id() -> str:
    """What a round calls itself in our bookkeeping, as a job: two may begin in one second."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S}-watch-{uuid.uuid4().hex[:8]}"


def by_number(client: Client, index: str, how: Attachment, before: Mapping[str, int]) -> tuple[Hits, dict[str, int]]:
    """The documents with an operation after those looked through, and up to which number each shard is then."""
    whole = checkpoints(client, index)
    if any(whole.get(shard, -1) < number for shard, number in before.items()):
        before = {}  # the index was made anew or restored since, or the last round went by time
    with translated():
        client.indices.refresh(index=index)
    hits = (
        _hits(client, index, how, _after("_seq_no", {"gt": before[shard]} if shard in before else None), int(shard))
        for shard, last in whole.items()
        if last > before.get(shard, -1)
    )
    return one_by_one(hits), whole


def _by_time(client: Client, index: str, how: Attachment, field: str, before: Mapping[str, int]) -> tuple[Hits, dict[str, int]]:
    """The documents that their owner changed since the latest time seen, and the latest time now, in milliseconds.

    A time to come, of a wrong clock, is not kept: all until then would be passed over.
    """
    if describe(client, index).fields.get(field) not in {"date", "date_nanos"}:
        message = f"{field!r} is no date of the index {index!r}."
        raise InputError(message, code="attach.bad_option", field="changed_at", remedy="Name a field of type date.")
    name = f"time:{field}"
    since = {"gte": before[name] - OVERLAP, "format": "epoch_millis"} if name in before else None
    with translated():
        answer = client.search(index=index, size=0, aggregations={"latest": {"max": {"field": field}}})
    latest = answer["aggregations"]["latest"]["value"]
    now = {} if latest is None else {name: min(int(latest), int(time.time() * 1000))}
    return _hits(client, index, how, _after(field, since)), now


def _after(field: str, bound: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {"match_all": {}} if bound is None else {"range": {field: bound}}


def _hits(client: Client, index: str, how: Attachment, query: Mapping[str, Any], shard: int | None = None) -> Hits:
    return scan(client, index, query=query, includes=(*how.image, *how.audio), shard=shard)


def checkpoints(client: Client, index: str, *, number: str = "global_checkpoint") -> dict[str, int]:
    """The number up to which each shard has every operation on all copies, or another `number` of its statistics
    (`max_seq_no`: that of its last operation). Needs the privilege `monitor`.
    """
    with translated():
        shards = client.indices.stats(index=index, metric="docs", level="shards")["indices"][index]["shards"]
    primaries = {name: one for name, copies in shards.items() for one in copies if one["routing"]["primary"]}
    if not primaries or any("seq_no" not in one for one in primaries.values()):
        raise ElasticsearchError(
            f"Not every shard of {index!r} is there.",
            code="elasticsearch.unavailable",
            retryable=True,
            remedy="See its health.",
        )
    return {str(name): int(one["seq_no"][number]) for name, one in primaries.items()}


def _take(batch: tuple[RawRecord, ...], targets: Sequence[Target], services: Services, found: Round) -> None:
    """Bring a batch into our fields. The counts are those of the field that is read, the dead letters those of all."""
    found.seen += len(batch)
    for number, target in enumerate(targets):
        try:
            result = flow.run([{**record, "line": at} for at, record in enumerate(batch, start=1)], target, services)
        except LeaseLostError:
            continue  # the field was dropped meanwhile
        for outcome in result.outcomes if number == 0 else ():
            found.outcomes[outcome] = found.outcomes.get(outcome, 0) + 1
        for letter in result.dead_letters:
            found.dead_letters[letter.code] = found.dead_letters.get(letter.code, 0) + 1
            log.warning("%s: %s: %s", letter.product_id, letter.code, letter.message)
