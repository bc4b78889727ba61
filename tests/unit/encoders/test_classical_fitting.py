"""What the classical families share: the sample, dims, standardising, and the errors of an encoder that is not fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.encoders.base import EncoderSpec, Family, Setup, called
from triptych.encoders.classical.families import FAMILIES
from triptych.encoders.classical.fitting import FeatureEncoder, Standard, directions, reservoir, to_dims
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_FITTED = [family for family in FAMILIES if family.fit is not None]


def setup_of(family: Family, dims: int = 16, **options: Any) -> Setup:
    modality = family.documents[0]
    spec = EncoderSpec(
        name=family.name, space=modality, document_modality=modality, query_modalities=(modality,), dims=dims, licence="none"
    )
    return Setup(spec=spec, options=family.options(**options), settings=Settings(device="cpu", dtype="float32"))


def _name(family: Family) -> str:
    return family.name


def test_a_sample_holds_everything_where_there_is_room() -> None:
    assert reservoir(["a", "b", "c"], str, size=3, seed=0) == ["a", "b", "c"]


def test_a_sample_is_bounded_fair_and_the_same_each_time() -> None:
    numbers = [str(number) for number in range(1000)]
    first = reservoir(numbers, str, size=100, seed=1)
    assert first == reservoir(iter(numbers), str, size=100, seed=1)
    assert first != reservoir(numbers, str, size=100, seed=2)
    assert len(set(first)) == 100
    assert 380 < np.mean([int(number) for number in first]) < 620


def test_a_sample_reads_once_and_makes_only_what_it_keeps() -> None:
    read, made = [], []

    def inputs() -> Iterator[str]:
        for number in range(500):
            read.append(number)
            yield str(number)

    def keep(item: Any) -> Any:
        made.append(item)
        return item

    reservoir(inputs(), keep, size=10, seed=0)
    assert len(read) == 500
    assert len(made) < 100  # 10 (1 + ln 50) = 49 are expected


def test_what_is_of_no_use_takes_no_place_in_the_sample() -> None:
    def keep(item: Any) -> Any:
        return item or None

    assert reservoir(["", "a", "", "b"], keep, size=2, seed=0) == ["a", "b"]


def test_short_rows_are_padded() -> None:
    np.testing.assert_array_equal(to_dims(np.array([[1, 2]]), 4), [[1, 2, 0, 0]])


def test_long_rows_are_projected_and_keep_their_angles() -> None:
    rows = np.random.default_rng(0).random((20, 2000)) ** 4
    short = to_dims(rows, 500)
    assert short.shape == (20, 500)
    assert short.dtype == np.float32

    def cosines(table: Any) -> Any:
        scaled = table / np.linalg.norm(table, axis=1, keepdims=True)
        return scaled @ scaled.T

    np.testing.assert_allclose(cosines(short), cosines(rows), atol=0.15)
    # The very signs are part of the encoder: other signs would be another space.
    np.testing.assert_array_equal(np.sign(to_dims(np.eye(5)[:1], 4)), [[1, 1, -1, 1]])


def test_standardising_by_hand() -> None:
    standard = Standard.of(np.array([[1.0, 5.0], [3.0, 5.0]]))
    np.testing.assert_allclose(standard.mean, [2, 5])
    np.testing.assert_allclose(standard.deviation, [1, 1])  # the second never differs: it is not scaled
    np.testing.assert_allclose(standard(np.array([[4.0, 6.0]])), [[2, 1]])


def test_rows_that_are_all_alike_are_not_centred_away() -> None:
    rows = np.array([[1.0, 5.0]] * 3)
    np.testing.assert_allclose(Standard.of(rows)(rows), rows)


def test_directions_are_those_of_the_spread_and_no_more_than_there_are() -> None:
    rows = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    found = directions(rows, 3, 0)
    np.testing.assert_allclose(np.abs(found), [[1, 0, 0], [0, 1, 0]], atol=1e-5)


def test_rounding_is_not_made_a_vector() -> None:
    rows = {"noise": (1e-8, 0.0), "word": (3.0, 4.0)}
    spec = setup_of(FAMILIES[0], dims=2).spec
    encoder = FeatureEncoder(spec, lambda inputs: np.array([rows[str(item)] for item in inputs], dtype=np.float32))
    np.testing.assert_allclose(encoder.embed_documents(["noise", "word"]), [[0, 0], [0.6, 0.8]], rtol=1e-6)


def test_the_families_have_names_of_their_own_and_functions_that_exist() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert callable(called(family.factory))
        assert family.fit is None or callable(called(family.fit))
        family.options()


@pytest.mark.parametrize("family", _FITTED, ids=_name)
def test_an_encoder_that_is_not_fitted_says_how_to_fit_it(family: Family) -> None:
    with pytest.raises(EncoderError) as caught:
        family.make(setup_of(family))
    assert caught.value.code == "encoder.not_fitted"
    assert "triptych index create" in str(caught.value)


_NOTHING: dict[Modality, Any] = {
    Modality.TEXT: ["", " ... "],
    Modality.IMAGE: [],
    Modality.AUDIO: [Waveform(np.zeros(8000, np.float32), 8000)],
}


@pytest.mark.parametrize("family", _FITTED, ids=_name)
def test_a_catalogue_with_nothing_in_it_is_refused(family: Family) -> None:
    assert family.fit is not None
    for inputs in ([], _NOTHING[family.documents[0]]):
        with pytest.raises(EncoderError) as caught:
            called(family.fit)(setup_of(family), iter(inputs))
        assert caught.value.code == "encoder.nothing_to_fit"
        assert caught.value.remedy


@pytest.mark.parametrize("family", _FITTED, ids=_name)
def test_an_input_of_another_kind_is_refused(family: Family) -> None:
    wrong = Image.new("RGB", (1, 1)) if family.documents[0] is Modality.TEXT else "a text"
    assert family.fit is not None
    with pytest.raises(EncoderError) as caught:
        called(family.fit)(setup_of(family), [wrong])
    assert caught.value.code == "encoder.input"
