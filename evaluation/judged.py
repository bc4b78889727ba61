"""Judgements and queries from files, and an index that is asked them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from evaluation.kept import Asked, Kept
from evaluation.metrics import Judgements, read_qrels
from evaluation.runs import Query, read_queries
from search_api.query import DEFAULT_WINDOW
from search_api.searcher import Searcher
from triptych.elastic.attached import index_of
from triptych.elastic.engine import mget
from triptych.errors import InputError
from triptych.services import Services

_T = TypeVar("_T")

_AT_ONCE: Final = 1000
"""Products that are looked up in one request."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries that somebody judged. `unjudged` are ids of queries without a judgement, which are not asked."""

    judgements: Judgements
    queries: tuple[Query, ...]
    unjudged: tuple[str, ...] = ()


def read(judgements: Path, queries: Path, *, media: Path | None = None) -> Judged:
    """Judgements (TREC) and queries (JSON lines). `media` is the folder of the queries' pictures and sounds; default: theirs.

    Judgements of products that a query excludes do not count.

    Raises InputError `evaluation.bad_judgements` or `evaluation.bad_queries` naming the line.
    """
    grades = _read(judgements, read_qrels, "evaluation.bad_judgements")
    asked = read_all(queries, media=media)
    grades |= {query.id: _counting(grades[query.id], query) for query in asked if query.id in grades}
    mine = tuple(query for query in asked if grades.get(query.id))
    if not mine:
        raise InputError(
            f"No query of {queries} is judged in {judgements}.",
            code="evaluation.bad_judgements",
            field="judgements",
            remedy="The ids of the queries must be those of the judgements.",
        )
    return Judged(grades, mine, tuple(query.id for query in asked if not grades.get(query.id)))


def _counting(grades: Mapping[str, int], query: Query) -> dict[str, int]:
    """The grades without those of products that count in no ranking of the query: none could reach the best measure."""
    return {product: grade for product, grade in grades.items() if product not in query.exclude}


def read_all(queries: Path, *, media: Path | None = None) -> list[Query]:
    """Queries (JSON lines), judged or not. Their pictures and sounds must lie in `media`, by default beside the queries."""
    folder = (queries.parent if media is None else media).resolve()

    def place(name: str) -> Path:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise ValueError(f"{name} is not below {folder.name or folder}")
        return path

    return _read(queries, lambda path: read_queries(path, place=place), "evaluation.bad_queries")


def _read(path: Path, reader: Callable[[Path], _T], code: str) -> _T:
    try:
        return reader(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", code=code) from error
    except ValueError as error:
        raise InputError(f"{error}.", code=code, remedy="docs/evaluation.md has the form.") from error


def ask(
    services: Services, alias: str, judged: Judged, *, window: int = DEFAULT_WINDOW, fresh: bool = False, quiet: bool = False
) -> Asked:
    """Ask an index all judged queries, those of which the scores are not kept yet or all (`fresh`), with a bar on stderr; and
    which judged products it lacks.
    """
    kept = Kept(services, Searcher(services), fresh=fresh)
    with progress("asking", quiet=quiet) as told:
        asked = kept.ask(alias, judged.queries, window=window, progress=told)
    graded = {product for query in judged.queries for product in judged.judgements.get(query.id, {})}
    return replace(asked, absent=_absent(services, asked.version, sorted(graded)))


def _absent(services: Services, version: str, products: Sequence[str]) -> tuple[str, ...]:
    """Those of the products that an index version lacks: no configuration can find them."""
    there: set[str] = set()
    for at in range(0, len(products), _AT_ONCE):
        there |= set(mget(services.elasticsearch, index_of(version), products[at : at + _AT_ONCE], includes=["triptych.key"]))
    return tuple(product for product in products if product not in there)


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; nothing where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    if quiet or not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
