"""Groups and splits: what belongs together is never on two sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.groups import Groups, normalised, split
from triptych.errors import InputError

pytestmark = pytest.mark.unit


def groups_of(*shared: str) -> np.ndarray:
    """The groups of products, each given as a word of the letters it shares."""
    groups = Groups()
    for letters in shared:
        groups.add(letters)
    return groups.of_all()


def test_products_that_share_anything_are_one_group_through_others_too() -> None:
    assert groups_of("ab", "c", "bd", "e", "dc", "").tolist() == [0, 0, 0, 3, 0, 5]


@pytest.mark.parametrize(("one", "other"), [("A Frog.", "a  frog"), ("青蛙。", "青蛙"), ("Hat!", "hat")])
def test_case_spaces_and_the_last_stop_make_no_other_text(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_other_words_are_another_text() -> None:
    assert normalised("a frog") != normalised("a frog, green")


PRODUCTS = st.lists(st.sets(st.integers(0, 400), max_size=2), min_size=40, max_size=120)


@given(products=PRODUCTS, seed=st.integers(0, 5))
def test_no_shared_thing_is_on_two_sides_and_every_product_is_on_one(products: list[set[int]], seed: int) -> None:
    groups = Groups()
    for things in products:
        groups.add(things)
    found = groups.of_all()
    keys = {int(group): f"p{group}" for group in found}
    assume(np.unique(found, return_counts=True)[1].max() < 0.1 * len(products))
    sides = split(found, keys, validation=0.1, test=0.2, seed=seed)
    every = [sides.train, sides.validation, sides.test]
    assert sorted(np.concatenate(every).tolist()) == list(range(len(products)))
    things = [set().union(*(products[number] for number in side)) for side in every]
    assert not things[0] & things[1]
    assert not things[0] & things[2]
    assert not things[1] & things[2]


def test_a_split_has_the_shares_that_were_asked_for_and_follows_its_seed() -> None:
    groups = np.arange(1000)
    keys = {number: f"p{number}" for number in range(1000)}
    one = split(groups, keys, validation=0.1, test=0.2, seed=1)
    assert [len(one.train), len(one.validation), len(one.test)] == [700, 100, 200]
    again, other = (split(groups, keys, validation=0.1, test=0.2, seed=seed) for seed in (1, 2))
    assert one.test.tolist() == again.test.tolist()
    assert one.test.tolist() != other.test.tolist()


def test_products_added_later_move_few_to_another_side() -> None:
    keys = {number: f"p{number}" for number in range(1100)}
    small = split(np.arange(1000), {n: keys[n] for n in range(1000)}, validation=0.0, test=0.2, seed=0)
    large = split(np.arange(1100), keys, validation=0.0, test=0.2, seed=0)
    assert len(set(small.test.tolist()) - set(large.test.tolist())) <= 20


def test_a_catalogue_that_is_one_group_cannot_be_split() -> None:
    with pytest.raises(InputError, match="1 groups") as caught:
        split(np.zeros(50, dtype=np.int64), {0: "a"}, validation=0.1, test=0.1, seed=0)
    assert caught.value.code == "training.no_split"
