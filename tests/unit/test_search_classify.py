"""Classifiers at query time: what they say of a query's inputs, and what becomes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search_api import votes
from search_api.classify import Classified, classify
from search_api.votes import Election, Vote
from triptych.encoders.trained import Tower
from triptych.encoders.trained_classifier import TrainedClassifier

pytestmark = pytest.mark.unit

CLASSES = ("food > fruit", "food > dairy", "toys")


def a_classifier(join: Any = "average") -> TrainedClassifier:
    """Of vectors of four values, whose first three are the logits (by two: the factor of their width)."""
    tensors: dict[str, Any] = {}
    for name, weight in (("text", 3.0), ("image", 1.0)):
        tensors |= {
            f"mean_{name}": np.zeros(4, np.float32), f"temperature_{name}": np.ones(1, np.float32),
            f"weight_{name}": np.array([weight], np.float32),
            f"linear.{name}.weight": np.eye(3, 4, dtype=np.float32), f"linear.{name}.bias": np.zeros(3, np.float32),
        }  # fmt: skip
    towers = {name: Tower(4, "print", name) for name in ("text", "image")}
    return TrainedClassifier("category", CLASSES, join, towers, tensors)


def v(*values: float) -> Any:
    return np.array([*values, 1.0], dtype=np.float32)


def softmax(*logits: float) -> Any:
    parts = np.exp(np.array(logits) * 2)
    return parts / parts.sum()


def test_one_modality_says_its_own_probabilities() -> None:
    found = classify(a_classifier(), {"text": [(1.0, v(1, 0, 0.5))]})
    assert found is not None
    wanted = softmax(1, 0, 0.5)
    assert [name for name, _ in found.shares] == ["food > fruit", "toys", "food > dairy"]
    np.testing.assert_allclose([share for _, share in found.shares], wanted[[0, 2, 1]], atol=1e-6)
    assert found.modalities == {"text": {"value": "food > fruit", "confidence": round(float(wanted[0]), 4)}}


def test_modalities_are_joined_by_what_they_are_worth_and_inputs_by_their_weights() -> None:
    inputs = {"text": [(2.0, v(1, 0, 0)), (1.0, v(0, 1, 0))], "image": [(1.0, v(0, 0, 3))]}
    found = classify(a_classifier(), inputs)
    assert found is not None
    text = (2 * softmax(1, 0, 0) + softmax(0, 1, 0)) / 3
    wanted = dict(zip(CLASSES, (3 * text + softmax(0, 0, 3)) / 4, strict=True))
    assert dict(found.shares) == pytest.approx(wanted, abs=1e-6)
    voted = classify(a_classifier("vote"), inputs)
    assert voted is not None
    assert voted.shares[0] == ("food > fruit", pytest.approx(wanted["food > fruit"], abs=1e-6)), "no surer than the voters are"


def test_what_pushes_away_or_says_nothing_is_not_heard() -> None:
    nothing = np.zeros(4, np.float32)
    assert (
        classify(a_classifier(), {"text": [(-0.5, v(1, 0, 0))], "image": [(1.0, nothing)], "audio": [(1.0, v(1, 0, 0))]})
        is None
    )


CLASSIFIED = Classified("category", (("food > fruit", 0.7), ("toys", 0.2)), {"text": {"value": "toys", "confidence": 0.6}})


@pytest.mark.parametrize(
    ("vote", "classified", "by"),
    [
        (Vote("category"), CLASSIFIED, "classifiers"),
        (Vote("category", by="classifiers"), CLASSIFIED, "classifiers"),
        (Vote("category", by="neighbours"), CLASSIFIED, None),
        (Vote("colour"), CLASSIFIED, None),
        (Vote("category"), None, None),
    ],
)
def test_who_decides(vote: Vote, classified: Classified | None, by: str | None) -> None:
    election = votes.by_classifiers(vote, classified)
    assert (None if election is None else election.by) == by
    if election is not None:
        assert (election.value, election.confidence, election.shares) == ("food > fruit", 0.7, CLASSIFIED.shares)


@pytest.mark.parametrize(
    ("field", "value", "values", "won"),
    [
        ("category", "food > fruit", ["food", "fruit"], True),
        ("category", "food > fruit", ["Fruit", "Food", "fresh"], True),
        ("category", "food > fruit", ["food", "dairy"], False),
        ("category", "food", ["food", "dairy"], True),
        ("sold", "true", [True], True),
        ("size", "38", [38], True),
        ("colour", "red > blue", ["red", "blue"], False),
    ],
)
def test_a_product_has_the_class_if_it_has_all_of_its_path(field: str, value: str, values: list[Any], won: bool) -> None:
    assert Vote(field).won(Election(((value, 1.0),), value, 1.0, "classifiers"), values) is won


def test_a_neighbours_winner_is_a_value_as_it_is() -> None:
    assert Vote("category").won(Election(((38, 1.0),), 38, 1.0), [38])
    assert not Vote("category").won(Election((("38", 1.0),), "38", 1.0), [38])
