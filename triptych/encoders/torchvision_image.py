"""Pictures by likeness: what a classification network of torchvision knows of a picture before it names a class.

    picture -> letterboxed on white into the square of the weights -> network without its last layer -> length 1

Weights are torchvision's defaults for the architecture, or one's own trained for it (another number of classes is fine). The
side of the square, mean and deviation are those of torchvision's default weights; the letterbox is ours (pictures.letterbox).
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from triptych.domain import Modality, Vectors
from triptych.encoders.base import EncoderSpec, Input, Setup, shared
from triptych.encoders.families import TorchvisionOptions
from triptych.encoders.inputs import check_modality, pictures
from triptych.encoders.models import TORCHVISION, WEIGHTS
from triptych.encoders.networks import fitted_to, model_of, none_of
from triptych.encoders.pictures import Letterboxes, Remembered, Seen, imagenet_names
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.errors import EncoderError

_BATCH = 32
_IMAGENET_CLASSES = 1000
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # its published files have names from before 2018


class TorchvisionNetwork:
    """The network without its last layer, and that layer; loaded on first use, shared by the encoders that use it."""

    def __init__(self, path: Path, architecture: str, runtime: Runtime) -> None:
        self._path = path
        self._architecture = architecture
        self._runtime = runtime
        self._remembered = Remembered()

    def prepare(self, image: Image.Image) -> None:
        """Letterbox a picture that will be looked at."""
        self._letterboxes.prepare(image)

    def look(self, images: Sequence[Image.Image]) -> Seen:
        """Features and logits of at least one picture, float32; from memory when they are the last call's pictures."""
        return self._remembered.look(images, self._forward, size=_BATCH)

    @torch.inference_mode()
    def _forward(self, images: Sequence[Image.Image]) -> Seen:
        form = self._form
        pixels = torch.from_numpy(self._letterboxes.of(images)).permute(0, 3, 1, 2)
        pixels = to_device({"pixels": pixels}, self._runtime)["pixels"].float().div(255)
        mean, deviation = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (form.mean, form.std))
        pixels = pixels.sub(mean).div(deviation).to(self._runtime.dtype, memory_format=torch.channels_last)
        network, head = self._network
        features = network(pixels).float()
        if features.ndim != 2 or features.shape[1] != head.in_features:  # noqa: PLR2004  rows of features
            raise self._unfit()
        return Seen(features.cpu().numpy(), head(features).cpu().numpy())

    @functools.cached_property
    def _form(self) -> Any:
        """Side of the square, mean and deviation of the architecture's default weights."""
        return torchvision.models.get_model_weights(self._architecture).DEFAULT.transforms()

    @functools.cached_property
    def _letterboxes(self) -> Letterboxes:
        return Letterboxes(self._form.crop_size[0])

    @functools.cached_property
    def classes(self) -> int:
        return int(self._network[1].out_features)

    @functools.cached_property
    def _network(self) -> tuple[nn.Module, nn.Linear]:
        state = self._state()
        network = torchvision.models.get_model(self._architecture)
        name = self._last_layer(network)
        classes = len(state.get(f"{name}.weight", ()))
        if classes not in {0, _IMAGENET_CLASSES}:
            network = torchvision.models.get_model(self._architecture, num_classes=classes)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise EncoderError(
                f"The weights at {self._path} are not those of a {self._architecture}.",
                code="encoder.weights",
                remedy="Set the option architecture to the network that they were trained for.",
            ) from error
        head = network.get_submodule(name)
        assert isinstance(head, nn.Linear)  # noqa: S101  (_last_layer looks for one)
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Identity())
        device = self._runtime.device
        network = network.eval().to(device, self._runtime.dtype, memory_format=torch.channels_last)
        return network, head.eval().to(device, torch.float32)

    def _state(self) -> dict[str, torch.Tensor]:
        path = self._path / WEIGHTS if self._path.is_dir() else self._path
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise EncoderError(
                f"The weights {path} cannot be read: {error}",
                code="encoder.weights",
                remedy="Give a safetensors file with the network's state, or run: triptych encoders prepare",
            ) from error
        return {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}

    def _last_layer(self, network: nn.Module) -> str:
        layers: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise self._unfit()
        return layers[-1]

    def _unfit(self) -> EncoderError:
        return EncoderError(
            f"{self._architecture} does not end in one linear layer over its features.",
            code="encoder.architecture",
            remedy="Choose another, such as resnet50, efficientnet_v2_s, convnext_tiny or vit_b_16.",
        )


def architecture_of(path: Path, wanted: str | None) -> str:
    """The architecture that a profile names, or that a folder made by `triptych encoders prepare` is called after.

    Raises EncoderError `encoder.architecture` for a name that torchvision's classification models do not have.
    """
    name = wanted or path.name.removeprefix(TORCHVISION)
    known: list[str] = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    raise EncoderError(
        f"torchvision has no classification network {name!r}.",
        code="encoder.architecture",
        field="architecture",
        remedy=f"Set the option architecture; {f'did you mean {close[0]!r}?' if close else 'as resnet50 or vit_b_16.'}",
    )


@shared
def _shared(path: Path, architecture: str, runtime: Runtime) -> TorchvisionNetwork:
    return TorchvisionNetwork(path, architecture, runtime)


class TorchvisionEncoder:
    """Pictures to pictures, by likeness. It is a Classifier too: ConSE can be made over it."""

    def __init__(self, setup: Setup) -> None:
        options: TorchvisionOptions = setup.options
        path = model_of(setup)
        self.spec: EncoderSpec = setup.spec
        self._network = _shared(path, architecture_of(path, options.architecture), runtime_of(setup.settings))

    def look(self, images: Sequence[Image.Image]) -> Seen:
        """Features and logits of each picture."""
        if not images:
            return Seen(none_of(self.spec), np.empty((0, self._network.classes), np.float32))
        return self._network.look(images)

    def class_names(self) -> list[str]:
        """The names of the logits' classes. Raises EncoderError `encoder.no_classes` unless they are ImageNet's."""
        if self._network.classes != _IMAGENET_CLASSES:
            raise EncoderError(
                f"The network of the space {self.spec.space} has {self._network.classes} classes whose names are not known.",
                code="encoder.no_classes",
                remedy="Name one of torchvision's own ImageNet weights.",
            )
        return imagenet_names()

    def prepare(self, value: Input) -> None:
        for image in pictures([value]):
            self._network.prepare(image)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        if not inputs:
            return none_of(self.spec)
        return fitted_to(self.look(pictures(inputs)).features, self.spec, matryoshka=False)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)
