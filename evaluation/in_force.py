"""What a search by a weight set gets now: that which tuned weights would replace. Pure."""

from __future__ import annotations

import numpy as np

from evaluation.configurations import DEFAULT, Configuration, ranking, weights_of
from evaluation.kept import Scored
from evaluation.metrics import Judgements
from evaluation.results import Names, measured
from evaluation.trials import Trials
from search_api.weights import of_set
from triptych.schema import IndexSchema


def in_force(schema: IndexSchema, name: str) -> Configuration:
    """A search by the weight set `name`, or by the default weights where the index has none of that name."""
    there = of_set(schema.weight_sets, name, "") is not None
    return Configuration("now", weights=name if there else DEFAULT)


def reached(one: Scored, trial: Trials, judgements: Judgements, schema: IndexSchema, way: Configuration, names: Names) -> float:
    """The main measure of a query by a configuration: as trials have it, or as the search where a weight is below 0."""
    weights = weights_of(one, way, schema)
    if min(weights.values()) >= 0:
        return float(trial(np.array([[weights[name] for name in trial.names]]))[0])
    grades = {one.query.id: judgements.get(one.query.id, {})}
    return measured(grades, {one.query.id: ranking(one, way, schema)}, names)[one.query.id][names.main]
