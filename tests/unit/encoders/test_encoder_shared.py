"""Networks that encoders share: one for the same arguments, and none for longer than somebody holds it."""

from __future__ import annotations

import gc
import weakref

import pytest
from tiny_encoders import IMAGE, TEXT, Tiny, encoder

from triptych.encoders.base import shared
from triptych.encoders.families import IMAGE_TEXT, TRANSFORMERS_TEXT
from triptych.encoders.transformers_text import TransformersTextEncoder

pytestmark = pytest.mark.unit


class Thing:
    pass


def test_same_arguments_give_the_same_while_it_is_held() -> None:
    made = []

    @shared
    def make(name: str, number: int) -> Thing:
        made.append((name, number))
        return Thing()

    held = make("a", 1)
    assert make("a", 1) is held
    assert make("a", 2) is not held
    del held
    gc.collect()
    make("a", 1)
    assert made == [("a", 1), ("a", 2), ("a", 1)]


def test_the_network_goes_with_the_last_of_its_encoders(tiny: Tiny) -> None:
    def made() -> TransformersTextEncoder:
        found = encoder(TRANSFORMERS_TEXT, tiny("bert"), 32, documents=TEXT)
        assert isinstance(found, TransformersTextEncoder)
        return found

    first, second = made(), made()
    first.embed_documents(["a red shoe"])
    network = weakref.ref(first._texts._network)
    assert second._texts is first._texts
    del first
    gc.collect()
    assert network() is not None
    del second
    gc.collect()
    assert network() is None


def test_two_modalities_of_one_model_share_its_network(tiny: Tiny) -> None:
    one = encoder(IMAGE_TEXT, tiny("clip"), 24, documents=IMAGE)
    other = encoder(IMAGE_TEXT, tiny("clip"), 24, documents=IMAGE, queries=(TEXT, IMAGE))
    assert vars(one)["_network"] is vars(other)["_network"]
