"""A fusion: any subset of modalities makes a vector, and what is missing is neither help nor harm."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import AUDIO, IMAGE, TEXT, a_catalogue, towers

from training import loop
from training.fusion import Fusion, FusionOptions, FusionTask, held_inputs, product_vectors
from training.groups import split
from triptych.encoders.classical.contrast import seeded

pytestmark = pytest.mark.unit

SMALL = FusionOptions(dims=16, hidden=24, batch=64)
PLAN = loop.Plan(epochs=30, steps=3, patience=30, learning_rate=3e-3, weight_decay=0.01, seed=5)


def a_fusion() -> Fusion:
    with seeded(3):
        return Fusion(towers(TEXT, IMAGE, AUDIO), 16, 24).eval()


def rows(width: int, count: int) -> Any:
    return np.random.default_rng(width).normal(size=(count, width)).astype(np.float32)


def test_any_subset_makes_a_vector_of_length_one_and_nothing_makes_zeros() -> None:
    given = {"text": (np.array([0, 2]), rows(12, 2)), "image": (np.array([2]), rows(16, 1))}
    found = a_fusion().vectors(given, 4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1, 0], atol=1e-5)


def test_a_vector_does_not_depend_on_its_company_nor_on_modalities_it_lacks() -> None:
    fusion, text, image = a_fusion(), rows(12, 3), rows(16, 3)
    every = fusion.vectors({"text": (np.arange(3), text), "image": (np.array([1]), image[1:2])}, 3)
    alone = fusion.vectors({"text": (np.array([0]), text[:1])}, 1)
    both = fusion.vectors({"image": (np.array([0]), image[1:2]), "text": (np.array([0]), text[1:2])}, 1)
    np.testing.assert_allclose(every[0], alone[0], atol=1e-5)
    np.testing.assert_allclose(every[1], both[0], atol=1e-5)
    assert np.abs(every[1] - fusion.vectors({"text": (np.array([0]), text[1:2])}, 1)[0]).max() > 0.01


def test_queries_of_each_modality_find_products_by_the_others(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", 300, (TEXT, IMAGE, AUDIO), share=0.7) as catalogue:
        sides = split(catalogue.group, catalogue.keys, validation=0.1, test=0.2, seed=0)
        with seeded(0):
            task = FusionTask(catalogue, sides, towers(TEXT, IMAGE, AUDIO), SMALL, torch.device("cpu"))
        before = task.measured(sides.test)
        loop.train(task, dataclasses.replace(PLAN, steps=task.steps), tmp_path / "state", "recipe")
        after = task.measured(sides.test)
        held = held_inputs(catalogue, towers(TEXT, IMAGE, AUDIO))
        vectors = product_vectors(task.fusion, held, sides.test, [IMAGE])
    assert set(after) == {f"{m}>{which}" for m in ("text", "image", "audio") for which in ("product", "the rest")}
    assert after["text>the rest"]["R@10"] > 0.7 > before["text>the rest"]["R@10"]
    assert after["image>the rest"]["R@10"] > 0.7
    has = np.isin(sides.test, catalogue.inputs[IMAGE].product)
    assert vectors.any(axis=1).tolist() == has.tolist()
