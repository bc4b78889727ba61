"""Ways to rank, as data, and the ranking each gives from kept leg scores. Pure.

Ours and the others' stand side by side. A configuration sees of the kept scores just what a search by it would know: the
candidates of its window and of the legs that weigh more than 0; without completion only what each leg returned itself.

words           what BM25 returns
best_leg        the one leg that is best on the judged queries, chosen for each mix of inputs with hindsight
bool            boosts: raw scores of BM25 and of the kNN clauses added up, as a bool query with knn clauses does
min_max_10/100  min-max over each leg's list, 0 for what a leg did not return: Elasticsearch's `linear` retriever, Weaviate
rrf             reciprocal ranks, k = 60
l2              l2 and the arithmetic mean, 0 for what a leg did not return: OpenSearch's best on ESCI
dbsf            mean +/- 3 sigma, 0 for what a leg did not return: Qdrant
triptych        calibrated, completed, the weights of a user who gives none
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeVar, get_args

import numpy as np

from evaluation.kept import Scored
from search_api.candidates import COMPLETED, NOT_RETRIEVED, RETRIEVED, Candidates
from search_api.fusion import FusedLeg, Method, fuse, reweighed
from search_api.query import DEFAULT_WINDOW, LARGEST_WINDOW, MOST_GUARD, FusionMethod, Mean
from search_api.weights import of_set, share
from triptych.errors import QueryError
from triptych.schema import LEXICAL, IndexSchema, Missing

Kind = Literal["fusion", "leg", "best_leg", "bool"]

_Word = TypeVar("_Word", bound=str)

EQUAL, RELIABILITY, DEFAULT = "equal", "reliability", "default"
WEIGHINGS: Final = (EQUAL, RELIABILITY, DEFAULT)
"""The same weight for every leg; by input and measured reliability; the same with the class of the query."""

BEST_LEG, TRIPTYCH = "best_leg", "triptych"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A way to rank. `weights` is one of WEIGHINGS or the name of a weight set of the index; `shares` are given over it.

    `missing` says what a missing modality means, in place of the method's; None: what the index says.
    """

    name: str
    kind: Kind = "fusion"
    method: Method = field(default_factory=Method)
    complete: bool = True
    window: int = DEFAULT_WINDOW
    weights: str = DEFAULT
    shares: Mapping[str, float] = field(default_factory=dict)
    leg: str = ""
    missing: Missing | None = None

    @property
    def fuses(self) -> bool:
        """Whether it combines legs, which must then be worth it."""
        return self.kind not in {"leg", "best_leg"}


def _foreign(name: str, fusion: FusionMethod, window: int = DEFAULT_WINDOW) -> Configuration:
    """How another engine fuses: only what the legs returned, equal weights."""
    return Configuration(name, method=Method(fusion), complete=False, window=window, weights=EQUAL)


BASELINES: Final[Mapping[str, Configuration]] = {
    one.name: one
    for one in (
        Configuration("words", kind="leg", leg=LEXICAL),
        Configuration(BEST_LEG, kind="best_leg"),
        Configuration("bool", kind="bool", complete=False, weights=EQUAL),
        _foreign("min_max_10", "min_max", 10),
        _foreign("min_max_100", "min_max"),
        _foreign("rrf", "rrf"),
        _foreign("l2", "l2"),
        _foreign("dbsf", "dbsf"),
    )
}
"""What others do, and what a fusion must beat."""

OURS: Final = Configuration(TRIPTYCH)


def parse(text: str, schema: IndexSchema) -> Configuration:
    """A configuration from a command line: a built-in name, `leg:NAME`, `set:NAME`, or settings with commas between them.

    `fusion=rrf,complete=no,window=50,weights=equal,image.image=0.5`. Raises QueryError naming what is wrong.
    """
    if text in BASELINES:
        return BASELINES[text]
    if text == TRIPTYCH:
        return OURS
    kind, colon, name = text.partition(":")
    if colon and kind == "leg":
        return Configuration(text, kind="leg", leg=_one_of("leg", name, schema.legs))
    if colon and kind == "set":
        return Configuration(text, weights=_one_of("weight set", name, _sets(schema)))
    if "=" not in text:
        able = ", ".join([*BASELINES, TRIPTYCH, "leg:NAME", "set:NAME", "fusion=..."])
        raise _bad(f"There is no configuration {text!r}.", f"There is: {able}.")
    return _of_settings(text, schema)


