"""Words that led to products, as JSON lines: {"query": "warm hat", "product": "p-12"}; a grade of 0 or less is no such pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import orjson

from triptych.errors import InputError

_LONGEST = 10_000  # bytes of a line


def read(path: Path) -> Mapping[str, list[str]]:
    """The queries of each product, by id. Raises InputError `training.queries`, which names the line."""
    found: dict[str, list[str]] = defaultdict(list)
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_LONGEST + 1), b""), start=1):
                if line.strip():
                    query, product, wanted = _pair(line, path, number)
                    if wanted:
                        found[product].append(query)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    return found


def _pair(line: bytes, path: Path, number: int) -> tuple[str, str, bool]:
    if len(line) > _LONGEST:
        raise _wrong(path, f"line {number} has more than {_LONGEST} bytes")
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _wrong(path, f"line {number} is not JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("query"), str) or not isinstance(data.get("product"), str):
        raise _wrong(path, f"line {number} has not the texts `query` and `product`")
    grade = data.get("grade", 1)
    if isinstance(grade, bool) or not isinstance(grade, int | float):
        raise _wrong(path, f"line {number}: its grade is no number")
    return data["query"], data["product"], grade > 0


def _wrong(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}.",
        code="training.queries",
        field="queries",
        remedy='A line is {"query": "words", "product": "id"}, and may have a "grade".',
    )
