"""Fusion and its measures beside libraries that others wrote: ranx and ir_measures.

Where ranx means the same by a name, the numbers must be the same:

min_max, wsum   the same where a list has two different scores or more. A list without width is 0 in ranx (it divides by 1e-9)
                and 1 here: what alone was found, was found. A product that a list lacks counts 0 in both.
zmuv, wsum      is z_score: the same mean and the same sigma (of the population), and 0 for what is lacking.
rrf             the same for lists without ties; ranx keeps the order in which a list is given, here ties share a rank.
                ranx has no weights: all 1, so that its score is the number of legs times ours.

`max` of ranx is tm2c2 here where the least score is 0. Its `sum` norm is not l2 (the sum of scores in place of their length).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, get_args

import ir_measures
import numpy as np
import pytest
from ir_measures import Qrel, ScoredDoc, nDCG
from toys import a_table

from search_api.candidates import NOT_RETRIEVED
from search_api.fusion import FusedLeg, Method, fuse
from search_api.query import FusionMethod

pytestmark = pytest.mark.unit

_RANX = """
import importlib.util, json, os, sys, types

folder = os.path.dirname(importlib.util.find_spec("ranx").origin)
# bare packages in place of ranx's own, which import plots and tests of significance
for name in ("ranx", "ranx.data_structures", "ranx.metrics", "ranx.fusion", "ranx.normalization"):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [os.path.join(folder, *name.split(".")[1:])]
sys.modules["ranx.data_structures"].Run = sys.modules["ranx.data_structures"].Qrels = object
sys.modules["ranx.metrics"].get_hit_lists = None

from ranx.fusion.comb_sum import _comb_sum
from ranx.fusion.rrf import _rrf_score
from ranx.fusion.wsum import _weighted_sum
from ranx.normalization.max_norm import _max_norm
from ranx.normalization.min_max_norm import _min_max_norm
from ranx.normalization.zmuv_norm import _zmuv_norm

norms = {"min_max": lambda run: _min_max_norm(run, False), "z_score": _zmuv_norm, "tm2c2": _max_norm}
answers = []
for case in json.load(sys.stdin):
    fused = {name: _weighted_sum([norm(run) for run in case["runs"]], case["weights"]) for name, norm in norms.items()}
    fused["rrf"] = _comb_sum([_rrf_score(run, 60) for run in case["runs"]])
    answers.append({name: {key: float(x) for key, x in scores.items()} for name, scores in fused.items()})
print(json.dumps(answers))
"""
"""ranx's own arithmetic, as plain Python: compiling it (numba) and importing all of it takes minutes."""


def cases() -> list[dict[str, Any]]:
    """Lists of different scores, best first, as legs give them: some products are in one list, some in all."""
    chance = np.random.default_rng(5)
    made = []
    for _ in range(40):
        legs = int(chance.integers(2, 5))
        weights = chance.random(legs) + 0.1
        runs = []
        for _ in range(legs):
            count = int(chance.integers(2, 12))
            ids = chance.choice(list("abcdefghijklmnopqrst"), count, replace=False)
            scores = sorted((chance.choice(1000, count, replace=False) + 1) / 64, reverse=True)
            runs.append({str(key): float(x) for key, x in zip(ids, scores, strict=True)})
        made.append({"runs": runs, "weights": [float(w / weights.sum()) for w in weights]})
    return made


CASES = cases()


@pytest.fixture(scope="module")
def ranx() -> list[dict[str, dict[str, float]]]:
    """What ranx makes of the cases, by our names of the methods."""
    done = subprocess.run(
        [sys.executable, "-c", _RANX], input=json.dumps(CASES), capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def ours(case: dict[str, Any], fusion: FusionMethod) -> dict[str, float]:
    """Our score of each product under the same lists, without completion: what a list lacks is not retrieved."""
    runs, weights = case["runs"], case["weights"]
    if fusion == "rrf":
        weights = [1 / len(runs)] * len(runs)
    ids = sorted({key for run in runs for key in run})
    names = [f"leg{n}" for n in range(len(runs))]
    rows = {key: [run.get(key, 0.0) for run in runs] for key in ids}
    status = {key: [0 if key in run else NOT_RETRIEVED for run in runs] for key in ids}
    legs = [FusedLeg(name, name, name, weight) for name, weight in zip(names, weights, strict=True)]
    fused = fuse(a_table(rows, legs=names, status=status), legs, Method(fusion))
    return dict(zip(ids, fused.score.tolist(), strict=True))


@pytest.mark.parametrize("fusion", ["min_max", "z_score", "tm2c2", "rrf"])
def test_as_ranx_says(ranx: list[dict[str, dict[str, float]]], fusion: FusionMethod) -> None:
    for case, theirs in zip(CASES, ranx, strict=True):
        times = len(case["runs"]) if fusion == "rrf" else 1
        mine = {key: times * score for key, score in ours(case, fusion).items()}
        assert mine == pytest.approx(theirs[fusion], rel=1e-6, abs=1e-7)


def test_the_cases_tell_the_methods_apart() -> None:
    """Else the same numbers would prove nothing."""
    orders = [
        tuple(sorted(ours(CASES[0], name), key=ours(CASES[0], name).__getitem__)) for name in ("min_max", "z_score", "rrf")
    ]
    assert len(set(orders)) == 3
    lacking = [len({k for r in case["runs"] for k in r}) * len(case["runs"]) - sum(map(len, case["runs"])) for case in CASES]
    assert min(lacking) >= 0
    assert sum(gap > 0 for gap in lacking) > 30


# Measures of a ranking


def test_our_order_is_the_order_that_ir_measures_ranks_by() -> None:
    """It sorts by score; where no two scores are equal it must see our `order`, and an ideal order must be worth 1."""
    chance = np.random.default_rng(11)
    rows = {f"{n:02}": [float(x) for x in chance.random(2)] for n in range(30)}
    legs = [FusedLeg("one", "text", "one", 0.3), FusedLeg("two", "image", "two", 0.7)]
    table = a_table(rows)
    for fusion in (name for name in get_args(FusionMethod) if name != "native"):
        fused = fuse(table, legs, Method(fusion))
        if len(set(fused.score.tolist())) < len(rows):
            continue  # rrf has ties, which each breaks its own way
        grades = [Qrel("q", table.ids[row], len(rows) - place) for place, row in enumerate(fused.order)]
        run = [ScoredDoc("q", key, float(score)) for key, score in zip(table.ids, fused.score, strict=True)]
        assert ir_measures.calc_aggregate([nDCG @ 10], grades, run)[nDCG @ 10] == pytest.approx(1)
        turned = [Qrel("q", table.ids[row], place) for place, row in enumerate(fused.order)]
        assert ir_measures.calc_aggregate([nDCG @ 10], turned, run)[nDCG @ 10] < 0.9
