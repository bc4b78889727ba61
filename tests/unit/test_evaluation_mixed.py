"""Fusions compared on kept candidates: what is left without completion, the grid of weights, the halves, the quick measure."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from evaluation.catalogues import Data
from evaluation.measures import mean, per_query
from evaluation.mixed import (
    MEASURE,
    TUNED,
    TUNED_ELSEWHERE,
    Asked,
    Scheme,
    Tuner,
    alone,
    evaluate,
    halves,
    leaving_out,
    native_row,
    ranking,
    schemes,
    simplex,
    table,
    tuned,
    uncompleted,
)
from evaluation.task_list import MIXED
from search_api.candidates import NO_MODALITY, LegHits, complete, gather
from search_api.fusion import FusedLeg, Method
from search_api.query import FusionMethod, Mean, check_method
from triptych.errors import QueryError
from triptych.schema import Level

pytestmark = pytest.mark.unit

LEGS = (
    FusedLeg("lexical", "text", "lexical", 0.25, Level(floor=0.0, sigma=0.0, reliability=0.9, sample=99)),
    FusedLeg("text.text", "text", "text.text", 0.25, Level(floor=0.4, sigma=0.05, reliability=0.8, sample=99)),
    FusedLeg("image.image", "image", "image.image", 0.5, Level(floor=0.45, sigma=0.05)),
)
PLAIN = Scheme(Method(), complete=True)


def one(name: str, words: str, *, seed: int, exclude: frozenset[str] = frozenset()) -> Asked:
    """A query with 40 products, each known to some legs; a quarter of them have no picture."""
    dice = np.random.default_rng(seed)
    ids = [f"p{number:02}" for number in range(40)]
    scores = {leg.name: dict(zip(ids, dice.random(40).round(2).tolist(), strict=True)) for leg in LEGS}
    scores["image.image"] = {key: value for key, value in scores["image.image"].items() if int(key[1:]) % 4}
    best = {leg: sorted(some, key=lambda key: (-some[key], key)) for leg, some in scores.items()}
    retrieved = {leg: LegHits(tuple(keys[:15]), tuple(scores[leg][key] for key in keys[:15])) for leg, keys in best.items()}
    late = {leg: LegHits(tuple(keys[15:]), tuple(scores[leg][key] for key in keys[15:])) for leg, keys in best.items()}
    found = gather([leg.name for leg in LEGS], retrieved, sources=list(scores), full=15)
    return Asked(name, words, exclude, complete(found, late, words=["lexical"]), LEGS, {})


def named(scheme: Scheme) -> str:
    method = scheme.method
    return "-".join([method.fusion, method.mean, method.missing, "completed" if scheme.complete else "as-returned"])


GRADES = {f"p{number:02}": number % 3 for number in range(0, 40, 2)}


def test_without_completion_only_a_legs_own_list_is_known() -> None:
    whole = one("q", "red", seed=1).candidates
    seen = uncompleted(whole)
    assert (~np.isnan(seen.raw) == (whole.rank > 0)).all()
    assert np.isnan(whole.raw).sum() == (whole.status == NO_MODALITY).sum() < np.isnan(seen.raw).sum()


def test_a_leg_alone_gives_its_own_list_without_what_the_query_excludes() -> None:
    asked = one("q", "red", seed=1)
    first = alone(asked, 1)
    assert len(first) == 15
    assert alone(one("q", "red", seed=1, exclude=frozenset(first[:1])), 1) == first[1:]


def test_products_whose_id_begins_so_are_left_out() -> None:
    asked = leaving_out(one("q", "red", seed=1), "p1")
    assert {product[:2] for product in ranking(asked, PLAIN, {leg.name: 1 / 3 for leg in LEGS})} == {"p0", "p2", "p3"}


@pytest.mark.parametrize("legs", [1, 2, 4])
def test_the_grid_holds_every_weighting_in_tenths_once(legs: int) -> None:
    grid = simplex(legs)
    assert len(set(grid)) == len(grid) == {1: 1, 2: 11, 4: 286}[legs]
    assert all(sum(weights) == pytest.approx(1) for weights in grid)


def test_the_halves_are_every_other_query_or_share_no_words() -> None:
    asked = [one(f"q{number}", words, seed=number) for number, words in enumerate(["red", "fat", "fat", "red", "old"])]
    assert halves(asked, TUNED) == ([0, 2, 4], [1, 3])
    assert halves(asked, TUNED_ELSEWHERE) == ([0, 3, 4], [1, 2])


@pytest.mark.parametrize(
    "scheme", schemes(), ids=lambda s: f"{s.method.fusion}-{s.method.mean}-{s.method.missing}-{s.complete}"
)
@pytest.mark.parametrize("exclude", [frozenset[str](), frozenset({"p02", "p05"})], ids=["all", "some"])
def test_the_quick_measure_is_that_of_ir_measures(scheme: Scheme, exclude: frozenset[str]) -> None:
    asked = one("q", "red", seed=3, exclude=exclude)
    grades = {product: grade for product, grade in GRADES.items() if product not in exclude}
    weights = {"lexical": 0.3, "text.text": 0.1, "image.image": 0.6}
    slow = mean(per_query({"q": grades}, {"q": ranking(asked, scheme, weights)}))[MEASURE]
    assert Tuner(asked, scheme, grades)(np.array(list(weights.values()))) == pytest.approx(slow)


def test_weights_are_tuned_on_the_other_half_only() -> None:
    asked = [one("q0", "red", seed=5), one("q1", "old", seed=6)]
    judgements = {each.id: {alone(each, leg)[0]: 1} for each, leg in zip(asked, (0, 2), strict=True)}
    found = tuned(asked, judgements, PLAIN)[TUNED]
    for each, other in (asked, asked[::-1]):
        best = ranking(other, PLAIN, found[each.id])
        assert mean(per_query(judgements, {other.id: best}))[MEASURE] == 1.0
    assert found["q0"] != found["q1"]


def test_every_method_with_every_mean_that_it_has_is_compared() -> None:
    ways = [(one.method.fusion, one.method.mean, one.complete) for one in schemes() if one.method.missing == "renormalise"]
    able = []
    for fusion, mean_ in itertools.product(get_args(FusionMethod), get_args(Mean)):
        with suppress(QueryError):
            check_method(fusion, mean_)
            able += [(fusion, mean_, complete) for complete in (True, False) if fusion != "native"]
    assert sorted(ways) == sorted(able)


def test_native_is_measured_by_what_it_answered() -> None:
    weights = {kind: {leg.name: 1 / 3 for leg in LEGS} for kind in ("equal", "default")}
    asked = [
        replace(one("q", "red", seed=7), weights=weights, native={"equal": ["p00", "p03"], "default": ["p03", "p00"]}),
        replace(
            one("r", "old", seed=8), weights=weights, native={"equal": ["p00"], "default": ["p01"]}, exclude=frozenset(["p01"])
        ),
    ]
    judgements = {"q": {"p03": 1}, "r": {"p00": 1, "p01": 1}}
    row = native_row(asked, judgements)
    assert row.scheme.method.fusion == "native"
    assert row.reached["equal"] == pytest.approx((1 / np.log2(3) + 1 / (1 + 1 / np.log2(3))) / 2)
    assert row.reached["default"] == pytest.approx(0.5)
    every = list(evaluate(asked, judgements, lambda *_: None))
    assert [one.scheme for one in every] == [*schemes(), row.scheme]
    assert every[-1] == row
    assert table(every).row_count == len(every)


def test_the_mixed_catalogue_has_the_records_of_all_its_sources(tmp_path: Path) -> None:
    catalogues = tmp_path / "catalogues"
    catalogues.mkdir()
    for source in ("icecat", "stamps", "grocery", "clothing"):
        record = {"id": source, "title": {"en": "A frog", "fr": "Une grenouille"}, "description": {"en": "", "sv": "En groda"}}
        (catalogues / f"{source}.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    found = {record["id"]: record for record in Data(tmp_path).records(MIXED)}
    assert list(found) == ["icecat", "stamps", "grocery", "clothing"]
    assert all(set(record["title"]) == {"en"} for record in found.values())
    assert set(found["grocery"]["description"]) == {"en"}
