"""What comes in with what: nothing heavy for `import triptych` and for help; whose packages these are."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

HEAVY = ("torch", "torchvision", "transformers", "librosa", "celery", "flask")
PACKAGES = ("triptych", "indexer", "search_api", "evaluation", "training", "engine")

_HELP = """
from click.testing import CliRunner
from triptych.cli import root
from importlib.metadata import entry_points
names = [point.name for point in entry_points(group="triptych.commands")]
for line in [["--help"], *([name, "--help"] for name in names)]:
    result = CliRunner().invoke(root, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
assert all(name in CliRunner().invoke(root, ["--help"]).output for name in names)
"""


def loaded_by(script: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after `script`."""
    ending = f"\nimport json, sys\nprint(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script + ending], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_import_triptych_loads_nothing_heavy() -> None:
    assert loaded_by("import triptych") == []


def test_help_of_every_command_loads_nothing_heavy() -> None:
    assert loaded_by(_HELP) == []


def test_the_services_load_no_scipy_which_takes_a_fifth_of_a_short_command() -> None:
    assert loaded_by("import triptych.services, indexer.submit", ("scipy", "sklearn", "torch")) == []


def test_a_heavy_import_is_noticed() -> None:
    assert loaded_by("import flask") == ["flask"]


def test_the_command_itself_answers_help() -> None:
    triptych = Path(sys.executable).with_name("triptych")
    done = subprocess.run([triptych, "--help"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0
    assert "doctor" in done.stdout


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_found_are_ours(root: Path, name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == root / name


def names_promised(path: Path) -> list[str]:
    """The strings of a module's `__all__`, without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            promised: list[str] = ast.literal_eval(node.value)
            return promised
    return []


def test_every_name_a_module_promises_is_there(root: Path) -> None:
    checked = 0
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            promised = names_promised(path)
            if not promised:
                continue
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            module = importlib.import_module(name)
            assert [word for word in promised if not hasattr(module, word)] == [], name
            assert len(set(promised)) == len(promised), name
            checked += 1
    assert checked >= 2
