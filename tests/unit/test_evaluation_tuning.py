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
from evaluation.shown import effects_table
from evaluation.statistics import Difference, Estimate
from evaluation.trials import Trials, drawn, hopeful, of_legs
from evaluation.tuning import WHOLE, Bench, Effect, Outcome, Plan, Tuned, folds, tune, unproved
from evaluation.weighing import completed, kept, merged, sets_of
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
    sets = sets_of(found, "t", TWO_SPACES)
    assert sets["t.short"]["text.text"] > sets["t.short"]["lexical"]
    assert sets["t.sentence"]["lexical"] > sets["t.sentence"]["text.text"]
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


def _two_classes(shorts: int = 6) -> tuple[list[Scored], dict[str, dict[str, int]]]:
    """30 sentences that the vectors answer and a few short queries that the default weights answer."""
    long = [
        replace(one, query=replace(one.query, id=f"l{n}")) for n, one in enumerate(_queries(30, seed=5, words="a b c d e f{}"))
    ]
    short = _queries(shorts, words="red w{}")
    text = {"lexical": 0.0, "text.text": 1.0, "image.image": 0.0}
    grades = {one.query.id: _grades_by(one, text) for one in long}
    grades |= {one.query.id: _grades_by(one, {"lexical": 1.0, "text.text": 0.0, "image.image": 0.0}) for one in short}
    return [*long, *short], grades


WORDS_ONLY = TWO_SPACES.model_copy(update={"weight_sets": {"t": {"lexical": 0.99, "text.text": 0.005, "image.image": 0.005}}})


@pytest.mark.parametrize("shorts", [1, 2, 6])
def test_a_class_that_new_weights_make_worse_keeps_what_it_has(shorts: int) -> None:
    """The set in force is good for short queries only. With fewer than four of them their class is not even tuned."""
    scored, grades = _two_classes(shorts)
    found = tune(scored, grades, WORDS_ONLY, replace(PLAN, name="t"))
    assert found.whole.accepted
    effect = found.effects["short"]
    assert (effect.queries, effect.worse) == (shorts, True)
    assert effect.now > 0.95
    assert effect.then < effect.now - 0.3
    assert not found.effects["sentence"].worse
    sets = sets_of(found, "t", WORDS_ONLY)
    assert sets["t.short"] == WORDS_ONLY.weight_sets["t"]
    assert "t.sentence" not in sets
    assert sets["t"]["text.text"] > sets["t"]["lexical"]


def test_what_nobody_judged_keeps_what_it_has() -> None:
    scored, grades = _two_classes(0)
    schema = SCHEMA.model_copy(update={"weight_sets": {"t.sku": {"lexical": 0.9}}})
    found = tune(scored, grades, schema, replace(PLAN, name="t"))
    assert found.whole.accepted
    assert kept(found) == ["sku", "short", "none"]
    sets = sets_of(found, "t", schema)
    assert sets["t.sku"] == {"lexical": 0.9}
    assert sets["t.short"] == {}, "no shares: the default weights"


def test_noise_does_not_keep_a_class_from_new_weights() -> None:
    """Alike in truth: now .5 or 1, then the same of other queries."""
    scored = _queries(8)
    bench = Bench.of(scored, {one.query.id: {"p001": 1} for one in scored}, SCHEMA, PLAN)
    base, held = np.array([0.5, 1.0] * 4), np.array([1.0, 0.4, 0.5, 1.0] * 2)
    effect = replace(bench, base=base).effect(np.arange(8), held)
    assert effect.then < effect.now
    assert not effect.worse
    assert replace(bench, base=base).effect(np.arange(8), base - 0.1).worse


def test_the_table_says_what_each_class_gets() -> None:
    gain = Difference(Estimate(-0.8, -0.9, -0.7), 0.03, 0, 6, 0)
    effects = {"short": Effect(6, 1.0, 0.19, gain, worse=True), "none": Effect(9, 0.4, 0.8, gain, worse=False)}
    table = effects_table(Outcome(_tuned(0.8), {}, effects), "t")
    rows = dict(zip(table.columns[0].cells, zip(*(column.cells for column in table.columns[1:]), strict=True), strict=True))
    assert rows["short"] == ("6", "1.000", "0.190", "-0.800 [-0.900, -0.700]", "what it has (t.short): it would be worse off")
    assert rows["none"][-1] == "t"
    assert rows["sku"] == ("0", "", "", "", "what it has (t.sku): nobody judged it")


