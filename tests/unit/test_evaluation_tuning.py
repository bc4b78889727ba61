"""The tuner: quick and search's own way agree, what is there is found, and chance is not taken for a gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from judged_toys import LEGS, SCHEMA, a_random, an_asked

from evaluation.cli import evaluate
from evaluation.configurations import Configuration, ranking
from evaluation.kept import Scored
from evaluation.results import Names, measured
from evaluation.statistics import Difference, Estimate
from evaluation.trials import Trials, drawn, hopeful, of_legs
from evaluation.tuning import Bench, Outcome, Plan, Tuned, folds, tune, unproved
from evaluation.weighing import WHOLE, completed, merged, sets_of
from search_api.candidates import NO_MODALITY
from search_api.fusion import Method
from search_api.weights import share
from triptych.domain import Modality
from triptych.errors import InputError
from triptych.schema import Missing, Space

pytestmark = pytest.mark.unit

NAMES = [leg.name for leg in LEGS]
PLAN = Plan(trials=500)
TEXT = Space(
    name="text", encoder="x", fingerprint="f", dims=2, document_modality=Modality.TEXT, query_modalities=(Modality.TEXT,)
)
IMAGE = TEXT.model_copy(update={"name": "image", "document_modality": Modality.IMAGE, "query_modalities": (Modality.IMAGE,)})
TWO_SPACES = SCHEMA.model_copy(update={"spaces": (TEXT, IMAGE)})


def _random_grades(one: Scored, seed: int) -> dict[str, int]:
    dice = np.random.default_rng(seed)
    return {product: int(dice.integers(0, 3)) for product in dice.permutation(one.candidates.ids)[:12].tolist()}


def _grades_by(one: Scored, weights: dict[str, float]) -> dict[str, int]:
    """The five that these weights put first are relevant."""
    return dict.fromkeys(ranking(one, Configuration("x", weights="equal", shares=weights), SCHEMA)[:5], 2)


def _queries(count: int, *, seed: int = 0, words: str = "") -> list[Scored]:
    return [
        a_random(
            f"q{n}",
            seed=1000 * seed + n,
            words=(words or "w{}").format("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[n]),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("missing", ["renormalise", "zero", "background"])
@pytest.mark.parametrize("judged_only", [False, True])
def test_the_quick_way_gives_the_measure_of_the_search_itself(missing: Missing, judged_only: bool) -> None:
    schema = SCHEMA.model_copy(update={"missing": missing})
    one = a_random("q", seed=3, exclude=("p003",))
    grades = _random_grades(one, 4)
    trial = Trials(one, grades, k=10, method=Method(missing=missing), judged_only=judged_only)
    draws = drawn(NAMES, 60)
    quick = trial(draws)
    for weights, value in zip(draws, quick, strict=True):
        way = Configuration(
            "x",
            weights="equal",
            shares=dict(zip(NAMES, weights.tolist(), strict=True)),
        )
        if (weights > 0).all():  # a leg of weight 0 brings no candidates
            found = measured({"q": grades}, {"q": ranking(one, way, schema)}, Names(10, judged_only=judged_only))
            assert value == pytest.approx(found["q"]["nDCG@10"], abs=1e-4)


def test_what_can_never_be_among_the_best_is_left_out_and_nothing_else() -> None:
    values = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.4], [0.5, 0.5], [0.1, 0.8]])
    assert hopeful(values, 1).tolist() == [0, 1, 4]
    assert hopeful(values, 2).tolist() == [0, 1, 3, 4]


def test_draws_are_shares_and_hold_every_leg_alone() -> None:
    found = drawn(NAMES, 100)
    assert found.shape == (100, 3)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found >= 0).all()
    assert {tuple(row) for row in np.eye(3)} <= {tuple(row) for row in found}
    assert of_legs(found, NAMES, NAMES[:2])[:1] == pytest.approx(np.array([[0.5, 0.5]]))


def test_alike_queries_are_in_one_fold() -> None:
    groups = ["red", "red", "old", "fat", "fat", "fat", "new"]
    found = folds(groups, 3, seed=1)
    assert len(set(found)) == 3
    assert all(len({fold for fold, group in zip(found, groups, strict=True) if group == name}) == 1 for name in groups)
    assert max(folds(["a", "b"], 5, seed=1)) == 1


def test_ten_queries_find_weights_that_hold_on_others() -> None:
    scored = _queries(10)
    judgements = {one.query.id: _grades_by(one, {"lexical": 0.1, "text.text": 0.8, "image.image": 0.1}) for one in scored}
    whole = tune(scored, judgements, SCHEMA, PLAN).whole
    assert whole.accepted
    assert whole.weights["text.text"] > 0.6
    assert whole.held_out > whole.before + 0.2
    assert whole.gain.estimate.low is not None
    assert whole.gain.estimate.low > 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [10, 40])
def test_random_judgements_give_no_gain(seed: int, count: int) -> None:
    scored = _queries(count, seed=seed)
    judgements = {one.query.id: _random_grades(one, 77 + 1000 * seed + n) for n, one in enumerate(scored)}
    outcome = tune(scored, judgements, SCHEMA, PLAN)
    assert not outcome.whole.accepted
    assert outcome.whole.sentences[0].startswith("No gain is proved")
    assert sets_of(outcome, "tuned", SCHEMA) == {}
    assert outcome.whole.fitted > outcome.whole.held_out  # what fits by chance


def test_a_head_query_must_not_get_worse() -> None:
    scored = _queries(12)
    judgements = {one.query.id: _grades_by(one, {"lexical": 0.0, "text.text": 1.0, "image.image": 0.0}) for one in scored}
    judgements["q0"] = _grades_by(scored[0], scored[0].defaults(SCHEMA))
    free, kept = (tune(scored, judgements, SCHEMA, replace(PLAN, head=frozenset(head))).whole for head in ([], ["q0"]))
    bench = Bench.of(scored, judgements, SCHEMA, PLAN)
    values = [bench.value(0, np.array([one.weights[name] for name in bench.legs])) for one in (free, kept)]
    assert bench.base[0] == pytest.approx(1.0)
    assert values[0] < 1.0
    assert values[1] == pytest.approx(1.0) or not kept.accepted


def test_a_class_has_its_own_weights_only_where_they_beat_the_others() -> None:
    short, long = _queries(12, words="red w{}"), _queries(12, seed=5, words="a b c d e f{}")
    long = [replace(one, query=replace(one.query, id=f"l{n}")) for n, one in enumerate(long)]
    by_text, by_words = (
        {"lexical": 0.0, "text.text": 1.0, "image.image": 0.0},
        {"lexical": 1.0, "text.text": 0.0, "image.image": 0.0},
    )
    apart = {one.query.id: _grades_by(one, by_text) for one in short} | {
        one.query.id: _grades_by(one, by_words) for one in long
    }
    found = tune([*short, *long], apart, SCHEMA, PLAN)
    assert {name: one.accepted for name, one in found.classes.items()} == {"short": True, "sentence": True}
    assert set(sets_of(found, "t", SCHEMA)) - {"t"} == {"t.short", "t.sentence"}
    alike = {one.query.id: _grades_by(one, by_text) for one in [*short, *long]}
    assert not any(one.accepted for one in tune([*short, *long], alike, SCHEMA, PLAN).classes.values())


def test_too_few_queries_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        tune(_queries(12, words="the same"), {}, SCHEMA, PLAN)
    assert caught.value.code == "evaluation.too_few"
    with pytest.raises(InputError, match="fewer than 4"):  # all refused, or no title to ask by
        tune([], {}, SCHEMA, PLAN)


@pytest.mark.parametrize("name", ["default", "equal", "reliability"])
def test_a_set_must_not_be_named_as_a_way_of_weighing(name: str) -> None:
    done = CliRunner().invoke(evaluate, ["tune", "--self", "--index", "shop", "--name", name])
    assert done.exit_code == 2
    assert "means something else" in done.output


def test_a_set_names_every_leg_and_silences_no_input() -> None:
    found = completed({"lexical": 0.3, "text.text": 0.7}, TWO_SPACES)
    assert found == pytest.approx({"lexical": 0.12, "text.text": 0.28, "image.image": 0.4})
    assert sum(found.values()) < 1, "products given beside words and a picture have a part"


def test_no_input_of_a_set_weighs_nothing() -> None:
    found = completed({"lexical": 0.0, "text.text": 0.0, "image.image": 1.0}, TWO_SPACES)
    assert found == pytest.approx({"lexical": 0.01 * 81 / 145, "text.text": 0.01 * 64 / 145, "image.image": 0.8}, abs=1e-3)
    assert share(found, {"lexical": 0.5, "text.text": 0.5}, list(found))["lexical"] > 0


def test_an_untold_leg_has_its_part_of_the_sum_of_its_input() -> None:
    """Words .4 and a picture .6, halved and halved: text.text was in no query and has its part of the .4."""
    schema = TWO_SPACES.model_copy(update={"levels": {}})
    found = completed({"lexical": 0.4, "image.image": 0.6}, schema)
    assert found == pytest.approx({"lexical": 0.16, "text.text": 0.16, "image.image": 0.48})


def test_a_leg_that_no_candidate_has_keeps_its_default_proportion() -> None:
    scored = [
        replace(
            one,
            candidates=replace(
                one.candidates,
                raw=np.where([False, False, True], np.nan, one.candidates.raw),
                status=np.where([False, False, True], NO_MODALITY, one.candidates.status).astype(np.uint8),
            ),
        )
        for one in _queries(10)
    ]
    judgements = {one.query.id: _grades_by(one, {"lexical": 0.1, "text.text": 0.9, "image.image": 0.0}) for one in scored}
    whole = tune(scored, judgements, SCHEMA, PLAN).whole
    assert set(whole.weights) == {"lexical", "text.text"}


def test_legs_of_an_input_that_are_not_tuned_follow_those_that_are() -> None:
    schema = SCHEMA.model_copy(update={"spaces": (TEXT,), "levels": {}})
    assert completed({"lexical": 0.4}, schema) == pytest.approx({"lexical": 0.25, "text.text": 0.25})


def test_an_outcome_that_is_not_believed_writes_nothing() -> None:
    asked = an_asked(_queries(8))
    judgements = {one.query.id: _grades_by(one, one.defaults(SCHEMA)) for one in asked.scored}
    outcome = tune(asked.scored, judgements, SCHEMA, PLAN)
    assert outcome.whole.before == pytest.approx(1.0)
    assert isinstance(outcome, Outcome)
    assert sets_of(outcome, "t", SCHEMA) == {}


def test_what_a_leg_that_tells_nothing_weighed_goes_to_its_input() -> None:
    legs = {"lexical": 0.2, "text.text": 0.6, "image.image": 0.2}
    scored = _queries(6)
    judgements = {one.query.id: {"p001": 1} for one in scored}
    bench = replace(Bench.of(scored, judgements, SCHEMA, PLAN), telling=frozenset({"lexical", "image.image"}))
    assert bench.told(legs) == pytest.approx({"lexical": 0.8, "image.image": 0.2})
    assert replace(bench, missing="zero").told(legs) == pytest.approx({"lexical": 0.2, "image.image": 0.2})


@pytest.mark.parametrize(("sure", "count", "need"), [(0.99, 5, 9), (0.5, 5, 6), (0.99, 30, 31), (0.999, 5, 12)])
def test_what_would_prove_a_gain_is_more_than_there_is_and_can_prove_it(sure: float, count: int, need: int) -> None:
    gain = Difference(Estimate(0.4, 0.1, 0.7), 0.04, count, 0, 0)
    assert f"about {need} judged queries" in unproved(gain, replace(PLAN, sure=sure), "the default weights", count)[1]


def _tuned(held_out: float, *, accepted: bool = True) -> Tuned:
    gain = Difference(Estimate(0.1, 0.05, 0.15), 0.001, 9, 0, 0)
    return Tuned(9, {"lexical": 0.3, "text.text": 0.7}, 0.5, held_out, 0.9, gain, accepted, ())


def test_each_set_is_held_against_the_best_leg_of_its_own_queries() -> None:
    outcome = Outcome(_tuned(0.6), {"short": _tuned(0.7), "sku": _tuned(0.5)})
    assert set(sets_of(outcome, "t", TWO_SPACES, {WHOLE: 0.55, "short": 0.8, "sku": 0.5})) == {"t", "t.sku"}
    assert set(sets_of(outcome, "t", TWO_SPACES, {WHOLE: 0.65, "short": 0.6, "sku": 0.6})) == {"t.short"}


def test_a_set_of_a_class_leaves_the_whole_set_and_a_whole_set_replaces_its_classes() -> None:
    old = {"t": {"lexical": 1.0}, "t.sku": {"lexical": 0.9}, "other": {"lexical": 0.1}}
    new = {"lexical": 0.5}
    assert merged(old, {"t.short": new}, "t") == {**old, "t.short": new}
    assert merged(old, {"t": new}, "t") == {"t": new, "other": {"lexical": 0.1}}
