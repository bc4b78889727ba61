"""`triptych search --body` on real services: the answers of the HTTP API, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_web import PICTURE, WORDS, Web, made_web
from processes import Command

from triptych.services import Services

pytestmark = pytest.mark.integration

QUERY: dict[str, Any] = {
    "text": "red horn", "vectors": {"words": WORDS, "picture": PICTURE}, "size": 5, "window": 30, "mean": "harmonic",
    "inputs": [{"vector": PICTURE, "space": "picture", "weight": 0.5}], "missing": "zero", "highlight": True,
    "fields": ["title", "price"],
}  # fmt: skip


@pytest.fixture(scope="module")
def web(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with made_web(services, tmp_path_factory.mktemp("body"), f"body-{run_id}") as made:
        yield made


@pytest.fixture
def ask(command: Command, web: Web, tmp_path: Path) -> Callable[..., Any]:
    """`ask(body)`: the exit code of the command, and what it prints as JSON."""

    def run(body: dict[str, Any]) -> tuple[int, Any]:
        path = tmp_path / "body.json"
        path.write_text(json.dumps(body), encoding="utf-8")
        changes = {"TRIPTYCH_PROFILE": str(web.services.settings.profile), "TRIPTYCH_QUEUE": web.services.settings.queue}
        done = command("search", web.index, "--body", str(path), "--json", check=False, **changes)
        return done.returncode, json.loads(done.stdout)

    return run


def check_same(here: Any, there: Any) -> None:
    """The same hits in the same order."""
    assert [hit["id"] for hit in here["hits"]] == [hit["id"] for hit in there["hits"]]
    assert [hit["score"] for hit in here["hits"]] == pytest.approx([hit["score"] for hit in there["hits"]], abs=1e-6)


def test_a_query_is_answered_as_over_http_and_reweighed_by_another_process(web: Web, ask: Callable[..., Any]) -> None:
    there = web.search(**QUERY)
    code, here = ask(QUERY)
    assert code == 0
    check_same(here, there)
    assert [(hit["product"], hit["highlight"]) for hit in here["hits"]] == [
        (hit["product"], hit["highlight"]) for hit in there["hits"]
    ]
    changes = {"weights": {"lexical": 0.9}, "mean": "arithmetic", "size": 5, "hydrate": True}
    code, again = ask({"query_id": here["query_id"], **changes})
    assert code == 0
    check_same(again, web.post("/v1/reweigh", query_id=there["query_id"], **changes)[1])
    assert [hit["score"] for hit in again["hits"]] != [hit["score"] for hit in here["hits"]]
    code, gone = ask({"query_id": "0" * 32})
    assert (code, gone["code"]) == (1, "session.not_found")


def test_several_queries_and_why(web: Web, ask: Callable[..., Any]) -> None:
    code, found = ask({"searches": [QUERY, {"text": "hat", "weights": {"nobodys": 1}}, {"text": "blue"}]})
    first, problem, last = found["answers"]
    assert (code, problem["problem"]["code"]) == (1, "query.unknown_leg")
    check_same(first, web.search(**QUERY))
    check_same(last, web.search(text="blue"))
    code, found = ask({"product": "p020", **QUERY})
    assert (code, found["id"]) == (0, "p020")
    there = web.post("/v1/explain", index=web.index, product="p020", **QUERY)[1]
    assert found["score"] == pytest.approx(there["score"], abs=1e-6)
    assert {name: found[name] for name in ("rank", "reasons", "quantised")} == {
        name: there[name] for name in ("rank", "reasons", "quantised")
    }
