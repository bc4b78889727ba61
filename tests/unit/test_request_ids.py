"""Each request has an id: in the answer, and on every line logged meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from logged import lines_of

from search_api import problems, request_ids

pytestmark = pytest.mark.unit


@pytest.fixture
def lines() -> Iterator[Any]:
    with lines_of(problems.log) as found:
        yield found


def client() -> Any:
    app = Flask("test")
    problems.register(app)
    request_ids.register(app)
    app.add_url_rule("/fails", "fails", lambda: 1 / 0)
    return app.test_client()


def test_an_error_can_be_found_in_the_log_by_the_id_in_its_answer(lines: Any) -> None:
    answers = [client().get("/fails") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {500}
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert [line["request"] for line in lines()] == ids
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ('"}', False), ("", False)]
)
def test_the_id_that_a_proxy_gave_is_kept_where_it_is_a_plain_word(given: str, kept: bool) -> None:
    answer = client().get("/nowhere", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
    assert len(answer.headers["X-Request-Id"]) <= 64
