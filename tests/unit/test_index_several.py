"""Several media of a product: what is cut, kept apart, hashed and written; which profiles may ask for it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from contents import content_hash
from hypothesis import given
from hypothesis import strategies as st
from toys import AUDIO, IMAGE, a_fused, an_encoded, profile_of

from indexer import documents
from indexer.embedding import MOST_PARTS, Filling, segments
from indexer.embedding import _give as give
from indexer.work import Embedded, Part, Work
from triptych.domain import Media, Product, Waveform
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.encoders.base import Encoder
from triptych.encoders.cache import digest_of
from triptych.errors import ProfileError
from triptych.schema import FIELD, Space

pytestmark = pytest.mark.unit

RATE = 100
BEST = an_encoded("image", 2, document_modality=IMAGE, several="best")
SOUNDS = an_encoded("audio", 2, document_modality=AUDIO, several="best", segment_seconds=5)
NEW, OLD = Server("9.5.0", "n", "c"), Server("8.19.3", "n", "c")


def _sound(seconds: float) -> Waveform:
    return Waveform(np.arange(round(seconds * RATE), dtype=np.float32), RATE)


def _filling(space: Space) -> Filling:
    return Filling(space, cast("Encoder", None))


# Segments of sounds


@pytest.mark.parametrize(
    ("seconds", "length", "starts", "lengths"),
    [
        (3, 5, [0], [3]),
        (5, 5, [0], [5]),
        (5.9, 5, [0], [5.9]),
        (6, 5, [0, 5], [5, 1]),
        (12, 5, [0, 5, 10], [5, 5, 2]),
        (10.5, 5, [0, 5], [5, 5.5]),
        (3, 1, [0, 1, 2], [1, 1, 1]),
        (0.3, 5, [0], [0.3]),
        (14, 600, [0], [14]),
    ],
)
def test_a_sound_is_cut_and_a_short_rest_joins_the_one_before(
    seconds: float, length: float, starts: list[float], lengths: list[float]
) -> None:
    cut = list(segments(_sound(seconds), length))
    assert [start for start, _ in cut] == starts
    assert [part.seconds for _, part in cut] == lengths


def test_of_a_long_sound_only_the_first_stretch_knows_where_it_lies() -> None:
    """15 s are what the decoder keeps of a longer sound: three stretches of 5 s, joined."""
    cut = list(segments(_sound(15), 4))
    assert [None if np.isnan(start) else start for start, _ in cut] == [0, 4, None, None, None, None]
    assert [part.seconds for _, part in cut] == [4, 1] * 3  # none reaches over a joint


@given(st.integers(1, 1500), st.floats(1, 20))
def test_the_segments_are_the_whole_sound(samples: int, seconds: float) -> None:
    sound = _sound(samples / RATE)
    cut = [part for _, part in segments(sound, seconds)]
    assert np.concatenate([part.samples for part in cut]).tolist() == sound.samples.tolist()


# What the cache keeps


def test_the_segments_of_a_sound_are_one_value_of_the_cache() -> None:
    filling = _filling(SOUNDS)
    vectors = [np.array(v, dtype=np.float32) for v in ([1, 0], [0, 0], [0, 1])]
    value = filling.as_value([0.0, 5.0, float("nan")], vectors)
    found = filling.parts(value, "a.ogg")
    assert [(part.vector.tolist(), part.reference, part.start) for part in found] == [
        ([1, 0], "a.ogg", 0), ([0, 1], "a.ogg", None),
    ]  # fmt: skip
    assert filling.parts(np.zeros(0, dtype=np.float32), "a.ogg") == []


def test_a_sound_cut_otherwise_is_another_input() -> None:
    digest = digest_of(b"sound")
    spaces = [SOUNDS, SOUNDS.model_copy(update={"segment_seconds": 2.5}), SOUNDS.model_copy(update={"several": "mean"}), BEST]
    keys = [_filling(space).key(digest) for space in spaces]
    assert len(set(keys[:3])) == 3
    assert keys[2:] == [digest, digest]  # whole, as it was


def test_a_picture_is_one_part_and_has_no_start() -> None:
    vector = np.array([0.6, 0.8], dtype=np.float32)
    (part,) = _filling(BEST).parts(_filling(BEST).as_value([0.0], [vector]), "a.jpg")
    assert (part.vector.tolist(), part.reference, part.start) == (vector.tolist(), "a.jpg", None)


# What is written


def _work(pictures: int, vectors: int, space: Space = BEST) -> Work:
    media = tuple(Media(IMAGE, f"{n}.jpg") for n in range(pictures))
    work = Work(1, Product("p1", {}, {"id": "p1"}, media=media))
    work.parts[space.name] = [Embedded(np.array([1, n], dtype=np.float32), f"{n}.jpg") for n in range(vectors)]
    return work


@pytest.mark.parametrize(
    ("pictures", "vectors", "apart"),
    [(1, 1, 0), (2, 2, 2), (3, 3, 3), (2, 1, 1), (1, 3, 3), (1, 0, 0)],
    ids=["one", "two", "three", "one of two failed", "one in segments", "failed"],
)
def test_only_the_sole_part_of_a_sole_medium_stays_a_plain_vector(pictures: int, vectors: int, apart: int) -> None:
    assert len(_work(pictures, vectors).apart(BEST)) == apart


@pytest.mark.parametrize("changes", [{"several": "mean"}, {"index_type": "none"}], ids=str)
def test_a_space_of_means_has_nothing_apart(changes: dict[str, Any]) -> None:
    assert _work(3, 3).apart(BEST.model_copy(update=changes)) == []


def test_a_product_has_at_most_so_many_parts() -> None:
    work = _work(0, MOST_PARTS - 1)
    for name in ("x.jpg", "y.jpg"):
        give(Part(work, Media(IMAGE, name), "d"), _filling(BEST), np.ones(2, dtype=np.float32))
    assert [part.reference for part in work.parts["image"]][-2:] == [f"{MOST_PARTS - 2}.jpg", "x.jpg"]
    assert work.errors == []


@pytest.mark.parametrize("server", [NEW, OLD], ids=["9.5", "8.19"])
def test_parts_are_nested_documents_with_their_medium_and_start(server: Server) -> None:
    some = [Embedded(np.ones(2, dtype=np.float32), "a.ogg", 5.0), Embedded(np.ones(2, dtype=np.float32), "a.ogg")]
    ours = documents.build(Product("p1", {}, {}), {}, own={}, server=server, parts={"audio_parts": some})[FIELD]
    packed = pack(np.ones(2, dtype=np.float32), server)
    assert ours["audio_parts"] == [
        {"vector": packed, "reference": "a.ogg", "start": 5.0}, {"vector": packed, "reference": "a.ogg"},
    ]  # fmt: skip


def test_how_several_media_count_changes_the_hash_and_nothing_else_does() -> None:
    def hashed(**changes: Any) -> str:
        return content_hash(Product("p1", {}, {"id": "p1"}), {}, [BEST.model_copy(update=changes)])

    assert len({hashed(), hashed(several="mean"), hashed(segment_seconds=2.5)}) == 3
    assert hashed(several="mean", segment_seconds=2.5) == hashed(several="mean")
    assert hashed() == hashed(label="other")


# Profiles


def _profile(name: str, family: str, dims: int, documents_: str, more: str) -> str:
    return (
        f"  {name}:\n    family: {family}\n    dims: {dims}\n    licence: MIT\n    documents: {documents_}\n"
        f"    queries: [{documents_}]\n{more}"
    )


def _colours(more: str, name: str = "image") -> str:
    return _profile(name, "colour_histogram", 114, "image", f"    label: {name}\n{more}")


SOUND_MEL = _profile("audio", "log_mel", 192, "audio", "    several: best\n    segment_seconds: 2.5\n")


def test_a_profile_says_that_the_best_counts_and_how_sounds_are_cut() -> None:
    profile = profile_of(_colours("    several: best\n") + SOUND_MEL)
    assert [profile.spaces[name].several for name in ("image", "audio")] == ["best", "best"]
    assert [profile.spaces[name].segment_seconds for name in ("image", "audio")] == [5, 2.5]


@pytest.mark.parametrize(
    ("spaces", "words"),
    [
        (_profile("text", "bag_of_words", 10, "text", "    several: best\n"), "pictures or sounds only"),
        (_colours("    several: best\n    index: none\n"), "only a part of others"),
        (_colours("    several: most\n"), "several"),
        (_colours("    several: best\n    segment_seconds: 2\n"), "only sounds are cut"),
        (SOUND_MEL.replace("best", "mean"), "only sounds are cut"),
        (SOUND_MEL.replace("2.5", "0.5"), "segment_seconds"),
        (_colours("    several: best\n") + _colours("", "image_parts"), "has a field of that name"),
        (
            _colours("") + _colours("", "b") + "  all:\n    family: fused\n    dims: 228\n    licence: MIT\n"
            "    parts: {image: 1, b: 1}\n    several: best\n",
            "pictures or sounds only",
        ),
        (
            "  own:\n    family: precomputed\n    dims: 3\n    licence: MIT\n    fingerprint: f\n    several: best\n",
            "pictures or sounds only",
        ),
    ],
    ids=["words", "no field", "unknown", "a picture cut", "a mean cut", "too short", "name taken", "fused", "precomputed"],
)  # fmt: skip
def test_a_profile_that_asks_for_what_cannot_be_is_refused_by_its_line(spaces: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words) as caught:
        profile_of(spaces)
    assert "line" in caught.value.message


def test_the_name_of_parts_is_free_where_nothing_has_parts() -> None:
    assert set(profile_of(_colours("") + _colours("", "image_parts")).spaces) == {"image", "image_parts"}


def test_a_fused_space_never_has_parts() -> None:
    assert not a_fused({"a": 1, "b": 1}, 2).has_parts
