"""Real services for the integration tests: one Elasticsearch and one Redis per run, one worker and one API process per session.

Every test run has its own prefix for indices and its own queue, so it may share a cluster with others.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from processes import ONE, ROOT, SHOP, Command, end, free_port, http_ok, wait_for
from pydantic import SecretStr
from together import Reached, reach
from worlds import BATCH, LEASE_SECONDS, READ, World

from engine import redis_server
from triptych.elastic.engine import unpack
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.elastic.products import vectors_of
from triptych.encoders import profiles, registry
from triptych.encoders.base import Encoder
from triptych.encoders.prepare import prepare
from triptych.services import Services
from triptych.settings import Settings


@pytest.fixture(scope="session")
def run_id() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture
def own_id() -> str:
    """For the names of what a test makes itself: another one where it is tried again."""
    return uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
def prepared() -> Mapping[str, Encoder]:
    """The default encoders, on disk for all processes; held, so that all tests of this process share their networks."""
    prepare(profiles.read("offline"), Settings())
    return registry.encoders_of(profiles.read("offline"), Settings())


@pytest.fixture(scope="session")
def environment(run_id: str, prepared: Mapping[str, Encoder], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """TRIPTYCH_* variables that lead child processes and `settings` to the run's services.

    Queues and ledgers are this process's own; what was embedded once is known to all processes of the run.
    """
    redis = reach("redis", tmp_path_factory).url
    return {
        "TRIPTYCH_ELASTICSEARCH_URL": reach("newest", tmp_path_factory).url,
        "TRIPTYCH_REDIS_URL": redis,
        "TRIPTYCH_CACHE_URL": redis,
        "TRIPTYCH_CACHE_NAME": "tests",
        "TRIPTYCH_SYSTEM_PREFIX": f"t-{run_id}-",
        "TRIPTYCH_QUEUE": f"t-{run_id}",
        "TRIPTYCH_BATCH_SIZE": "16",
        "TRIPTYCH_BATCH_LEASE_SECONDS": "3",
    }


@pytest.fixture(scope="session")
def settings(environment: dict[str, str]) -> Settings:
    return Settings(**{name.removeprefix("TRIPTYCH_").lower(): value for name, value in environment.items()})


@pytest.fixture(scope="session")
def services(settings: Settings) -> Services:
    return Services(settings)


@pytest.fixture(scope="session")
def oldest_node(tmp_path_factory: pytest.TempPathFactory) -> Reached:
    """The run's Elasticsearch of the oldest version that is supported."""
    return reach("oldest", tmp_path_factory)


@pytest.fixture(scope="session")
def oldest_services(settings: Settings, oldest_node: Reached) -> Services:
    return Services(settings.model_copy(update={"elasticsearch_url": SecretStr(oldest_node.url)}))


@pytest.fixture(scope="session")
def command(environment: dict[str, str]) -> Command:
    return Command(environment)


