"""What may be in the repository and what may not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

# Spelt in parts: this file is checked too.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("crates", "io"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("golang", "org"),
        ("maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("download", "pytorch", "org"),
    )
)
# A path at the start of a word, so that URLs and relative paths do not count.
_MACHINE_PATH = re.compile(r"""(?:^|[\s"'`=:(,\[])(/(?:work|root|Users|home/[A-Za-z0-9_-]+)/[\w.])""", re.MULTILINE)

SLASH = "/"
LONGEST_FILE = 350
LONGEST_FUNCTION = 60
LARGEST = 1_000_000
WEIGHTS = {".bin", ".pth", ".pt", ".onnx", ".safetensors", ".jar", ".zip", ".whl", ".gz"}


def text_of(path: Path) -> str | None:
    """The text of a file, None for a picture or a sound."""
    data = path.read_bytes()
    if b"\0" in data:
        return None
    return data.decode("utf-8")


def faults(text: str) -> Iterator[str]:
    """Places in a text that name a registry's host or a path of some machine."""
    for number, line in enumerate(text.splitlines(), start=1):
        for host in REGISTRY_HOSTS:
            if re.search(rf"(?<![\w-]){re.escape(host)}(?![\w-])", line):
                yield f"{number}: {host}"
        for path in _MACHINE_PATH.findall(line):
            yield f"{number}: {path}"


def test_no_file_names_a_registry_or_a_path_of_a_machine(files: list[Path], root: Path) -> None:
    found = [f"{path.relative_to(root)}:{fault}" for path in files if (text := text_of(path)) for fault in faults(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        (f"see https://{REGISTRY_HOSTS[0]}/project/x", True),
        (f"index-url = files.{REGISTRY_HOSTS[1]}", True),
        (f'open("{SLASH}work/main/x")', True),
        (f"cd {SLASH}root/.cache", True),
        (f"PATH={SLASH}home/anna/x", True),
        (f"https://example.org{SLASH}work/main", False),
        (f"frame{SLASH}work/x and .{SLASH}work/y", False),
        ("run as root, at home/work", False),
        ("docker.elastic.co/elasticsearch/elasticsearch:9.5.3", False),
    ],
)
def test_a_registry_or_a_path_of_a_machine_is_noticed(text: str, faulty: bool) -> None:
    assert bool(list(faults(text))) is faulty


def sources(files: list[Path], root: Path) -> list[Path]:
    """Python files outside the tests."""
    return [path for path in files if path.suffix == ".py" and path.relative_to(root).parts[0] != "tests"]


def long_functions(source: str) -> list[str]:
    """Functions of more than LONGEST_FUNCTION lines, decorators not counted."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    sizes = {f"{node.name} ({node.lineno})": (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    return [f"{name}: {size} lines" for name, size in sizes.items() if size > LONGEST_FUNCTION]


def test_no_python_file_is_long(files: list[Path], root: Path) -> None:
    sizes = {str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(files, root)}
    assert sizes
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_no_function_is_long(files: list[Path], root: Path) -> None:
    found = {str(p.relative_to(root)): long_functions(p.read_text(encoding="utf-8")) for p in sources(files, root)}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_a_long_function_is_noticed() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * LONGEST_FUNCTION) == ["f (1): 61 lines"]
    assert long_functions("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1)) == []


def test_no_file_is_large_but_in_the_demo_shop(files: list[Path], root: Path) -> None:
    shop = root / "examples" / "shop"
    large = [str(p.relative_to(root)) for p in files if p.stat().st_size > LARGEST and not p.is_relative_to(shop)]
    assert large == []


def test_no_weights_and_no_archives_are_kept_here(files: list[Path], root: Path) -> None:
    assert [str(path.relative_to(root)) for path in files if path.suffix.lower() in WEIGHTS] == []


def test_the_licence_is_the_one_pyproject_names(root: Path) -> None:
    assert 'license = "Apache-2.0"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0" in (root / "LICENSE").read_text(encoding="utf-8")
