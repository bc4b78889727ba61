"""HOG, SIFT and colour histograms, on drawn pictures whose answers are known."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from safetensors.numpy import load, save

from triptych.domain import Modality
from triptych.encoders.base import Encoder, EncoderSpec, Family, Fitted, Setup, called
from triptych.encoders.classical import sift
from triptych.encoders.classical.colour_histogram import histogram
from triptych.encoders.classical.families import COLOUR_HISTOGRAM, HOG, HOG_PCA, SIFT, ColourOptions
from triptych.encoders.classical.hog import hog
from triptych.encoders.classical.pictures import object_of, square
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

RED, BLUE, GREY, WHITE = (255, 0, 0), (0, 0, 255), (128, 128, 128), (255, 255, 255)
_EVERY = pytest.mark.parametrize("family", [HOG, HOG_PCA, SIFT, COLOUR_HISTOGRAM], ids=lambda family: family.name)
_FITTED = pytest.mark.parametrize("family", [HOG_PCA, SIFT], ids=lambda family: family.name)


def setup_of(family: Family, dims: int, fitted: Fitted | None = None) -> Setup:
    image = Modality.IMAGE
    spec = EncoderSpec(
        name=family.name, space="image", document_modality=image, query_modalities=(image,), dims=dims, licence="none"
    )
    return Setup(spec=spec, options=family.options(), settings=Settings(device="cpu", dtype="float32"), fitted=fitted)


@functools.cache
def over_patterns(family: str, dims: int = 64) -> Encoder:
    """Fitted once for all tests; by name, because a family's options cannot be hashed."""
    return fitted_encoder({known.name: known for known in (HOG, HOG_PCA, SIFT, COLOUR_HISTOGRAM)}[family], PATTERNS, dims)


def fitted_encoder(family: Family, images: Sequence[Image.Image], dims: int = 64) -> Encoder:
    if family is SIFT:
        pytest.importorskip("cv2")
    fitted = called(family.fit)(setup_of(family, dims), iter(images)) if family.fit else None
    return family.make(setup_of(family, dims, fitted))


def pattern(number: int, side: int = 120) -> Image.Image:
    """Strokes and blobs by chance, in one colour of its own, on white."""
    random = np.random.default_rng(number)
    colour = tuple(int(value) for value in np.eye(3)[number % 3] * 200 + 10 * (number // 3))
    image = Image.new("RGB", (side, side), WHITE)
    draw = ImageDraw.Draw(image)
    for x, y, width, height in random.integers(side // 10, side // 2, (6, 4)).tolist():
        draw.ellipse((x, y, x + width, y + height), outline=colour, width=3)
        draw.line((x + width, y, x, y + 2 * height), fill=colour, width=4)
    return image


PATTERNS = [pattern(number) for number in range(9)]


def test_the_background_is_the_white_that_reaches_the_border() -> None:
    image = Image.new("RGB", (7, 7), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((1, 1, 5, 5), fill=RED)
    draw.rectangle((3, 3, 3, 3), fill=WHITE)
    seen = object_of(np.asarray(image))
    assert seen.sum() == 25
    assert seen[3, 3]
    assert not object_of(np.full((3, 3, 3), 255, np.uint8)).any()


def test_the_object_fills_the_square_wherever_it_was() -> None:
    image = Image.new("RGB", (200, 100), WHITE)
    image.paste(RED, (150, 20, 190, 40))
    found = square(image, 64, share=0.5)
    red = (found == RED).all(axis=2)
    assert (red.any(axis=0).sum(), red.any(axis=1).sum()) == (32, 16)
    assert (square(Image.new("RGB", (5, 9), WHITE), 16) == 255).all()


def test_the_histogram_of_a_picture_of_two_colours_by_hand() -> None:
    image = Image.new("RGB", (40, 40), RED)
    image.paste(BLUE, (0, 0, 40, 10))
    found = histogram(image, ColourOptions(hues=6, saturations=2, values=2, greys=3))
    expected = np.zeros((6, 2, 2))
    expected[0, 1, 1], expected[4, 1, 1] = 0.75, 0.25  # hues of 0 and 240 degrees, both of full saturation and value
    np.testing.assert_allclose(found[:24].reshape(6, 2, 2) ** 2, expected, atol=0.01)  # Pillow's hue has 8 bits
    np.testing.assert_allclose(found[24:], 0, atol=1e-6)
    np.testing.assert_allclose((found**2).sum(), 1, rtol=1e-5)


def test_grey_has_no_hue_and_a_value_between_two_bins_counts_for_both() -> None:
    found = histogram(Image.new("RGB", (3, 3), GREY), ColourOptions(greys=2))
    np.testing.assert_allclose(found[:-2], 0)
    np.testing.assert_allclose(found[-2:] ** 2, [0.5, 0.5], atol=0.01)


def test_white_around_an_object_does_not_count() -> None:
    small = Image.new("RGB", (100, 100), WHITE)
    small.paste(RED, (40, 40, 50, 50))
    np.testing.assert_allclose(
        histogram(small, ColourOptions()), histogram(Image.new("RGB", (9, 9), RED), ColourOptions()), atol=1e-6
    )


def test_the_gradients_of_an_edge_by_hand() -> None:
    grey = np.zeros((16, 16), dtype=np.float32)
    grey[:, 8:] = 1.0
    found = hog(grey)
    assert found.shape == (36,)
    blocks = found.reshape(9, 4)  # one block: 9 directions in 4 cells
    assert (blocks[0] > 0).all()  # a vertical edge: all gradients run across, direction 0
    np.testing.assert_array_equal(blocks[1:], 0)
    np.testing.assert_allclose(hog(1 - grey), found, atol=1e-6)  # unsigned: dark on light is light on dark
    turned = hog(grey.T.copy()).reshape(9, 4)
    # 90 degrees lie between the directions of 80 and 100.
    np.testing.assert_allclose(turned[4], turned[5], rtol=1e-5)
    np.testing.assert_allclose(turned[[0, 1, 2, 3, 6, 7, 8]], 0, atol=1e-6)


def test_a_uniform_picture_has_no_outline() -> None:
    assert not hog(np.full((64, 64), 0.5, np.float32)).any()


def test_hog_has_1764_values_by_default() -> None:
    assert hog(np.zeros((64, 64), np.float32)).shape == (1764,)


@_EVERY
def test_a_moved_and_smaller_copy_is_nearest_to_its_own(family: Family) -> None:
    encoder = over_patterns(family.name)
    copies = [ImageOps.expand(image.resize((100, 100)), (30, 5, 10, 45), WHITE) for image in PATTERNS]
    best = (encoder.embed_queries(copies, Modality.IMAGE) @ encoder.embed_documents(PATTERNS).T).argmax(axis=1)
    assert best.tolist() == list(range(9))


@_EVERY
def test_a_copy_in_grey_keeps_its_outline_and_loses_its_colour(family: Family) -> None:
    encoder = over_patterns(family.name)
    copies = [ImageOps.grayscale(image).convert("RGB") for image in PATTERNS]
    best = (encoder.embed_queries(copies, Modality.IMAGE) @ encoder.embed_documents(PATTERNS).T).argmax(axis=1)
    right = (best == np.arange(9)).mean()
    assert right < 0.5 if family is COLOUR_HISTOGRAM else right == 1


@_EVERY
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 2), (31, 17)], ids=str)
def test_any_size_has_a_row(family: Family, size: tuple[int, int]) -> None:
    encoder = over_patterns(family.name)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 200, (size[1], size[0], 3), dtype=np.uint8))
    for variant in (image, Image.new("RGB", size, WHITE), Image.new("RGB", size, RED), image.convert("L"), image.convert("P")):
        found = encoder.embed_documents([variant])
        assert found.shape == (1, 64)
        assert found.dtype == np.float32
        assert np.linalg.norm(found) == pytest.approx(1, rel=1e-5) or not found.any()


