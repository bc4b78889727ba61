"""Classifiers: that they learn, that probabilities mean what they say, how modalities are joined."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_toys import AUDIO, IMAGE, TEXT, a_catalogue

from training import loop
from training.classifier import ClassifierOptions, ClassifierTask, calibration_error, temperature_of
from training.groups import split
from triptych.encoders import trained
from triptych.encoders.base import Fitted
from triptych.encoders.classical.contrast import seeded
from triptych.encoders.trained_classifier import TrainedClassifier, joined
from triptych.errors import InputError

pytestmark = pytest.mark.unit

PLAN = loop.Plan(epochs=25, steps=2, patience=25, learning_rate=1e-2, weight_decay=0.01, seed=5)


def trained_on(folder: Path, **changes: Any) -> tuple[ClassifierTask, dict[str, dict[str, float]]]:
    with a_catalogue(folder / "vectors", 300, (TEXT, IMAGE, AUDIO), share=0.6, **{"apart": 2.0, **changes}) as catalogue:
        sides = split(catalogue.group, catalogue.keys, validation=0.2, test=0.2, seed=0)
        with seeded(0):
            task = ClassifierTask(catalogue, sides, (TEXT, IMAGE, AUDIO), ClassifierOptions(), torch.device("cpu"))
        loop.train(task, PLAN, folder / "state", "recipe")
        task.finish()
        return task, task.measured(sides.test)


def test_each_modality_is_better_than_guessing_and_all_together_are_good(tmp_path: Path) -> None:
    _, found = trained_on(tmp_path)
    together = found.pop("joined by average")
    assert set(found) == {"text", "image", "audio"}
    assert all(row["accuracy"] > row["most frequent"] + 0.15 for row in found.values()), found
    assert together["accuracy"] > 0.9
    assert together["products"] == 60 > found["image"]["products"]


def test_what_is_kept_predicts_as_what_was_trained(tmp_path: Path) -> None:
    task, _ = trained_on(tmp_path)
    towers = {str(m): {"width": task.catalogue.inputs[m].vectors.dims, "base": "x", "head": "x"} for m in task.modalities}
    facts = {"classes": task.classes, "towers": towers, "field": "category", "join": "average"}
    again = TrainedClassifier.of(Fitted(task.arrays(), facts))
    rows = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    here, there = again.probabilities("text", rows), task.classifiers.probabilities("text", rows)
    np.testing.assert_allclose(here, there, atol=1e-5)
    np.testing.assert_allclose(here.sum(axis=1), 1, atol=1e-5)
    assert again.weights == {name: task.classifiers.weight(name) for name in towers}
    whole = trained.whole(trained.shortened(task.arrays(), "int8"))
    assert np.abs(whole["linear.text.weight"] - task.arrays()["linear.text.weight"]).max() < 0.01


def test_a_field_of_one_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 values") as caught:
        trained_on(tmp_path, labels=1)
    assert caught.value.code == "training.nothing"


def test_the_temperature_is_that_of_the_likeliest_logits() -> None:
    random = torch.Generator().manual_seed(0)
    true = torch.randn(4000, 5, generator=random) * 2
    right = _drawn(true, random)
    assert temperature_of(true * 3, right) == pytest.approx(3, rel=0.15)
    assert temperature_of(true / 2, right) == pytest.approx(0.5, rel=0.15)


def _drawn(logits: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return torch.multinomial(functional.softmax(logits, dim=1), 1, generator=random)[:, 0]


def test_calibration_error_by_hand() -> None:
    rows = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.35, 0.65]], dtype=np.float32)
    # of the two at .95 one is right, of the two at .65 both are
    assert calibration_error(rows, np.array([0, 1, 0, 1])) == pytest.approx(0.5 * 0.45 + 0.5 * 0.35, abs=1e-6)


NO = [np.nan, np.nan]
BY = {
    "text": np.array([[0.6, 0.4], [0.6, 0.4], NO, NO], dtype=np.float32),
    "image": np.array([[0.1, 0.9], NO, [0.3, 0.7], NO], dtype=np.float32),
}


def test_modalities_are_averaged_by_weight_among_those_there_are() -> None:
    found = joined(BY, {"text": 3.0, "image": 1.0}, "average")
    np.testing.assert_allclose(found[:3], [[0.475, 0.525], [0.6, 0.4], [0.3, 0.7]], atol=1e-6)
    assert np.isnan(found[3]).all()


def test_a_vote_is_won_by_weight_and_as_sure_as_the_voters_are_of_the_winner() -> None:
    found = joined(BY, {"text": 3.0, "image": 1.0}, "vote")
    # the mean of the first is .475, .525, but text has more weight: its class wins, with what both give it
    np.testing.assert_allclose(found[:3], [[0.475, 0.475], [0.6, 0.4], [0.3, 0.7]], atol=1e-6)
    assert found[:3].argmax(axis=1).tolist() == [0, 0, 1]
    assert np.isnan(found[3]).all()


def test_one_modality_that_is_unsure_stays_so_in_a_vote() -> None:
    unsure = {"text": np.array([[0.34, 0.33, 0.33]], dtype=np.float32)}
    assert joined(unsure, {"text": 1.0}, "vote").max() == pytest.approx(0.34), "less than is filled in"


def test_of_two_with_as_many_votes_the_likelier_wins() -> None:
    rows = {"text": np.array([[0.5, 0.3, 0.2]], np.float32), "image": np.array([[0.0, 0.9, 0.1]], np.float32)}
    assert joined(rows, {"text": 1.0, "image": 1.0}, "vote").argmax() == 1


def test_values_of_one_product_only_are_not_learned(tmp_path: Path) -> None:
    with a_catalogue(tmp_path, 40) as catalogue:
        labels = ("odd", None, *catalogue.label[2:])
        given = dataclasses.replace(catalogue, label=labels)
        sides = split(given.group, given.keys, validation=0.1, test=0.1, seed=0)
        task = ClassifierTask(given, sides, (TEXT,), ClassifierOptions(), torch.device("cpu"))
        measured = task.measured(np.arange(40))
    assert task.classes == ["kind 0", "kind 1", "kind 2", "kind 3"]
    assert task.label[:2].tolist() == [-1, -1]
    assert measured["text"]["products"] == 38
    assert measured["text"]["unknown"] == 1, "the odd one; the one without a value is none"
