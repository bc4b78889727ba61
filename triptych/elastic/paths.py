"""Where the values of a document's fields are. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def values_at(node: object, path: Sequence[str]) -> Iterator[Any]:
    """The values at a path, followed through objects and lists, and through names that have dots themselves."""
    if isinstance(node, list | tuple):
        for one in node:
            yield from values_at(one, path)
    elif not path:
        yield node
    elif isinstance(node, Mapping):
        for end in range(1, len(path) + 1):
            name = ".".join(path[:end])
            if name in node:
                yield from values_at(node[name], path[end:])