@_EVERY
def test_a_white_picture_has_no_vector_and_no_pictures_have_no_rows(family: Family) -> None:
    encoder = over_patterns(family.name)
    assert not encoder.embed_documents([Image.new("RGB", (50, 50), WHITE)]).any()
    assert encoder.embed_documents([]).shape == (0, 64)


@_EVERY
def test_a_picture_does_not_depend_on_its_neighbours(family: Family) -> None:
    encoder = over_patterns(family.name)
    together = encoder.embed_documents(PATTERNS)
    alone = np.concatenate([encoder.embed_documents([image]) for image in PATTERNS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@_EVERY
def test_one_product_alone_has_a_vector(family: Family) -> None:
    found = fitted_encoder(family, PATTERNS[:1]).embed_documents(PATTERNS[:1])
    assert found.shape == (1, 64)
    np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=1e-5)


@_FITTED
@pytest.mark.parametrize("dims", [8, 32])
def test_the_same_pictures_give_the_same_bytes_and_they_survive_a_file(family: Family, dims: int) -> None:
    if family is SIFT:
        pytest.importorskip("cv2")
    first, second = (called(family.fit or "")(setup_of(family, dims), iter(PATTERNS)) for _ in range(2))
    data = save(dict(first.tensors))
    assert data == save(dict(second.tensors))
    kept = Fitted(load(data), first.facts)
    before, after = (family.make(setup_of(family, dims, fitted)).embed_documents(PATTERNS) for fitted in (first, kept))
    np.testing.assert_array_equal(before, after)


def test_visual_words_by_hand() -> None:
    centres = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    found = np.array([[0.9, 0.1], [0.8, 0.0], [0.2, 0.9]], dtype=np.float32)
    np.testing.assert_array_equal(sift.counted(found, centres), [2, 1])
    np.testing.assert_array_equal(sift.counted(found[:0], centres), [0, 0])


def test_root_sift_by_hand() -> None:
    found = np.zeros((2, 128), dtype=np.uint8)
    found[0, :2] = 36, 64
    rows = sift.rooted(found)
    np.testing.assert_allclose(rows[0, :2], [0.6, 0.8], rtol=1e-6)
    assert not rows[1].any()


def test_few_descriptors_are_their_own_words() -> None:
    rows = np.array([[1.0, 0], [0, 1], [1, 0]], dtype=np.float32)
    np.testing.assert_array_equal(sift.cluster(rows, 2, 0), [[0, 1], [1, 0]])


def test_without_opencv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "cv2":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EncoderError) as caught:
        sift.opencv()
    assert caught.value.code == "encoder.package_missing"
    assert "triptych[classical]" in str(caught.value)
