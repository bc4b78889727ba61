"""The family transformers_text on tiny models: pooling against numpy, padding on either side, prompts, limits, dims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tiny_encoders import TEXT, WORDS, Tiny, check_encoder, encoder, unit64

from triptych.encoders.families import TRANSFORMERS_TEXT
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

_MODELS: list[tuple[str, dict[str, Any], str]] = [
    ("bert", {}, "mean"),
    ("bert", {}, "cls"),
    ("xlm_roberta", {}, "mean"),
    ("decoder", {"padding_side": "left"}, "last"),
    ("decoder", {"padding_side": "right"}, "last"),
    ("t5", {}, "mean"),
]


def _hidden(folder: Path, text: str, limit: int) -> npt.NDArray[np.float64]:
    """The network's own vectors of one text's tokens, alone and so without padding: (tokens, width)."""
    import torch
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=limit, return_tensors="pt")
    network = transformers.AutoModel.from_pretrained(folder).eval()
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    with torch.inference_mode():
        found = network(input_ids=tokens["input_ids"]).last_hidden_state
    return np.asarray(found[0].numpy(), dtype=np.float64)


@pytest.mark.parametrize(("model", "build", "pooling"), _MODELS)
def test_vectors_are_those_of_numpy_over_the_hidden_states(tiny: Tiny, model: str, build: dict[str, Any], pooling: str) -> None:
    folder = tiny(model, **build)
    found = check_encoder(
        lambda: encoder(TRANSFORMERS_TEXT, folder, 32, pooling=pooling, document_prompt="passage: ", max_tokens=30),
        WORDS,
        lambda made, inputs: made.embed_documents(inputs),
    )
    take = {"mean": lambda h: h.mean(axis=0), "cls": lambda h: h[0], "last": lambda h: h[-1]}[pooling]
    expected = unit64(np.stack([take(_hidden(folder, f"passage: {text}", 30)) for text in WORDS]))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_both_paddings_of_a_decoder_give_the_same_vectors(tiny: Tiny) -> None:
    left, right = (
        encoder(TRANSFORMERS_TEXT, tiny("decoder", padding_side=side), 32, pooling="last").embed_documents(WORDS)
        for side in ("left", "right")
    )
    np.testing.assert_array_equal(left, right)


def test_a_text_without_any_token_is_all_zeros(tiny: Tiny) -> None:
    made = encoder(TRANSFORMERS_TEXT, tiny("decoder", end=None), 32, pooling="last")
    found = made.embed_documents(["", "a red shoe", ""])
    assert not found[[0, 2]].any()
    assert found[1].any()
    assert not made.embed_documents([""]).any()


def test_queries_and_documents_are_told_apart_by_their_prompts(tiny: Tiny) -> None:
    made = encoder(TRANSFORMERS_TEXT, tiny("bert"), 32, query_prompt="query: ", document_prompt="passage: ")
    query, document = made.embed_queries(["a red shoe"], TEXT)[0], made.embed_documents(["a red shoe"])[0]
    assert query @ document < 0.9999
    np.testing.assert_array_equal(made.embed_documents(["a red shoe"])[0], document)


@pytest.mark.parametrize("model", ["bert", "xlm_roberta"])
def test_a_text_is_cut_to_the_positions_that_the_model_has(tiny: Tiny, model: str) -> None:
    made = encoder(TRANSFORMERS_TEXT, tiny(model), 32, max_tokens=512)
    long = made.embed_documents(["shoe " * 300, "shoe " * 400])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)


def test_what_a_caller_does_to_its_vectors_is_not_remembered(tiny: Tiny) -> None:
    made = encoder(TRANSFORMERS_TEXT, tiny("bert"), 32)
    first = made.embed_documents(["a red shoe"])
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(made.embed_documents(["a red shoe"]), kept)


def test_dims_are_cut_only_where_the_model_was_trained_for_it(tiny: Tiny) -> None:
    folder = tiny("bert")
    whole = encoder(TRANSFORMERS_TEXT, folder, 32).embed_documents(WORDS)
    short = encoder(TRANSFORMERS_TEXT, folder, 12, matryoshka=True).embed_documents(WORDS)
    np.testing.assert_allclose(short, unit64(whole[:, :12]), atol=1e-6)
    for dims, options in ((12, {}), (64, {"matryoshka": True})):
        with pytest.raises(EncoderError, match="32 values") as caught:
            encoder(TRANSFORMERS_TEXT, folder, dims, **options).embed_documents(["a"])
        assert caught.value.code == "encoder.dims"
        assert "32" in str(caught.value.remedy)


def test_pooling_and_dense_layers_of_a_sentence_transformers_folder(tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from tiny_models import bert, made

    folder = made(bert, tmp_path / "model")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name, config in (
        ("1_Pooling", {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        ("2_Dense", {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    weight, bias = torch.randn(8, 32), torch.randn(8)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    hidden = np.stack([_hidden(folder, str(text), 40)[0] for text in WORDS])
    expected = unit64(np.tanh(hidden @ weight.numpy().T.astype(np.float64) + bias.numpy()))
    np.testing.assert_allclose(encoder(TRANSFORMERS_TEXT, folder, 8).embed_documents(WORDS), expected, atol=2e-6)


def test_a_pooling_that_is_not_offered_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from tiny_models import bert, made

    folder = made(bert, tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps([{"path": "1_Pooling", "type": "x.Pooling"}]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(EncoderError) as caught:
        encoder(TRANSFORMERS_TEXT, folder, 32).embed_documents(["a"])
    assert caught.value.code == "encoder.pooling"
    assert encoder(TRANSFORMERS_TEXT, folder, 32, pooling="mean").embed_documents(["a"]).any()


def test_missing_weights_are_an_error_not_chance(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from tiny_models import bert, made

    folder = made(bert, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"encoder\.layer\.1\.output\.dense\.weight") as caught:
        encoder(TRANSFORMERS_TEXT, folder, 32).embed_documents(["a"])
    assert caught.value.code == "encoder.weights"


def test_a_folder_without_a_model_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        with pytest.raises(EncoderError) as caught:
            encoder(TRANSFORMERS_TEXT, folder, 32).embed_documents(["a"])
        assert caught.value.code == "encoder.model"
        assert caught.value.remedy
