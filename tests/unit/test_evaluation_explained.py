"""What a report says of measures and configurations."""

from __future__ import annotations

import pytest

from evaluation.configurations import BASELINES, TRIPTYCH
from evaluation.explained import of_configuration, of_measure
from evaluation.results import Names

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", [TRIPTYCH, *BASELINES, "leg:text.text", "set:tuned"])
def test_every_configuration_is_explained(name: str) -> None:
    assert of_configuration(name)


@pytest.mark.parametrize("name", Names().shown)
def test_every_measure_is_explained(name: str) -> None:
    assert of_measure(name)


def test_settings_explain_themselves() -> None:
    assert of_configuration("fusion=rrf,complete=no") == ""