def test_what_is_tuned_again_must_beat_what_is_written_already() -> None:
    """A set that nothing beats is in force: against the default weights there is a gain, against it there is none."""
    scored = _queries(12)
    grades = {one.query.id: _grades_by(one, {"lexical": 0.1, "text.text": 0.8, "image.image": 0.1}) for one in scored}
    best = SCHEMA.model_copy(update={"weight_sets": {"t": {"lexical": 0.08, "text.text": 0.64, "image.image": 0.08}}})
    first, again = tune(scored, grades, best, PLAN), tune(scored, grades, best, replace(PLAN, name="t"))
    assert first.whole.accepted
    assert again.whole.before == pytest.approx(1.0)
    assert not again.whole.accepted
    assert "the weight set 't'" in again.whole.sentences[0]
    head = Bench.of(scored, grades, best, replace(PLAN, name="t", head=frozenset({"q0"})))
    assert head.spoilt(np.arange(12), np.array([1.0, 0.0, 0.0]), replace(PLAN, head=frozenset({"q0"}))) == ["q0"]
    assert head.base[0] == pytest.approx(1.0)


def test_a_class_has_the_set_of_its_class_in_force() -> None:
    scored, grades = _two_classes(4)
    schema = SCHEMA.model_copy(update={"weight_sets": {"t.short": {"lexical": 0.99, "text.text": 0.0, "image.image": 0.0}}})
    base = Bench.of(scored, grades, schema, replace(PLAN, name="t")).base
    plain = Bench.of(scored, grades, SCHEMA, PLAN).base
    assert base[30:].mean() > plain[30:].mean()
    assert base[:30] == pytest.approx(plain[:30])


def test_a_set_in_force_that_pushes_away_is_measured_as_it_searches() -> None:
    one = _queries(1)[0]
    schema = SCHEMA.model_copy(update={"weight_sets": {"t": {"lexical": 0.5, "text.text": 0.3, "image.image": -0.2}}})
    way = Configuration("x", weights="t")
    grades = {one.query.id: dict.fromkeys(ranking(one, way, schema)[:5], 1)}
    assert Bench.of([one], grades, schema, replace(PLAN, name="t")).base[0] == pytest.approx(1.0)


def _tuned(held_out: float, *, accepted: bool = True) -> Tuned:
    gain = Difference(Estimate(0.1, 0.05, 0.15), 0.001, 9, 0, 0)
    return Tuned(9, {"lexical": 0.3, "text.text": 0.7}, 0.5, held_out, 0.9, gain, accepted, ())


def test_each_set_is_held_against_the_best_leg_of_its_own_queries() -> None:
    short, long = _queries(12, words="red w{}"), _queries(12, seed=5, words="a b c d e f{}")
    long = [replace(one, query=replace(one.query, id=f"l{n}")) for n, one in enumerate(long)]
    text, words = {"lexical": 0.0, "text.text": 1.0, "image.image": 0.0}, {"lexical": 1.0, "text.text": 0.0, "image.image": 0.0}
    grades = {one.query.id: _grades_by(one, text) for one in short} | {one.query.id: _grades_by(one, words) for one in long}
    least = {WHOLE: 2.0, "short": 2.0, "sentence": 0.0}
    found = tune([*short, *long], grades, SCHEMA, PLAN, least)
    assert set(sets_of(found, "t", SCHEMA)) == {"t.sentence"}
    assert "best single leg reaches 2.000" in found.whole.sentences[-1]
    assert "best single leg reaches 2.000" in found.classes["short"].sentences[-1]


def test_a_set_of_a_class_leaves_the_whole_set_and_a_whole_set_replaces_its_classes() -> None:
    old = {"t": {"lexical": 1.0}, "t.sku": {"lexical": 0.9}, "other": {"lexical": 0.1}}
    new = {"lexical": 0.5}
    assert merged(old, {"t.short": new}, "t") == {**old, "t.short": new}
    assert merged(old, {"t": new}, "t") == {"t": new, "other": {"lexical": 0.1}}
