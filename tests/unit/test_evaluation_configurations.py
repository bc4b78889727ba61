"""Ways to rank: what each sees of the kept scores, and the rankings they make, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from click import UsageError
from judged_toys import LEGS, SCHEMA, a_random, a_scored

from evaluation.configurations import BASELINES, OURS, Configuration, alone, parse, ranking, seen, weights_of
from evaluation.options import check_windows
from search_api.candidates import COMPLETED, NOT_RETRIEVED, RETRIEVED
from search_api.fusion import Method
from triptych.errors import QueryError

pytestmark = pytest.mark.unit

TWO = LEGS[:2]
SCORES = {"lexical": {"a": 10.0, "b": 6.0, "c": 2.0, "d": 0.5}, "text.text": {"a": 0.60, "b": 0.62, "c": 0.9, "d": 0.61}}


def _two(window: int = 2) -> list[str]:
    return ranking(a_scored("q", SCORES, window=window, legs=TWO), BASELINES["min_max_100"], SCHEMA)


def test_min_max_with_zeros_by_hand() -> None:
    """Lists a 10, b 6 and c .9, b .62: a 1 + 0, b 0 + 0, c 0 + 1, halved. d is in no list."""
    assert _two() == ["a", "c", "b"]


def test_a_bool_adds_raw_scores_and_knows_the_words_of_all() -> None:
    """a 10, b 6 + .62, c 2 + .9: c's words count although they stand below the window."""
    one = a_scored("q", SCORES, window=2, legs=TWO)
    candidates, _ = seen(one, BASELINES["bool"], {"lexical": 0.5, "text.text": 0.5})
    assert candidates.raw[candidates.ids.index("c")].tolist() == pytest.approx([2.0, 0.9])
    assert np.isnan(candidates.raw[candidates.ids.index("a"), 1])
    assert ranking(one, BASELINES["bool"], SCHEMA) == ["a", "b", "c"]


def test_reciprocal_ranks_by_hand() -> None:
    """a 1/61, b 1/62 + 1/62, c 1/61: b first, equal ones by id."""
    assert ranking(a_scored("q", SCORES, window=2, legs=TWO), BASELINES["rrf"], SCHEMA) == ["b", "a", "c"]


def test_a_smaller_window_sees_less_and_completes_the_rest() -> None:
    one = a_scored("q", SCORES, window=3, legs=TWO)
    weights = {"lexical": 0.5, "text.text": 0.5}
    narrow, _ = seen(one, Configuration("n", window=1), weights)
    assert narrow.ids == ("a", "c")
    assert narrow.status.tolist() == [[RETRIEVED, COMPLETED], [COMPLETED, RETRIEVED]]
    plain, _ = seen(one, Configuration("n", window=1, complete=False), weights)
    assert plain.status.tolist() == [[RETRIEVED, NOT_RETRIEVED], [NOT_RETRIEVED, RETRIEVED]]


def test_a_leg_that_weighs_nothing_brings_no_candidates() -> None:
    one = a_scored("q", SCORES, window=2, legs=TWO)
    candidates, legs = seen(one, OURS, {"lexical": 1.0, "text.text": 0.0})
    assert candidates.ids == ("a", "b")
    assert [leg.name for leg in legs] == ["lexical"]


def test_a_leg_alone_is_its_own_list() -> None:
    one = a_scored("q", SCORES, window=3, legs=TWO)
    assert alone(one, "text.text") == ["c", "b", "d"]
    assert alone(one, "text.text", 1) == ["c"]
    assert alone(one, "image.image") == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rrf", BASELINES["rrf"]),
        ("triptych", OURS),
        ("leg:text.text", Configuration("leg:text.text", kind="leg", leg="text.text")),
        ("set:mine", Configuration("set:mine", weights="mine")),
        (
            "fusion=l2, mean=geometric,complete=no,window=50,weights=equal,lexical=0.3",
            Configuration(
                "fusion=l2, mean=geometric,complete=no,window=50,weights=equal,lexical=0.3",
                method=Method("l2", "geometric"),
                complete=False,
                window=50,
                weights="equal",
                shares={"lexical": 0.3},
            ),
        ),
        ("guard=3.5", Configuration("guard=3.5", method=Method(guard=3.5))),
    ],
)
def test_a_configuration_is_read(text: str, wanted: Configuration) -> None:
    schema = SCHEMA.model_copy(update={"spaces": ()})
    if text == "leg:text.text":
        with pytest.raises(QueryError, match="no leg"):
            parse(text, schema)
        return
    assert parse(text, schema) == wanted


@pytest.mark.parametrize(
    "text",
    ["rrrf", "leg:nose", "set:yours", "fusion=native", "fusion=x", "window=0", "window=ten", "complete=maybe", "nose=1",
     "lexical=x", "guard=-1", "guard=21", "guard=much", "fusion=rrf,lexical", "weights=mean"],
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, SCHEMA)
    assert caught.value.code == "evaluation.bad_configuration"


def test_weights_come_from_the_defaults_a_set_or_are_equal() -> None:
    one = a_random("q", seed=1, words="red shoe")
    assert weights_of(one, BASELINES["rrf"], SCHEMA) == pytest.approx(dict.fromkeys([leg.name for leg in LEGS], 1 / 3))
    assert weights_of(one, OURS, SCHEMA)["lexical"] == pytest.approx(0.5 * 0.8)
    assert weights_of(one, Configuration("x", weights="mine"), SCHEMA)["lexical"] == 1.0
    assert weights_of(one, Configuration("x", shares={"image.image": 0.8}), SCHEMA)["image.image"] == pytest.approx(0.8)


def test_a_missing_modality_means_what_the_index_says_unless_it_is_given() -> None:
    one = a_random("q", seed=2)
    zero = SCHEMA.model_copy(update={"missing": "zero"})
    assert ranking(one, OURS, zero) == ranking(one, Configuration("x", missing="zero"), SCHEMA)
    assert ranking(one, Configuration("x", missing="renormalise"), zero) == ranking(one, OURS, SCHEMA)
    assert ranking(one, OURS, zero) != ranking(one, OURS, SCHEMA)
    assert parse("missing=zero", SCHEMA).missing == "zero"


def test_a_set_that_only_classes_have_is_there_and_none_is_named_as_a_way_of_weighing() -> None:
    schema = SCHEMA.model_copy(update={"weight_sets": {"tuned.short": {"lexical": 1.0}, "equal": {"lexical": 1.0}}})
    assert parse("set:tuned", schema).weights == "tuned"
    assert parse("weights=tuned.short", schema).weights == "tuned.short"
    one = a_random("q", seed=1, words="red shoe")
    assert weights_of(one, parse("set:tuned", schema), schema)["lexical"] == 1.0
    with pytest.raises(QueryError, match="no weight set"):
        parse("set:equal", schema)


def test_a_configuration_that_looks_further_than_was_asked_is_refused() -> None:
    check_windows([OURS, BASELINES["min_max_10"]], 100)
    with pytest.raises(UsageError, match=r"min_max_100 looks at 100 hits .* needs --window 100"):
        check_windows([BASELINES["min_max_10"], BASELINES["min_max_100"]], 50)
