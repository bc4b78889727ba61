"""The family torchvision_image on torchvision's own networks with random weights."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import IMAGE, Tiny, check_encoder, encoder, pictures, unit64

from triptych.encoders.families import TORCHVISION_IMAGE
from triptych.encoders.pictures import letterbox
from triptych.errors import EncoderError

pytestmark = pytest.mark.unit

_DIMS = {"resnet18": 512, "efficientnet_v2_s": 1280, "vit_b_16": 768}


@pytest.fixture(autouse=True)
def _free() -> None:
    gc.collect()


def _encoder(tiny: Tiny, architecture: str, **options: str):  # type: ignore[no-untyped-def]
    folder = tiny("classifier", architecture=architecture)
    return encoder(
        TORCHVISION_IMAGE,
        folder,
        _DIMS[architecture],
        documents=IMAGE,
        queries=(IMAGE,),
        **{"architecture": architecture, **options},
    )


@pytest.mark.parametrize("architecture", list(_DIMS))
def test_vectors_and_logits_are_those_of_the_whole_network(tiny: Tiny, architecture: str) -> None:
    """Against torchvision's own feature extraction and forward pass over pictures prepared with numpy."""
    import torch
    import torchvision
    from safetensors.torch import load_file

    made = _encoder(tiny, architecture)
    given = pictures()[:2]
    network = torchvision.models.get_model(architecture).eval()
    network.load_state_dict(load_file(tiny("classifier", architecture=architecture) / "model.safetensors"))
    form = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    side = form.crop_size[0]
    pixels = np.stack([(letterbox(picture, side=side) / 255 - form.mean) / form.std for picture in given]).astype(np.float32)
    last = [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)][-1]
    kept: list[torch.Tensor] = []
    network.get_submodule(last).register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    with torch.inference_mode():
        logits = network(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(made.embed_documents(given), unit64(kept[0].numpy()), atol=1e-5)
    seen = made.look(given)
    assert seen.features.dtype == seen.logits.dtype == np.float32
    np.testing.assert_allclose(seen.logits, logits, atol=2e-3 * np.abs(logits).max())


def test_pictures_hold_alone_and_in_company(tiny: Tiny) -> None:
    made = _encoder(tiny, "resnet18")
    found = check_encoder(lambda: made, pictures(), lambda made, inputs: made.embed_documents(inputs))
    np.testing.assert_array_equal(made.embed_queries(pictures(), IMAGE), found)


def test_the_classes_have_imagenets_names(tiny: Tiny) -> None:
    made = _encoder(tiny, "resnet18")
    names = made.class_names()
    assert len(names) == 1000
    assert names[0] == "tench"
    assert made.look([]).logits.shape == (0, 1000)
    assert made.look([]).features.shape == (0, 512)


def test_the_very_pictures_of_the_last_call_are_not_looked_at_twice(tiny: Tiny) -> None:
    made = _encoder(tiny, "resnet18")
    given = pictures()[:1]
    assert made.look(given) is made.look(given)
    assert made.look(given) is not made.look(pictures()[:1])


def test_own_weights_may_have_other_classes(tiny: Tiny) -> None:
    folder = tiny("classifier", architecture="resnet18", classes=7)
    made = encoder(TORCHVISION_IMAGE, folder / "model.safetensors", 512, documents=IMAGE, architecture="resnet18")
    assert made.look(pictures()).logits.shape == (5, 7)  # type: ignore[attr-defined]
    with pytest.raises(EncoderError) as caught:
        made.class_names()  # type: ignore[attr-defined]
    assert caught.value.code == "encoder.no_classes"


def test_the_architecture_is_read_off_a_prepared_folder(tiny: Tiny, tmp_path: Path) -> None:
    prepared = tmp_path / "torchvision-resnet18"
    prepared.symlink_to(tiny("classifier", architecture="resnet18"))
    found = encoder(TORCHVISION_IMAGE, prepared, 512, documents=IMAGE).embed_documents(pictures())
    np.testing.assert_array_equal(found, _encoder(tiny, "resnet18").embed_documents(pictures()))


def test_what_does_not_fit_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("classifier", architecture="resnet18")
    for path, dims, architecture, code in (
        (folder, 512, "resnet5", "encoder.architecture"),
        (folder, 512, None, "encoder.architecture"),
        (folder, 512, "resnet50", "encoder.weights"),
        (folder, 512, "squeezenet1_1", "encoder.architecture"),
        (folder, 256, "resnet18", "encoder.dims"),
        (tmp_path, 512, "resnet18", "encoder.weights"),
    ):
        with pytest.raises(EncoderError) as caught:
            encoder(TORCHVISION_IMAGE, path, dims, documents=IMAGE, architecture=architecture).embed_documents(pictures())
        assert caught.value.code == code
        assert caught.value.remedy
