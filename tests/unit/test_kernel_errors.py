"""The tree of errors: what each carries, and that it survives the way between two Celery processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from search_api.schemas import InvalidBodyError, parse_body
from triptych import errors
from triptych.errors import QueueError, TriptychError

pytestmark = pytest.mark.unit


def _family(kind: type[TriptychError]) -> Iterator[type[TriptychError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


FAMILY = sorted(set(_family(TriptychError)), key=lambda kind: kind.__name__)


def _sent(error: TriptychError) -> TriptychError:
    back = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert isinstance(back, TriptychError)
    return back


def test_the_family_is_whole() -> None:
    listed = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TriptychError)}
    assert listed <= set(FAMILY)
    assert InvalidBodyError in FAMILY


@pytest.mark.parametrize("kind", FAMILY)
def test_pickling_keeps_every_attribute(kind: type[TriptychError]) -> None:
    error = kind("It broke.", code="some.code", field="images", remedy="Mend it.", retryable=True)
    back = _sent(error)
    assert type(back) is kind
    assert vars(back) == vars(error)
    assert str(back) == str(error)


@pytest.mark.parametrize("kind", FAMILY)
def test_pickling_keeps_the_defaults(kind: type[TriptychError]) -> None:
    back = _sent(kind("It broke."))
    assert (back.message, back.code, back.field, back.remedy) == ("It broke.", kind.default_code, None, None)
    assert back.retryable is kind.default_retryable


def test_pickling_keeps_that_a_retry_was_ruled_out() -> None:
    assert _sent(QueueError("Gone for good.", retryable=False)).retryable is False


def test_pickling_keeps_every_fault_of_a_body() -> None:
    with pytest.raises(InvalidBodyError) as caught:
        parse_body({"size": "ten", "windw": 3})
    assert {fault["field"] for fault in caught.value.errors} == {"size", "windw"}
    back = _sent(caught.value)
    assert isinstance(back, InvalidBodyError)
    assert back.errors == caught.value.errors


def test_a_person_reads_the_message_and_the_remedy() -> None:
    assert str(TriptychError("It broke.", remedy="Mend it.")) == "It broke. Mend it."
    assert str(TriptychError("It broke.")) == "It broke."


@pytest.mark.parametrize("kind", FAMILY)
def test_every_class_has_a_dotted_lower_case_code(kind: type[TriptychError]) -> None:
    code = kind("x").code
    assert code == code.lower()
    assert all(part.isidentifier() for part in code.split("."))


def test_only_a_service_that_was_away_is_retryable_by_default() -> None:
    assert [kind for kind in FAMILY if kind.default_retryable] == [QueueError]
