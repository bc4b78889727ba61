"""The offline encoders with their real weights, prepared once into the usual folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.encoders import profiles, registry, store
from triptych.encoders.base import Encoder, Input
from triptych.encoders.prepare import missing, prepare
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.integration

SHOP = Path(__file__).parents[2] / "examples" / "shop"
SETTINGS = Settings(device="cpu", dtype="float32")
OFFLINE = profiles.read("offline")
SPACES = list(OFFLINE.spaces)


@pytest.fixture(scope="session")
def encoders() -> dict[str, Encoder]:
    prepare(OFFLINE, SETTINGS)
    return registry.encoders_of(OFFLINE, SETTINGS)


def _picture(name: str) -> Image.Image:
    with Image.open(SHOP / "images" / name) as image:
        return image.convert("RGB")


def _tone(pitch: float, seconds: float, rate: int = 16_000) -> Waveform:
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
    return Waveform(np.asarray(0.3 * wave, dtype=np.float32), rate)


def _noise(seconds: float) -> Waveform:
    random = np.random.default_rng(1)
    return Waveform(random.uniform(-0.5, 0.5, int(seconds * 16_000)).astype(np.float32), 16_000)


def _inputs(modality: Modality) -> list[Input]:
    """Inputs of very different sizes, so that a batch of them is padded."""
    if modality is Modality.TEXT:
        return ["cello", "a red hat " * 200, "两人帐篷，防水，适合露营。", "x", "Full-size cello with a carved body"]
    if modality is Modality.IMAGE:
        return [_picture("demo-001-1.jpg"), Image.new("RGB", (7, 90)), _picture("demo-002-1.jpg").resize((900, 200))]
    return [_tone(220, 0.3), _tone(440, 7.3, 22_050), _noise(3.0)]


@pytest.mark.parametrize("space", SPACES)
def test_vectors_are_float32_of_length_one_and_the_same_each_time(encoders: dict[str, Encoder], space: str) -> None:
    encoder = encoders[space]
    spec = encoder.spec
    inputs = _inputs(spec.document_modality)
    vectors = encoder.embed_documents(inputs)
    assert vectors.shape == (len(inputs), spec.dims)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    again = encoder.embed_documents(_inputs(spec.document_modality))
    np.testing.assert_allclose(again, vectors, atol=1e-6)
    for modality in spec.query_modalities:
        queries = encoder.embed_queries(_inputs(modality), modality)
        assert queries.shape == (len(_inputs(modality)), spec.dims)
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_a_vector_does_not_depend_on_its_batch(encoders: dict[str, Encoder], space: str) -> None:
    encoder = encoders[space]
    inputs = _inputs(encoder.spec.document_modality)
    together = encoder.embed_documents(inputs)
    alone = np.concatenate([encoder.embed_documents([item]) for item in inputs])
    assert ((together * alone).sum(axis=1) > 0.9999).all()


@pytest.mark.parametrize("space", SPACES)
def test_nothing_in_gives_nothing_out(encoders: dict[str, Encoder], space: str) -> None:
    encoder = encoders[space]
    assert encoder.embed_documents([]).shape == (0, encoder.spec.dims)
    for modality in encoder.spec.query_modalities:
        assert encoder.embed_queries([], modality).shape == (0, encoder.spec.dims)


def test_more_inputs_than_a_batch_keep_their_order(encoders: dict[str, Encoder]) -> None:
    texts: list[Input] = [f"{'very ' * (i % 7)}red hat number {i}" for i in range(40)]
    vectors = encoders["text"].embed_documents(texts)
    for i in (0, 13, 39):
        assert float(vectors[i] @ encoders["text"].embed_documents([texts[i]])[0]) > 0.9999


def test_a_caller_may_change_the_vectors_it_was_given(encoders: dict[str, Encoder]) -> None:
    for space, modality in (("text", Modality.TEXT), ("image", Modality.IMAGE)):
        inputs = _inputs(modality)
        first = encoders[space].embed_documents(inputs)
        kept = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(encoders[space].embed_documents(inputs), kept)


def test_chinese_words_find_the_english_passage(encoders: dict[str, Encoder]) -> None:
    passages: list[Input] = [
        "Two-person tent. Light and waterproof.",
        "Full-size cello. Carved maple body.",
        "Red woollen hat. Keeps ears warm.",
    ]
    documents = encoders["text"].embed_documents(passages)
    queries = encoders["text"].embed_queries(["双人帐篷", "大提琴", "红色帽子"], Modality.TEXT)
    assert (queries @ documents.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_picture_is_near_its_smaller_self_and_far_from_another(encoders: dict[str, Encoder]) -> None:
    cello, other = _picture("demo-001-1.jpg"), _picture("demo-060-1.jpg")
    small = cello.resize((cello.width // 2, cello.height // 2))
    vectors = encoders["image"].embed_documents([cello, small, other])
    assert float(vectors[0] @ vectors[1]) > 0.9
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.2


def test_words_of_two_languages_find_a_picture(encoders: dict[str, Encoder]) -> None:
    pictures: list[Input] = [_picture("demo-001-1.jpg"), _picture("demo-060-1.jpg"), _picture("demo-100-1.jpg")]
    documents = encoders["image_words"].embed_documents(pictures)
    queries = encoders["image_words"].embed_queries(["cello", "大提琴"], Modality.TEXT)
    assert (queries @ documents.T).argmax(axis=1).tolist() == [0, 0]


def test_a_sound_is_near_its_beginning_and_far_from_noise(encoders: dict[str, Encoder]) -> None:
    whole, noise = _tone(330, 3.0), _noise(3.0)
    part = Waveform(whole.samples[8000:40_000] * np.float32(0.5), whole.rate)
    vectors = encoders["audio"].embed_documents([whole, part, noise])
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2]) + 0.2


def test_the_same_pictures_are_looked_at_once_for_two_spaces(
    encoders: dict[str, Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.encoders.efficientnet import ImageBackbone, Seen

    seen: list[int] = []
    forward = ImageBackbone._forward

    def counted(self: ImageBackbone, images: Sequence[Image.Image]) -> Seen:
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ImageBackbone, "_forward", counted)
    pictures = _inputs(Modality.IMAGE)
    encoders["image"].embed_documents(pictures)
    encoders["image_words"].embed_documents(pictures)
    assert sum(seen) == 3
    encoders["image"].embed_documents(pictures[:2])
    assert sum(seen) == 3 + 2


def test_pictures_by_onnx_runtime_have_the_vectors_of_torch(encoders: dict[str, Encoder]) -> None:
    from triptych.encoders.efficientnet import EfficientNetEncoder, ImageBackbone
    from triptych.encoders.runtime import runtime_of

    image = encoders["image"]
    assert isinstance(image, EfficientNetEncoder)
    assert image._backbone._compiled is not None, "the extra onnx is not installed, or encoders prepare did not export"
    pictures = [picture for picture in _inputs(Modality.IMAGE) if isinstance(picture, Image.Image)]
    by_torch = ImageBackbone(SETTINGS.encoders_dir / "efficientnet-lite0", runtime_of(SETTINGS)).look(pictures)
    by_onnx = image.look(pictures)
    np.testing.assert_allclose(by_onnx.features, by_torch.features, atol=1e-4)
    np.testing.assert_allclose(by_onnx.logits, by_torch.logits, atol=1e-3)


def test_preparing_again_touches_nothing(encoders: dict[str, Encoder]) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in SETTINGS.encoders_dir.rglob("*") if path.name != ".lock"}

    before = state()
    told: list[tuple[str, float]] = []
    done = prepare(OFFLINE, SETTINGS, progress=lambda name, part: told.append((name, part)))
    assert not any(item.fresh for item in done)
    assert state() == before
    assert told == [(item.name, part) for item in done for part in (0.0, 1.0)]
    assert missing(OFFLINE, SETTINGS) == []


def test_a_damaged_folder_is_prepared_again(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    """In a data folder of its own, where all but the small EfficientNet is linked from the usual one."""
    settings = SETTINGS.model_copy(update={"data_dir": tmp_path})
    settings.encoders_dir.mkdir()
    folder = settings.encoders_dir / "efficientnet-lite0"
    for prepared in SETTINGS.encoders_dir.iterdir():
        if prepared.is_dir() and prepared.name != folder.name:
            (settings.encoders_dir / prepared.name).symlink_to(prepared)
    with pytest.raises(EncoderError):
        registry.encoders_of(OFFLINE, settings)
    assert [item.name for item in prepare(OFFLINE, settings) if item.fresh] == [folder.name]
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert [item.name for item in prepare(OFFLINE, settings) if item.fresh] == [folder.name]
    assert store.manifest_of(folder) == store.manifest_of(SETTINGS.encoders_dir / folder.name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("space", SPACES)
def test_a_gpu_gives_the_cpu_vectors(encoders: dict[str, Encoder], space: str) -> None:
    inputs = _inputs(encoders[space].spec.document_modality)
    on_cpu = encoders[space].embed_documents(inputs)
    for dtype, least in (("float32", 0.9995), ("bfloat16", 0.99)):
        gpu = registry.encoders_of(OFFLINE, SETTINGS.model_copy(update={"device": "cuda", "dtype": dtype}))[space]
        assert ((gpu.embed_documents(inputs) * on_cpu).sum(axis=1) > least).all()
