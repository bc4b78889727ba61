"""The fault harness in short, so that it cannot rot: a few faults, one moment each, a small catalogue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_kinds import FAULTS
from fault_shop import Catalogue, compare
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
    catalogue = Catalogue(0, 5)
    documents = [
        {"_source": {**{k: v for k, v in record.items() if k != "vectors"}, FIELD: {"given": record["vectors"]["given"]}}}
        for record in catalogue.expected().values()
    ]
    assert compare(documents, catalogue.expected(), set()) == compare(documents[::-1], catalogue.expected(), set())
    documents[1]["_source"]["price"] = 7
    documents[2]["_source"]["id"] = "n-9"
    found = compare([*documents, documents[0]], catalogue.expected(), set())
    assert (found.missing, found.surplus, found.wrong) == (["n-2"], ["n-9", "n-0"], ["n-1"])
