"""An attached index brought to other encoders by a second object field of ours, while its owner writes and others search."""

from __future__ import annotations

import base64
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import test_attach_owner
from processes import SHOP, Command, beside, end
from test_attach_owner import Owner
from upgrade_place import COLOURS, OUTLINES, asked, code_of

from indexer.attach.watching import look_through
from indexer.sweeper import Sweeper
from indexer.upgrade import fields, starting, swapping
from search_api import Searcher, SearchRequest
from triptych.elastic import attached
from triptych.elastic.lifecycle import describe, read_schema
from triptych.elastic.raw import scan_raw, without
from triptych.errors import ElasticsearchError, InputError, NotFoundError, TriptychError
from triptych.jobs.upgrades import UpgradeState
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT = 24
OURS = ("triptych", "triptych_v2", "triptych_v3")
LEGS = {"triptych": {"lexical", "image.image"}, "triptych_v2": {"lexical", "image.image", "image.colour"}}
INFO_SECONDS = 5.0


class Theirs:
    """An index as its owner made it, attached by the first profile and filled, and what is done with it."""

    def __init__(self, services: Services, command: Command, folder: Path) -> None:
        self.services, self.command, self.folder = services, command, folder
        self.name = f"theirs-{uuid.uuid4().hex[:8]}"
        self.old, self.new = (f"{self.name}#{field}" for field in OURS[:2])
        (folder / "images").mkdir()
        (folder / "images" / "demo-002-1.jpg").write_bytes((SHOP / "images" / "demo-002-1.jpg").read_bytes())
        self.colours, self.outlines = folder / "colours.yaml", folder / "outlines.yaml"
        self.colours.write_text(COLOURS, encoding="utf-8")
        self.outlines.write_text(OUTLINES, encoding="utf-8")
        texts = {"title": {"type": "text"}, "photo": {"type": "keyword"}, "price": {"type": "double"}}
        services.elasticsearch.indices.create(index=self.name, mappings={"dynamic": "strict", "properties": texts})
        self.documents = {f"p{number}": document(number) for number in range(1, COUNT + 1)}
        for key, one in self.documents.items():
            services.elasticsearch.index(index=self.name, id=key, document=one)
        self.before = self.bodies()
        job = command.json("attach", self.name, "--text", "title", "--image", "photo", "--root", str(SHOP),
                           "--profile", str(self.colours), "--follow")  # fmt: skip
        assert (job["state"], job["written"]) == ("completed", COUNT)

    def start(self, *options: str) -> dict[str, Any]:
        return dict(self.command.json("reindex", "start", self.name, "--profile", str(self.outlines), *options, check=False))

    def reindex(self, what: str, *options: str) -> dict[str, Any]:
        return dict(self.command.json("reindex", what, self.name, *options))

    def refused(self, *args: str) -> str:
        done = self.command(*args, "--json", check=False)
        assert done.returncode == 1, done
        return code_of(done)

    def promote(self) -> str:
        return swapping.promote(self.services, self.name, accept_losses=False, say=lambda _: None).serving

    def bodies(self) -> dict[str, bytes]:
        """The bytes of every `_source` without our fields."""
        client, server = self.services.elasticsearch, self.services.server
        client.indices.refresh(index=self.name)
        pages = scan_raw(client, self.name, {"match_all": {}}, server)
        return {one.id: without(one.source, *OURS) for page in pages for one in page}

    def sources(self) -> dict[str, dict[str, Any]]:
        client = self.services.elasticsearch
        client.indices.refresh(index=self.name)
        source: Any = {"exclude_vectors": False} if self.services.server.hides_vectors else True
        hits = client.search(index=self.name, size=1000, source=source)["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def under(self) -> set[str]:
        """Our fields that documents have."""
        return {name for source in self.sources().values() for name in OURS if name in source}


def document(number: int) -> dict[str, Any]:
    photo = {"photo": f"images/demo-{number:03}-1.jpg"} if number % 3 else {}
    return {"title": f"thing number {number}", "price": number + 0.5, **photo}


@pytest.fixture
def theirs(services: Services, command: Command, worker: object, tmp_path: Path) -> Iterator[Theirs]:
    made = Theirs(services, command, tmp_path)
    yield made
    services.elasticsearch.indices.delete(index=made.name, ignore_unavailable=True)
    upgrade = services.upgrades.get(made.name)
    if upgrade is not None and upgrade.state is UpgradeState.OPEN:
        services.upgrades.close(upgrade)


class Searches:
    """Searches by words and by a picture through a real API process, until they are stopped; what each came to."""

    def __init__(self, url: str, index: str) -> None:
        self.url, self.index = url, index
        self.answers: list[tuple[float, str, dict[str, Any]]] = []
        self.failures: list[str] = []

    def going_on(self) -> AbstractContextManager[None]:
        return beside(self._ask)

    def _ask(self, over: threading.Event) -> None:
        picture = base64.b64encode((SHOP / "images" / "demo-002-1.jpg").read_bytes()).decode()
        queries = {"both": {"text": "thing number 7", "image": {"base64": picture}}, "picture": {"image": {"base64": picture}}}
        while not over.wait(0.1):
            for name, query in queries.items():
                body = json.dumps({"index": self.index, "size": COUNT, **query}).encode()
                request = Request(f"{self.url}/v1/search", data=body, headers={"content-type": "application/json"})
                try:
                    with urlopen(request, timeout=60) as answer:
                        self.answers.append((time.monotonic(), name, json.loads(answer.read())))
                except OSError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")

    def since(self, moment: float) -> set[str]:
        return {data["index_version"] for at, _, data in self.answers if at > moment}


def picture_scores(services: Services, version: str) -> dict[tuple[str, str], float]:
    """What the picture scores in a version, asked by its own name until each product was there: its owner writes them anew."""
    picture = (SHOP / "images" / "demo-002-1.jpg").read_bytes()
    searcher, found = Searcher(services), dict[tuple[str, str], float]()
    shown = {f"p{number}" for number in range(1, COUNT + 1) if "photo" in document(number)}
    until = time.monotonic() + 120
    while {key for key, _ in found} != shown:
        assert time.monotonic() < until, found
        hits = searcher.search(SearchRequest(version, image=picture, size=COUNT)).hits
        found |= {(hit.id, name): leg.raw for hit in hits for name, leg in hit.legs.items() if leg.raw is not None}
    return found


def check_unmixed(searches: Searches, wanted: dict[str, dict[tuple[str, str], float]]) -> None:
    """Each answer has the legs of the version that it names, and the scores of that."""
    assert searches.failures == []
    for _, query, data in searches.answers:
        version = data["index_version"]
        assert data["degraded"] == []
        assert not any(set(OURS) & set(hit["product"]) for hit in data["hits"])
        assert {name for hit in data["hits"] for name in hit["legs"]} <= LEGS[version.partition("#")[2]]
        for hit in data["hits"] if query == "picture" else ():
            for name, leg in hit["legs"].items():
                if leg["raw"] is not None:
                    assert leg["raw"] == pytest.approx(wanted[version][hit["id"], name], abs=2e-3), (version, hit)


def test_the_whole_way_beside_an_owner_who_writes_and_users_who_search(
    theirs: Theirs, api: str, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled, compared, promoted, rolled back, promoted again, dropped, detached; documents change meanwhile."""
    monkeypatch.setattr(starting, "SETTLE_SECONDS", INFO_SECONDS + 2)
    monkeypatch.setattr(test_attach_owner, "PAUSE", 0.1)
    services, client, name = theirs.services, theirs.services.elasticsearch, theirs.name
    owner, searches = Owner(services, name, dict(theirs.documents)), Searches(api, name)
    with owner.writing(), searches.going_on():
        said = theirs.start("--follow")
        assert (said["old"], said["new"]) == (theirs.old, theirs.new)
        assert said["job"]["state"] in ("completed", "completed_with_dead_letters")  # the owner was quicker
        watched = threading.Event()

        def watch() -> None:
            while not watched.wait(0.5):
                with suppress(ElasticsearchError):  # a loaded node; the command tries again too
                    look_through(services, name)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            compared = theirs.reindex("evaluate", *asked(theirs.folder))
            assert (compared["serving"], compared["waiting"]) == (theirs.old, theirs.new)
            assert (set(compared["measures"]), compared["queries"]) == ({theirs.old, theirs.new}, 2)
            wanted = {version: picture_scores(services, version) for version in (theirs.old, theirs.new)}
            assert theirs.reindex("promote") == {"alias": name, "serving": theirs.new}
            swapped = time.monotonic()
            wait(lambda: theirs.new in searches.since(swapped), "an answer of the new field", seconds=120)
            assert again(lambda: swapping.roll_back(services, name, accept_losses=False, say=_quiet)).serving == theirs.old
            assert again(lambda: swapping.promote(services, name, accept_losses=False, say=_quiet)).serving == theirs.new
        finally:
            watched.set()
            watcher.join()
        with_both = theirs.under()
        again(lambda: starting.drop(services, name, confirm=theirs.old))
    assert with_both == set(OURS[:2])
    check_unmixed(searches, wanted)
    assert searches.since(0.0) == {theirs.old, theirs.new}
    look_through(services, name)
    assert theirs.under() == {"triptych_v2"}
    found = theirs.sources()
    assert {key: {n: v for n, v in one.items() if n not in OURS} for key, one in found.items()} == owner.documents
    assert {one["triptych_v2"]["outcome"] for one in found.values()} == {"written"}
    info = describe(client, name)
    assert (info.version, info.schema.others) == (theirs.new, ("triptych",))
    assert {"lexical", "image.colour"} <= set(info.schema.levels)
    assert not {field for field in info.fields if not info.schema.is_ours(field)} - {"title", "photo", "price"}
    before = theirs.bodies()
    assert theirs.command.json("detach", name)["written"] == COUNT
    assert theirs.bodies() == before
    assert {key: json.loads(one) for key, one in before.items()} == owner.documents
    assert theirs.under() == set()


def test_whatever_is_cut_off_goes_on_and_the_old_field_serves_until_then(
    theirs: Theirs, wait: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "SETTLE_SECONDS", 0)
    services, client, name = theirs.services, theirs.services.elasticsearch, theirs.name
    assert theirs.refused("reindex", "start", name, "--profile", "light") == "encoder.not_prepared"
    process = theirs.command.start("reindex", "start", name, "--profile", str(theirs.outlines), log=theirs.folder / "log")
    wait(lambda: services.upgrades.get(name) is not None, "the upgrade's record", seconds=60)
    end(process, signal_number=signal.SIGKILL)
    assert describe(client, name).version == theirs.old
    assert theirs.refused("attach", name, "--text", "title", "--profile", str(theirs.colours)) == "upgrade.open"
    assert theirs.refused("reindex", "start", name, "--profile", str(theirs.colours)) == "upgrade.open"
    said = theirs.start("--follow")
    assert (said["new"], said["job"]["state"], said["job"]["written"]) == (theirs.new, "completed", COUNT)
    status = theirs.reindex("status")
    assert (status["serving"], status["lacking"]) == (theirs.old, [])
    assert [one["products"] for one in status["versions"].values()] == [COUNT, COUNT]
    rows = theirs.command.json("attached", "list")
    assert [row["beside"] for row in rows if row["index"] == name] == [["triptych_v2"]]

    upgrades = services.upgrades
    swapping.check_encoders(services, read_schema(client, theirs.new))
    swapping._caught_up(services, swapping._filled(services, upgrades.open_of(name)), None, lambda _: None)
    held = upgrades.hold(upgrades.open_of(name))
    assert held is not None
    assert upgrades.begin_swap(held, {}) is not None
    now = [0.0]
    sweeper = Sweeper(services, clock=lambda: now[0])
    sweeper.sweep()
    assert upgrades.open_of(name).state is UpgradeState.SWAPPING, "a sweep gives its process time"
    now[0] = swapping.LOST_SECONDS
    sweeper.sweep()  # as a worker does when that is over
    assert upgrades.open_of(name).state is UpgradeState.OPEN
    assert describe(client, name).version == theirs.new
    assert {leg for hit in _found(services, name).hits for leg in hit.legs} == {"image.image", "image.colour"}

    assert theirs.reindex("rollback")["serving"] == theirs.old
    with monkeypatch.context() as cut:
        cut.setattr(fields, "free", _cut_off)
        with pytest.raises(KeyboardInterrupt):
            starting.drop(services, name, confirm=theirs.new)
    assert theirs.under() == set(OURS[:2])
    assert {leg for hit in _found(services, name).hits for leg in hit.legs} == {"image.image"}
    assert theirs.start()["code"] == "upgrade.open"
    starting.drop(services, name, confirm=theirs.new)
    assert theirs.under() == {"triptych"}
    with pytest.raises(NotFoundError):
        read_schema(client, theirs.new)
    assert describe(client, name).version == theirs.old

    assert theirs.start("--follow")["new"] == f"{name}#triptych_v3"
    assert theirs.command.json("detach", name)["written"] == COUNT
    assert theirs.under() == set()
    assert theirs.bodies() == theirs.before
    assert upgrades.get(name).state is UpgradeState.CLOSED  # type: ignore[union-attr]
    assert attached.marks_of(client.indices.get_mapping(index=name)[name]["mappings"]) == {}


def test_a_field_that_lacks_products_or_parts_is_not_promoted(theirs: Theirs) -> None:
    theirs.start("--follow")
    services, client, name = theirs.services, theirs.services.elasticsearch, theirs.name
    client.update(index=name, id="p1", doc={"triptych_v2": {"outcome": "partial"}}, refresh=True)
    upgrade = services.upgrades.open_of(name)
    assert fields.lacking(services, upgrade) == ["parts of 1 products"]
    with pytest.raises(InputError) as error:
        swapping._refuse(name, fields.lacking(services, upgrade))
    assert error.value.code == "upgrade.incomplete"
    client.update(index=name, id="p2", doc={"triptych_v2": None}, refresh=True)
    assert fields.lacking(services, upgrade) == ["1 products", "parts of 1 products"]
    assert theirs.promote() == theirs.new, "what is lacking is made in the last rounds"
    assert fields.lacking(services, services.upgrades.open_of(name)) == []


def again(step: Callable[[], Any]) -> Any:
    """A step that may be repeated, while it says so: a loaded node is away for a moment."""
    until = time.monotonic() + 120
    while True:
        try:
            return step()
        except TriptychError as error:
            if not error.retryable or time.monotonic() > until:
                raise


def _quiet(_: str) -> None:
    """Says nothing."""


def _found(services: Services, name: str) -> Any:
    picture = (SHOP / "images" / "demo-002-1.jpg").read_bytes()
    return Searcher(services).search(SearchRequest(name, image=picture, size=5))


def _cut_off(*_: Any, **__: Any) -> int:
    raise KeyboardInterrupt
