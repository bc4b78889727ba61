"""What an encoder learned, as bytes: the same for the same content, and read back whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.encoders import fitted
from triptych.encoders.base import Fitted
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

TENSORS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "counts": np.array([3, -1], dtype=np.int64),
    "small": np.array([0.5], dtype=np.float16),
    "flags": np.array([True, False]),
    "empty": np.empty((0, 4), dtype=np.float32),
}
FACTS = {"vocabulary": ["red", "红色", "rouge\n"], "a": {"b": 1.5, "c": None}, "n": 3}


def _read(tmp_path: Path, data: bytes) -> Fitted:
    path = tmp_path / "learned.safetensors"
    path.write_bytes(data)
    return fitted.read(path)


def test_what_was_learned_comes_back(tmp_path: Path) -> None:
    back = _read(tmp_path, fitted.to_bytes(Fitted(TENSORS, FACTS)))
    assert back.facts == FACTS
    assert set(back.tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(back.tensors[name], array, strict=True)


def test_facts_alone_and_arrays_alone_come_back(tmp_path: Path) -> None:
    assert _read(tmp_path, fitted.to_bytes(Fitted({}, {"n": 1}))) == Fitted({}, {"n": 1})
    assert _read(tmp_path, fitted.to_bytes(Fitted({"a": np.ones(2)}))).facts == {}


def test_a_single_number_keeps_its_shape(tmp_path: Path) -> None:
    back = _read(tmp_path, fitted.to_bytes(Fitted({"mean": np.array(2.5)})))
    assert back.tensors["mean"].shape == ()


@pytest.mark.parametrize("turned", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a.copy()])
def test_the_same_content_gives_the_same_bytes(turned: Callable[[Any], Any]) -> None:
    first = fitted.to_bytes(Fitted(TENSORS, FACTS))
    tensors = {name: turned(array) for name, array in reversed(TENSORS.items())}
    assert fitted.to_bytes(Fitted(tensors, dict(reversed(FACTS.items())))) == first


def test_other_content_gives_other_bytes() -> None:
    variants = [
        Fitted(TENSORS, FACTS),
        Fitted(TENSORS, {**FACTS, "n": 4}),
        Fitted({**TENSORS, "counts": np.array([3, -2])}, FACTS),
        Fitted({**TENSORS, "counts": np.array([3, -1], dtype=np.int32)}, FACTS),
        Fitted({**TENSORS, "weights": np.arange(6, dtype=np.float32).reshape(3, 2)}, FACTS),
        Fitted({("bias" if name == "weights" else name): array for name, array in TENSORS.items()}, FACTS),
    ]
    assert len({fitted.to_bytes(variant) for variant in variants}) == len(variants)


def test_the_sha256_is_that_of_the_bytes() -> None:
    data = fitted.to_bytes(Fitted(TENSORS, FACTS))
    assert fitted.sha256(data) == hashlib.sha256(data).hexdigest()


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.none(), max_size=5))
def test_any_facts_come_back(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, object]) -> None:
    assert _read(tmp_path_factory.mktemp("facts"), fitted.to_bytes(Fitted({}, facts))).facts == facts


WHOLE = fitted.to_bytes(Fitted(TENSORS, FACTS))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"no safetensors", WHOLE[:-1], WHOLE[:20], WHOLE[8:], b"\xff" * 64, WHOLE.replace(b"facts", b"fakts")],
    ids=["empty", "zeros", "text", "cut", "head only", "no length", "garbage", "no facts"],
)
def test_a_damaged_file_is_refused_and_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EncoderError, match=r"learned\.safetensors") as caught:
        _read(tmp_path, data)
    assert caught.value.code == "encoder.damaged"
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError) as caught:
        fitted.read(tmp_path / name)
    assert caught.value.code == "encoder.damaged"
