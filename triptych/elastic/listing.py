"""Which indices there are that can be searched."""

from __future__ import annotations

from elasticsearch import Elasticsearch

from triptych.elastic.attached import home_in
from triptych.elastic.client import translated
from triptych.schema import FIELD

_OURS = f"*.mappings._meta.{FIELD}.lexical_fields"
_ATTACHED = "*.mappings.properties.*.properties.key.meta"


def searchable(client: Elasticsearch) -> list[str]:
    """The names that searches use: the aliases of our own and of attached indices, or the name of one without an alias.

    Of a user who may not see all indices those that he may see. Raises ElasticsearchError.
    """
    with translated():
        mappings = client.indices.get_mapping(index="*", filter_path=[_OURS, _ATTACHED]).body
        aliases = client.indices.get_alias(index="*", filter_path="*.aliases").body
    found: set[str] = set()
    for version, body in mappings.items():
        mapping = body["mappings"]
        if FIELD in mapping.get("_meta", {}) or home_in(mapping) is not None:
            found |= set(aliases.get(version, {}).get("aliases", {})) or {version}
    return sorted(found)
