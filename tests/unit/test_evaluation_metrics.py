"""Judgements and metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.metrics import hit_at, read_qrels

pytestmark = pytest.mark.unit


def _qrels(tmp_path: Path, text: str) -> dict[str, dict[str, int]]:
    path = tmp_path / "qrels.txt"
    path.write_text(text, encoding="utf-8")
    return read_qrels(path)


@pytest.mark.parametrize(
    ("text", "judgements"),
    [
        ("", {}),
        ("q1 0 p1 2\nq1 0 p2 0\nq2 0 p1 1\n", {"q1": {"p1": 2, "p2": 0}, "q2": {"p1": 1}}),
        ("\n q1\t0\tp1  2 \r\n\n", {"q1": {"p1": 2}}),
        ("q1 0 p1 -1", {"q1": {"p1": -1}}),
    ],
)
def test_judgements_are_read(tmp_path: Path, text: str, judgements: dict[str, dict[str, int]]) -> None:
    assert _qrels(tmp_path, text) == judgements


@pytest.mark.parametrize("line", ["q1 0 p1", "q1 0 p1 2 more", "q1 0 p1 good", "q1 0 p1 1.5", "q1"])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="line 3"):
        _qrels(tmp_path, f"q1 0 p1 2\n\n{line}\n")


def test_a_pair_that_is_graded_twice_and_not_alike_is_refused(tmp_path: Path) -> None:
    assert _qrels(tmp_path, "q1 0 p1 2\nq1 0 p1 2\n") == {"q1": {"p1": 2}}
    with pytest.raises(ValueError, match="line 2: q1 p1 has the grade 2"):
        _qrels(tmp_path, "q1 0 p1 2\nq1 0 p1 1\n")


RANKED = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("k", "grades", "least", "hit"),
    [
        (1, {"a": 1}, 1, True),
        (1, {"b": 1}, 1, False),
        (2, {"b": 1}, 1, True),
        (3, {"z": 2}, 1, False),
        (3, {"c": 1}, 2, False),
        (3, {"c": 2}, 2, True),
        (3, {"a": 0}, 1, False),
        (3, {}, 1, False),
        (0, {"a": 1}, 1, False),
        (9, {"c": 1}, 1, True),
    ],
)
def test_hit_at(k: int, grades: dict[str, int], least: int, *, hit: bool) -> None:
    assert hit_at(k, RANKED, grades, least=least) is hit


def test_nothing_ranked_is_no_hit() -> None:
    assert not hit_at(10, [], {"a": 1})
