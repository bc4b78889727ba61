"""What the contract tests share: the repository's files and the commands, as click knows them."""

from __future__ import annotations

import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Every file of the repository, committed or not yet, that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return [path for name in sorted(set(listed.split("\0")) - {""}) if (path := ROOT / name).is_file()]


@pytest.fixture(scope="session")
def commands() -> dict[str, click.Command]:
    """Every command by its full name ("triptych index add"), groups left out, found through the entry points."""
    from triptych.cli import root

    found: dict[str, click.Command] = {"triptych": root}
    for point in entry_points(group="triptych.commands"):
        found |= dict(_leaves(f"triptych {point.name}", point.load()))
    return found


def _leaves(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)  # a group may have commands of other packages
    inner = {sub: command.get_command(context, sub) for sub in command.list_commands(context)}
    return [leaf for sub, one in inner.items() if one is not None for leaf in _leaves(f"{name} {sub}", one)]


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Every page of docs/ by its name, and the README."""
    found = {str(path.relative_to(ROOT / "docs")): path for path in (ROOT / "docs").rglob("*.md")}
    return {name: path.read_text(encoding="utf-8") for name, path in {**found, "README.md": ROOT / "README.md"}.items()}
