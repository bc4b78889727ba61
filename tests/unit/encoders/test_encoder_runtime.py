"""Device and precision from the settings."""

from __future__ import annotations

import pytest
import torch

from triptych.encoders import runtime
from triptych.errors import SettingsError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def test_the_cpu_and_its_precision_can_be_asked_for() -> None:
    assert runtime.runtime_of(Settings(device="cpu", dtype="float32")) == runtime.Runtime(torch.device("cpu"), torch.float32)
    assert runtime.runtime_of(Settings(device="cpu", dtype="bfloat16")).dtype == torch.bfloat16


def test_auto_takes_bfloat16_only_where_the_cpu_multiplies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        assert runtime.runtime_of(Settings(device="cpu")).dtype == dtype


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(SettingsError, match="TRIPTYCH_DEVICE"):
        runtime.runtime_of(Settings(device=device))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(SettingsError, match="TRIPTYCH_DTYPE"):
        runtime.runtime_of(Settings(device="cpu", dtype="float8"))


def test_the_thread_count_is_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    runtime._set_threads.cache_clear()
    for threads in (0, 2, 2):
        runtime.runtime_of(Settings(device="cpu", threads=threads))
    runtime._set_threads.cache_clear()
    assert calls == [2]
