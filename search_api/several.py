"""Several queries at once, each with an answer or an error of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from triptych import traces
from triptych.errors import TriptychError

_Given = TypeVar("_Given")
_Answer = TypeVar("_Answer")

_AT_ONCE = 4
"""Queries of all callers in this process that run beside each other."""

_pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="msearch")


def several(ask: Callable[[_Given], _Answer], given: Iterable[_Given]) -> list[_Answer | TriptychError]:
    """What `ask` answers to each, in their order; where it raises an error of ours, that error."""
    return list(_pool.map(traces.carried(partial(_one, ask)), given))


def _one(ask: Callable[[_Given], _Answer], given: _Given) -> _Answer | TriptychError:
    with traces.span("query"):
        try:
            return ask(given)
        except TriptychError as error:
            return error
