"""EfficientNet-Lite0: pictures into the space "image" (Tan and Le 2019, arXiv:1905.11946; ImageNet weights)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from triptych.domain import Modality, Vectors
from triptych.encoders import onnx_runtime, sources
from triptych.encoders.base import EncoderSpec, Input, Setup, shared, unit
from triptych.encoders.inputs import check_modality, pictures
from triptych.encoders.models import WEIGHTS
from triptych.encoders.pictures import Letterboxes, Remembered, Seen, imagenet_names
from triptych.encoders.runtime import Runtime, runtime_of, to_device
from triptych.errors import EncoderError

COMPILED = "network.onnx"
WIDTH = 1280
_SIDE = 224
_MEAN, _DEVIATION = 127.0, 128.0  # TF's efficientnet/lite: (x - 127) / 128
_BATCH = 32
_CPU_BATCH = 2
"""Pictures at once for torch on a CPU: more leave its caches, and two cost half of what 32 cost a picture (measured, AVX2)."""


class ImageBackbone:
    """The network, loaded on first use and shared by the encoders that embed pictures."""

    def __init__(self, folder: Path, runtime: Runtime, compiled_to: Path | None = None, threads: int = 0) -> None:
        self._folder = folder
        self._runtime = runtime
        self._compiled_to = compiled_to
        self._threads = threads
        self._remembered = Remembered()
        self._letterboxes = Letterboxes(_SIDE)
        self._filling = threading.Lock()

    def prepare(self, image: Image.Image) -> None:
        """Letterbox a picture that will be looked at."""
        self._letterboxes.prepare(image)

    def look(self, images: Sequence[Image.Image]) -> Seen:
        """Run the network, or answer from memory when these are the very pictures of the last call."""
        if not images:
            return Seen(np.empty((0, WIDTH), np.float32), np.empty((0, 1000), np.float32))
        size = _CPU_BATCH if self._runtime.device.type == "cpu" and self._compiled is None else _BATCH
        return self._remembered.look(images, self._forward, size=size)

    @torch.inference_mode()
    def _forward(self, images: Sequence[Image.Image]) -> Seen:
        pixels = torch.from_numpy(self._letterboxes.of(images)).permute(0, 3, 1, 2)
        if self._compiled is not None:
            with self._filling:  # an index that will serve is warmed beside the queries
                taken = self._planes[: len(images)].copy_(pixels).sub_(_MEAN).div_(_DEVIATION)
                return Seen(*self._compiled(taken.numpy()))
        pixels = to_device({"pixels": pixels}, self._runtime)["pixels"].float().sub(_MEAN).div(_DEVIATION)
        features, logits = self._network(pixels.to(self._runtime.dtype, memory_format=torch.channels_last))
        return Seen(features.cpu().numpy(), logits.cpu().numpy())

    @functools.cached_property
    def _compiled(self) -> onnx_runtime.Network | None:
        """The network by ONNX Runtime, on a CPU in float32 where that is installed."""
        wanted = self._runtime == Runtime(torch.device("cpu"), torch.float32) and onnx_runtime.is_installed()
        if self._compiled_to is None or not wanted or not self._compiled_to.is_file():
            return None
        return onnx_runtime.session(self._compiled_to, threads=self._threads)

    @functools.cached_property
    def _planes(self) -> torch.Tensor:
        """What the compiled network takes is made in one place: in new memory each time it took four times as long."""
        return torch.empty(_BATCH, 3, _SIDE, _SIDE)

    def export(self, path: Path) -> None:
        """Write the network as ONNX."""
        onnx_runtime.export(self._network, torch.zeros(2, 3, _SIDE, _SIDE), path)

    @functools.cached_property
    def _network(self) -> Any:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415  (of the extra `offline`)

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(load_file(self._folder / WEIGHTS))
        network = folded(network.eval()).to(self._runtime.device, self._runtime.dtype, memory_format=torch.channels_last)
        network._fc.float()  # noqa: SLF001
        return _Looking(network)


class _Looking(nn.Module):
    """The network's features and logits; the package's own forward prints, and gives no features."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.network.extract_features(pixels).float().mean(dim=(2, 3))
        return features, self.network._fc(features)  # noqa: SLF001


def folded(network: Any) -> Any:
    """The network with each normalisation inside the convolution before it, and even padding done by the convolution itself.

    The same function of its input, to rounding (cosine 1.0000); on a CPU each layer less is a pass over memory less.
    """
    for block in [network, *network._blocks]:  # noqa: SLF001
        for convolution, norm in _PAIRS["stem" if block is network else "block"]:
            if hasattr(block, convolution) and hasattr(block, norm):
                setattr(block, convolution, fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
    for module in network.modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
            module.padding, module.static_padding = (padding.padding[0],) * 2, nn.Identity()
    return network


_PAIRS = {
    "stem": (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")),
    "block": (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
}


@shared
def _backbone(folder: Path, runtime: Runtime, compiled_to: Path | None, threads: int) -> ImageBackbone:
    return ImageBackbone(folder, runtime, compiled_to, threads)


def write_compiled(setup: Setup, folder: Path) -> None:
    """The network for ONNX Runtime, where the extra `onnx` is installed; nothing where it is not."""
    if setup.model is not None and onnx_runtime.is_installed():
        ImageBackbone(setup.model, runtime_of(setup.settings)).export(folder / COMPILED)


class EfficientNetEncoder:
    """Pictures to pictures, by likeness."""

    def __init__(self, setup: Setup) -> None:
        if setup.model is None or setup.spec.dims != WIDTH:
            raise EncoderError(
                f"EfficientNet-Lite0 gives {WIDTH} dims, not {setup.spec.dims}.",
                code="encoder.dims",
                field="dims",
                remedy=f"Write dims: {WIDTH} in the profile.",
            )
        for code in sources.EFFICIENTNET_CODE:
            sources.locate(code)
        self.spec: EncoderSpec = setup.spec
        compiled_to = setup.derived / COMPILED if setup.derived else None
        self._backbone = _backbone(setup.model, runtime_of(setup.settings), compiled_to, setup.settings.threads)

    def look(self, images: Sequence[Image.Image]) -> Seen:
        """Features and logits of each picture."""
        return self._backbone.look(images)

    def class_names(self) -> list[str]:
        """The names of the classes that the logits are of."""
        return imagenet_names()

    def prepare(self, value: Input) -> None:
        for image in pictures([value]):
            self._backbone.prepare(image)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        features = self.look(pictures(inputs)).features
        # The features are means of ReLU6, so never negative; their root keeps a few strong ones from deciding alone
        # (as in RootSIFT, Arandjelovic and Zisserman 2012).
        return unit(np.sqrt(features))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)
