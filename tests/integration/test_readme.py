"""The README's examples, run as they stand but for the name of the index."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from processes import ROOT, Command

pytestmark = pytest.mark.integration


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_example_runs(command: Command, shop: str) -> None:
    (code,) = blocks("python")
    assert 'index="shop"' in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace('index="shop"', f'index="{shop}"')],
        env=command.environment, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
    assert "audio.audio" in done.stdout


def test_the_search_commands_run(command: Command, shop: str) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("triptych search shop ")]
    assert len(lines) >= 2
    for line in lines:
        words = shlex.split(line)
        shown = command(*["search", shop, *words[3:]]).stdout
        assert "score" in shown
