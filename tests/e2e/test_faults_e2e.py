"""The fault harness in short, so that it cannot rot: a few faults, one moment each, a small catalogue."""

from __future__ import annotations

from collections.abc import Iterator

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
