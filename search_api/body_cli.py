"""`triptych search INDEX --body FILE`: what the HTTP API takes as JSON, through the same models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from click.core import ParameterSource

from search_api import shown
from search_api.answer import SearchResult
from search_api.problems import problem_within
from search_api.schemas import ExplainBody, InvalidBodyError, MsearchBody, ReweighBody, decoded, parse, parse_body, to_json
from search_api.searcher import Searcher
from search_api.several import several
from triptych.errors import QueryError, TriptychError
from triptych.services import build

Asked = Callable[[Searcher, dict[str, Any]], Any]


def answer(index: str, path: Path, *, as_json: bool) -> None:
    """Ask what a file says of INDEX, and print the answer. Exits with 1 where one query of several has a problem."""
    body = decoded(_read(path), "body")
    if not isinstance(body, dict):
        raise InvalidBodyError("The body is no JSON object.", field="body", remedy="See docs/http-api.md for the form.")
    ask = next((ask for member, ask in _KINDS.items() if member in body), _searched)
    found = ask(Searcher(build()), _of(index, body))
    if as_json:
        click.echo(orjson.dumps(_plain(found)))
    else:
        _show(found)
    if isinstance(found, list) and any(isinstance(one, TriptychError) for one in found):
        sys.exit(1)


def refuse_others(context: click.Context) -> None:
    """Raises click.UsageError where an option is given that the body says, too."""
    for name, option in ((one.name or "", one) for one in context.command.params):
        if name not in {"index", "body", "as_json"} and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option.get_error_hint(context)} cannot stand beside --body: write it into the file.")


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}.", code="query.unreadable_file", field="body") from error


def _of(index: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with INDEX in it, where it names none. Raises click.UsageError where it names another."""
    if isinstance(body.get("searches"), list):
        return {**body, "searches": [_of(index, one) if isinstance(one, dict) else one for one in body["searches"]]}
    if "query_id" in body or "page" in body:
        return body
    if body.get("index", index) != index:
        raise click.UsageError(f"The body is for the index {body['index']!r}, not for {index!r}.")
    return {"index": index, **body}


def _searched(searcher: Searcher, body: dict[str, Any]) -> SearchResult:
    return searcher.search(parse_body(body).to_request())


def _several(searcher: Searcher, body: dict[str, Any]) -> list[SearchResult | TriptychError]:
    return several(lambda one: _searched(searcher, one), parse(MsearchBody, body).searches)


def _explained(searcher: Searcher, body: dict[str, Any]) -> dict[str, Any]:
    asked = parse(ExplainBody, body)
    return searcher.explain(asked.to_request(), asked.product)


def _reweighed(searcher: Searcher, body: dict[str, Any]) -> SearchResult:
    return parse(ReweighBody, body).asked_of(searcher.reweigh)


_KINDS: Mapping[str, Asked] = {"searches": _several, "query_id": _reweighed, "product": _explained}
"""What is asked by the member that only this body has; any other is one of a search."""


def _plain(found: Any) -> Any:
    """An answer as the HTTP API sends it."""
    if isinstance(found, list):
        return {"answers": [problem_within(_plain(one)) for one in found]}
    return to_json(found) if isinstance(found, SearchResult) else found


def _show(found: Any) -> None:
    """An answer on the terminal."""
    if isinstance(found, list):
        for number, one in enumerate(found):
            click.echo(f"searches.{number}:")
            _show(one)
    elif isinstance(found, TriptychError):
        click.echo(f"error: {found.message} ({found.code})", err=True)
    elif isinstance(found, SearchResult):
        shown.result(found, explain=found.explain is not None)
    else:
        shown.why(found)
