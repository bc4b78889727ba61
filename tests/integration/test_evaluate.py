"""`triptych evaluate` on the demo shop: kept scores are those of a search, Elasticsearch is asked once, reports stand alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from processes import SHOP, Command

from evaluation.configurations import OURS, Configuration, ranking
from evaluation.judged import Judged, read
from evaluation.kept import Kept
from search_api.query import SearchRequest
from search_api.searcher import Searcher
from triptych.services import Services

pytestmark = pytest.mark.integration

QRELS, QUERIES = SHOP / "qrels.txt", SHOP / "queries.jsonl"


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of the demo's queries of words and a mix, beside the demo's media."""
    lines = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    words = [one for one in lines if one.get("text") and not one.get("image") and not one.get("audio")][:10]
    mixed = [one for one in lines if one.get("text") and one.get("image")][:2]
    path = tmp_path_factory.mktemp("judged") / "queries.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*words, *mixed]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def given(shop: str, some: Path) -> list[str]:
    return [str(QRELS), "--queries", str(some), "--query-media", str(SHOP), "--index", shop]


@pytest.fixture(scope="module")
def data_dir(services: Services, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data folder of the test's own, with the encoders that are prepared already."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "encoders").symlink_to(services.settings.data_dir / "encoders")
    return {"TRIPTYCH_DATA_DIR": str(folder)}


@pytest.fixture(scope="module")
def judged(some: Path) -> Judged:
    return read(QRELS, some, media=SHOP)


def test_kept_scores_rank_as_the_search_does(services: Services, shop: str, judged: Judged, tmp_path: Path) -> None:
    searcher = Searcher(services)
    asked = Kept(services, searcher, folder=tmp_path).ask(shop, judged.queries)
    assert asked.from_disk == 0
    again = Kept(services, searcher, folder=tmp_path).ask(shop, judged.queries)
    assert again.from_disk == len(judged.queries)
    for way, options in [
        (OURS, {}),
        (Configuration("zero", complete=False), {"complete": False}),
        (Configuration("shares", shares={"lexical": 0.9}), {"weights": {"lexical": 0.9}}),
    ]:
        for one in again.scored:
            image = None if one.query.image is None else one.query.image.read_bytes()
            request = SearchRequest(shop, text=one.query.text, image=image, size=10, **options)  # type: ignore[arg-type]
            hits = [hit.id for hit in searcher.search(request).hits]
            assert ranking(one, way, again.schema)[:10] == hits, (way.name, one.query.id)


def test_a_write_makes_a_new_state_and_old_files_go(services: Services, index: str, tmp_path: Path) -> None:
    kept = Kept(services, Searcher(services), folder=tmp_path)
    info = Searcher(services).info(index)
    first = kept._state_folder(info)
    assert kept._state_folder(info) == first
    services.elasticsearch.index(index=index, id="x", document={"title": {"en": "A shoe"}}, refresh=True)
    second = kept._state_folder(info)
    assert second != first
    assert [folder.name for folder in (tmp_path / info.version).iterdir()] == [second.name]


@pytest.fixture(scope="module")
def measured(command: Command, given: list[str], data_dir: dict[str, str]) -> Any:
    return command.json("evaluate", "run", *given, **data_dir)


def test_a_run_measures_all_queries(measured: Any) -> None:
    assert measured["queries"] == len(measured["per_query"]) == 12
    assert measured["from_disk"] == 0
    assert measured["measures"]["nDCG@10"]["low"] <= measured["measures"]["nDCG@10"]["mean"] <= 1
    assert measured["measures"]["Success@10"]["mean"] > 0.8
    assert {group["name"] for group in measured["groups"]} >= {"kind words_image"}


def test_a_comparison_asks_nothing_again_and_writes_a_report(
    command: Command, given: list[str], data_dir: dict[str, str], measured: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    found = command.json(
        "evaluate", "compare", *given[:1], "rrf", *given[1:], "--html", str(report), "--media", str(SHOP), **data_dir
    )
    assert found["from_disk"] == measured["queries"]
    means = {one["name"]: one["measures"]["nDCG@10"]["mean"] for one in found["configurations"]}
    assert means["triptych"] == pytest.approx(measured["measures"]["nDCG@10"]["mean"])
    assert found["recommended"] is None or means[found["recommended"]] >= means["best_leg"]
    page = report.read_text(encoding="utf-8")
    assert "<script" not in page
    plain = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", page)
    assert len(plain) < len(page)
    assert "//" not in plain
    assert plain.count("<svg") >= 4
    for sentence in found["sentences"]:
        assert sentence in plain


def test_tuning_without_writing_leaves_the_index_as_it_is(
    command: Command, given: list[str], data_dir: dict[str, str], measured: Any, shop: str
) -> None:
    before = command.json("weights", "list", shop)
    found = command.json("evaluate", "tune", *given, "--dry-run", "--trials", "300", **data_dir)
    assert found["written"] == []
    assert found["whole"]["queries"] == measured["queries"]
    assert command.json("weights", "list", shop) == before


def test_tuning_by_the_catalogue_itself_needs_no_judgement(command: Command, data_dir: dict[str, str], shop: str) -> None:
    found = command.json(
        "evaluate", "tune", "--self", "--sample", "12", "--index", shop, "--dry-run", "--trials", "300", **data_dir
    )
    assert found["whole"]["queries"] == 12
    assert found["whole"]["before"] > 0.5


def test_a_pool_lists_what_nobody_judged(
    command: Command, some: Path, shop: str, data_dir: dict[str, str], measured: Any, tmp_path: Path
) -> None:
    out = tmp_path / "todo.csv"
    told = command(
        "evaluate", "pool", "--queries", str(some), "--query-media", str(SHOP), "--index", shop, "--judgements", str(QRELS),
        "--depth", "3", "--out", str(out), **data_dir,
    ).stdout  # fmt: skip
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "query_id,query,docid,title,rating"
    assert f"{len(lines) - 1} products" in told
    assert len(lines) > 12


def test_wrong_files_are_named(command: Command, given: list[str], shop: str, tmp_path: Path) -> None:
    bad = tmp_path / "qrels.txt"
    bad.write_text("one two\n", encoding="utf-8")
    done = command("evaluate", "run", str(bad), *given[1:], check=False)
    assert done.returncode == 1
    assert "evaluation.bad_judgements" in done.stderr
    done = command("evaluate", "tune", "--index", shop, check=False)
    assert done.returncode == 2
    done = command("evaluate", "compare", *given[:1], "rrrf", *given[1:], check=False)
    assert "evaluation.bad_configuration" in done.stderr
