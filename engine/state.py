"""What `triptych up` started: the file state.json, which triptych.settings reads to find the local services.

Its keys: elasticsearch_url, redis_url (only while they are ready), elasticsearch_user, elasticsearch_password (only with
security), and services, a list of what runs. The file is readable by its owner only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine import guard
from triptych.errors import EngineError

Kind = Literal["elasticsearch", "redis"]
KINDS: tuple[Kind, ...] = ("elasticsearch", "redis")


@dataclass(frozen=True, slots=True)
class Service:
    """One started process. `birth` (guard.birth) tells it from a later process with its number; `url` None: not ready yet."""

    kind: Kind
    name: str
    version: str
    pid: int
    birth: str
    log: str
    url: str | None = None

    @property
    def running(self) -> bool:
        return guard.is_ours(self.pid, self.birth)


@dataclass(frozen=True, slots=True)
class State:
    """All that was started, and how to log in where the node asks for it."""

    services: tuple[Service, ...] = ()
    user: str | None = None
    password: str | None = None

    def of(self, kind: Kind) -> tuple[Service, ...]:
        return tuple(service for service in self.services if service.kind == kind)

    def url(self, kind: Kind) -> str | None:
        """The address clients use: the first node's, once every process of the kind is ready."""
        urls = [service.url for service in self.of(kind)]
        return urls[0] if urls and all(urls) else None

    def without(self, kind: Kind) -> State:
        kept = tuple(service for service in self.services if service.kind != kind)
        login = (None, None) if kind == "elasticsearch" else (self.user, self.password)
        return State(kept, *login)

    def as_json(self) -> dict[str, Any]:
        """The document of state.json, and of `triptych up --json`."""
        document: dict[str, Any] = {}
        for kind in KINDS:
            url = self.url(kind)
            if url is not None:
                document[f"{kind}_url"] = url
        if self.user and self.password:
            document |= {"elasticsearch_user": self.user, "elasticsearch_password": self.password}
        return {**document, "services": [asdict(service) for service in self.services]}


def state_file(engine_dir: Path) -> Path:
    return engine_dir / "state.json"


def read(engine_dir: Path) -> State:
    """The state, empty if nothing was started. Raises EngineError (engine.state) if the file is not ours."""
    path = state_file(engine_dir)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        services = tuple(Service(**service) for service in document["services"])
    except FileNotFoundError:
        return State()
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path} cannot be understood: {error!r}.",
            code="engine.state",
            remedy="Delete the file; a local Elasticsearch or Redis that still runs must then be ended by hand.",
        ) from error
    return State(services, document.get("elasticsearch_user"), document.get("elasticsearch_password"))


def write(engine_dir: Path, state: State) -> None:
    """Replace the file in one step; without services, remove it."""
    path = state_file(engine_dir)
    if not state.services:
        path.unlink(missing_ok=True)
        return
    engine_dir.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(json.dumps(state.as_json(), indent=2), encoding="utf-8")
    new.replace(path)


def end(services: Iterable[Service], *, seconds: float = 20.0) -> list[Service]:
    """End these processes, each only if it still is the one that was started; returns those that were running."""
    return [service for service in services if guard.end(service.pid, service.birth, seconds=seconds)]
