"""Networks on a CPU by ONNX Runtime (the extra `onnx`), where it is at least twice as fast as plain torch for the same vectors.

Measured on two AVX2 cores, float32, cosine 1.0000 to torch: EfficientNet-Lite0 2.7 to 6 times as fast as plain torch, 1.4 to
2.3 times as torch with folded layers; e5 and Whisper's layers gain nothing (0.9 to 1.2), so they stay in torch. https://onnxruntime.ai
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Network = Callable[[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]
"""Takes a batch, gives the outputs."""

_PACKAGES = ("onnxruntime", "onnx", "onnxscript")


def is_installed() -> bool:
    return all(find_spec(name) is not None for name in _PACKAGES)


def export(network: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write a network of one input, whose first dimension is the batch, as ONNX; takes some seconds. Wants the extra."""
    with _quiet():
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=["inputs"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def session(path: Path, *, threads: int) -> Network:
    """The network that was exported to `path`, on `threads` threads of the CPU (0: as torch has)."""
    import onnxruntime  # noqa: PLC0415  (of the extra `onnx`)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep, as ours all do
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        outputs: list[Any] = session.run(None, {name: batch})
        return [np.asarray(output, dtype=np.float32) for output in outputs]

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns and logs of its own affairs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.utils.flop_counter", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None), torch.inference_mode():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
