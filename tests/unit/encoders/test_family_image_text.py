"""The family image_text on tiny CLIP, SigLIP, SigLIP 2 and Chinese-CLIP: both towers, and the tokens as each was trained."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_encoders import IMAGE, TEXT, WORDS, Tiny, check_encoder, encoder, pictures, unit64

from triptych.encoders.families import IMAGE_TEXT
from triptych.encoders.image_text import ImageTextNetwork
from triptych.encoders.runtime import runtime_of
from triptych.errors import EncoderError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

_DIMS = {"clip": 24, "siglip": 32, "siglip2": 32, "chinese_clip": 24}
_models = pytest.mark.parametrize("model", list(_DIMS))


def _network(tiny: Tiny, model: str) -> ImageTextNetwork:
    return ImageTextNetwork(tiny(model), runtime_of(Settings(device="cpu", dtype="float32")), remote_code=False)


@_models
def test_words_hold_alone_and_in_company(tiny: Tiny, model: str) -> None:
    check_encoder(
        lambda: encoder(IMAGE_TEXT, tiny(model), _DIMS[model], documents=IMAGE, query_prompt="a photo of "),
        WORDS,
        lambda made, inputs: made.embed_queries(inputs, TEXT),
    )


@_models
def test_pictures_hold_alone_and_in_company(tiny: Tiny, model: str) -> None:
    made = encoder(IMAGE_TEXT, tiny(model), _DIMS[model], documents=IMAGE, queries=(TEXT, IMAGE))
    found = check_encoder(lambda: made, pictures(), lambda made, inputs: made.embed_documents(inputs))
    np.testing.assert_array_equal(made.embed_queries(pictures(), IMAGE), found)


@_models
def test_vectors_are_those_of_the_whole_model(tiny: Tiny, model: str) -> None:
    """The model's own forward pass over its own processor's inputs, as the hub's examples show it."""
    import torch
    import transformers

    folder, texts, images = tiny(model), ["a red shoe", "the small rabbit eats a carrot"], [pictures()[0], pictures()[1]]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "right"
    padding = {"padding": "max_length", "max_length": 64} if model.startswith("siglip") else {"padding": True}
    batch = dict(processor.tokenizer(texts, return_tensors="pt", **padding))
    batch |= processor.image_processor(images, return_tensors="pt")  # Siglip2Processor would overrule the model's own patches
    if model.startswith("siglip"):
        batch.pop("attention_mask", None)
    with torch.inference_mode():
        whole = transformers.AutoModel.from_pretrained(folder).eval()(**batch)
    made = encoder(IMAGE_TEXT, folder, _DIMS[model], documents=IMAGE, queries=(TEXT, IMAGE))
    np.testing.assert_allclose(made.embed_queries(texts, TEXT), unit64(whole.text_embeds.numpy()), atol=2e-6)
    np.testing.assert_allclose(made.embed_documents(images), unit64(whole.image_embeds.numpy()), atol=2e-6)


@pytest.mark.parametrize("model", ["siglip", "siglip2"])
def test_siglip_takes_64_tokens_in_lower_case_without_a_mask(tiny: Tiny, model: str) -> None:
    network = _network(tiny, model)
    tokens = network.tokens(["A Red SHOE", "shoe " * 200])
    assert set(tokens) == {"input_ids"}
    ids = tokens["input_ids"].numpy()
    assert ids.shape == (2, 64)
    np.testing.assert_array_equal(ids[0], network.tokens(["a red shoe"])["input_ids"][0])
    pad = network.tokens([""])["input_ids"][0, -1]
    assert ids[0, -1] == pad
    assert ids[0, 0] != pad
    assert pad not in ids[1]


@pytest.mark.parametrize(("model", "most"), [("clip", 77), ("chinese_clip", 52)])
def test_clip_cuts_a_text_to_the_tokens_it_was_trained_with(tiny: Tiny, model: str, most: int) -> None:
    tokens = _network(tiny, model).tokens(["a b " * 100, "a"])
    assert tokens["input_ids"].shape == (2, most)
    assert tokens["attention_mask"].sum(dim=1).tolist() == [most, 3]


def test_fewer_tokens_can_be_asked_for(tiny: Tiny) -> None:
    for model, shape in (("clip", (1, 8)), ("siglip", (1, 64))):
        network = _network(tiny, model)
        assert network.tokens(["a b c d " * 30], 8)["input_ids"].shape == shape
        made = encoder(IMAGE_TEXT, tiny(model), _DIMS[model], documents=IMAGE, max_tokens=8)
        assert not np.array_equal(*(m.embed_queries(["a b c d " * 30], TEXT) for m in (made, _full(tiny, model))))


def _full(tiny: Tiny, model: str):  # type: ignore[no-untyped-def]
    return encoder(IMAGE_TEXT, tiny(model), _DIMS[model], documents=IMAGE)


def test_documents_may_be_words_and_a_prompt_is_for_queries_alone(tiny: Tiny) -> None:
    made = encoder(IMAGE_TEXT, tiny("clip"), 24, documents=TEXT, query_prompt="a photo of ")
    document, query = made.embed_documents(["a shoe"]), made.embed_queries(["a shoe"], TEXT)
    assert document[0] @ query[0] < 0.9999
    np.testing.assert_allclose(made.embed_documents(["a photo of a shoe"]), query, atol=1e-6)


def test_a_picture_in_another_mode_is_the_picture(tiny: Tiny) -> None:
    made = _full(tiny, "clip")
    grey = Image.fromarray(np.arange(0, 250, dtype=np.uint8).reshape(10, 25))
    np.testing.assert_array_equal(made.embed_documents([grey]), made.embed_documents([grey.convert("RGB")]))


def test_dims_are_cut_only_where_the_model_was_trained_for_it(tiny: Tiny) -> None:
    whole = _full(tiny, "clip").embed_documents(pictures())
    short = encoder(IMAGE_TEXT, tiny("clip"), 10, documents=IMAGE, matryoshka=True).embed_documents(pictures())
    np.testing.assert_allclose(short, unit64(whole[:, :10]), atol=1e-6)
    with pytest.raises(EncoderError) as caught:
        encoder(IMAGE_TEXT, tiny("clip"), 10, documents=IMAGE).embed_documents(pictures())
    assert caught.value.code == "encoder.dims"


def test_a_model_of_words_alone_is_refused(tiny: Tiny) -> None:
    with pytest.raises(EncoderError) as caught:
        encoder(IMAGE_TEXT, tiny("clap"), 24, documents=IMAGE).embed_documents(pictures())
    assert caught.value.code == "encoder.model"
