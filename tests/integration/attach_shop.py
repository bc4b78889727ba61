"""An index as a shop makes it, without Triptych, for the tests of attaching."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from triptych.elastic.client import Client, Server
from triptych.services import Services

MAPPINGS: Mapping[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "sku": {"type": "keyword"},
        "title": {"type": "text", "analyzer": "folded", "fields": {"raw": {"type": "keyword"}}},
        "description": {"type": "text"},
        "brand": {"type": "keyword"},
        "price": {"type": "double"},
        "tags": {"type": "keyword"},
        "attributes": {"type": "flattened"},
        "image_url": {"type": "keyword", "index": False},
        "preview_url": {"type": "keyword", "index": False, "doc_values": True},
        "own_vector": {"type": "dense_vector", "dims": 2},
        "blob": {"type": "object", "enabled": False},
    },
}
SETTINGS: Mapping[str, Any] = {
    "number_of_shards": 2,
    "number_of_replicas": 0,
    "analysis": {"analyzer": {"folded": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase"]}}},
}
TEXT = ("title^2", "description")
BIG = b"123456789012345678901234567890"
"""A whole number that no float holds."""


def product_of(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A record of the demo shop as this shop keeps it, with values whose notation must not suffer."""
    images, audio = record.get("images", []), record.get("audio", [])
    return {
        "sku": f"SKU-{number:03d}",
        "title": record["title"]["en"],
        "description": record.get("description", {}).get("en", ""),
        "brand": record["brand"],
        "price": record["price"],
        "tags": ["b", "a", f"t{number % 3}"],
        "attributes": {"colour": record.get("colour", "none"), "size": {"w": str(number)}},
        **({"image_url": images[0]} if images else {}),
        **({"preview_url": audio[0]["path"] if isinstance(audio[0], dict) else audio[0]} if audio else {}),
        "own_vector": [0.5, number + 0.25],
        "blob": {"big": "@big", "small": "@small", "none": None, "text": "ä \u2028 <b>", "list": [[1], []]},
    }


def make(
    client: Client,
    index: str,
    products: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    **mapping: Any,
) -> None:
    """Create the index and write `products` with ids that are not their skus."""
    client.indices.create(index=index, mappings={**MAPPINGS, **mapping}, settings={**SETTINGS, **(settings or {})})
    lines: list[Any] = []
    for number, product in enumerate(products):
        lines += [
            orjson.dumps({"index": {"_id": f"d{number}"}}),
            orjson.dumps(product).replace(b'"@big"', BIG).replace(b'"@small"', b"1.5E-7"),
        ]
    assert not lines or not client.bulk(index=index, operations=lines)["errors"]
    client.indices.refresh(index=index)


def hashes(client: Client, index: str, server: Server, *, without: str | None = None) -> dict[str, str]:
    """The hash of the bytes of each `_source`, all vectors of the owner's included; `without` one of its fields."""
    from triptych.elastic.raw import scan_raw
    from triptych.elastic.raw import without as leave_out

    client.indices.refresh(index=index)
    pages = scan_raw(client, index, {"match_all": {}}, server)
    found = ((one.id, leave_out(one.source, without) if without else one.source) for page in pages for one in page)
    return {key: hashlib.sha256(source).hexdigest() for key, source in found}


def state(services: Services, index: str) -> tuple[Any, Any]:
    """The mapping and the settings of an index."""
    found = services.elasticsearch.indices.get(index=index)[index]
    return found["mappings"], found["settings"]
