"""A real Elasticsearch and a real Redis on this machine without Docker, for tests, the demo and evaluation.

with elasticsearch_node(settings) as node, redis_server(settings) as redis: node.url, redis.url
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.node import ElasticsearchNode, Jvm
    from engine.redis_process import RedisServer
    from engine.services import elasticsearch_cluster, elasticsearch_node, redis_server

__all__ = ["ElasticsearchNode", "Jvm", "RedisServer", "elasticsearch_cluster", "elasticsearch_node", "redis_server"]

_HOMES = {"ElasticsearchNode": "engine.node", "Jvm": "engine.node", "RedisServer": "engine.redis_process"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `triptych --help` imports this package too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(_HOMES.get(name, "engine.services")), name)
