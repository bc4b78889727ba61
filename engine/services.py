"""Context managers for tests, the demo and evaluation: services that end with the `with` block, or with this process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine import node as nodes
from engine import redis_process as redis
from engine.build import prepare_home
from engine.java import find_java
from engine.node import ElasticsearchNode, Jvm, Membership, NodePlan
from engine.process import free_ports
from engine.redis_process import RedisPlan, RedisServer, find_redis
from engine.versions import DEFAULT_VERSION, release
from triptych.settings import Settings

QUICK = Jvm()


@contextmanager
def elasticsearch_node(
    settings: Settings,
    *,
    version: str = DEFAULT_VERSION,
    security: bool = False,
    data_dir: Path | None = None,
    port: int = 0,
    jvm: Jvm = QUICK,
    extra: Mapping[str, str] | None = None,
) -> Iterator[ElasticsearchNode]:
    """A real Elasticsearch node, ready when the block begins and gone when it ends.

    The server's files are fetched to `settings.engine_dir` the first time. Without `data_dir` the data is in a temporary
    folder and deleted; with it, it stays there. `security` gives `node.user` and `node.password`. `jvm` is the heap and the
    compiler: pass Jvm(compiler="full") to measure speed. `extra` are more Elasticsearch settings. Raises EngineError
    (docs/engine.md lists the codes).
    """
    chosen = release(version)
    java = find_java(settings, chosen.java)
    home = prepare_home(chosen, settings.engine_dir, java)
    with _folder(data_dir, "triptych-elasticsearch-") as folder:
        plan = NodePlan(
            name="node-1",
            version=chosen.version,
            home=home,
            folder=folder,
            java=java,
            port=port,
            jvm=jvm,
            security=security,
            extra=extra or {},
        )
        with _running([plan], keep=data_dir is not None) as (node,):
            yield node


@contextmanager
def elasticsearch_cluster(
    settings: Settings,
    *,
    size: int = 3,
    version: str = DEFAULT_VERSION,
    data_dir: Path | None = None,
    jvm: Jvm = QUICK,
    extra: Mapping[str, str] | None = None,
) -> Iterator[tuple[ElasticsearchNode, ...]]:
    """`size` nodes of one cluster on this machine (each 0.4 GB of memory at first), formed when the block begins."""
    chosen = release(version)
    java = find_java(settings, chosen.java)
    home = prepare_home(chosen, settings.engine_dir, java)
    names = tuple(f"node-{number}" for number in range(1, size + 1))
    membership = Membership(names, tuple(free_ports(size)))
    with _folder(data_dir, "triptych-elasticsearch-") as folder:
        plans = [
            NodePlan(
                name=name,
                version=chosen.version,
                home=home,
                folder=folder / name,
                java=java,
                jvm=jvm,
                membership=membership,
                extra=extra or {},
            )
            for name in names
        ]
        with _running(plans, keep=data_dir is not None) as started:
            yield started


@contextmanager
def redis_server(
    settings: Settings,  # noqa: ARG001 - as its siblings; Redis needs none of them yet
    *,
    port: int = 0,
    data_dir: Path | None = None,
    durable: bool = False,
) -> Iterator[RedisServer]:
    """A real Redis, ready when the block begins and gone when it ends. `durable` keeps its data over `kill` and `restart`."""
    with _folder(data_dir, "triptych-redis-") as folder:
        server = RedisServer(RedisPlan(find_redis(), folder, port=port, durable=durable), redis.attached)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def _running(plans: Sequence[NodePlan], *, keep: bool) -> Iterator[tuple[ElasticsearchNode, ...]]:
    started = tuple(ElasticsearchNode(plan, nodes.attached) for plan in plans)
    try:
        for node in started:
            node.start()
        for node in started:
            node.wait_ready(len(started))
        yield started
    finally:
        for node in started:
            if keep:
                node.stop()
            else:
                node.kill()  # nothing of it is kept: no need for good order


@contextmanager
def _folder(given: Path | None, prefix: str) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.absolute()
        return
    temporary = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
