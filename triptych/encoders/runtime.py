"""Where and how precisely the encoders compute: device, dtype, threads. Importing this imports torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import transformers

from triptych.errors import SettingsError
from triptych.settings import Settings


def quieten() -> None:
    """Keep transformers' progress bars and advice off the command line."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


quieten()


@dataclass(frozen=True, slots=True)
class Runtime:
    """A device and the precision of the networks on it. Pooling and everything after it is float32."""

    device: torch.device
    dtype: torch.dtype


def to_device(
    tensors: Mapping[str, torch.Tensor], runtime: Runtime, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """The inputs of a network on its device; those of floating point in `dtype`, by default the runtime's.

    To CUDA they go from pinned memory and without waiting, so that the copy of one tensor overlaps the work on another.
    """
    floating = dtype or runtime.dtype
    wanted = {name: tensor.to(floating) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if runtime.device.type != "cuda":
        return {name: tensor.to(runtime.device) for name, tensor in wanted.items()}
    return {name: tensor.pin_memory().to(runtime.device, non_blocking=True) for name, tensor in wanted.items()}


def runtime_of(settings: Settings) -> Runtime:
    """The runtime the settings ask for; sets this process's torch threads. Raises SettingsError for what is not there."""
    _set_threads(settings.threads)
    device = _device(settings.device)
    return Runtime(device, _dtype(settings.dtype, device))


@functools.cache
def _set_threads(threads: int) -> None:
    """Once per process and number: setting it again later would fight whoever changed it since."""
    if threads:
        torch.set_num_threads(threads)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"TRIPTYCH_DEVICE={name} is not a device.", field="device", remedy="Use auto, cpu, cuda or mps."
        ) from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise SettingsError(f"TRIPTYCH_DEVICE={name} is not available here.", field="device", remedy="Use auto or cpu.")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name == "auto":
        return torch.bfloat16 if _fast_bfloat16(device) else torch.float32
    if name not in known:
        raise SettingsError(f"TRIPTYCH_DTYPE={name} is not known.", field="dtype", remedy="Use auto, float32 or bfloat16.")
    return known[name]


def _fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware itself multiplies in bfloat16; emulation is slower than float32 (measured on AVX2)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # torch has no public question for this; absent names (other builds, ARM) count as no.
        questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in questions)
    return False
