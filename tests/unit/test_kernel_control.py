"""The state machine of a job, the breaker and the watch: pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.domain import Outcome
from triptych.errors import InputError
from triptych.jobs import job as states
from triptych.jobs.breaker import Limits, judge, longest_row
from triptych.jobs.job import BatchState, Counts, DeadRows, EndedBatch, Job, JobState, Tally, Wanted
from triptych.jobs.watch import Watch

pytestmark = pytest.mark.unit

JOB = Job(id="j", index="shop-1", alias="shop", catalogue="/c.jsonl", root="/", submitted_at="2026-01-01", resumable=True)


@dataclass
class Model:
    """A job and its batches as the ledger has them: each with its state and counts."""

    job: Job = JOB
    batches: list[tuple[BatchState, Counts]] = field(default_factory=list)

    @property
    def tally(self) -> Tally:
        each = [counts for _, counts in self.batches]
        total = Counts(**{n: sum(getattr(c, n) for c in each) for n in Counts.__dataclass_fields__})
        return Tally(total, sum(state is BatchState.RUNNING for state, _ in self.batches))

    def act(self, action: str, outcomes: list[Outcome]) -> None:
        """One thing that may happen, as submit, tasks, sweeper and control do it."""
        match action:
            case "pause" | "stop" | "resume":
                self.job = getattr(states, action)(self.job)
            case "enter" if self.job.reading and self.job.error is None and self.job.wanted != Wanted.STOP:
                self.batches.append((BatchState.QUEUED, Counts(read=len(outcomes))))
            case "read whole" if self.job.error is None:
                self.job = replace(self.job, reading=False)
            case "fail" if self.job.finished_at is None:
                self.job = replace(self.job, error="no")
            case "claim" if self.job.runs:
                self._move(BatchState.QUEUED, BatchState.RUNNING)
            case "give back":
                self._move(BatchState.RUNNING, BatchState.QUEUED)
            case "finish batch":
                self._move(BatchState.RUNNING, BatchState.DONE, outcomes)
            case "finish job" if not self.job.reading and not self.tally.counts.pending and self.job.error is None:
                self.job = replace(self.job, finished_at="t")

    def _move(self, before: BatchState, after: BatchState, outcomes: list[Outcome] | None = None) -> None:
        for at, (state, counts) in enumerate(self.batches):
            if state is before:
                ended = [Outcome(o) for o in (outcomes or [])][: counts.read]
                ended += [Outcome.WRITTEN] * (counts.read - len(ended))
                self.batches[at] = (after, Counts.of(ended, ended.count(Outcome.DEAD)) if outcomes is not None else counts)
                return


ACTIONS = (
    "pause", "stop", "resume", "enter", "read whole", "fail", "claim", "give back", "finish batch", "finish job",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.lists(st.sampled_from(Outcome), max_size=4))))
def test_whatever_happens_the_counters_add_up_and_the_state_is_legal(events: list[tuple[str, list[Outcome]]]) -> None:
    model = Model()
    for action, outcomes in events:
        before = model.job.state(model.tally)
        try:
            model.act(action, outcomes)
        except InputError:
            assert model.job.state(model.tally) is before
        tally, after = model.tally, model.job.state(model.tally)
        counts = tally.counts
        assert counts.read == counts.written + counts.unchanged + counts.partial + counts.deleted + counts.dead + counts.pending
        assert counts.pending >= 0
        if before in (JobState.COMPLETED, JobState.COMPLETED_WITH_DEAD_LETTERS):
            assert after is before, "completed is for ever"
        if after in (JobState.PAUSED, JobState.STOPPED):
            assert tally.running == 0
        if after in (JobState.PAUSING, JobState.STOPPING):
            assert tally.running > 0
        if action == "claim" and not model.job.runs:
            assert after is before, "a job that shall not run starts nothing"
    if not model.job.state(model.tally).ended or model.job.error is not None:
        model.act("resume", [])
        assert model.job.runs, "whatever happened, it can go on"


def test_a_stopped_job_cannot_be_paused_and_an_ended_one_not_be_stopped() -> None:
    with pytest.raises(InputError, match="stopped"):
        states.pause(states.stop(JOB))
    for ended in (replace(JOB, error="no"), replace(JOB, finished_at="t")):
        with pytest.raises(InputError) as caught:
            states.stop(ended)
        assert caught.value.code == "job.ended"


def test_half_read_from_what_cannot_be_read_again() -> None:
    half = replace(states.stop(JOB), resumable=False)
    with pytest.raises(InputError) as caught:
        states.resume(half)
    assert caught.value.code == "job.not_resumable"
    assert states.resume(replace(half, reader="it is still read")).runs
    assert states.resume(replace(half, reading=False)).runs


W, X, P = Outcome.WRITTEN, Outcome.DEAD, Outcome.PARTIAL
GOOD, BAD, PART, MIXED = [W] * 10, [X] * 10, [P] * 10, [W, X] * 5


def ended(*batches: list[Outcome]) -> list[EndedBatch]:
    """A job's batches of these outcomes, the latest first, that ended in the catalogue's order."""
    numbered = reversed(list(enumerate(reversed(batches))))
    return [EndedBatch(number, Counts.of(some, some.count(X)), DeadRows.of(some)) for number, some in numbered]


@pytest.mark.parametrize(
    ("recent", "dead", "limits", "trips"),
    [
        ([BAD] * 4, 40, Limits(window=50), False),  # a small job
        ([BAD] * 5, 50, Limits(window=50), True),
        ([PART] * 5, 0, Limits(window=50), True),
        ([GOOD, BAD, GOOD, BAD], 20, Limits(window=40), False),  # half is not more than half
        ([GOOD, BAD, BAD, BAD], 30, Limits(window=40), True),
        ([GOOD] * 4 + [BAD] * 50, 500, Limits(window=40), False),  # the latest count
        ([BAD] * 50, 500, Limits(bad_share=1, window=40), False),
        ([BAD], 10, Limits(most_dead=9), True),
        ([BAD], 10, Limits(most_dead=10), False),
        ([], 0, Limits(most_dead=0), False),
        ([BAD, BAD], 20, Limits(in_row=19), True),
        ([BAD, BAD], 20, Limits(in_row=20), False),
        ([BAD, GOOD, BAD], 20, Limits(in_row=10), False),
        ([BAD, [], BAD, MIXED], 25, Limits(in_row=19), True),  # a batch of none ends no row
        ([MIXED], 5, Limits(in_row=0), True),
        ([MIXED] * 50, 250, Limits(bad_share=1, in_row=1), False),
        ([[X, W], [W, X]], 2, Limits(in_row=1), True),  # over the edge of a batch
        ([[X, W], BAD, [W, X]], 12, Limits(in_row=11), True),
        ([[X, W], BAD, [W, X]], 12, Limits(in_row=12), False),
        ([GOOD, [W, X, X, W]], 2, Limits(in_row=1), True),  # though good ones came after it
        ([PART] * 50, 0, Limits(bad_share=1, in_row=0), False),
    ],
)
def test_the_breaker(recent: list[list[Outcome]], dead: int, limits: Limits, trips: bool) -> None:
    assert (judge(ended(*recent), dead, limits) is not None) is trips


@given(st.lists(st.lists(st.sampled_from([W, X, X]), max_size=4), max_size=6), st.randoms(), st.integers(0, 5))
def test_a_row_is_counted_in_records_of_the_catalogue(batches: list[list[Outcome]], order: Any, missing: int) -> None:
    """Whatever order they end in. One that has not ended parts those before it from those behind it."""
    done = ended(*reversed(batches))
    order.shuffle(done)
    done = [one for one in done if one.number != missing]
    flat = "".join("x" if outcome is X else "." for outcome in chain(*batches[:missing], [W], *batches[missing + 1 :]))
    assert longest_row(done) == max(len(row) for row in flat.split("."))


def test_a_pause_says_which_bound_it_was() -> None:
    bounds = {"MOST_DEAD": Limits(most_dead=1), "DEAD_IN_ROW": Limits(in_row=1), "BAD_SHARE": Limits(window=5)}
    for name, limits in bounds.items():
        assert f"TRIPTYCH_JOB_{name}" in str(judge(iter(ended(BAD, BAD)), 20, limits))
    assert Limits(window=3, in_row=7).looked_at == 8
    assert Limits(window=30, in_row=7).looked_at == 30


def test_a_watch_believes_only_its_own_clock() -> None:
    at = [0.0]
    watch = Watch(lambda: at[0])
    assert watch.unchanged({"a": 1, "b": 1}, seconds=10) == []
    at[0] = 9
    assert watch.unchanged({"a": 1, "b": 2}, seconds=10) == []
    at[0] = 10
    assert watch.unchanged({"a": 1, "b": 2}, seconds=10) == ["a"]
    assert watch.unchanged({"a": 1, "b": 2}, seconds=10) == [], "what was told starts anew"
    at[0] = 19
    assert watch.unchanged({"b": 2}, seconds=10) == ["b"]
    at[0] = 30
    assert watch.unchanged({"a": 1}, seconds=10) == [], "what was gone is new"
