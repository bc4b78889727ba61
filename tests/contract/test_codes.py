"""Every problem that the HTTP API documents stands in a test that expects it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract


def test_every_problem_is_expected_by_a_test(pages: dict[str, str], root: Path) -> None:
    codes = re.findall(r"(?m)^\| \d{3} \| `([a-z0-9._]+)` \|", pages["http-api.md"])
    tests = "".join(path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py"))
    assert len(codes) > 80
    assert [code for code in codes if f'"{code}"' not in tests] == []
