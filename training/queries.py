"""Words that led to products.

as JSON lines      {"query": "warm hat", "product": "p-12"}; a grade of 0 or less is no such pair
as judged queries  JSON lines {"qid": "7", "text": "warm hat"} and judgements in TREC's form, "7 0 p-12 2": what
                   `evaluate from-clicks`, `collect` and `judge` write
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from triptych.errors import InputError

_LONGEST = 10_000  # bytes of a line


class _LineError(ValueError):
    """Why a line is none."""


def read(path: Path) -> Mapping[str, list[str]]:
    """The queries of each product, by id. Raises InputError `training.queries`, which names the line."""
    found: dict[str, list[str]] = defaultdict(list)
    for query, product, wanted in _lines(path, _pair):
        if wanted:
            found[product].append(query)
    return found


def read_judged(queries: Path, judgements: Path) -> Mapping[str, list[str]]:
    """The same of judged queries: a product of a grade above 0, but none that its query excludes; those without words pass.

    Raises InputError `training.queries`, which names the line, or says that no query has a judgement.
    """
    words = {qid: (text, excluded) for qid, text, excluded in _lines(queries, _words)}
    found: dict[str, list[str]] = defaultdict(list)
    for qid, product, grade in _lines(judgements, _judgement):
        text, excluded = words.get(qid, ("", ()))
        if text.strip() and grade > 0 and product not in excluded:
            found[product].append(text)
    if not found:
        raise InputError(
            f"No query of {queries} that has words is judged to want a product in {judgements}.",
            code="training.queries",
            field="judgements",
            remedy="The ids of the queries must be those of the judgements.",
        )
    return found


def _lines(path: Path, parse: Callable[[bytes], Any]) -> Iterator[Any]:
    """Each line that is not blank, parsed."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_LONGEST + 1), b""), start=1):
                if len(line) > _LONGEST:
                    raise _wrong(path, f"line {number} has more than {_LONGEST} bytes")
                if line.strip():
                    try:
                        yield parse(line)
                    except _LineError as error:
                        raise _wrong(path, f"line {number} {error}") from error
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _LineError(f"is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _LineError("is no object")
    return data


def _pair(line: bytes) -> tuple[str, str, bool]:
    data = _object(line)
    if "qid" in data and "query" not in data:
        raise _LineError("is a query that is judged elsewhere: give --judgements too")
    if not isinstance(data.get("query"), str) or not isinstance(data.get("product"), str):
        raise _LineError("has not the texts `query` and `product`")
    grade = data.get("grade", 1)
    if isinstance(grade, bool) or not isinstance(grade, int | float):
        raise _LineError(": its grade is no number")
    return data["query"], data["product"], grade > 0


def _words(line: bytes) -> tuple[str, str, tuple[str, ...]]:
    data = _object(line)
    text = data.get("text") or ""
    if not isinstance(data.get("qid"), str) or not isinstance(text, str):
        raise _LineError("has not the texts `qid` and `text`")
    return data["qid"], text, tuple(data.get("exclude") or ())


def _judgement(line: bytes) -> tuple[str, str, int]:
    try:
        qid, _, product, grade = line.decode("utf-8").split()
        return qid, product, int(grade)
    except ValueError as error:
        raise _LineError("is not 'query 0 product grade'") from error


def _wrong(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}.",
        code="training.queries",
        field="queries",
        remedy='A line is {"query": "words", "product": "id"}, and may have a "grade"; with --judgements '
        'it is {"qid": "id", "text": "words"}, and a judgement "id 0 product grade".',
    )
