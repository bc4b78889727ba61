"""An index changes its encoders, and changes back, while somebody searches it all the time through a real API process.

No request fails, and no answer is made of two versions: each names one and has the legs of that and no others, and each score
of a vector leg is the one that this version gives this product.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from processes import SHOP, Command, end, free_port, http_ok, wait_for

from engine import elasticsearch_node, redis_server
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.submit import submit
from indexer.upgrade import starting
from search_api import Searcher, SearchRequest
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

PRODUCTS = 36
A_SECOND = 20
THREADS = 6
MOST_WAITING = 40
INFO_SECONDS = 5.0
FIRST_PRICE = 1000

NEXT = """description: words as before, pictures by outline and colour
spaces:
  text:
    family: transformers_text
    model: multilingual-e5-small
    documents: text
    queries: [text]
    dims: 384
    licence: MIT
    options: {pooling: mean, query_prompt: "query: ", document_prompt: "passage: ", max_tokens: 512}
  outline: {family: hog, documents: image, queries: [image], dims: 1764, licence: none, label: outline}
  colour: {family: colour_histogram, documents: image, queries: [image], dims: 114, licence: none, label: colour}
"""
LEGS = {
    "old": {"lexical", "text.text", "text.image", "image.image"},
    "new": {"lexical", "text.text", "image.outline", "image.colour"},
}


@dataclass
class Load:
    """Searches at a steady pace until it is stopped; what each came to."""

    url: str
    index: str
    queries: list[dict[str, Any]]
    answers: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            while not self.stop.wait(1 / A_SECOND):
                if self.sent - self.ended < MOST_WAITING:  # a busy machine may not keep up
                    pool.submit(self.ask, self.sent % len(self.queries))
                    self.sent += 1

    def ask(self, number: int) -> None:
        body = json.dumps({"index": self.index, "size": PRODUCTS, **self.queries[number]}).encode()
        request = Request(f"{self.url}/v1/search", data=body, headers={"content-type": "application/json"})
        try:
            with urlopen(request, timeout=60) as answer:
                data = json.loads(answer.read())
        except OSError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            return
        if data["degraded"]:
            self.failures.append(str(data["degraded"]))
        else:
            self.answers.append((time.monotonic(), number, data))

    @property
    def ended(self) -> int:
        return len(self.answers) + len(self.failures)

    def since(self, moment: float) -> set[str]:
        """The versions that answered since."""
        return {data["index_version"] for at, _, data in self.answers if at > moment}


@dataclass(frozen=True)
class World:
    command: Command
    services: Services
    url: str
    index: str
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An Elasticsearch, a Redis, a worker and an API, and an index of the demo shop's first products by the profile offline."""
    name = f"upgrade-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("upgrade")
    with ExitStack() as stack:
        node = stack.enter_context(elasticsearch_node(Settings()))
        redis = stack.enter_context(redis_server(Settings()))
        own = {
            "TRIPTYCH_ELASTICSEARCH_URL": node.url, "TRIPTYCH_REDIS_URL": redis.url, "TRIPTYCH_QUEUE": name,
            "TRIPTYCH_SYSTEM_PREFIX": f"{name}-", "TRIPTYCH_BATCH_LEASE_SECONDS": "3", "TRIPTYCH_PROFILE": "offline",
        }  # fmt: skip
        settings = Settings(**{key.removeprefix("TRIPTYCH_").lower(): value for key, value in own.items()})
        command, port = Command(own), free_port()
        command("index", "create", name)
        for what in (["worker", "--concurrency", "1"], ["serve", "--port", str(port)]):
            process = command.start(*what, log=folder / f"{what[0]}.log")
            stack.callback(end, process)
        (folder / "next.yaml").write_text(NEXT, encoding="utf-8")
        job = command.json("index", "add", name, str(catalogue(folder)), "--follow")
        assert job["state"] == "completed", job
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: http_ok(f"{url}/v1/health/ready"), "the API", seconds=120)
        yield World(command, Services(settings), url, name, folder)


