"""Iterators over what is open, a file or a point in time, that let it go at once, not when the garbage collector comes by."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def until_closed(found: Iterable[T], close: Callable[[], object]) -> Generator[T, None, None]:
    """What `found` gives. `close` is called at its end, after an error, and when the generator is closed, also where nothing
    was taken of it: one that was never begun would run no `finally`.
    """
    held = _until_closed(found, close)
    next(held)
    return held


def _until_closed(found: Iterable[Any], close: Callable[[], object]) -> Generator[Any, None, None]:
    try:
        yield  # taken by `until_closed`
        yield from found
    finally:
        close()


@contextmanager
def closed_on_error(close: Callable[[], object]) -> Iterator[None]:
    """Call `close` where the block fails, with whatever it is."""
    try:
        yield
    except BaseException:
        close()
        raise
