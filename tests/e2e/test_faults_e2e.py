"""The fault harness in short, so that it cannot rot: a few faults, one moment each, a small catalogue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fault_kinds import FAULTS
from fault_shop import OUTCOMES, Catalogue, Circumstances, bounds, compare, may_end
from faults import Stage, attempt, stage

from triptych.schema import FIELD

PRODUCTS = 240


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.mark.integration
@pytest.mark.parametrize("name", ["all workers killed", "redis killed, empty", "pictures: answers 404"])
def test_nothing_is_lost_or_doubled(place: Stage, name: str) -> None:
    trial = attempt(place, FAULTS[name], moment=0, seed=1, products=PRODUCTS)
    assert trial.account.faults == ()
    assert (trial.account.lost, trial.account.doubled) == (0, 0)
    assert 0 <= trial.at < trial.records, "it came in the middle"
    assert trial.effects, "it did something"
    assert trial.good


_TOLD = """
import signal, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from contextlib import ExitStack
from pathlib import Path
from faults import stage, told_to_end
from fault_world import Worker, World
signal.signal(signal.SIGTERM, told_to_end)
with stage() as place, ExitStack() as stack:
    world = World("http://127.0.0.1:9", place.queue().url, place.folder / "trial")
    stack.callback(world.close)
    world.workers.append(Worker(subprocess.Popen(["sleep", "600"], start_new_session=True), Path("none")))
    print(world.workers[0].process.pid, place.redis[0].child.pid, place.folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.integration
def test_what_the_harness_bends_is_there() -> None:
    """A process of the harness can load all that it slows down or sets off: a function may have moved since."""
    modules = "indexer.submit, indexer.pipeline, triptych.jobs.store, triptych.jobs.ledger"
    bent = {"FAULT_CLOCK": "60", "FAULT_BATCH_SECONDS": "1", "FAULT_READ_SECONDS": "1"}
    path = os.pathsep.join([str(Path(__file__).with_name("bent")), str(Path(__file__).parents[2])])
    script = f"import {modules}\nprint(indexer.submit.offer_batch.__name__, indexer.pipeline.begin.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **bent, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["slowly", "slowly"], done.stderr


@pytest.mark.integration
def test_told_to_end_it_leaves_nothing_behind() -> None:
    """A harness that is sent SIGTERM in a trial: its worker (here one that sleeps), its Redis and its folder are gone."""
    here = str(Path(__file__).parent)
    with subprocess.Popen([sys.executable, "-c", _TOLD, here], stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        *pids, folder = harness.stdout.readline().split()
        assert Path(folder).is_dir()
        assert all(_runs(int(pid)) for pid in pids)
        harness.terminate()
        assert harness.wait(timeout=60) == 128 + signal.SIGTERM
    assert not Path(folder).exists()
    assert not any(_runs(int(pid)) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.unit
def test_an_index_that_is_not_right_is_noticed() -> None:
    """The harness's own eye: a product that is missing, one too many, one of other content, one twice."""
    shelf = Catalogue(0, 5).after({})
    documents = [
        {"_source": {**{k: v for k, v in record.items() if k != "vectors"}, FIELD: {"given": record["vectors"]["given"]}}}
        for record in shelf.values()
    ]
    assert compare(documents, shelf, set()) == compare(documents[::-1], shelf, set())
    documents[1]["_source"]["price"] = 7
    documents[2]["_source"]["id"] = "n-9"
    found = compare([*documents, documents[0]], shelf, set())
    assert (found.missing, found.surplus, found.wrong) == (["n-2"], ["n-9", "n-0"], ["n-1"])


@pytest.mark.unit
def test_an_outcome_that_a_record_cannot_have_is_noticed() -> None:
    """What the counters of a job may be, by what the index held and what befell the job."""
    base = Catalogue(0, 60, url="http://127.0.0.1/picture")
    shelf = base.after({})
    none = dict.fromkeys(OUTCOMES, (0, 0))
    assert bounds(base, Circumstances({})) == {**none, "written": (60, 60)}
    assert bounds(base, Circumstances(shelf)) == {**none, "unchanged": (60, 60)}
    assert bounds(base, Circumstances({}, sick=True)) == {**none, "written": (54, 60), "partial": (0, 6)}
    assert bounds(base, Circumstances({}, poisoned=True)) == {**none, "written": (58, 58), "partial": (2, 2)}
    assert bounds(base, Circumstances(shelf, half=["n-0"])) == {**none, "written": (1, 1), "unchanged": (59, 59)}

    mixed = replace(base, edition="b", mixed=True)
    assert bounds(mixed, Circumstances(shelf)) == {**none, "written": (40, 40), "unchanged": (10, 10), "deleted": (10, 10)}
    assert may_end(mixed, 2, Circumstances(mixed.after(shelf))) == {"unchanged"}
    assert mixed.after(shelf)["n-2"] == {**shelf["n-2"], "price": 1.25, "stock": 2}
    assert len(mixed.after(shelf)) == 50

    other = replace(base, edition="b", first=30, last=90)
    older, newer = Circumstances({}, newer=[other]), Circumstances(shelf, older=[base])
    assert bounds(base, older) == {**none, "written": (30, 60), "unchanged": (0, 30)}
    assert bounds(other, newer) == {**none, "written": (60, 60)}
    assert bounds(base, Circumstances({}, older=[base])) == {**none, "written": (0, 60), "unchanged": (0, 60)}