def shop() -> list[dict[str, Any]]:
    lines = (SHOP / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()[:PRODUCTS]
    products = [{**json.loads(line), "audio": [], "description": {}} for line in lines]
    return [{**one, "images": one["images"][:1] if n % 2 else []} for n, one in enumerate(products)]


def catalogue(folder: Path) -> Path:
    for record in shop():
        for name in record["images"]:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes((SHOP / name).read_bytes())
    path = folder / "catalogue.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in shop()), encoding="utf-8")
    return path


def queries() -> list[dict[str, Any]]:
    """Words, pictures, and both."""
    import base64

    products = shop()
    words = [{"text": one["title"]["en"]} for one in products[:20]]
    shown = [one["images"][0] for one in products if one["images"]][:6]
    pictures = [{"image": {"base64": base64.b64encode((SHOP / name).read_bytes()).decode()}} for name in shown]
    return [*words, *pictures, *({**one, **other} for one, other in zip(words, pictures, strict=False))]


def scores(hits: Any) -> dict[tuple[str, str], float]:
    """The raw score of each product in each vector leg."""
    return {
        (hit["id"], name): leg["raw"]
        for hit in hits
        for name, leg in hit["legs"].items()
        if name != "lexical" and leg["raw"] is not None
    }


def asked_directly(world: World, version: str) -> list[dict[tuple[str, str], float]]:
    """What each query scores in a version, asked by its own name by a process that serves nobody."""
    import base64

    searcher, found = Searcher(world.services), []
    for query in queries():
        image = base64.b64decode(query["image"]["base64"]) if "image" in query else None
        result = searcher.search(SearchRequest(version, text=query.get("text"), image=image, size=PRODUCTS))
        found.append(
            {(h.id, n): leg.raw for h in result.hits for n, leg in h.legs.items() if n != "lexical" and leg.raw is not None}
        )
    return found


def test_nobody_notices_an_upgrade_but_by_its_answers(world: World) -> None:
    load = Load(world.url, world.index, queries())
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        turns = upgraded(world, load)
    finally:
        load.stop.set()
        thread.join()
    assert load.failures == []
    assert len(load.answers) == load.sent >= 10 * A_SECOND
    kinds = {turns["old"]: "old", turns["new"]: "new"}
    wanted = {turns[kind]: turns[f"{kind} scores"] for kind in ("old", "new")}
    seen: set[str] = set()
    for _, number, data in load.answers:
        version = data["index_version"]
        seen.add(version)
        assert {name for hit in data["hits"] for name in hit["legs"]} <= LEGS[kinds[version]]
        for place, raw in scores(data["hits"]).items():
            assert raw == pytest.approx(wanted[version][number][place], abs=2e-3), (version, number, place)
    assert seen == set(wanted)


def price_of(world: World) -> Any:
    return world.services.elasticsearch.get(index=world.index, id="demo-003")["_source"]["price"]


def upgraded(world: World, load: Load) -> dict[str, Any]:
    """The whole way, with writes in between; gives both versions and what they score."""
    command, name = world.command, world.index
    said = command.json("reindex", "start", name, "--profile", str(world.folder / "next.yaml"), "--follow")
    old, new = said["old"], said["new"]
    assert said["job"]["state"] == "completed"
    found: dict[str, Any] = {"old": old, "new": new}
    found |= {f"{kind} scores": asked_directly(world, found[kind]) for kind in ("old", "new")}
    prices = itertools.count(FIRST_PRICE)
    for what, version in (("promote", new), ("rollback", old), ("promote", new)):
        price = next(prices)
        update = world.folder / "update.jsonl"
        update.write_text(json.dumps({"id": "demo-003", "_op": "update", "price": price}) + "\n", encoding="utf-8")
        submit(open_source(SourceSpec(str(update)), world.services), name, world.services)  # perhaps under way in the swap
        assert command.json("reindex", what, name)["serving"] == version
        swapped = time.monotonic()
        wait_for(lambda: price_of(world) == price, "the update")  # noqa: B023  it is called at once
        if what == "promote" and price > FIRST_PRICE:
            break  # dropping waits long enough
        time.sleep(max(0.0, swapped + INFO_SECONDS + 1 - time.monotonic()))
        assert load.since(swapped + INFO_SECONDS + 0.5) <= {version}
    command("reindex", "drop", name, "--version", old)
    dropped = time.monotonic()
    time.sleep(2)
    assert load.since(dropped) == {new}
    assert starting.SETTLE_SECONDS > INFO_SECONDS
    return found
