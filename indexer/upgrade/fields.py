"""The two versions of an attached index: object fields of ours in one and the same index, which is its owner's.

made:    a further field beside the one that searches read, its schema kept where that of the other one is
lacking: what only the field that searches read has
drop:    the field forgotten, so that nobody writes it, then taken out of all documents

What fills it is the flow of attached indices; which field is read is one write of what is kept of the index (attached.serve).
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from indexer.attach.attaching import free
from indexer.attach.inspection import inspect
from indexer.attach.plan import placed
from indexer.attach.refusals import refusals_beside
from triptych.elastic import attached
from triptych.elastic.attached import field_of, index_of
from triptych.elastic.client import Client, translated
from triptych.elastic.lifecycle import home_of, mapping_of, read_schema
from triptych.errors import InputError
from triptych.jobs.servers import Servers
from triptych.jobs.upgrades import Upgrade, already_open
from triptych.schema import IndexSchema
from triptych.services import Services

KNOWN_SECONDS: Final = 6.0
"""After which every process of the API knows of a further field, and leaves it out of what it shows; it looks every 5 s."""

_NUMBER: Final = re.compile(r"_v\d+$")


def is_field(version: str) -> bool:
    """Whether a version is a field in an attached index. Pure."""
    return field_of(version) is not None


def new_name(client: Client, index: str, field: str) -> str:
    """The version of a further field: the name of the one that is read with a number that no field of the index has."""
    there = mapping_of(client, index).get("properties", {})
    base, number = _NUMBER.sub("", field), 2
    while (name := f"{base}_v{number}") in there:
        number += 1
    return attached.version_of(index, name)


def check_dropped(services: Services, index: str, schema: IndexSchema) -> None:
    """Raise InputError `upgrade.open` where documents still have values of a field that was dropped."""
    old = [name for name in attached.marks_of(mapping_of(services.elasticsearch, index)) if name != schema.object_field]
    if _any(services.elasticsearch, index, old):
        raise already_open(index)


def schema_of(fresh: Services, old: IndexSchema, version: str, root: str | None) -> IndexSchema:
    """The schema of a further field: the spaces of the profile of `fresh`, all else as in the field that is read."""
    field, how = field_of(version), old.attachment
    if field is None or how is None:
        raise ValueError(f"{version!r} is no field of an attached index")
    how = how if root is None else how.model_copy(update={"root": root})
    return placed(fresh.schema(), field, old.lexical_fields, how).model_copy(update={"missing": old.missing})


def check(services: Services, index: str, schema: IndexSchema) -> None:
    """Raise InputError where the index has no room for a further field, or cannot be written to any more."""
    home = home_of(services.elasticsearch, index)
    refusals = refusals_beside(inspect(services.elasticsearch, index, services.server), schema, home)
    if refusals:
        first = refusals[0]
        raise InputError(first.message, code=first.code, field="index", remedy=first.remedy)


def make(services: Services, index: str, schema: IndexSchema) -> None:
    """Put a further field into the mapping and keep its schema; nothing happens where that is done.

    Where an API runs, waits until it knows of it.
    """
    client, home = services.elasticsearch, home_of(services.elasticsearch, index)
    if schema.object_field not in attached.marks_of(mapping_of(client, index)):
        with translated():
            mapping = attached.object_mapping(schema, home)
            client.indices.put_mapping(index=index, properties={schema.object_field: mapping})
        if Servers(services.redis, services.settings).living():
            time.sleep(KNOWN_SECONDS)
    attached.put_beside(client, home, index, schema)  # from now on it is written


def lacking(services: Services, upgrade: Upgrade) -> list[str]:
    """What documents have in the field that is read, and not in the other one, in words; nothing where they are alike."""
    client, index = services.elasticsearch, index_of(upgrade.serving)
    mine, theirs = (read_schema(client, name) for name in (upgrade.serving, upgrade.waiting))
    with translated():
        client.indices.refresh(index=index)
    without = _count(client, index, exists(mine.key_field), but=exists(theirs.key_field))
    parts = _count(client, index, exists(mine.key_field), partial(theirs), but=partial(mine))
    found = [f"{without} products"] if without else []
    return [*found, f"parts of {parts} products"] if parts else found


def looked_through(services: Services, upgrade: Upgrade) -> dict[str, int]:
    """Up to which numbers both fields are kept up to date: what the watcher of the index has looked through."""
    index = index_of(upgrade.serving)
    return attached.seen(services.elasticsearch, home_of(services.elasticsearch, index), index)


def drop(services: Services, upgrade: Upgrade) -> int:
    """Take the field that is not read out of all documents; how many were written. Again where it was cut off."""
    index, field = index_of(upgrade.waiting), str(field_of(upgrade.waiting))
    schema = read_schema(services.elasticsearch, index)
    attached.drop_beside(services.elasticsearch, home_of(services.elasticsearch, index), index, field)
    most = schema.attachment.most_per_second if schema.attachment else None
    again = f"triptych reindex drop {upgrade.alias} --version {upgrade.waiting}"
    return free(services, index, (field,), most_per_second=most, again=again)


def is_left(services: Services, version: str) -> bool:
    """Whether documents have values of a field that was dropped."""
    with translated():
        if not services.elasticsearch.indices.exists(index=index_of(version)):
            return False
    return _any(services.elasticsearch, index_of(version), [str(field_of(version))])


def exists(field: str) -> dict[str, Any]:
    """The filter for documents that have a field."""
    return {"exists": {"field": field}}


def partial(schema: IndexSchema) -> dict[str, Any]:
    """The filter for products of which a part could not be made."""
    return {"term": {f"{schema.object_field}.outcome": "partial"}}


def _any(client: Client, index: str, fields: list[str]) -> bool:
    with translated():
        client.indices.refresh(index=index)
    return any(_count(client, index, exists(f"{field}.key")) for field in fields)


def _count(client: Client, index: str, *filters: dict[str, Any], but: dict[str, Any] | None = None) -> int:
    query = {"bool": {"filter": list(filters), "must_not": [] if but is None else [but]}}
    with translated():
        return int(client.count(index=index, query=query)["count"])
