"""A batch record by record: what is kept, who is buried, and what a service's error leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from indexer import cautious, pipeline
from indexer.work import Target
from triptych.domain import DeadLetter, Modality, Outcome
from triptych.errors import ElasticsearchError
from triptych.jobs.job import Batch
from triptych.services import Services

RECORDS = tuple({"line": n, "text": f'{{"id": "p{n}"}}'} for n in range(1, 5))
SERVICES = cast("Services", SimpleNamespace(settings=SimpleNamespace(batch_attempts=5)))


class Lost(BaseException):
    """The process is gone."""


def _attempts(monkeypatch: pytest.MonkeyPatch, faults: Mapping[int, BaseException], *, most: int = 20) -> tuple[Any, int]:
    """Attempts until the batch ends, each begun with what the one before kept: the result, and how many there were."""
    progress: dict[str, Any] | None = None

    def run(records: Sequence[Mapping[str, Any]], *_: Any, **__: Any) -> pipeline.Result:
        line = records[0]["line"]
        if line in faults:
            raise faults[line]
        letter = DeadLetter("media.not_found", "m", "fetch", line, f"p{line}", Modality.IMAGE, "a.jpg")
        return pipeline.Result([Outcome.PARTIAL], [letter])

    def keep(new: Mapping[str, Any]) -> bool:
        nonlocal progress
        progress = orjson.loads(orjson.dumps(new))
        return True

    monkeypatch.setattr(pipeline, "run", run)
    for attempt in range(2, most):
        batch = Batch("j", 0, RECORDS, attempt, None, progress)
        assert cautious.wanted(batch, 5)
        try:
            return cautious.run(batch, cast("Target", None), SERVICES, keep=keep, still_ours=lambda: True), attempt
        except Lost:
            continue
    pytest.fail("it never ended")


def test_the_record_that_kills_its_worker_twice_is_buried_and_its_neighbours_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, attempt = _attempts(monkeypatch, {2: Lost()})
    assert result.outcomes == [Outcome.PARTIAL, Outcome.DEAD, Outcome.PARTIAL, Outcome.PARTIAL]
    assert [(letter.line, letter.code, letter.product_id) for letter in result.dead_letters] == [
        (1, "media.not_found", "p1"),
        (2, "batch.never_ended", "p2"),
        (3, "media.not_found", "p3"),
        (4, "media.not_found", "p4"),
    ]
    assert result.dead_letters[0].modality is Modality.IMAGE
    assert attempt == 4


def test_a_batch_of_poison_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = _attempts(monkeypatch, {line: Lost() for line in range(1, 5)})
    assert result.outcomes == [Outcome.DEAD] * 4


def test_a_record_that_fails_alone_is_buried_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    result, attempt = _attempts(monkeypatch, {3: KeyError("x")})
    assert attempt == 2
    (letter,) = [one for one in result.dead_letters if one.code == "batch.never_ended"]
    assert "KeyError" in letter.message


@pytest.mark.parametrize(
    ("fault", "begun"),
    [
        (ElasticsearchError("away", retryable=True), [1, 0]),
        (SystemExit(143), [1, 0]),  # the worker is told to stop
        (SoftTimeLimitExceeded(), [1]),  # it may be: the record is tried once more
    ],
)
def test_what_is_no_record_s_fault_gives_none_up(
    fault: BaseException, begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Mapping[str, Any]] = []

    def run(*_: Any, **__: Any) -> pipeline.Result:
        raise fault

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(type(fault)):
        cautious.run(
            Batch("j", 0, RECORDS, 2),
            cast("Target", None),
            SERVICES,
            keep=lambda p: not kept.append(p),
            still_ours=lambda: True,
        )
    assert [one["begun"] for one in kept] == begun
    assert not kept[-1]["outcomes"]


@pytest.mark.parametrize("tries", [1, 3])
def test_an_outage_is_written_down_as_none_when_it_is_over(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is away with everything else, and a record that was on the way at two outages is not given up."""
    monkeypatch.setattr(cautious.time, "sleep", lambda _: None)
    away = ElasticsearchError("away", retryable=True)
    ledger: dict[str, Any] = {}
    for attempt in (2, 3):
        outage = [away] * tries

        def keep(new: Mapping[str, Any], outage: list[Exception] = outage) -> bool:
            if new["begun"] == 0 and outage:
                raise outage.pop()
            ledger.clear()
            ledger.update(orjson.loads(orjson.dumps(new)))
            return True

        monkeypatch.setattr(pipeline, "run", lambda *_, **__: (_ for _ in ()).throw(away))
        batch = Batch("j", 0, RECORDS, attempt, None, dict(ledger) or None)
        with pytest.raises(ElasticsearchError) as caught:
            cautious.run(batch, cast("Target", None), SERVICES, keep=keep, still_ours=lambda: True)
        assert caught.value is away
        assert ledger["begun"] == 0
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pipeline.Result([Outcome.WRITTEN], []))
    result = cautious.run(
        Batch("j", 0, RECORDS, 4, None, dict(ledger)), cast("Target", None), SERVICES, keep=keep, still_ours=lambda: True
    )
    assert result.outcomes == [Outcome.WRITTEN] * 4


@pytest.mark.parametrize(
    "fault",
    [SystemExit(143), ElasticsearchError("no", code="elasticsearch.refused"), ElasticsearchError("away", retryable=True)],
)
def test_a_ledger_that_refuses_hides_no_fault(fault: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> pipeline.Result:
        raise fault

    def keep(new: Mapping[str, Any]) -> bool:
        if new["begun"] == 0:
            raise ElasticsearchError("forbidden", code="elasticsearch.forbidden")
        return True

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(type(fault)) as caught:
        cautious.run(Batch("j", 0, RECORDS, 2), cast("Target", None), SERVICES, keep=keep, still_ours=lambda: True)
    assert caught.value is fault


def test_who_lost_the_lease_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pytest.fail("it has no right to"))
    with pytest.raises(pipeline.LeaseLostError):
        cautious.run(Batch("j", 0, RECORDS, 2), cast("Target", None), SERVICES, keep=lambda _: False, still_ours=lambda: True)


def test_the_first_attempt_is_a_whole_batch_and_the_last_one_ends() -> None:
    assert not cautious.wanted(Batch("j", 0, RECORDS, 1), 5)
    assert cautious.wanted(Batch("j", 0, RECORDS, 5), 5)
    assert not cautious.wanted(Batch("j", 0, RECORDS, 6), 5), "it never came to a record"
