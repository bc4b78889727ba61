"""A job's counters and states: pure values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.domain import Outcome
from triptych.jobs.job import Batch, Counts, Job, JobState, Tally, Wanted, batch_id

pytestmark = pytest.mark.unit


def _job(**changes: Any) -> Job:
    given = {"id": "j", "index": "shop-1", "alias": "shop", "catalogue": "/c.jsonl", "root": "/", "submitted_at": "2026-01-01"}
    return Job(**{**given, **changes})


OUTCOMES = st.lists(st.sampled_from(Outcome))


@given(OUTCOMES, st.integers(0, 9))
def test_the_outcomes_of_a_batch_add_up_to_its_records(outcomes: list[Outcome], letters: int) -> None:
    counts = Counts.of(outcomes, letters)
    assert counts.read == len(outcomes) == counts.written + counts.unchanged + counts.partial + counts.deleted + counts.dead
    assert (counts.ended, counts.pending, counts.dead_letters) == (len(outcomes), 0, letters)


def test_by_hand() -> None:
    outcomes = [Outcome.WRITTEN, Outcome.DEAD, Outcome.WRITTEN, Outcome.PARTIAL, Outcome.UNCHANGED, Outcome.DELETED]
    assert Counts.of(outcomes, 2) == Counts(read=6, written=2, unchanged=1, partial=1, deleted=1, dead=1, dead_letters=2)


@given(st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_read_is_ended_and_pending(pending: int, written: int, unchanged: int, partial: int, dead: int) -> None:
    read = pending + written + unchanged + partial + dead
    counts = Counts(read=read, written=written, unchanged=unchanged, partial=partial, dead=dead)
    assert counts.pending == pending
    assert counts.read == counts.ended + counts.pending


@pytest.mark.parametrize(
    ("changes", "counts", "state"),
    [
        ({}, Counts(), JobState.QUEUED),
        ({"reading": False}, Counts(read=3), JobState.QUEUED),
        ({}, Counts(read=3, written=1), JobState.RUNNING),
        ({"reading": False}, Counts(read=3, dead=1), JobState.RUNNING),
        ({"reading": False}, Counts(read=3, written=3), JobState.RUNNING),
        ({"reading": False, "finished_at": "t"}, Counts(read=3, written=1, unchanged=2), JobState.COMPLETED),
        ({"reading": False, "finished_at": "t"}, Counts(), JobState.COMPLETED),
        (
            {"reading": False, "finished_at": "t"},
            Counts(read=3, written=2, dead=1, dead_letters=1),
            JobState.COMPLETED_WITH_DEAD_LETTERS,
        ),
        (
            {"reading": False, "finished_at": "t"},
            Counts(read=1, partial=1, dead_letters=1),
            JobState.COMPLETED_WITH_DEAD_LETTERS,
        ),
        ({"error": "Reading stopped"}, Counts(read=3, written=1), JobState.FAILED),
        ({"error": "Reading stopped", "finished_at": "t"}, Counts(read=3, written=3), JobState.FAILED),
    ],
)
def test_the_state_follows_from_the_counts(changes: dict[str, Any], counts: Counts, state: JobState) -> None:
    assert _job(**changes).state(Tally(counts)) is state


def test_which_states_are_the_end() -> None:
    names = {JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS, JobState.FAILED}
    assert {state for state in JobState if state.ended} == names
    assert {state for state in JobState if state.rests} == names | {JobState.PAUSED, JobState.STOPPED}


@given(
    st.builds(
        Job,
        id=st.text(), index=st.text(), alias=st.text(), catalogue=st.text(), root=st.text(), submitted_at=st.text(),
        reading=st.booleans(), finished_at=st.none() | st.text(), error=st.none() | st.text(),
        wanted=st.sampled_from(Wanted), source=st.none() | st.dictionaries(st.text(), st.text()), beat=st.integers(0),
    )
)  # fmt: skip
def test_a_job_survives_the_ledger(job: Job) -> None:
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_a_job_of_a_newer_version_can_be_read() -> None:
    assert Job.from_dict({**_job().to_dict(), "colour": "red"}) == _job()


def test_batches_sort_by_their_number() -> None:
    ids = [batch_id("j", number) for number in (0, 9, 10, 123_456)]
    assert ids == sorted(set(ids))
    assert Batch("j", 9, ()).id == ids[1]


@pytest.mark.parametrize(
    ("changes", "anybody"),
    [
        ({}, False),
        ({"source": {"location": "/c.jsonl"}}, False),
        ({"source": {"location": "/c.jsonl"}, "handed": True}, True),
        ({"source": {"location": "upload:ab12/c.jsonl"}}, True),
        ({"source": {"location": "s3://shop/c.jsonl"}}, True),
    ],
)
def test_whose_catalogue_workers_can_read(changes: dict[str, Any], anybody: bool) -> None:
    assert _job(**changes).elsewhere == anybody
