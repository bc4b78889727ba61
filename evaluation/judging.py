"""Judgements: what to judge next (pooling), adding one, and those that other tools hold. Pure but for files."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from evaluation.metrics import Judgements, read_qrels
from evaluation.runs import QueryLine
from triptych.errors import InputError

_QUERY: Final = ("query", "query text", "querytext", "query_text")
_PRODUCT: Final = ("docid", "doc id", "doc_id", "document id")
_GRADE: Final = ("rating", "judgement", "judgment", "grade")
POOL_FIELDS: Final = ("query_id", "query", "docid", "title", "rating")


@dataclass(frozen=True, slots=True)
class Imported:
    """Judgements from elsewhere and their queries as JSON lines. `skipped` counts rows without a rating, `unfit_ids` those
    whose product has an id with a blank, which the TREC form cannot hold.
    """

    judgements: Judgements
    queries: tuple[Mapping[str, str], ...]
    skipped: int = 0
    unfit_ids: int = 0


def pool(rankings: Iterable[Mapping[str, Sequence[str]]], judgements: Judgements, depth: int) -> dict[str, list[str]]:
    """The products to judge, by query: the `depth` best of each ranking that nobody judged yet, the best placed first.

    Pooling as TREC does it: what no configuration shows early need not be judged to compare these configurations.
    """
    best: dict[str, dict[str, int]] = {}
    for ranking in rankings:
        for query, products in ranking.items():
            places = best.setdefault(query, {})
            for place, product in enumerate(products[:depth]):
                places[product] = min(place, places.get(product, depth))
    return {
        query: [
            product
            for product in sorted(places, key=lambda key: (places[key], key))
            if product not in judgements.get(query, {})
        ]
        for query, places in best.items()
    }


def add(path: Path, query: str, product: str, grade: int) -> int | None:
    """Add a judgement to a file in TREC form, in place of an older one of the same pair, whose grade is returned.

    Raises InputError `evaluation.bad_judgements` as `write`, and for a damaged file.
    """
    return add_all(path, {query: {product: grade}}).get(query, {}).get(product)


def add_all(path: Path, judgements: Judgements) -> Judgements:
    """Put judgements over those of a file; all or none. Returns those that it had. Raises InputError as `add`."""
    with FileLock(f"{path}.lock"):
        before = known(path)
        grades = {query: dict(some) for query, some in before.items()}
        for query, some in judgements.items():
            grades.setdefault(query, {}).update(some)
        write(path, grades)
    return before


def fit(name: str) -> bool:
    """Whether an id can stand in a file in TREC form, between blanks."""
    return bool(name) and not any(letter.isspace() for letter in name)


def known(path: Path) -> dict[str, dict[str, int]]:
    """The judgements of a file in TREC form; none where there is no file. Raises InputError naming the line."""
    try:
        return read_qrels(path) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise _bad(f"{error}", "judgements") from error


def write(path: Path, judgements: Judgements) -> None:
    """Write judgements in TREC form. Raises InputError `evaluation.bad_judgements` for an id with a blank in it, which the form
    cannot hold: nothing is written then.
    """
    for query, grades in judgements.items():
        for name, value in (("query", query), *(("product", product) for product in grades)):
            if not fit(value):
                raise _bad(f"The id {value!r} of the {name} has a blank or is empty.", name)
    lines = [f"{query} 0 {product} {grade}\n" for query, grades in judgements.items() for product, grade in grades.items()]
    beside = path.with_name(f"{path.name}.new")
    beside.write_text("".join(lines), encoding="utf-8")
    beside.replace(path)


def write_queries(path: Path, queries: Iterable[Mapping[str, str]]) -> None:
    """Add queries to a file of JSON lines; one of the same id has its words replaced. Raises InputError for a damaged file."""
    known: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), start=1):
        if line.strip():
            try:
                known[QueryLine.of(line).qid] = json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: not a query ({error}).", code="evaluation.bad_queries", field="queries"
                ) from error
    for query in queries:
        known[query["qid"]] = {**known.get(query["qid"], {}), **query}
    beside = path.with_name(f"{path.name}.new")
    beside.write_text("".join(json.dumps(query, ensure_ascii=False) + "\n" for query in known.values()), encoding="utf-8")
    beside.replace(path)


def read_quepid(path: Path) -> Imported:
    """Ratings that Quepid exported as CSV: columns for the query's words, the document and its rating, in any order.

    The ids of queries are made of their words (`id_of`). Rows without a rating, or with an id that has a blank, are skipped;
    several of a pair are averaged, halves up. Raises InputError `evaluation.bad_judgements` naming the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        columns = [next((names[one] for one in able if one in names), None) for able in (_QUERY, _PRODUCT, _GRADE)]
        if None in columns:
            raise _bad(f"{path} has no columns for query, docid and rating; it has {', '.join(names) or 'none'}.", "judgements")
        found: dict[tuple[str, str], list[float]] = {}
        skipped = unfit = 0
        for row in rows:
            words, product, grade = ((row[column] or "").strip() for column in columns if column)
            if not grade:
                skipped += 1
            elif not fit(product):
                unfit += 1
            else:
                found.setdefault((words, product), []).append(_rating(grade, f"{path}, line {rows.line_num}"))
    return _imported(found, skipped, unfit)


