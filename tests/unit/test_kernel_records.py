"""What became of a record, by how it ended in its job and what the index has now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from triptych.domain import Outcome
from triptych.jobs import records
from triptych.jobs.job import BatchState
from triptych.jobs.places import LETTERS, OF_LETTER, Place

pytestmark = pytest.mark.unit

JOB, LATER, EARLIER = "20260102t000000-aaaaaa", "20260103t000000-aaaaaa", "20260101t000000-aaaaaa"


@pytest.mark.parametrize(
    ("outcome", "own", "state"),
    [
        (None, {}, "pending"),
        (None, {"job": LATER}, "pending"),
        (Outcome.WRITTEN, {"job": JOB}, "written"),
        (Outcome.PARTIAL, {"job": JOB}, "partial"),
        (Outcome.UNCHANGED, {"job": EARLIER}, "unchanged"),
        (Outcome.UNCHANGED, {"job": LATER}, "overtaken"),
        (Outcome.WRITTEN, {"job": LATER}, "overtaken"),
        (Outcome.WRITTEN, {}, "overtaken"),
        (Outcome.DELETED, {}, "deleted"),
        (Outcome.DELETED, {"job": LATER}, "overtaken"),
        (Outcome.DEAD, {"job": LATER}, "dead"),
        (Outcome.DEAD, {}, "dead"),
        (Outcome.WRITTEN, None, "written"),
    ],
)
def test_states(outcome: Outcome | None, own: Mapping[str, Any] | None, state: str) -> None:
    assert records.state_of(JOB, outcome, own) == state


def test_the_furthest_stage_is_told_and_reasons_only_of_what_has_ended() -> None:
    letters = [{"stage": "write", "code": "elasticsearch.rejected"}, {"stage": "fetch", "code": "media.not_found"}]
    place = Place(3, "a", 0, BatchState.DONE, 2, Outcome.DEAD)
    found = records.told(JOB, place, letters, {})
    assert (found.stage, found.attempt, [why["code"] for why in found.reasons]) == (
        "write", 2, ["elasticsearch.rejected", "media.not_found"],
    )  # fmt: skip
    pending = Place(3, "a", 0, BatchState.RUNNING, 2, None, "ValueError: x")
    found = records.told(JOB, pending, letters, {})  # an attempt that was cut off left them
    assert (found.stage, found.reasons, found.failure) == ("running", (), "ValueError: x")


def test_each_outcome_has_a_letter_of_its_own() -> None:
    assert set(LETTERS) == set(Outcome)
    assert {OF_LETTER[letter] for letter in LETTERS.values()} == set(Outcome)
