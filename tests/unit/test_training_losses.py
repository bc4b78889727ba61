"""The losses of training against values computed by hand, and by formulas written another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.losses import info_nce, triplet

pytestmark = pytest.mark.unit


def test_info_nce_of_two_pairs_by_hand() -> None:
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    rows = [math.log(1 + math.exp(1 - 2)), math.log(1 + math.exp(0 - 3))]
    columns = [math.log(1 + math.exp(0 - 2)), math.log(1 + math.exp(1 - 3))]
    found = info_nce(scores, torch.eye(2, dtype=torch.bool))
    assert float(found) == pytest.approx((sum(rows) / 2 + sum(columns) / 2) / 2)


def test_info_nce_with_one_positive_each_is_cross_entropy_both_ways() -> None:
    scores = torch.randn(7, 7, generator=torch.Generator().manual_seed(0)) * 5
    places = torch.arange(7)
    wanted = (functional.cross_entropy(scores, places) + functional.cross_entropy(scores.T, places)) / 2
    assert float(info_nce(scores, torch.eye(7, dtype=torch.bool))) == pytest.approx(float(wanted), rel=1e-6)


def test_info_nce_of_several_positives_is_the_mean_over_them() -> None:
    scores = np.array([[1.0, 0.5, -1.0]])
    softmax = np.exp(scores[0]) / np.exp(scores[0]).sum()
    row = -(np.log(softmax[0]) + np.log(softmax[1])) / 2
    # each column has one row only, so a positive is told with certainty
    found = info_nce(torch.tensor(scores), torch.tensor([[True, True, False]]))
    assert float(found) == pytest.approx(row / 2)


def test_rows_without_a_positive_count_nothing() -> None:
    scores = torch.tensor([[2.0, 1.0], [9.0, -9.0]])
    some = torch.tensor([[True, False], [False, False]])
    row, column = math.log(1 + math.exp(-1)), math.log(1 + math.exp(7))
    assert float(info_nce(scores, some)) == pytest.approx((row + column) / 2)
    assert float(info_nce(scores, torch.zeros(2, 2, dtype=torch.bool))) == 0


def test_a_triplet_takes_the_least_positive_and_the_hardest_negative() -> None:
    cosines = torch.tensor([[0.9, 0.5, 0.6]])
    positives = torch.tensor([[True, True, False]])
    # the row: 0.2 + 0.6 - 0.5; no column has both a positive and a negative
    assert float(triplet(cosines, positives, 0.2)) == pytest.approx(0.3 / 2)


def test_triplets_both_ways_by_hand() -> None:
    cosines = torch.tensor([[0.8, 0.7], [0.1, 0.9]])
    rows = [max(0, 0.3 + 0.7 - 0.8), max(0, 0.3 + 0.1 - 0.9)]
    columns = [max(0, 0.3 + 0.1 - 0.8), max(0, 0.3 + 0.7 - 0.9)]
    found = triplet(cosines, torch.eye(2, dtype=torch.bool), 0.3)
    assert float(found) == pytest.approx((sum(rows) / 2 + sum(columns) / 2) / 2)


def test_triplets_far_apart_cost_nothing_and_a_batch_without_negatives_neither() -> None:
    assert float(triplet(torch.eye(3) * 2 - 1, torch.eye(3, dtype=torch.bool), 0.5)) == 0
    assert float(triplet(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), 0.5)) == 0
