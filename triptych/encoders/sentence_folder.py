"""What a folder of sentence-transformers says beyond the network: how to pool, and dense layers after the pooling.

    modules.json           [Transformer "", Pooling "1_Pooling", Dense "2_Dense", ..., Normalize]
    1_Pooling/config.json  {"pooling_mode_mean_tokens": true, ...}
    2_Dense/               config.json with its activation, model.safetensors with linear.weight (out, in) and maybe linear.bias

A folder without modules.json holds a bare network. The form is that of sentence-transformers 2 to 5 (https://sbert.net).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import nn

from triptych.errors import EncoderError

Pooling = Literal["mean", "cls", "last"]

_MODULES = "modules.json"
_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_WITHOUT_EFFECT = ("Transformer", "Pooling", "Normalize", "Dropout")  # here: the network itself, `pooling_of`, our own scaling
_ACTIVATIONS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU)}


def pooling_of(folder: Path) -> Pooling:
    """The pooling that the folder declares, "mean" where it declares none.

    Raises EncoderError `encoder.pooling` for one that is not offered here, such as max or a mixture of several.
    """
    paths = [module["path"] for module in _modules(folder) if _kind(module) == "Pooling"]
    if not paths:
        return "mean"
    config = _json(folder / paths[0] / "config.json")
    stated = config.get("pooling_mode")
    modes = (
        [stated] if isinstance(stated, str) else [mode for mode, on in config.items() if mode.startswith("pooling_mode") and on]
    )
    found = [_POOLINGS.get(mode, mode) for mode in modes]
    found = ["last" if mode == "lasttoken" else mode for mode in found]
    for known in _POOLINGS.values():
        if found == [known]:
            return known
    raise EncoderError(
        f"The model in {folder} pools by {', '.join(modes) or 'nothing known'}, which is not offered.",
        code="encoder.pooling",
        remedy="Set the option pooling to mean, cls or last, as the model's card says, or choose another model.",
    )


def dense_of(folder: Path) -> nn.Module:
    """The dense layers after the pooling as one float32 module, on the CPU; the identity where there are none.

    Raises EncoderError `encoder.model` for a module that is not known here: without it the vectors would be wrong.
    """
    layers: list[nn.Module] = []
    for module in _modules(folder):
        if _kind(module) == "Dense":
            layers += _dense(folder / module["path"])
        elif _kind(module) not in _WITHOUT_EFFECT:
            raise EncoderError(
                f"The model in {folder} has a module {_kind(module)}, which is not known here.",
                code="encoder.model",
                remedy="Choose another model; those of Transformer, Pooling, Dense and Normalize can be used.",
            )
    return nn.Sequential(*layers).eval()


def _dense(folder: Path) -> list[nn.Module]:
    config = _json(folder / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    weights = folder / "model.safetensors"
    if activation not in _ACTIVATIONS or not weights.is_file():
        raise EncoderError(
            f"The dense layer in {folder} cannot be read (activation {activation}; weights as safetensors wanted).",
            code="encoder.model",
            remedy="Fetch the model again, or choose another.",
        )
    state = {name.removeprefix("linear."): tensor.float() for name, tensor in load_file(weights).items()}
    out_features, in_features = state["weight"].shape
    with torch.device("meta"):
        linear = nn.Linear(in_features, out_features, bias="bias" in state)
    linear.load_state_dict(state, assign=True)
    return [linear, _ACTIVATIONS[activation]()]


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / _MODULES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def _kind(module: dict[str, Any]) -> str:
    return str(module["type"]).rpartition(".")[2]


def _json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
