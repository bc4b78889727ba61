"""What the unit tests share: settings that nobody's environment reaches, and Hypothesis without chance or clock."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from source_reading import read_source  # noqa: F401  a fixture
from toys import with_toys

from triptych.encoders import profiles
from triptych.settings import PREFIX, Settings

hypothesis.settings.register_profile("unit", deadline=None, database=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("unit")


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No TRIPTYCH_* variable is set."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The defaults, with a data folder of the test's own."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def toy_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families of toys.py are installed beside ours."""
    monkeypatch.setattr(profiles, "entry_points", with_toys())