def relevant_from(judgements: Judgements, least: int) -> dict[str, dict[str, int]]:
    """Grades of another scale: `least` becomes 1, the next 2, and so on; what is below is not relevant, 0."""
    return {
        query: {product: max(min(0, grade), grade - least + 1) for product, grade in some.items()}
        for query, some in judgements.items()
    }


def _rating(text: str, where: str) -> float:
    """A finite number. Raises InputError."""
    try:
        value = float(text)
    except ValueError as error:
        raise _bad(f"{where}: the rating is {text!r}.", "judgements") from error
    if not math.isfinite(value):
        raise _bad(f"{where}: the rating is {text!r}.", "judgements")
    return value


def _imported(found: Mapping[tuple[str, str], Sequence[float]], skipped: int, unfit: int) -> Imported:
    ids = {words: id_of(words) for words, _ in found}
    judgements: dict[str, dict[str, int]] = {}
    for (words, product), grades in found.items():
        judgements.setdefault(ids[words], {})[product] = math.floor(sum(grades) / len(grades) + 0.5)
    return Imported(judgements, tuple({"qid": name, "text": words} for words, name in ids.items()), skipped, unfit)


def id_of(words: str) -> str:
    """An id made of words, the same in each import: letters and digits, with - between. Where that is not the words themselves
    six digits of their SHA-256 stand behind it, or `C++` and `C#` would be one query.
    """
    plain = unicodedata.normalize("NFKC", words).casefold()
    name = re.sub(r"[^\w]+", "-", plain).strip("-")[:80] or "query"
    return name if name == words else f"{name}-{hashlib.sha256(words.encode()).hexdigest()[:6]}"


def pool_rows(todo: Mapping[str, Sequence[str]], words: Mapping[str, str], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a list of products to judge, as CSV: the rating is left to fill in."""
    return [
        {"query_id": query, "query": words.get(query, ""), "docid": product, "title": titles.get(product, ""), "rating": ""}
        for query, products in todo.items()
        for product in products
    ]


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet calculate with a cell. Titles come from elsewhere: a ' before them makes them text."""


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def _as_it_was(cell: str | None) -> str:
    cell = cell or ""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def write_pool(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write such a list; cells that a spreadsheet would calculate with have a ' before them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, POOL_FIELDS)
        out.writeheader()
        out.writerows({name: _plain(str(cell)) for name, cell in row.items()} for row in rows)


def read_pool(path: Path) -> list[dict[str, str]]:
    """The rows of such a list, judged or not. Raises InputError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"query_id", "docid", "rating"} <= set(rows[0]):
        raise _bad(f"{path} is no list that `triptych evaluate pool` made.", "pool")
    return [{name: _as_it_was(row.get(name)) for name in POOL_FIELDS} for row in rows]


def filled_in(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """The judgements that were filled in. Raises InputError for any row with an id that has a blank, or a rating that is
    neither empty, a whole number from 0 up, nor s (skipped).
    """
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        for name in ("query_id", "docid"):
            if not fit(row[name]):
                raise _bad(f"The {name} {row[name]!r} has a blank or is empty.", name)
        rating = row["rating"].strip()
        if rating not in {"", "s"}:
            found.setdefault(row["query_id"], {})[row["docid"]] = grade_of(rating, row["docid"])
    return found


def grade_of(text: str, where: str) -> int:
    """A grade as it was filled in, also as 2.0. Raises InputError for what is no whole number from 0 up."""
    if not re.fullmatch(r"[0-9]+(\.0+)?", text):
        raise _bad(f"The rating of {where} is {text!r}.", "rating")
    return int(text.partition(".")[0])


def _bad(message: str, where: str) -> InputError:
    return InputError(message, code="evaluation.bad_judgements", field=where, remedy="docs/evaluation.md has the form.")
