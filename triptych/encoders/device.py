"""Which kind of device the encoders will compute on, asked without loading anything but torch."""

from __future__ import annotations

from triptych.settings import Settings, calm_openmp


def kind_of_device(settings: Settings) -> str:
    """`cpu`, `cuda` or `mps`. What is no device is found out when the encoders load."""
    if settings.device != "auto":
        return settings.device.partition(":")[0]
    calm_openmp()
    import torch  # noqa: PLC0415  some 2 s; not needed where the setting says

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
