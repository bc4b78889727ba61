"""Start services that stay until `down`.

    request + state.json -> what runs already -> start what is missing -> note pids -> wait until ready -> note URLs

The pids are noted before the wait, so that a start cut short (kill -9) leaves nothing that `down` does not find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine import node as nodes
from engine import redis_process as redis
from engine import state as states
from engine.build import prepare_home
from engine.disk import locked
from engine.java import find_java
from engine.node import ElasticsearchNode, Jvm, Membership, NodePlan
from engine.process import free_ports, require_port
from engine.redis_process import RedisPlan, RedisServer, find_redis
from engine.state import KINDS, Kind, Service, State
from engine.versions import DEFAULT_VERSION, release
from triptych.errors import EngineError
from triptych.settings import Settings

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. None means: whatever runs, else the default (9.5.3, one node, no security)."""

    kinds: Sequence[Kind] = KINDS
    version: str | None = None
    nodes: int | None = None
    security: bool | None = None
    port: int = 0
    redis_port: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that runs now, and which kinds this call started."""

    state: State
    started: tuple[Kind, ...]


def start(settings: Settings, request: Request, say: Say) -> Outcome:
    """Start what of `request` does not run yet; `say` is told each step.

    Raises EngineError; what could not be made ready is then ended.
    """
    with locked(settings.engine_dir / ".up.lock", "starting the local services"):
        state = states.read(settings.engine_dir)
        missing: list[Kind] = []
        for kind in request.kinds:
            services = state.of(kind)
            if services and state.url(kind) and all(service.running for service in services):
                if kind == "elasticsearch":
                    _require_same(request, services, state)
                continue
            states.end(services)  # the rest of a start that was cut short, or of a cluster that lost a node
            missing.append(kind)
            if services:
                state = state.without(kind)
                states.write(settings.engine_dir, state)
        starters = {"elasticsearch": _start_elasticsearch, "redis": _start_redis}
        for kind in missing:
            state = starters[kind](settings, request, state, say)
        return Outcome(state, tuple(missing))


def stop(settings: Settings, say: Say) -> list[Service]:
    """End all that `start` started and forget it; the data stays. Returns what was running."""
    with locked(settings.engine_dir / ".up.lock", "starting the local services"):
        state = states.read(settings.engine_dir)
        if state.services:
            say("Stopping")
        ended = states.end(state.services)
        states.write(settings.engine_dir, State())
        return ended


def _require_same(request: Request, services: Sequence[Service], state: State) -> None:
    running = f"Elasticsearch {services[0].version} with {len(services)} node(s), security {'on' if state.user else 'off'},"
    same_version = request.version is None or release(request.version).version == services[0].version
    same_nodes = request.nodes is None or request.nodes == len(services)
    same_security = request.security is None or request.security == (state.user is not None)
    if not (same_version and same_nodes and same_security):
        raise EngineError(
            f"{running} is running already, which is not what is asked for.",
            code="engine.running_differs",
            remedy="Run `triptych down` first (its data stays), or ask for what is running.",
        )


def _plans(settings: Settings, request: Request, say: Say) -> list[NodePlan]:
    chosen = release(request.version or DEFAULT_VERSION)
    count = request.nodes or 1
    java = find_java(settings, chosen.java)
    say(f"Preparing Elasticsearch {chosen.version}")
    home = prepare_home(chosen, settings.engine_dir, java)
    names = tuple(f"node-{number}" for number in range(1, count + 1))
    membership = Membership(names, tuple(free_ports(count))) if count > 1 else Membership()
    data = settings.engine_dir / "data"
    kept = data / chosen.version if count == 1 else data / f"{chosen.version}-{count}-nodes"
    return [
        NodePlan(
            name=name,
            version=chosen.version,
            home=home,
            folder=kept if count == 1 else kept / name,
            java=java,
            port=request.port + place if request.port else 0,
            jvm=Jvm(compiler="full"),
            security=bool(request.security),
            membership=membership,
        )
        for place, name in enumerate(names)
    ]


def _start_elasticsearch(settings: Settings, request: Request, state: State, say: Say) -> State:
    for place in range(request.nodes or 1):
        require_port(request.port and request.port + place, "Elasticsearch", "--port")
    group = [ElasticsearchNode(plan, nodes.detached) for plan in _plans(settings, request, say)]
    state = replace(state, user=None, password=None)
    others = state.services
    try:
        for node in group:
            node.start()
            state = replace(state, services=(*state.services, _service("elasticsearch", node, url=None)))
            states.write(settings.engine_dir, state)
        say(f"Starting Elasticsearch {group[0].version}" + (f" on {len(group)} nodes" if len(group) > 1 else ""))
        for node in group:
            node.wait_ready(len(group))
    except BaseException:  # Ctrl-C too: nothing may stay behind unnoticed
        for node in group:
            node.stop()
        states.write(settings.engine_dir, replace(state, services=others))
        raise
    ready = tuple(_service("elasticsearch", node, url=node.url) for node in group)
    state = State((*others, *ready), group[0].user, group[0].password)
    states.write(settings.engine_dir, state)
    return state


def _start_redis(settings: Settings, request: Request, state: State, say: Say) -> State:
    say("Starting Redis")
    plan = RedisPlan(find_redis(), settings.engine_dir / "data" / "redis", port=request.redis_port, durable=True)
    server = RedisServer(plan, redis.detached)
    try:
        server.start()
    except BaseException:
        server.stop()
        raise
    state = replace(state, services=(*state.services, _service("redis", server, url=server.url)))
    states.write(settings.engine_dir, state)
    return state


def _service(kind: Kind, server: ElasticsearchNode | RedisServer, *, url: str | None) -> Service:
    name = server.name if isinstance(server, ElasticsearchNode) else "redis"
    return Service(
        kind=kind, name=name, version=server.version, pid=server.pid, birth=server.child.birth, log=str(server.log), url=url
    )