def _of_settings(text: str, schema: IndexSchema) -> Configuration:
    found = Configuration(text)
    method, shares = found.method, {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise _bad(f"{part!r} is not NAME=VALUE.", "Write settings as fusion=rrf,weights=equal.")
        if name == "fusion":
            able = tuple(one for one in get_args(FusionMethod) if one != "native")
            method = replace(method, fusion=_one_of(name, value, able))
        elif name == "mean":
            method = replace(method, mean=_one_of(name, value, get_args(Mean)))
        elif name == "missing":
            found = replace(found, missing=_one_of(name, value, get_args(Missing)))
        elif name == "guard":
            method = replace(method, guard=_guard(value))
        elif name == "complete":
            found = replace(found, complete=_one_of(name, value, ("yes", "no")) == "yes")
        elif name == "window":
            found = replace(found, window=_window(value))
        elif name == "weights":
            found = replace(found, weights=_one_of(name, value, (*WEIGHINGS, *_sets(schema))))
        else:
            shares[_one_of("setting or leg", name, schema.legs)] = _number(name, value)
    return replace(found, method=method, shares=shares)


def _sets(schema: IndexSchema) -> list[str]:
    """The weight sets that a search can name, `tuned` too where only `tuned.short` is there; none of WEIGHINGS' names."""
    names = [one for name in schema.weight_sets for one in (name.partition(".")[0], name)]
    return [name for name in dict.fromkeys(names) if name not in WEIGHINGS]


def _one_of(what: str, value: str, able: Sequence[_Word]) -> _Word:
    for one in able:
        if value == one:
            return one
    raise _bad(f"There is no {what} {value!r}.", f"There is: {', '.join(able) or 'none'}.")


def _window(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= LARGEST_WINDOW:
        raise _bad(f"The window is {value!r}.", f"Give 1 to {LARGEST_WINDOW}.")
    return int(value)


def _guard(value: str) -> float:
    guard = _number("guard", value)
    if not 0 <= guard <= MOST_GUARD:
        raise _bad(f"The guard is {value!r}.", f"Give 0 to {MOST_GUARD} sigmas.")
    return guard


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise _bad(f"The value of {name} is {value!r}.", "Give a number.") from error


def _bad(message: str, remedy: str) -> QueryError:
    return QueryError(message, code="evaluation.bad_configuration", field="configuration", remedy=remedy)


def weights_of(one: Scored, configuration: Configuration, schema: IndexSchema) -> dict[str, float]:
    """What each leg of a query weighs under a configuration; the sum of their absolute values is 1."""
    known = [*schema.legs, *(leg.name for leg in one.legs)]
    if configuration.weights == EQUAL:
        defaults = {leg.name: 1 / len(one.legs) for leg in one.legs}
    else:
        defaults = one.defaults(schema, "none" if configuration.weights == RELIABILITY else None)
    given = dict(configuration.shares)
    if configuration.weights not in WEIGHINGS:
        given = {**(of_set(schema.weight_sets, configuration.weights, one.query_class) or {}), **given}
    return share(given, defaults, known)


def ranking(one: Scored, configuration: Configuration, schema: IndexSchema) -> list[str]:
    """The product ids that a query gets, best first, without those that it excludes. `best_leg` must be resolved first."""
    if configuration.kind == "leg":
        return _without_excluded(one, alone(one, configuration.leg, configuration.window))
    weights = weights_of(one, configuration, schema)
    candidates, legs = seen(one, configuration, weights)
    if configuration.kind == "bool":
        return _without_excluded(one, [candidates.ids[row] for row in _boosted(candidates, legs)])
    method = replace(configuration.method, missing=configuration.missing or schema.missing)
    return _without_excluded(one, [candidates.ids[row] for row in fuse(candidates, legs, method).order])


def alone(one: Scored, leg: str, window: int = DEFAULT_WINDOW) -> list[str]:
    """What one leg returns by itself; nothing where the query has no such leg."""
    columns = [number for number, some in enumerate(one.legs) if leg in {some.name, some.base}]
    if not columns:
        return []
    rank = one.candidates.rank[:, columns[0]]
    rows = np.flatnonzero((rank > 0) & (rank <= window))
    return [one.candidates.ids[row] for row in rows[np.argsort(rank[rows])].tolist()]


def _without_excluded(one: Scored, ids: Sequence[str]) -> list[str]:
    return [product for product in ids if product not in one.query.exclude]


def seen(one: Scored, configuration: Configuration, weights: Mapping[str, float]) -> tuple[Candidates, list[FusedLeg]]:
    """What a search by this configuration would know: its legs' candidates within its window, completed or not."""
    legs = reweighed(one.legs, weights)
    idle = [leg.name for leg in legs if leg.weight == 0]
    used = [leg for leg in legs if leg.weight != 0]
    candidates = one.candidates.without(idle) if idle else one.candidates
    rank = np.where(candidates.rank <= configuration.window, candidates.rank, 0).astype(np.int32)
    seeking = np.array([leg.weight > 0 for leg in used])
    rows = np.flatnonzero((rank[:, seeking] > 0).any(axis=1))
    late = rank == 0
    status = np.where((candidates.status == RETRIEVED) & late, COMPLETED, candidates.status)
    raw = candidates.raw
    if configuration.kind == "bool":  # a bool query scores the words of every product it finds
        late &= np.array([leg.base != LEXICAL for leg in used])
    if not configuration.complete:
        status, raw = np.where(late, NOT_RETRIEVED, status), np.where(late, np.nan, raw)
    return replace(
        candidates,
        ids=tuple(candidates.ids[row] for row in rows.tolist()),
        raw=raw[rows],
        status=status[rows].astype(np.uint8),
        rank=rank[rows],
        round=candidates.round[rows],
    ), used


def _boosted(candidates: Candidates, legs: Sequence[FusedLeg]) -> list[int]:
    """Rows by the sum of boost x raw score, which is what a bool query adds up; the weights are the boosts."""
    boosts = np.array([leg.weight for leg in legs])
    score = (np.nan_to_num(candidates.raw) * boosts).sum(axis=1)
    order: list[int] = np.lexsort((np.arange(len(score)), -score)).tolist()
    return order
