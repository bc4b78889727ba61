"""YAML with the line of every key, so that a mistake in a profile can be named by its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from triptych.errors import ProfileError

Loc = tuple[str | int, ...]
"""A path into a file: the keys and numbers that lead to a value."""


@dataclass(frozen=True, slots=True)
class Source:
    """A profile's file: its name, and its nodes with their lines."""

    name: str
    root: yaml.Node | None

    def line(self, loc: Loc) -> int:
        """The line, from 1, of the key or item at `loc`, or of the nearest that there is."""
        node, line = self.root, self.root.start_mark.line if self.root else 0
        for step in loc:
            found = _child(node, step)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        return line + 1

    def error(self, loc: Loc, message: str, remedy: str | None = None) -> ProfileError:
        where = ".".join(str(step) for step in loc)
        said = f"{where}: {message}" if where else message
        return ProfileError(f"{self.name}, line {self.line(loc)}: {said}.", field=where or "profile", remedy=remedy)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def compose(text: str, name: str) -> yaml.Node | None:
    """The nodes of a YAML text. Raises ProfileError for what is not YAML, and for a key that stands twice."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        yaml.safe_load(text)
        nodes = list(_nodes(root))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ProfileError(f"{name}{at}: this is not YAML: {problem}.", field="profile") from error
    for node in nodes:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value in seen:
                raise ProfileError(f"{name}, line {key.start_mark.line + 1}: {key.value} stands twice.", field="profile")
            seen.add(key.value)
    return root


def _nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if node is not None:
        yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value)
