"""Heads: what they learn, that seeds decide, that a training that was ended goes on as if it had not been."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import AUDIO, IMAGE, TEXT, a_catalogue, towers

from training import loop
from training.catalogue import NO_QUERY, Catalogue
from training.drawing import Mixed, Owned
from training.groups import Split, split
from training.heads import HeadOptions, HeadTask, maker, towers_of
from training.negatives import by_turns, mine
from training.over import Base
from training.ranking import answers_of, documents_of
from triptych.encoders.base import EncoderSpec, Fitted, unit
from triptych.encoders.classical.contrast import seeded
from triptych.encoders.trained_head import restored
from triptych.errors import InputError

pytestmark = pytest.mark.unit

PLAN = loop.Plan(epochs=8, steps=3, patience=8, learning_rate=3e-3, weight_decay=0.01, seed=5)
SMALL = HeadOptions(dims=16, hidden=24, sets=2, batch=64, dropout={})


_OF_A_HEAD = (
    "mean", "straight.weight", "straight.bias", "deep.1.weight", "deep.1.bias", "deep.4.weight", "deep.4.bias",
)  # fmt: skip


def sides(catalogue: Catalogue) -> Split:
    return split(catalogue.group, catalogue.keys, validation=0.15, test=0.2, seed=0)


def task_of(catalogue: Catalogue, options: HeadOptions = SMALL) -> HeadTask:
    with seeded(PLAN.seed):
        return HeadTask(catalogue, sides(catalogue), towers(*catalogue.inputs), options, torch.device("cpu"))


def trained(catalogue: Catalogue, folder: Path, options: HeadOptions = SMALL, plan: loop.Plan = PLAN) -> HeadTask:
    task = task_of(catalogue, options)
    loop.train(task, plan, folder, "recipe")
    return task


def same(one: HeadTask, other: HeadTask) -> bool:
    mine_, theirs = one.arrays(), other.arrays()
    return all(np.array_equal(mine_[name], theirs[name]) for name in mine_)


@pytest.mark.parametrize("loss", ["infonce", "triplet", "both"])
def test_words_find_pictures_that_were_held_out(tmp_path: Path, loss: str) -> None:
    with a_catalogue(tmp_path / "vectors") as catalogue:
        options = dataclasses.replace(SMALL, loss=loss, hard_negatives=4, mine_every=3)
        before = task_of(catalogue, options).measured(sides(catalogue).test)["text>image"]
        after = trained(catalogue, tmp_path / "state", options, dataclasses.replace(PLAN, epochs=25, patience=25))
        found = after.measured(after.split.test)["text>image"]
    assert before["R@10"] < 0.45
    assert found["R@10"] > 0.8
    assert found["MRR"] > before["MRR"] + 0.2


def test_three_modalities_of_which_some_are_missing(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", modalities=(TEXT, IMAGE, AUDIO), share=0.6) as catalogue:
        task = trained(catalogue, tmp_path / "state", plan=dataclasses.replace(PLAN, epochs=25, patience=25))
        found = task.measured(task.split.test)
    assert set(found) == {f"{a}>{b}" for a in (TEXT, IMAGE, AUDIO) for b in (TEXT, IMAGE, AUDIO) if a != b}
    assert all(measures["R@10"] > measures["chance R@10"] + 0.2 for measures in found.values()), found


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors") as catalogue:
        one, again = (trained(catalogue, tmp_path / name) for name in ("one", "again"))
        other = trained(catalogue, tmp_path / "other", plan=dataclasses.replace(PLAN, seed=6))
    assert same(one, again)
    assert not same(one, other)


class EndedError(Exception):
    """The process is ended."""


@pytest.mark.parametrize("options", [SMALL, dataclasses.replace(SMALL, hard_negatives=3, mine_every=2)], ids=["plain", "mined"])
def test_a_training_that_was_ended_goes_on_as_if_it_had_not_been(tmp_path: Path, options: HeadOptions) -> None:
    def ending(epoch: int, *_: float) -> None:
        if epoch == 5:
            raise EndedError

    with a_catalogue(tmp_path / "vectors") as catalogue:
        whole = trained(catalogue, tmp_path / "whole", options)
        with pytest.raises(EndedError):
            loop.train(task_of(catalogue, options), PLAN, tmp_path / "ended", "recipe", ending)
        resumed = task_of(catalogue, options)
        seen: list[int] = []
        loop.train(resumed, PLAN, tmp_path / "ended", "recipe", lambda epoch, *_: seen.append(epoch))
    assert seen == [6, 7, 8]
    assert same(whole, resumed)
    assert not (tmp_path / "ended").exists()


def test_a_checkpoint_of_another_recipe_or_a_broken_one_is_not_gone_on_with(tmp_path: Path) -> None:
    def ending(epoch: int, *_: float) -> None:
        if epoch == 2:
            raise EndedError

    with a_catalogue(tmp_path / "vectors") as catalogue:
        for name, recipe, broken in (("a", "another", False), ("b", "recipe", True)):
            with pytest.raises(EndedError):
                loop.train(task_of(catalogue), PLAN, tmp_path / name, "recipe", ending)
            if broken:
                (tmp_path / name / "epoch-00002.safetensors").write_bytes(b"no tensors")
            seen: list[int] = []
            loop.train(task_of(catalogue), PLAN, tmp_path / name, recipe, lambda epoch, *_, s=seen: s.append(epoch))
            assert seen[0] == 1


def test_training_stops_when_the_score_rises_no_more(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=60) as catalogue:
        task = task_of(catalogue)
        scores = iter([0.1, 0.3, 0.2, 0.25, 0.9])
        kept: list[dict[str, np.ndarray]] = []

        def score() -> float:
            kept.append(dict(task.arrays()))
            return next(scores)

        task.score = score  # type: ignore[method-assign]
        plan = dataclasses.replace(PLAN, epochs=50, patience=2)
        state = loop.train(task, plan, tmp_path / "state", "recipe")
    assert (state.epoch, state.best_epoch, state.best_score) == (4, 2, 0.3)
    assert all(np.array_equal(kept[1][name], array) for name, array in task.arrays().items())


def test_modality_dropout_leaves_out_as_many_as_it_says(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=2000) as catalogue, seeded(1):
        owned = Owned(catalogue.inputs[TEXT], np.arange(2000), copies=True)
        everything, chosen = owned.draw(np.arange(2000), drop=0.0)
        some, _ = owned.draw(np.arange(2000), drop=0.3)
    assert everything.tolist() == list(range(2000))
    assert catalogue.inputs[TEXT].product[chosen].tolist() == list(range(2000))
    assert 1300 < len(some) < 1500


def test_inputs_drawn_are_of_the_product_and_each_has_its_turn(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=6) as catalogue, seeded(1):
        inputs = dataclasses.replace(catalogue.inputs[TEXT], product=np.array([0, 1, 1, 3, 3, 3]))
        owned = Owned(inputs, np.array([0, 1, 2, 3]), copies=True)
        drawn = [owned.draw(np.array([3, 2, 1]), drop=0.0) for _ in range(40)]
    assert all(places.tolist() == [0, 2] for places, _ in drawn)
    assert {int(chosen[0]) for _, chosen in drawn} == {3, 4, 5}
    assert {int(chosen[1]) for _, chosen in drawn} == {1, 2}


def test_mixed_vectors_are_between_two_products_by_one_share_in_all_modalities() -> None:
    mixed = Mixed(partner=np.array([1, 0, 3, 2]), share=np.array([0.5, 0.75, 0.6, 0.9], dtype=np.float32))
    whole, some = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)[[0, 1, 3]]
    assert mixed.of(np.arange(4), whole) == pytest.approx(
        np.array([[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0.1, 0.9]])
    )
    left_alone = mixed.of(np.array([0, 1, 3]), some)
    assert left_alone == pytest.approx(np.array([[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0, 1]])), "3's partner has none"


def test_who_is_mixed_with_whom_is_drawn_and_each_keeps_at_least_half() -> None:
    with seeded(4):
        mixed = Mixed.drawn(2000, 2.0)
    assert sorted(mixed.partner.tolist()) == list(range(2000))
    assert 0.5 <= float(mixed.share.min()) < 0.52
    assert float(mixed.share.mean()) == pytest.approx(0.6875, abs=0.01), "of Beta(2, 2) folded at a half"


def test_sets_of_heads_give_a_vector_of_length_1_of_all_of_them(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=40) as catalogue:
        task = task_of(catalogue)
        vectors = task.embed(TEXT, np.arange(10))
        rows = torch.from_numpy(catalogue.inputs[TEXT].read(np.arange(10)))
        with torch.inference_mode():
            apart = [task.heads.by_set(number, TEXT, rows).numpy() for number in range(2)]
    assert vectors.shape == (10, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(10), abs=1e-6)
    assert np.concatenate(apart, axis=1) / 2**0.5 == pytest.approx(vectors, abs=1e-6)
    assert not np.allclose(apart[0], apart[1], atol=0.1), "each set began elsewhere"


def test_heads_of_before_there_were_sets_are_read(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=40) as catalogue:
        task = task_of(catalogue, dataclasses.replace(SMALL, sets=1))
        given = {str(role): dataclasses.asdict(tower) for role, tower in towers(*catalogue.inputs).items()}
        before = Fitted(task.arrays(), {"dims": 16, "hidden": 24, "towers": given})
        rows = catalogue.inputs[IMAGE].read(np.arange(5))
        with torch.inference_mode():
            found = restored(before)(IMAGE, torch.from_numpy(rows)).numpy()
        assert set(before.tensors) == {f"heads.{head}.{name}" for head in (TEXT, IMAGE) for name in _OF_A_HEAD}
        assert found == pytest.approx(task.embed(IMAGE, np.arange(5)), abs=1e-6)


def test_sets_that_cannot_share_the_dims_are_refused(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=40) as catalogue, pytest.raises(InputError, match="3 sets") as caught:
        maker(dataclasses.replace(SMALL, sets=3))(catalogue, sides(catalogue), {}, torch.device("cpu"))
    assert (caught.value.code, caught.value.field) == ("training.sets", "sets")


def test_products_of_a_group_and_of_a_value_answer_each_other(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=4) as catalogue:
        given = dataclasses.replace(catalogue, group=np.array([0, 0, 2, 3]), positive=np.array([[7], [-1], [7], [-1]]))
        found = given.alike(np.arange(4), np.arange(4))
    wanted = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert found.astype(int).tolist() == wanted


def queried(catalogue: Catalogue) -> Catalogue:
    """A query more, that led to products 0 and 1."""
    text = catalogue.inputs[TEXT]
    count = len(text.product)
    asked = dataclasses.replace(
        text,
        product=np.append(text.product, [0, 1]),
        row=np.append(text.row, [2, 2]),
        copy=np.append(text.copy, [0, 0]),
        language=(*text.language, "", ""),
        query=np.append(np.full(count, NO_QUERY), [0, 0]),
    )
    return dataclasses.replace(catalogue, inputs={**catalogue.inputs, TEXT: asked}, wanted=(np.array([0, 1]),))


def test_a_query_is_drawn_toward_all_that_it_led_to_and_answered_by_them(tmp_path: Path) -> None:
    with a_catalogue(tmp_path / "vectors", count=6) as catalogue:
        given = queried(catalogue)
        answers = answers_of(given, TEXT, np.array([5, 6]), np.arange(6))
        assert answers(slice(None)).astype(int).tolist() == [[0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]]
        seen: list[np.ndarray] = []
        every = Split(np.arange(6), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        options = dataclasses.replace(SMALL, modality_dropout=0.0)
        task = HeadTask(given, every, towers(*given.inputs), options, torch.device("cpu"))
        task._told = lambda _set, _cosines, positives: seen.append(positives.numpy()) or torch.zeros(())  # type: ignore[method-assign,func-returns-value]
        for seed in range(20):
            with seeded(seed):
                task.loss(np.arange(6))
        owners = documents_of(given, np.arange(6), TEXT, lambda modality, which: given.inputs[modality].read(which))[1]
        np.testing.assert_allclose(owners[0], unit(given.inputs[TEXT].read(np.array([0])))[0], atol=1e-6)
    found = {tuple(positives[:2, :2].astype(int).ravel().tolist()) for positives in seen}  # pictures of 0, 1 by words of 0, 1
    assert found == {(1, 0, 0, 1), (1, 1, 0, 1), (1, 0, 1, 1), (1, 1, 1, 1)}, (
        "titles are answered by their own, the query by both"
    )


def test_hard_negatives_are_the_nearest_that_are_no_answers_nor_as_near_as_one() -> None:
    angles = np.deg2rad([0, 5, 10, 40, 80, 120])
    documents = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    query = unit(np.array([[1.0, 0.0]]))
    # product 2, at 10 degrees, is the answer; 0 and 1 are nearer than it, so they may be unmarked answers
    found = mine(query, np.array([2]), documents, np.arange(6), lambda one, other: one[:, None] == other[None], most=3)
    assert found.tolist() == [[3, 4, 5]]
    few = mine(query, np.array([2]), documents[:4], np.arange(4), lambda one, other: one[:, None] == other[None], most=3)
    assert few.tolist() == [[3, -1, -1]]


def test_what_several_modalities_find_takes_turns_and_nothing_is_found_twice() -> None:
    found = by_turns([np.array([[4, 5, 6], [7, -1, -1]]), np.array([[5, 8, 9], [-1, -1, -1]])])
    assert found.tolist() == [[4, 5, 8], [7, -1, -1]]


def test_of_a_query_without_an_answer_nothing_is_too_near_so_nothing_is_mined() -> None:
    documents = unit(np.eye(3, dtype=np.float32))
    found = mine(documents[:1], np.array([9]), documents, np.arange(3), lambda a, b: a[:, None] == b[None], most=2)
    assert found.tolist() == [[-1, -1]]


def test_words_are_asked_of_pictures_and_of_sounds_for_hard_negatives(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, hard_negatives=4, mine_every=1)
    with a_catalogue(tmp_path / "vectors", modalities=(TEXT, IMAGE, AUDIO), share=0.3) as catalogue:
        assert list(catalogue.inputs) == [AUDIO, IMAGE, TEXT], "as in production"
        task = task_of(catalogue, options)
        task.begin(1)
        hard = task.network.hard.numpy()  # type: ignore[union-attr,operator]
    assert (hard[:, 0] >= 0).mean() > 0.9
    seen = np.unique(hard[hard >= 0])
    assert np.isin(seen, catalogue.inputs[IMAGE].product).any()
    assert np.isin(seen, catalogue.inputs[AUDIO].product).any()
    assert not (hard == task.products[:, None]).any()


def test_one_head_for_all_wants_vectors_of_one_width() -> None:
    def base(dims: int) -> Base:
        spec = EncoderSpec("toy", "space", IMAGE, (IMAGE,), dims, "MIT")
        return Base("space", type("Toy", (), {"spec": spec})())

    with pytest.raises(InputError, match=r"\[12, 16\]") as caught:
        towers_of({TEXT: base(12), IMAGE: base(16)}, siamese=True)
    assert caught.value.code == "training.over"
    assert {tower.head for tower in towers_of({TEXT: base(12), IMAGE: base(12)}, siamese=True).values()} == {"shared"}
