"""ConSE, the letterbox, the sound windows and the calibration sounds, on small values worked out by hand."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from toys import NOWHERE

from triptych.domain import Modality, Waveform
from triptych.encoders import conse, families, inputs, pictures, profiles, registry, whisper
from triptych.encoders.base import Setup
from triptych.encoders.calibration import calibration_sounds
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

_CLASSES = np.eye(3, dtype=np.float32)


def test_conse_is_the_probability_weighted_mean_of_the_best_classes() -> None:
    logits = np.log(np.array([[0.6, 0.3, 0.1]], dtype=np.float32))
    found = conse.describe(logits, _CLASSES, top=2)
    # 0.6 and 0.3 of the first two, the third left out; length sqrt(0.45).
    np.testing.assert_allclose(found, [[0.6 / math.sqrt(0.45), 0.3 / math.sqrt(0.45), 0.0]], rtol=1e-5)
    assert found.dtype == np.float32


def test_conse_survives_large_logits() -> None:
    found = conse.describe(np.array([[1000.0, -1000.0, 0.0]], dtype=np.float32), _CLASSES)
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0]], atol=1e-6)


def test_conse_of_no_pictures_is_empty() -> None:
    assert conse.describe(np.empty((0, 3), np.float32), _CLASSES).shape == (0, 3)


def test_there_are_a_thousand_class_names() -> None:
    names = pictures.imagenet_names()
    assert len(names) == 1000
    assert (names[0], names[881], names[999]) == ("tench", "upright piano", "toilet paper")


def test_the_letterbox_shows_the_whole_picture_on_white() -> None:
    canvas = pictures.letterbox(Image.new("RGB", (400, 100), (255, 0, 0)))
    red = (canvas == (255, 0, 0)).all(axis=2)
    assert canvas.shape == (224, 224, 3)
    assert (canvas[~red] == 255).all()
    assert (red.any(axis=0).sum(), red.any(axis=1).sum()) == (196, 49)


def test_a_networks_memory_is_each_threads_own() -> None:
    """Two threads' batches take turns, space by space: what one was shown between is not what the other asks for again."""
    mine, others = ([Image.new("RGB", (4, 4))] for _ in range(2))
    shown: list[list[Image.Image]] = []

    def forward(images: Sequence[Image.Image]) -> pictures.Seen:
        shown.append(list(images))
        return pictures.Seen(np.full((len(images), 1), len(shown), np.float32), np.zeros((len(images), 2), np.float32))

    memory = pictures.Remembered()
    first = memory.look(mine, forward, size=8)
    other = threading.Thread(target=lambda: memory.look(others, forward, size=8))
    other.start()
    other.join()
    assert memory.look(mine, forward, size=8) is first
    assert [images[0] is mine[0] for images in shown] == [True, False]
    assert memory.look(others, forward, size=8).features[0, 0] == 3


def test_letterboxes_are_the_same_made_before_and_are_kept_as_long_as_their_pictures() -> None:
    colours = [Image.new("RGB", (400, 100 + n), (n, 0, 0)) for n in range(4)]
    boxes = pictures.Letterboxes(64)
    for image in (*colours[:2], colours[0]):
        boxes.prepare(image)
    found = boxes.of(colours[:3])
    assert np.array_equal(found, [pictures.letterbox(image, side=64) for image in colours[:3]])
    boxes.prepare(colours.pop())
    assert boxes._made == {}, "what was asked for, or is gone, is not kept"


def test_a_hair_thin_picture_still_has_a_pixel() -> None:
    assert pictures.letterbox(Image.new("RGB", (2000, 1))).shape == (224, 224, 3)


def test_conse_has_the_dims_of_the_words_it_is_made_over(tmp_path: Path) -> None:
    """Else every document would be refused by Elasticsearch."""
    save_file({"classes": np.eye(3, 384, dtype=np.float32), "query_mean": np.zeros(384, np.float32)}, tmp_path / conse.TABLE)
    spec = registry.spec_of(profiles.read("offline"), "image_words", NOWHERE)
    parts = {"words": _Words(), "pictures": _Pictures()}
    options = families.ConseOptions(top=2)
    conse.ConseEncoder(Setup(spec, options, NOWHERE, derived=tmp_path, parts=parts))  # type: ignore[arg-type]
    short = dataclasses.replace(spec, dims=100)
    with pytest.raises(EncoderError) as caught:
        conse.ConseEncoder(Setup(short, options, NOWHERE, derived=tmp_path, parts=parts))  # type: ignore[arg-type]
    assert caught.value.code == "encoder.dims"


class _Words:
    spec = registry.spec_of(profiles.read("offline"), "text", NOWHERE)


class _Pictures:
    spec = registry.spec_of(profiles.read("offline"), "image", NOWHERE)
    look = class_names = None


@pytest.mark.parametrize(("seconds", "windows"), [(0.01, 1), (5, 1), (5.1, 2), (12, 3), (100, 3)])
def test_a_sound_fills_one_to_three_windows(seconds: float, windows: int) -> None:
    samples = np.linspace(-1, 1, int(seconds * 16_000), dtype=np.float32)
    found = whisper.windows_of(Waveform(samples, 16_000))
    assert found.shape == (windows, 80_000)
    assert found.dtype == np.float32


def test_a_short_sound_is_repeated() -> None:
    found = whisper.windows_of(Waveform(np.array([0.1, 0.2, 0.3], dtype=np.float32), 16_000))
    np.testing.assert_array_equal(found[0, :6], np.array([0.1, 0.2, 0.3] * 2, dtype=np.float32))


def test_another_rate_is_resampled() -> None:
    time = np.arange(44_100) / 44_100
    found = whisper.windows_of(Waveform(np.sin(2 * np.pi * 440 * time).astype(np.float32), 44_100))
    spectrum = np.abs(np.fft.rfft(found[0, :16_000]))
    assert int(spectrum.argmax()) == 440


def test_an_empty_sound_is_refused() -> None:
    with pytest.raises(EncoderError) as caught:
        whisper.windows_of(Waveform(np.empty(0, np.float32), 16_000))
    assert caught.value.code == "encoder.input"


def test_the_calibration_sounds_are_the_same_each_time() -> None:
    first, second = calibration_sounds(), calibration_sounds()
    assert len(first) == 145
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))
    assert all(np.isfinite(s.samples).all() and np.abs(s.samples).max() <= 0.71 for s in first)


def test_an_encoder_takes_only_its_own_inputs() -> None:
    picture = Image.new("RGB", (1, 1))
    sound = Waveform(np.zeros(1, np.float32), 8000)
    assert inputs.texts(["a"]) == ["a"]
    assert inputs.pictures([picture]) == [picture]
    assert inputs.sounds([sound]) == [sound]
    for take, wrong in ((inputs.texts, picture), (inputs.pictures, "a"), (inputs.sounds, "a")):
        with pytest.raises(EncoderError) as caught:
            take([wrong])
        assert caught.value.code == "encoder.input"


def test_a_query_of_the_wrong_modality_is_refused() -> None:
    with pytest.raises(EncoderError, match="searched by text") as caught:
        inputs.check_modality(registry.spec_of(profiles.read("offline"), "image_words", NOWHERE), Modality.IMAGE)
    assert caught.value.code == "encoder.modality"
