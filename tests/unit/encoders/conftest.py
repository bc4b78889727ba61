"""Tiny models of the real classes, each made once a session and only when a test asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """tiny(name, **options): the folder of a model of tiny_models."""
    import tiny_models

    base = tmp_path_factory.mktemp("models")

    def folder(name: str, **options: Any) -> Path:
        path: Path = base / "-".join([name, *map(str, options.values())])
        return path if path.exists() else tiny_models.made(getattr(tiny_models, name), path, **options)

    return folder


@pytest.fixture(autouse=True)
def _mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights stay in their files even where they are tiny, so that each family is tried with such weights."""
    from triptych.encoders import mapped

    monkeypatch.setattr(mapped, "MIN_BYTES", 0)
