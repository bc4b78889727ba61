"""Several vectors as one: by numbers worked out by hand, and what a missing part does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from toys import a_fused

from triptych.domain import Vector
from triptych.encoders import fused
from triptych.encoders.base import unit

pytestmark = pytest.mark.unit

X, Y, DIAGONAL = (np.array(values, dtype=np.float32) for values in ([1, 0], [0, 1], [0.6, 0.8]))
DIMS = {"a": 2, "b": 2, "c": 3}


def combined(parts: dict[str, float], vectors: dict[str, Vector], how: str = "concatenate") -> list[float] | None:
    whole = fused.combine(a_fused(parts, sum(DIMS[name] for name in parts), combine=how), vectors, DIMS)
    if whole is None:
        return None
    assert whole.dtype == np.float32
    assert whole.ndim == 1
    assert np.linalg.norm(whole) == pytest.approx(1, abs=1e-6)
    return [float(value) for value in whole]


def test_parts_are_weighted_and_joined_in_the_spaces_order() -> None:
    # (3 x 1, 0, 4 x .6, 4 x .8) has the length sqrt(9 + 16) = 5
    assert combined({"a": 3, "b": 4}, {"b": DIAGONAL, "a": X}) == pytest.approx([0.6, 0, 0.48, 0.64])
    assert combined({"b": 4, "a": 3}, {"b": DIAGONAL, "a": X}) == pytest.approx([0.48, 0.64, 0.6, 0])


def test_a_missing_part_is_zeros_and_the_whole_still_of_length_one() -> None:
    assert combined({"a": 3, "b": 4}, {"b": DIAGONAL}) == pytest.approx([0, 0, 0.6, 0.8])
    assert combined({"a": 3, "c": 1}, {"a": X}) == pytest.approx([1, 0, 0, 0, 0])


def test_a_sum_is_the_weighted_sum() -> None:
    # 3 x (1, 0) + 1 x (0, 1) = (3, 1)
    length = math.sqrt(10)
    assert combined({"a": 3, "b": 1}, {"a": X, "b": Y}, "sum") == pytest.approx([3 / length, 1 / length])
    assert combined({"a": 3, "b": 1}, {"b": Y}, "sum") == pytest.approx([0, 1])


def test_parts_that_cancel_each_other_make_no_vector() -> None:
    assert combined({"a": 2, "b": 2}, {"a": X, "b": -X}, "sum") is None
    assert combined({"a": 2, "b": 1}, {"a": X, "b": -X}, "sum") == pytest.approx([1, 0])


@pytest.mark.parametrize("how", ["concatenate", "sum"])
def test_no_part_makes_no_vector(how: str) -> None:
    assert combined({"a": 1, "b": 1}, {}, how) is None
    assert combined({"a": 1, "b": 1}, {"elsewhere": X}, how) is None


def test_a_space_that_is_no_part_does_not_count() -> None:
    assert combined({"a": 1, "b": 1}, {"a": X, "elsewhere": Y}, "sum") == pytest.approx([1, 0])


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9, 1e30])
@pytest.mark.parametrize("how", ["concatenate", "sum"])
def test_only_the_proportions_of_the_weights_count(how: str, scale: float) -> None:
    """Weights above zero are all that a profile promises to take."""
    found = combined({"a": 3 * scale, "b": scale}, {"a": X, "b": DIAGONAL}, how)
    assert found == pytest.approx(combined({"a": 3, "b": 1}, {"a": X, "b": DIAGONAL}, how), abs=1e-6)


SOME = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2)


@given(SOME, SOME, SOME, SOME, st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_product_is_the_weighted_sum_of_the_parts_cosines(
    qa: list[float], qb: list[float], da: list[float], db: list[float], wa: float, wb: float
) -> None:
    """As the docstring promises: sum of w^2 cos over the parts both have, divided by both lengths."""
    rows = [unit(np.array(row)) for row in (qa, qb, da, db)]
    assume(all(row.any() and abs(np.linalg.norm(row) - 1) < 1e-5 for row in rows))
    one_q, other_q, one_d, other_d = rows
    query = combined({"a": wa, "b": wb}, {"a": one_q, "b": other_q})
    document = combined({"a": wa, "b": wb}, {"a": one_d, "b": other_d})
    length = math.hypot(wa, wb)
    expected = (wa**2 * float(one_q @ one_d) + wb**2 * float(other_q @ other_d)) / length**2
    assert query is not None
    assert document is not None
    assert np.dot(query, document) == pytest.approx(expected, abs=1e-5)


def test_a_product_that_lacks_a_part_is_not_punished() -> None:
    query = combined({"a": 3, "b": 4}, {"a": X})
    whole, lacking = combined({"a": 3, "b": 4}, {"a": X, "b": Y}), combined({"a": 3, "b": 4}, {"a": X})
    assert np.dot(query, lacking) == pytest.approx(1)  # type: ignore[arg-type]
    assert np.dot(query, whole) == pytest.approx(0.6)  # type: ignore[arg-type]


# The mean of several vectors of one space


def test_one_vector_is_its_own_mean() -> None:
    assert fused.mean([DIAGONAL]) is DIAGONAL


def test_the_mean_of_several_has_length_one() -> None:
    assert fused.mean([X, Y]).tolist() == pytest.approx([math.sqrt(0.5)] * 2)
    assert fused.mean([X, Y, Y]).dtype == np.float32
