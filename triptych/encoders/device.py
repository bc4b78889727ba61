"""Which kind of device the encoders will compute on, asked without loading anything but torch."""

from __future__ import annotations

import sys
from pathlib import Path

from triptych.settings import Settings, calm_openmp

_CARDS = ("nvidiactl", "nvidia0", "dxg", "kfd")
"""Files of /dev through which torch reaches a card on Linux: NVIDIA's driver, that of Windows' Linux, AMD's."""


def kind_of_device(settings: Settings) -> str:
    """`cpu`, `cuda` or `mps`. What is no device is found out when the encoders load."""
    if settings.device != "auto":
        return settings.device.partition(":")[0]
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in _CARDS):
        return "cpu"
    calm_openmp()
    import torch  # noqa: PLC0415  some 2 s; not needed where the setting says

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
