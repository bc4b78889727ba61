"""What the encoders over transformers share: loading from a local folder, and vectors of the length that the profile wants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from triptych.domain import Vectors, Waveform
from triptych.encoders.base import IMPORTING, EncoderSpec, Setup, shortened, unit
from triptych.encoders.mapped import mapped
from triptych.encoders.runtime import Runtime
from triptych.errors import EncoderError


def model_of(setup: Setup) -> Path:
    """The folder or file of the encoder's weights. Raises EncoderError `encoder.model` where the profile names none."""
    if setup.model is None:
        raise EncoderError(
            f"The encoder of the space {setup.spec.space} has no model.",
            code="encoder.model",
            remedy="Name one in the profile: `model:` with a name of the hub or a local folder.",
        )
    return setup.model


def load(loader: Any, folder: Path, *, remote_code: bool = False, **options: Any) -> Any:
    """Read a processor, a tokenizer or a configuration from a local folder; nothing is fetched.

    `loader` is one of transformers' Auto classes, or any class with `from_pretrained`.

    Raises EncoderError `encoder.model` when the folder does not hold it or a package that it needs is missing.
    """
    try:
        with IMPORTING:
            return loader.from_pretrained(folder, local_files_only=True, trust_remote_code=remote_code, **options)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EncoderError(
            f"The model in {folder} cannot be read: {reason}",
            code="encoder.model",
            remedy="Check that the folder is complete and of a model that the family and this transformers can read.",
        ) from error


def load_network(loader: Any, folder: Path, runtime: Runtime, *, remote_code: bool = False, **options: Any) -> Any:
    """Read a network's weights (safetensors only) and put it on the runtime's device, ready for inference.

    Raises EncoderError `encoder.model` as `load` does, and `encoder.weights` when weights are missing: transformers would fill
    them by chance and say so only in its log. A missing pooler is let pass, because no encoder here uses one.
    """
    options = {"dtype": runtime.dtype, **options}
    network, found = load(loader, folder, remote_code=remote_code, use_safetensors=True, output_loading_info=True, **options)
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing:
        raise EncoderError(
            f"The weights in {folder} lack {len(missing)} of the network's tensors, such as {missing[0]}.",
            code="encoder.weights",
            remedy="Fetch the model again, or name the family that fits it.",
        )
    network = network.eval().to(runtime.device)
    return mapped(network, folder) if runtime.device.type == "cpu" else network


def fitted_to(vectors: npt.NDArray[Any], spec: EncoderSpec, *, matryoshka: bool) -> Vectors:
    """Rows of length 1 with `spec.dims` values, from rows (n, width) of any length.

    Wider rows are cut to their first values where the model was trained for that (`matryoshka`).
    Raises EncoderError `encoder.dims` where the width is another and may not be cut.
    """
    width = vectors.shape[1]
    if width == spec.dims:
        return unit(vectors)
    if width > spec.dims and matryoshka:
        return shortened(vectors, spec.dims)
    if width > spec.dims:
        remedy = (
            f"Set dims: {width}, or the option matryoshka if the model was trained so that its first values may stand alone."
        )
    else:
        remedy = f"Set dims: {width}, or fewer for a model that was trained with matryoshka."
    raise EncoderError(
        f"The model's vectors have {width} values, but the space {spec.space} is declared with {spec.dims}.",
        code="encoder.dims",
        remedy=remedy,
    )


def none_of(spec: EncoderSpec) -> Vectors:
    """The vectors of no inputs: (0, dims)."""
    return np.empty((0, spec.dims), dtype=np.float32)


def batched(count: int, size: int) -> list[slice]:
    """Slices over `count` rows, each of at most `size`."""
    return [slice(start, start + size) for start in range(0, count, size)]


def positions_of(network: Any) -> int | None:
    """How many tokens the network can place, None if any number.

    Learned positions of the RoBERTa kind start after the padding's index, so a table of 514 rows holds 512 tokens.
    """
    for name, module in network.named_modules():
        if name.endswith(("position_embeddings", "position_embedding")) and isinstance(module, nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - offset
    text = network.config.get_text_config()
    return getattr(text, "max_position_embeddings", None)


def samples_of(sound: Waveform) -> npt.NDArray[np.float32]:
    """A sound's samples. Raises EncoderError `encoder.input` for a sound without any."""
    if not len(sound.samples):
        raise EncoderError("The sound is empty.", code="encoder.input")
    return sound.samples


def in_order(rows: Sequence[int]) -> list[int]:
    """Indices that sort lengths, so that a batch has little padding."""
    return sorted(range(len(rows)), key=lambda row: rows[row])


def features_of(output: Any) -> Vectors:
    """What `get_*_features` gives, as float32 on the CPU: (n, width).

    transformers 5 gives an output, the code that comes with older models a tensor.
    """
    tensor = getattr(output, "pooler_output", output)
    return np.asarray(tensor.float().cpu().numpy(), dtype=np.float32)
