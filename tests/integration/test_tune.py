"""`triptych evaluate tune` that writes: on an index whose words mislead and whose vectors are right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made_shop
import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner
from made_shop import Thing

from evaluation import tune_cli
from evaluation.cli import evaluate
from evaluation.judged import Judged, read
from evaluation.kept import Kept
from evaluation.runs import Query
from search_api import Searcher, SearchRequest
from triptych.domain import Modality
from triptych.elastic.lifecycle import new_name, read_schema, switch
from triptych.errors import TriptychError
from triptych.schema import IndexSchema, Level
from triptych.services import Services

pytestmark = pytest.mark.integration

PROFILE = """
description: a tiny encoder of words
spaces:
  tiny: {{family: transformers_text, model: {model}, documents: text, queries: [text], dims: 32, licence: none}}
"""
WORDS = [f"{one} {other}" for one in ("red", "blue", "green") for other in ("horn", "drum", "lamp", "shoe")]
LEVELS = {
    "lexical": Level(floor=0, sigma=0.2, reliability=0.9, sample=100),
    "text.text": Level(floor=0.5, sigma=0.05, reliability=0.3, sample=100),
}


@dataclass(frozen=True, slots=True)
class Place:
    """An index, how to reach it from a command, and twelve judged queries."""

    services: Services
    index: str
    version: str
    folder: Path
    environment: dict[str, str]

    @property
    def given(self) -> list[str]:
        return [str(self.folder / "qrels.txt"), "--queries", str(self.folder / "queries.jsonl"), "--index", self.index]

    @property
    def judged(self) -> Judged:
        return read(self.folder / "qrels.txt", self.folder / "queries.jsonl")

    def run(self, command: str, *args: str) -> Any:
        done = CliRunner().invoke(evaluate, [command, *self.given[:1], *args, *self.given[1:], "--json"], env=self.environment)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(
    services: Services, environment: dict[str, str], run_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tune")
    text = PROFILE.format(model=tiny_models.made(tiny_models.bert, folder / "model"))
    changes = {"queue": f"tune-{run_id}", "system_prefix": f"tune-{run_id}-", "data_dir": folder / "data"}
    mine = made_shop.services_of(services, folder, text, **changes)
    right = np.asarray(mine.encoders(IndexSchema())["tiny"].embed_queries(WORDS, Modality.TEXT), dtype=float)
    chance = np.random.default_rng(1)
    things = [Thing(f"right{n}", "thing", {"tiny": row[None, :]}) for n, row in enumerate(right)]
    for number, words in enumerate(WORDS):
        wrong = made_shop.unit(chance.normal(size=(3, 1, 32)))
        things += [Thing(f"wrong{number}-{n}", words, {"tiny": row}) for n, row in enumerate(wrong)]
    name = f"tune-{run_id}"
    version = made_shop.create(mine, name, things, levels=LEVELS)
    queries = [{"qid": f"q{n}", "text": words} for n, words in enumerate(WORDS)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries), encoding="utf-8")
    (folder / "qrels.txt").write_text("".join(f"q{n} 0 right{n} 1\n" for n in range(len(WORDS))), encoding="utf-8")
    more = {f"TRIPTYCH_{key.upper()}": str(value) for key, value in {**changes, "profile": folder / "made.yaml"}.items()}
    yield Place(mine, name, version, folder, {**environment, **more})
    services.elasticsearch.indices.delete(index=f"{name}-*")


def test_what_tuning_writes_is_what_a_search_then_gets(place: Place) -> None:
    """Written, read by `compare`, searched by; and tuning again finds nothing better than that."""
    found = place.run("tune", "--trials", "500")
    assert found["written"] == ["tuned", "tuned.none", "tuned.sentence", "tuned.sku"], found["whole"]["sentences"]
    assert found["whole"]["held_out"] > found["whole"]["before"] + 0.3
    assert read_schema(place.services.elasticsearch, place.version).weight_sets == found["sets"]
    compared = place.run("compare", "set:tuned")
    means = {one["name"]: one["measures"]["nDCG@10"]["mean"] for one in compared["configurations"]}
    assert means["triptych"] == pytest.approx(found["whole"]["before"])
    assert means["set:tuned"] == pytest.approx(found["whole"]["fitted"], abs=0.02)
    assert compared["from_disk"] == len(WORDS)
    searcher = Searcher(place.services)
    first = [searcher.search(SearchRequest(place.index, text=words, weight_set="tuned")).hits[0].id for words in WORDS]
    assert first == [f"right{n}" for n in range(len(WORDS))]
    again = place.run("tune", "--trials", "500")
    assert again["whole"]["before"] == pytest.approx(means["set:tuned"])
    assert again["written"] == []


def test_a_person_is_told_what_each_class_gets_and_what_a_window_is_worth(place: Place) -> None:
    more = ["--trials", "500", "--dry-run", "--name", "other"]
    done = CliRunner().invoke(evaluate, ["tune", *place.given, *more], env=place.environment)
    assert done.exit_code == 0, (done.output, done.exception)
    told = " ".join(done.stdout.split())
    assert "what it has (other.sku): nobody judged it" in told
    assert "Weight set other:" in told
    assert "Weight set other.sku" not in told, "it does not change"
    assert "nDCG@10 by the window (10: " in told
    assert "Nothing is written." in told


def test_judged_products_that_the_index_lacks_are_told(place: Place, tmp_path: Path) -> None:
    judgements = (place.folder / "qrels.txt").read_text(encoding="utf-8")
    (tmp_path / "qrels.txt").write_text(f"{judgements}q0 0 sold-out 1\nq1 0 sold-out 1\nother 0 else 1\n", encoding="utf-8")
    given = [str(tmp_path / "qrels.txt"), *place.given[1:]]
    html = tmp_path / "report.html"
    for command in ("run", "compare"):
        done = CliRunner().invoke(evaluate, [command, *given, "--json"], env=place.environment)
        assert json.loads(done.stdout)["not_in_index"] == ["sold-out"], command
    done = CliRunner().invoke(evaluate, ["run", *given, "--html", str(html)], env=place.environment)
    for text in (" ".join(done.stdout.split()), html.read_text(encoding="utf-8")):
        assert "1 judged product is not in the index" in text


def test_weights_of_another_version_are_not_written(place: Place) -> None:
    asked = Kept(place.services, Searcher(place.services)).ask(place.index, place.judged.queries)
    client = place.services.elasticsearch
    before = read_schema(client, place.version).weight_sets
    body = client.indices.get_mapping(index=place.version)[place.version]["mappings"]
    other = new_name(client, place.index)
    client.indices.create(index=other, mappings=body, settings={"analysis": made_shop.ANALYSIS})
    switch(client, place.index, place.version, other)
    try:
        with pytest.raises(TriptychError, match=other) as caught:
            tune_cli._write(place.services, asked, {"late": {"lexical": 0.5}}, "late")
        assert (caught.value.code, caught.value.retryable) == ("evaluation.index_changed", True)
        assert read_schema(client, other).weight_sets == before == read_schema(client, place.version).weight_sets
    finally:
        switch(client, place.index, other, place.version)


def test_an_answer_that_lacks_a_leg_is_not_measured(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_id: str
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    mine = place.services
    monkeypatch.setattr(mine.encoders(IndexSchema())["tiny"], "embed_queries", fail, raising=False)
    unseen = Query("q", text=f"red {own_id}")
    with pytest.raises(TriptychError, match=r"'q' was answered without text\.text") as caught:
        Kept(mine, Searcher(mine), folder=tmp_path).ask(place.index, [unseen])
    assert (caught.value.code, caught.value.retryable) == ("evaluation.degraded", True)
    assert not list(tmp_path.rglob("*.json")), "nothing that lacks a leg is kept"
