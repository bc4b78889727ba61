"""Whitening: what it does to vectors, and that strengths and weights are those that find more products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import IMAGE, TEXT

from training.catalogue import Catalogue, Inputs
from training.groups import split
from training.vectors import VectorFile, digest_of
from training.whitening import WhiteningOptions, WhiteningTask, directions_of, joined, shrunk, spaces_of
from triptych.encoders import fused
from triptych.encoders.base import unit
from triptych.encoders.trained import Tower
from triptych.schema import Space

pytestmark = pytest.mark.unit

WIDTH = 12


def test_a_covariance_of_few_vectors_is_drawn_to_equal_variances_and_one_of_many_is_not() -> None:
    random = torch.Generator().manual_seed(0)
    true = torch.diag(torch.linspace(0.2, 3.0, WIDTH))
    few, many = (torch.randn(count, WIDTH, generator=random) @ true.sqrt() for count in (8, 5000))
    sample = torch.cov(few.T, correction=0)
    assert (shrunk(sample, 8) - true).norm() < (sample - true).norm() * 0.8
    known = torch.cov(many.T, correction=0)
    assert (shrunk(known, 5000) - known).norm() < 0.02 * known.norm()


def test_whitened_vectors_have_variances_of_one_in_all_directions() -> None:
    rows = (np.random.default_rng(0).normal(size=(4000, WIDTH)) * np.linspace(0.1, 2, WIDTH) + 3).astype(np.float32)
    found = directions_of([rows[:1500], rows[1500:]], 6)
    white = (rows - found.mean.numpy()) @ found.matrix(1.0).numpy().T
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=0.05)
    plain = (rows - found.mean.numpy()) @ found.matrix(0.0).numpy().T
    np.testing.assert_allclose(plain.var(axis=0), found.variances.numpy(), rtol=0.05)
    assert found.variances[0] == max(found.variances)


@contextmanager
def nuisances(folder: Path, count: int = 200) -> Iterator[Catalogue]:
    """Products whose pictures are told by small differences beside large ones that change with each; words say little."""
    random = np.random.default_rng(1)
    scale = np.array([4.0] * 4 + [0.6] * 8)
    thing = random.normal(size=(count, WIDTH)) * scale
    inputs: dict[str, Inputs] = {}
    with ExitStack() as stack:
        for modality, noise in ((IMAGE, np.array([4.0] * 4 + [0.15] * 8)), (TEXT, np.full(WIDTH, 6.0))):
            file = stack.enter_context(VectorFile(folder, str(modality), WIDTH))
            shown = [thing + random.normal(size=thing.shape) * noise for _ in range(2)]
            file.add({digest_of(f"{modality} {n}"): row for n, row in enumerate(unit(np.concatenate(shown)))})
            owners, copy = np.tile(np.arange(count), 2), np.repeat([0, 1], count)
            inputs[modality] = Inputs(owners, np.arange(2 * count), copy, ("",) * 2 * count, file)
        positive = np.empty((count, 0), dtype=np.int64)
        yield Catalogue("made up", tuple(map(str, range(count))), np.arange(count), positive, (None,) * count, inputs)


def test_what_changes_most_and_says_nothing_is_made_small_and_the_part_that_knows_weighs_most(tmp_path: Path) -> None:
    with nuisances(tmp_path) as catalogue:
        sides = split(catalogue.group, catalogue.keys, validation=0.3, test=0.3, seed=0)
        towers = {str(m): Tower(WIDTH, "print", str(m)) for m in (TEXT, IMAGE)}
        task = WhiteningTask(catalogue, sides, towers, WhiteningOptions(dims=WIDTH, trials=60))
        task.finish()
        found = task.measured(sides.test)
        kinds = ("text", "image", "together")
        assert set(found) == {f"{kind}{how}" for kind in kinds for how in ("", ", only weighed", ", as it is")}
        assert found["together"]["MRR"] > found["together, only weighed"]["MRR"], found
        assert task.strengths[IMAGE] == 1.0
        assert found["image"]["MRR"] > found["image, as it is"]["MRR"] + 0.2, found
        assert task.weights[IMAGE] == 1.0 > task.weights[TEXT]
        assert found["together"]["MRR"] > found["together, as it is"]["MRR"] + 0.2, found


def test_parts_are_joined_as_a_fused_space_joins_them() -> None:
    rows = {TEXT: unit(np.random.default_rng(0).normal(size=(1, 4))), IMAGE: unit(np.random.default_rng(1).normal(size=(1, 4)))}
    space = Space(name="both", encoder="", fingerprint="", dims=8, kind="fused", parts={"text": 1.0, "image": 0.4})
    wanted = fused.combine(space, {str(m): row[0] for m, row in rows.items()}, {"text": 4, "image": 4})
    np.testing.assert_allclose(joined(rows, {TEXT: 1.0, IMAGE: 0.4})[0], wanted, atol=1e-6)
    assert spaces_of({}, "./white", {}, 4)["whitened"]["dims"] == 0
