"""The small networks that are trained on the catalogue: the loss by hand, determinism, and that training teaches something."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.numpy import load, save

from triptych.domain import Modality, Waveform
from triptych.encoders.base import Encoder, EncoderSpec, Family, Fitted, Input, Setup, called
from triptych.encoders.classical import contrast, text_cnn
from triptych.encoders.classical.families import AUDIO_CNN, IMAGE_CNN, TEXT_CNN
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_DIMS = 24


def _texts() -> list[Input]:
    things = ("hat", "chair", "violin", "kettle", "balloon", "robot")
    return [f"{colour} {thing} for {place}" for thing in things for colour, place in (("red", "home"), ("blue", "garden"))]


def _picture(number: int) -> Input:
    random = np.random.default_rng(number)
    image = Image.new("RGB", (48, 48), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in random.integers(0, 200, 3))
    for x, y, width, height in random.integers(4, 22, (4, 4)).tolist():
        draw.ellipse((x, y, x + width, y + height), fill=colour if number % 2 else None, outline=colour, width=3)
    return image


def _sound(number: int) -> Input:
    time = np.arange(12_000) / 16_000
    pitch = 150.0 * 1.4**number
    tone = sum(np.sin(2 * np.pi * pitch * k * time) * 0.5**k for k in range(1, 5))
    return Waveform((tone * (1 + np.sin(2 * np.pi * (2 + 2 * number) * time)) * 0.2).astype(np.float32), 16_000)


@dataclass(frozen=True)
class Case:
    family: Family
    inputs: Callable[[], list[Input]]
    nothing: Input
    options: dict[str, Any]


CASES = (
    Case(TEXT_CNN, _texts, "...", {"epochs": 60}),
    Case(
        IMAGE_CNN, lambda: [_picture(number) for number in range(10)], Image.new("RGB", (9, 9), (255, 255, 255)), {"side": 32}
    ),
    Case(AUDIO_CNN, lambda: [_sound(number) for number in range(8)], Waveform(np.zeros(900, np.float32), 8000), {"epochs": 6}),
)
_EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.family.name)


def setup_of(case: Case, fitted: Fitted | None = None, **more: Any) -> Setup:
    modality = case.family.documents[0]
    spec = EncoderSpec(
        name=case.family.name,
        space=modality,
        document_modality=modality,
        query_modalities=(modality,),
        dims=_DIMS,
        licence="none",
    )
    options = case.family.options(**{**case.options, **more})
    return Setup(spec=spec, options=options, settings=Settings(device="cpu", dtype="float32"), fitted=fitted)


def fit(case: Case, inputs: list[Input], **more: Any) -> Fitted:
    found: Fitted = called(case.family.fit or "")(setup_of(case, **more), iter(inputs))
    return found


@functools.cache
def trained(number: int) -> Fitted:
    """By the case's number, once for all tests."""
    return fit(CASES[number], CASES[number].inputs())


def encoder_of(case: Case) -> Encoder:
    return case.family.make(setup_of(case, trained(CASES.index(case))))


def changed(case: Case, item: Input, number: int) -> Input:
    """A copy as a shopper would have it: a few words, a picture turned and darkened, a part of a sound with noise."""
    if isinstance(item, str):
        return " ".join(item.split()[:2])
    if isinstance(item, Image.Image):
        return item.rotate(8, fillcolor=(255, 255, 255)).point(lambda value: value * 0.95 if value < 200 else value)
    noise = np.random.default_rng(number).standard_normal(8000) * 0.01
    return Waveform((item.samples[2000:10_000] * 0.5 + noise).astype(np.float32), item.rate)


def test_the_loss_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    # Each row has one like it (cosine 1) and two at right angles (cosine 0): -ln(e / (e + 2)).
    loss = contrast.info_nce(first, first, 1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-5)
    crossed = contrast.info_nce(first, first.flip(0), 1.0)
    assert crossed.item() == pytest.approx(-math.log(1 / (math.e + 2)), rel=1e-5)


def test_chance_and_threads_are_given_back() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with contrast.seeded(1):
        first = torch.rand(3)
        assert torch.get_num_threads() == 1
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    with contrast.seeded(1):
        assert torch.equal(torch.rand(3), first)