@pytest.fixture(scope="session")
def start_worker(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A context manager that runs a worker process: `with start_worker() as process`; takes options and settings for it."""

    @contextmanager
    def run(*options: str, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
        log = tmp_path_factory.mktemp("worker") / "worker.log"
        process = command.start("worker", *ONE, *options, log=log, **changes)
        try:
            wait_for(lambda: " ready." in log.read_text(), f"the worker ({log})", alive=process)
            yield process
        finally:
            end(process)

    return run


@pytest.fixture(scope="session")
def worker(start_worker: Callable[..., Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The session's worker process."""
    with start_worker() as process:
        yield process


@pytest.fixture(scope="session")
def shop(command: Command, worker: subprocess.Popen[bytes], run_id: str) -> str:
    """An index with the demo shop in it, indexed through Celery by the session's worker. Read only: do not write to it."""
    name = f"shop-{run_id}"
    command("index", "create", name, "--mapping", str(ROOT / "mappings" / "products.json"))
    job = command.json("index", "add", name, str(SHOP / "catalogue.jsonl"), "--follow")
    assert job["state"] == "completed", job
    return name


@pytest.fixture(scope="session")
def api(command: Command, shop: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running API, ready to answer."""
    log = tmp_path_factory.mktemp("api") / "api.log"
    port = free_port()
    process = command.start("serve", "--port", str(port), log=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: http_ok(f"{url}/v1/health/ready"), f"the API ({log})", alive=process)
        yield url
    finally:
        end(process)


@pytest.fixture
def index(command: Command, run_id: str) -> str:
    """The name of a new, empty index with a vector field per space."""
    name = f"i-{run_id}-{uuid.uuid4().hex[:6]}"
    command("index", "create", name)
    return name


@pytest.fixture(scope="session")
def shop_products() -> list[dict[str, Any]]:
    """The records of the demo shop's catalogue."""
    return [json.loads(line) for line in (SHOP / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., Path]:
    """Writes records (objects, or bytes as they are) as a catalogue, with the demo shop's media they name beside it."""

    def write(*records: Mapping[str, Any] | bytes, name: str = "catalogue.jsonl") -> Path:
        for record in records:
            if not isinstance(record, bytes):
                _bring_media(record, tmp_path)
        lines = [r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() for r in records]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


def _bring_media(record: Mapping[str, Any], folder: Path) -> None:
    """Copy the media of the demo shop that `record` names into `folder`, unless it has a file of that name."""
    for media in (*record.get("images", ()), *record.get("audio", ())):
        reference = media["path"] if isinstance(media, dict) else media
        source, target = SHOP / reference, folder / reference
        if source.is_file() and target.is_relative_to(folder) and ".." not in target.parts and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())


@pytest.fixture(scope="session")
def wait() -> Callable[..., None]:
    """`wait(condition, what, seconds=..)` fails the test when the condition does not hold in time."""
    return wait_for


@pytest.fixture(scope="session")
def read_vectors(services: Services) -> Callable[[str], dict[str, dict[str, npt.NDArray[np.float32]]]]:
    """`read_vectors(index)`: product id -> space -> vector, read back; of several pictures their mean."""

    def read(index: str) -> dict[str, dict[str, npt.NDArray[np.float32]]]:
        services.elasticsearch.indices.refresh(index=index)
        hits = services.elasticsearch.search(index=index, size=1000, source=["triptych.key"])["hits"]["hits"]
        schema = read_schema(services.elasticsearch, current_version(services.elasticsearch, index))
        found = vectors_of(services.elasticsearch, index, [hit["_id"] for hit in hits], schema, services.server)
        return {key: {space: unpack(vector) for space, vector in some.items()} for key, some in found.items()}

    return read


@pytest.fixture(scope="module")
def redis(settings: Settings) -> Iterator[Any]:
    with redis_server(settings) as server:
        yield server


@pytest.fixture(scope="module")
def world(
    settings: Settings, redis: Any, command: Any, wait: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    name = f"faults-{uuid.uuid4().hex[:8]}"
    own = settings.model_copy(
        update={
            "redis_url": SecretStr(redis.url),
            "queue": name,
            "system_prefix": f"{name}-",
            "batch_size": BATCH,
            "batch_lease_seconds": LEASE_SECONDS,
        }
    )
    made = World(own, command, wait, tmp_path_factory.mktemp("faults") / "worker.log")
    try:
        yield made
    finally:
        made.kill_worker()


@pytest.fixture
def quiet(world: World) -> Services:
    """The world's services, with no worker beside this process and an empty queue."""
    world.kill_worker()
    world.services.redis.flushall()
    return world.services


@pytest.fixture
def light_shop(catalogue: Callable[..., Path], shop_products: list[dict[str, Any]]) -> Path:
    """All products of the demo shop, but most without pictures and sounds: a job of seconds that still has every modality."""
    records = []
    for number, product in enumerate(shop_products):
        images = product["images"][:1] if number % 6 == 0 else []
        audio = product.get("audio", []) if number % 12 == 0 else []
        records.append({**product, "description": {}, "images": images, "audio": audio})
    assert len(records) == READ
    return catalogue(*records)
