"""What the pages of docs/ say, read by their form. Pure."""

from __future__ import annotations

import re


def sections(page: str) -> dict[str, str]:
    """The text under each second-level heading."""
    parts = re.split(r"(?m)^## (.+)$", page)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_column(text: str) -> list[str]:
    """The first cell of each row of a table, heading and rule left out."""
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return [cell for cell in cells if not set(cell) <= set("-: ")]


def quoted(cells: list[str]) -> list[str]:
    """What stands in backquotes."""
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```", page)


def unnamed(page: str, names: set[str]) -> set[str]:
    """Names that the page has neither in backquotes, alone or as `name: value`, nor as a key of a YAML block."""
    words = {word.partition(":")[0] for word in quoted([re.sub(r"(?ms)^```.*?^```", "", page)])}
    keys = {key for block in blocks(page, "yaml") for key in re.findall(r"(?m)(?:^ *|[{,] *)(\w+):", block)}
    return names - words - keys