def test_words_are_numbered_and_cut() -> None:
    found = text_cnn.numbered([["a", "x", "b", "a"], []], {"a": 1, "b": 2}, 2)
    assert found.tolist() == [[1, 2], [0, 0]]


def test_the_copies_of_a_text_are_a_run_of_it_and_most_of_it() -> None:
    ids = torch.arange(1, 13).repeat(50, 1)
    with contrast.seeded(0):
        (runs,), (most,) = text_cnn._copies(ids)
    for row in runs.tolist():
        run = [number for number in row if number]
        assert 1 <= len(run) <= 8
        assert run == list(range(run[0], run[0] + len(run)))
    assert 0.6 < (most == ids).float().mean() < 0.8


def test_training_ends_when_the_time_is_up() -> None:
    found = fit(CASES[0], _texts(), epochs=1000, seconds=1e-6)
    assert found.facts["steps"] < 5


@_EVERY
def test_a_changed_copy_is_nearest_to_its_own(case: Case) -> None:
    inputs = case.inputs()
    encoder = encoder_of(case)
    copies = [changed(case, item, number) for number, item in enumerate(inputs)]
    scores = encoder.embed_queries(copies, case.family.queries[0]) @ encoder.embed_documents(inputs).T
    assert (scores.argmax(axis=1) == np.arange(len(inputs))).mean() >= 0.8


@_EVERY
def test_what_is_seen_twice_is_trained_the_same(case: Case) -> None:
    few = case.inputs()[:6]
    torch.manual_seed(1)
    first = fit(case, few, epochs=3)
    torch.manual_seed(2)
    second = fit(case, few, epochs=3)
    assert save(dict(first.tensors)) == save(dict(second.tensors))
    assert first.facts == second.facts
    assert save(dict(fit(case, few, epochs=3, seed=1).tensors)) != save(dict(first.tensors))


@_EVERY
def test_the_weights_survive_a_file(case: Case) -> None:
    fitted = trained(CASES.index(case))
    kept = Fitted(load(save(dict(fitted.tensors))), json.loads(json.dumps(fitted.facts)))
    inputs = case.inputs()[:3]
    before = encoder_of(case).embed_documents(inputs)
    np.testing.assert_array_equal(case.family.make(setup_of(case, kept)).embed_documents(inputs), before)


@_EVERY
def test_an_input_does_not_depend_on_its_neighbours(case: Case) -> None:
    encoder, inputs = encoder_of(case), case.inputs()
    if case.family is TEXT_CNN:
        inputs.append("hat " * 200)
    together = encoder.embed_documents(inputs)
    alone = np.concatenate([encoder.embed_documents([item]) for item in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert together.shape == (len(inputs), _DIMS)
    assert together.dtype == np.float32


@_EVERY
def test_nothing_has_no_vector(case: Case) -> None:
    encoder = encoder_of(case)
    assert not encoder.embed_documents([case.nothing]).any()
    assert encoder.embed_documents([]).shape == (0, _DIMS)


@_EVERY
def test_one_product_alone_has_a_vector(case: Case) -> None:
    one = case.inputs()[:1]
    fitted = fit(case, one)
    assert fitted.facts["steps"] == 0
    found = case.family.make(setup_of(case, fitted)).embed_documents(one)
    np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-5)


@_EVERY
def test_odd_inputs_have_a_row(case: Case) -> None:
    odd: dict[Modality, list[Input]] = {
        Modality.TEXT: ["", "hat", "жжж", "hat " * 1000],
        Modality.IMAGE: [Image.new("RGB", (1, 1)), Image.new("RGB", (1, 500), (9, 9, 9)), Image.new("L", (600, 2))],
        Modality.AUDIO: [Waveform(np.array(values, np.float32), 8000) for values in ([0.5], [0.5, -0.5], [0.0] * 99)],
    }
    inputs = odd[case.family.documents[0]]
    found = encoder_of(case).embed_documents(inputs)
    assert found.shape == (len(inputs), _DIMS)
    norms = np.linalg.norm(found, axis=1)
    assert (np.isclose(norms, 1) | (norms == 0)).all()
