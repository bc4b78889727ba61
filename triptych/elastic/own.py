"""Small indices of Triptych's own, made on first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from elasticsearch import Elasticsearch

from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError

SETTINGS: Final[Mapping[str, Any]] = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}


def ensure(client: Elasticsearch, index: str, mappings: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> bool:
    """Create an index of ours, with more `settings`, unless it is there; whether it was not. Raises ElasticsearchError."""
    try:
        with translated():
            if client.indices.exists(index=index):
                return False
            client.indices.create(index=index, mappings=mappings, settings={**SETTINGS, **(settings or {})})
    except ElasticsearchError as error:
        if "already exists" not in error.message:  # another process was quicker
            raise
    return True
