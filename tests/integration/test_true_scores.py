"""Scores against an exhaustive reference in float64 that shares no code with the search: every fusion, mean and policy."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import made_shop
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_shop import DIMS, LEVELS, Array

from search_api import QueryInput, Searcher, SearchRequest, SearchResult
from triptych.errors import QueryError
from triptych.schema import LEXICAL
from triptych.services import Services

pytestmark = pytest.mark.integration

THINGS = made_shop.things()
FUSIONS = ("calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf")
MEANS = ("arithmetic", "geometric", "harmonic")
POLICIES = ("renormalise", "zero", "background")
WHOLE = 1000
"""A window wider than the corpus."""

FEW = settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True, slots=True)
class World:
    """The same products on one shard and on three."""

    searcher: Searcher
    one: str
    three: str


@pytest.fixture(scope="module")
def world(services: Services, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    mine = made_shop.services_of(services, tmp_path_factory.mktemp("true"), made_shop.profile({"sound": "flat"}))
    names = [f"true-{shards}-{run_id}" for shards in (1, 3)]
    versions = [made_shop.create(mine, name, THINGS, shards=n) for name, n in zip(names, (1, 3), strict=True)]
    yield World(Searcher(mine), *names)
    for version in versions:
        mine.elasticsearch.indices.delete(index=version)


# The reference


@dataclass(frozen=True, slots=True)
class Column:
    """A leg of the reference: the true score of every product, NaN where it has no such modality."""

    source: str
    weight: float
    base: str
    raw: Array


def bm25(words: Sequence[str]) -> Array:
    """Robertson's BM25 as Elasticsearch has it (k1 1.2, b .75, and the factor k1 + 1 that Lucene left off), of one field."""
    titles = [thing.title.split() for thing in THINGS]
    average = sum(map(len, titles)) / len(titles)
    score = np.zeros(len(THINGS))
    for word, asked in Counter(words).items():
        having = sum(word in title for title in titles)
        rarity = math.log(1 + (len(titles) - having + 0.5) / (having + 0.5))
        for row, title in enumerate(titles):
            often = title.count(word)
            score[row] += asked * rarity * 2.2 * often / (often + 1.2 * (0.25 + 0.75 * len(title) / average))
    return score


def cosines(space: str, query: Sequence[float]) -> Array:
    """(1 + cosine) / 2 of the product's best picture."""
    asked = made_shop.unit(np.asarray(query, dtype=np.float32).astype(np.float64))
    best = [float((thing.vectors[space] @ asked).max()) if space in thing.vectors else math.nan for thing in THINGS]
    return (1 + np.array(best)) / 2


def likeness(space: str, keys: Sequence[str]) -> Array:
    """Against the mean direction of some products."""
    rows = [thing.vectors[space] for thing in THINGS if thing.id in keys and space in thing.vectors]
    if not rows:
        return np.full(len(THINGS), math.nan)
    return cosines(space, list(made_shop.unit(np.array([made_shop.unit(some.mean(axis=0)) for some in rows]).mean(axis=0))))


def columns(inputs: Sequence[QueryInput]) -> list[Column]:
    whole = sum(abs(one.weight) for one in inputs)
    found: list[Column] = []
    for number, one in enumerate(inputs):
        share = one.weight / whole
        if one.kind == "text":
            found.append(Column(str(number), share, LEXICAL, bm25(one.text.split())))
        elif one.kind == "vector":
            found.append(Column(str(number), share, f"vector.{one.space}", cosines(one.space, one.vector)))
        else:
            # a leg that was not measured, or has no vector to ask with, leaves its share to the input's others
            measured = [(space, likeness(space, one.products)) for space in DIMS if f"vector.{space}" in LEVELS]
            legs = [(space, raw) for space, raw in measured if not np.isnan(raw).all()]
            found += [Column(str(number), share / len(legs), f"vector.{space}", raw) for space, raw in legs]
    # a leg without anything to ask is left out, and the others are scaled
    kept = [column for column in found if not np.isnan(column.raw).all()]
    total = sum(abs(column.weight) for column in kept)
    return [Column(c.source, c.weight / total, c.base, c.raw) for c in kept]


def on_one_scale(column: Column, rows: Array, top: float, fusion: str) -> tuple[Array, float, float]:
    """The column's scores on the fusion's scale, what a match that means nothing has there, and what cannot be answered."""
    raw = column.raw[rows.astype(int)]
    level = LEVELS.get(column.base)
    noise, sigma = (level.floor, level.sigma) if level else (0.5, 0.25)
    known = raw[~np.isnan(raw)]
    if fusion == "rrf":
        matching = [row for row in range(len(raw)) if not math.isnan(raw[row]) and (raw[row] > 0 or column.base != LEXICAL)]
        scaled = np.full(len(raw), math.nan)
        for row in matching:
            scaled[row] = 1 / (61 + sum(raw[other] > raw[row] * (1 + 1e-6) for other in matching))
        return scaled, 0.0, 0.0
    low, high = {
        "calibrated": (noise, max(top, noise + max(2 * sigma, 1e-6 if column.base == LEXICAL else 0.01))),
        "min_max": (known.min(), known.max()),
        "z_score": (known.mean(), known.mean() + known.std()),
        "dbsf": (known.mean() - 3 * known.std(), known.mean() + 3 * known.std()),
        "l2": (0, math.sqrt((known**2).sum())),
        "tm2c2": (0, known.max()),
    }[fusion]
    if high - low < 1e-9:
        return raw * 0 + {"min_max": 1.0, "dbsf": 0.5}.get(fusion, 0.0), 0.0, 0.0
    lack = -2 * sigma / (high - low) if column.base != LEXICAL else 0.0
    if fusion != "calibrated":
        lack = min(0.0, float((known.min() - low) / (high - low)))
    return (raw - low) / (high - low), ((0.0 if column.base == LEXICAL else noise) - low) / (high - low), lack


def exhaustive(inputs: Sequence[QueryInput], fusion: str, mean: str, missing: str) -> dict[str, float]:
    """The score of every product that a wanted input finds, from all scores there are."""
    legs = columns(inputs)
    own = {key for one in inputs for key in one.products}
    found = np.zeros(len(THINGS), dtype=bool)
    for leg in legs:
        if leg.weight > 0:
            found |= leg.raw > 0 if leg.base == LEXICAL else ~np.isnan(leg.raw)
    allowed = np.array([thing.id not in own for thing in THINGS])
    rows = np.flatnonzero(found & allowed)
    scores = {}
    scales = [
        on_one_scale(leg, rows, float(np.nanmax(np.where(allowed, leg.raw, np.nan), initial=-np.inf)), fusion) for leg in legs
    ]
    for place, row in enumerate(rows):
        parts = []
        for leg, (scaled, nothing, lack) in zip(legs, scales, strict=True):
            lacks = math.isnan(leg.raw[row])
            weight, value = leg.weight, 0.0 if math.isnan(scaled[place]) else scaled[place]
            if missing == "renormalise":
                whole = sum(abs(other.weight) for other in legs if other.source == leg.source)
                left = sum(abs(o.weight) for o in legs if o.source == leg.source and not math.isnan(o.raw[row]))
                if left:  # what cannot answer an input at all keeps its weight, and counts below the floor
                    weight = 0.0 if lacks else leg.weight * whole / left
            if lacks:
                below = lack if leg.weight > 0 else 0.0
                zero = 0.0 if fusion == "calibrated" else below
                value = {"renormalise": below, "zero": zero, "background": nothing}[missing]
            parts.append((weight, value))
        scores[THINGS[int(row)].id] = averaged(parts, mean)
    return scores


def averaged(parts: Sequence[tuple[float, float]], mean: str) -> float:
    if mean == "arithmetic":
        return sum(weight * value for weight, value in parts)
    total = sum(weight for weight, _ in parts)
    if not total:
        return 0.0
    if mean == "geometric":
        return math.exp(sum(weight * math.log(max(value, 0.01)) for weight, value in parts) / total)
    return total / sum(weight / max(value, 0.01) for weight, value in parts)


# The queries


def texts(weight: float = 1.0) -> st.SearchStrategy[QueryInput]:
    words = st.lists(st.sampled_from([*made_shop.VOCABULARY, "nowhere"]), min_size=1, max_size=4)
    return words.map(lambda some: QueryInput("text", weight, text=" ".join(some)))


def vectors(weight: float = 1.0) -> st.SearchStrategy[QueryInput]:
    pairs = st.tuples(st.sampled_from(list(DIMS)), st.integers(0, 10_000))
    return pairs.map(lambda pair: QueryInput("vector", weight, space=pair[0], vector=made_shop.vector(*pair)))


def alike(weight: float = 1.0) -> st.SearchStrategy[QueryInput]:
    keys = st.lists(st.sampled_from([thing.id for thing in THINGS]), min_size=1, max_size=3, unique=True)
    return keys.map(lambda some: QueryInput("products", weight, products=tuple(some)))


@st.composite
def queries(draw: st.DrawFn, *, negative: bool = True) -> tuple[QueryInput, ...]:
    """One to four inputs that are wanted, some with weights of their own, and at times one that is not."""
    weights = st.sampled_from([0.5, 1.0, 2.0])
    wanted = weights.flatmap(lambda weight: st.one_of(texts(weight), vectors(weight), alike(weight)))
    inputs = draw(st.lists(wanted, min_size=1, max_size=4))
    if negative and draw(st.booleans()):
        inputs.append(draw(st.one_of(texts(-0.5), vectors(-0.5), alike(-0.5))))
    return tuple(inputs)


def ask(world: World, inputs: tuple[QueryInput, ...], *, index: str | None = None, **more: Any) -> SearchResult:
    result = world.searcher.search(SearchRequest(index or world.one, inputs=inputs, **more))
    assert result.degraded == ()
    return result


def scores_of(result: SearchResult) -> dict[str, float]:
    return {hit.id: hit.score for hit in result.hits}


def check_same(result: SearchResult, wanted: Mapping[str, float], *, within: float = 1e-5) -> None:
    """All products of the reference with its scores, in its order (but for scores that are as good as equal)."""
    found = scores_of(result)
    assert found.keys() == wanted.keys()
    for key, score in found.items():
        assert score == pytest.approx(wanted[key], abs=within), key
    ordered = [wanted[hit.id] for hit in result.hits]
    assert all(later <= before + 2 * within for before, later in itertools.pairwise(ordered))
    assert [(-hit.score, hit.id) for hit in result.hits] == sorted((-hit.score, hit.id) for hit in result.hits)


ONE_OF_EACH = (
    QueryInput("text", 1.0, text="red horn rare"),
    QueryInput("vector", 2.0, space="picture", vector=made_shop.vector("picture", 1)),
    QueryInput("products", 1.0, products=("p004", "p008")),
)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_mean_and_policy_equals_the_reference(world: World, fusion: Any) -> None:
    """The first by a search; the other means and policies from its kept scores, which are the same."""
    result = ask(world, ONE_OF_EACH, size=WHOLE, window=WHOLE, fusion=fusion)
    check_same(result, exhaustive(ONE_OF_EACH, fusion, "arithmetic", "renormalise"))
    for mean, missing in itertools.product(MEANS, POLICIES):
        if mean != "arithmetic" and fusion in ("rrf", "z_score"):
            continue
        again = world.searcher.reweigh(result.query_id, {}, size=WHOLE, mean=mean, missing=missing)
        check_same(again, exhaustive(ONE_OF_EACH, fusion, mean, missing))


@FEW
@given(inputs=queries(), missing=st.sampled_from(POLICIES), fusion=st.sampled_from(FUSIONS))
def test_any_query_equals_the_reference(world: World, inputs: tuple[QueryInput, ...], missing: Any, fusion: Any) -> None:
    if _nothing_to_ask(inputs):
        return
    result = ask(world, inputs, size=WHOLE, window=WHOLE, missing=missing, fusion=fusion)
    check_same(result, exhaustive(inputs, fusion, "arithmetic", missing))


def _nothing_to_ask(inputs: Sequence[QueryInput]) -> bool:
    """Whether the wanted products have no vector at all: nothing is known of them that could be sought."""
    return not any(column.weight > 0 for column in columns(inputs))


@FEW
@given(
    inputs=queries(),
    window=st.sampled_from([1, 3, 10, 50]),
    missing=st.sampled_from(POLICIES),
    three=st.booleans(),
)
def test_scores_depend_on_nothing_but_the_product(
    world: World, inputs: tuple[QueryInput, ...], window: int, missing: Any, three: bool
) -> None:
    """Calibrated: within any window, on any number of shards, on any page, a hit has the score that the reference gives it."""
    if _nothing_to_ask(inputs):
        return
    wanted = exhaustive(inputs, "calibrated", "arithmetic", missing)
    size = min(window, 4)
    page = ask(world, inputs, index=world.three if three else world.one, window=window, size=size, missing=missing)
    assert page.hits or not wanted
    seen: list[str] = []
    for _ in range(3):
        for hit in page.hits:
            assert hit.score == pytest.approx(wanted[hit.id], abs=1e-5), (hit.id, window)
            assert math.fsum(leg.contribution for leg in hit.legs.values()) == pytest.approx(hit.score, abs=1e-9)
        seen += [hit.id for hit in page.hits]
        if page.next is None:
            break
        page = world.searcher.search(SearchRequest(page=page.next))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("seed", range(4))
def test_a_certified_answer_is_the_best_there_is(world: World, seed: int) -> None:
    """From windows of five, which alone would not do: they are widened until the best five of all products are proved."""
    inputs = (
        QueryInput("text", 1.0, text="red horn lamp"),
        QueryInput("vector", 1.0, space="picture", vector=made_shop.vector("picture", seed)),
        QueryInput("vector", 1.0, space="words", vector=made_shop.vector("words", seed)),
    )
    wanted = exhaustive(inputs, "calibrated", "arithmetic", "renormalise")
    best = sorted(wanted.values(), reverse=True)[:5]
    result = ask(world, inputs, size=5, window=5, certify=True)
    assert result.certified is not None
    assert result.certified["proved"]
    assert result.certified["reached"] is None, "nobody measured it here"
    assert result.certified["window"] > 5
    assert result.certified["bound"] is None or result.certified["bound"] < result.certified["last_score"]
    assert [hit.score for hit in result.hits] == pytest.approx(best, abs=1e-5)
    assert [wanted[hit.id] for hit in result.hits] == pytest.approx(best, abs=1e-5)
    plain = ask(world, inputs, size=5, window=5)
    assert len(plain.hits) == 5
    assert plain.certified is None


def test_native_scores_are_sums_of_boosted_scores(world: World) -> None:
    """Each leg's own score times its weight by what a good match stands above the floor; what a product lacks counts 0."""
    inputs = (*ONE_OF_EACH[:2], QueryInput("vector", 1.0, space="sound", vector=made_shop.vector("sound", 3)))
    words = 3 * (LEVELS["lexical"].top or 0.0)
    boosts = {LEXICAL: 1 / words, "vector.picture": 1 / (6 * LEVELS["vector.picture"].sigma), "vector.sound": 1.0}
    legs = columns(inputs)
    parts = np.array([leg.weight * boosts[leg.base] * np.nan_to_num(leg.raw) for leg in legs])
    found = np.any([leg.raw > 0 for leg in legs], axis=0)
    wanted = {
        thing.id: float(score) for thing, score, is_there in zip(THINGS, parts.sum(axis=0), found, strict=True) if is_there
    }
    result = ask(world, inputs, fusion="native", size=WHOLE, window=WHOLE)
    assert scores_of(result) == pytest.approx(wanted, rel=1e-5)
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_copies_of_a_product_have_its_score(world: World, fusion: Any) -> None:
    for index in (world.one, world.three):
        found = scores_of(ask(world, ONE_OF_EACH[:2], index=index, size=WHOLE, window=WHOLE, fusion=fusion))
        pairs = [(f"p{n:03}", f"q{n:03}") for n in range(10) if f"p{n:03}" in found]
        assert len(pairs) >= 5
        for one, copy in pairs:
            assert found[one] == pytest.approx(found[copy], abs=1e-6)


def test_the_best_picture_counts_and_is_named(world: World) -> None:
    """Each picture of a product with several finds it with the score 1, and is the one that is named."""
    several = [thing for thing in THINGS[:100] if len(thing.vectors.get("picture", ())) > 1][:3]
    assert len(several) == 3
    for thing in several:
        for number, row in enumerate(thing.vectors["picture"]):
            inputs = (QueryInput("vector", space="picture", vector=[float(x) for x in row]),)
            for window in (5, 100):
                hit = ask(world, inputs, window=window, size=5).hits[0]
                assert hit.id == thing.id
                leg = hit.legs["vector.picture"]
                assert leg.raw == pytest.approx(1, abs=1e-6)
                assert leg.matched_media is not None
                assert leg.matched_media.reference == f"{number}.jpg"


def test_what_is_pushed_away_falls(world: World) -> None:
    """The more an unwanted vector weighs, the lower stand the products that match it."""
    wanted, unwanted = made_shop.vector("words", 3), made_shop.vector("words", 4)

    def matched(weight: float) -> float:
        hits = ask(world, _both(wanted, unwanted, weight), size=20).hits
        return float(np.mean([hit.legs["vector.words#2"].raw or 0 for hit in hits]))

    assert matched(-0.2) > matched(-1) > matched(-3)


def test_what_is_pushed_away_falls_without_completion_too(world: World) -> None:
    """As far as the unwanted leg's own list goes, which brings no products."""
    inputs = (QueryInput("text", 1.0, text="red"), QueryInput("text", -0.5, text="horn"))
    plain = ask(world, inputs[:1], complete=False, size=WHOLE, window=WHOLE)
    both = ask(world, inputs, complete=False, size=WHOLE, window=WHOLE)
    assert {hit.id for hit in both.hits} == {hit.id for hit in plain.hits}
    assert scores_of(both) == pytest.approx(scores_of(ask(world, inputs, size=WHOLE, window=WHOLE)), abs=1e-5)
    unwanted = bm25(["horn"])
    best = sorted(unwanted, reverse=True)[:60]
    narrow = ask(world, inputs, complete=False, size=60, window=60)
    for hit in narrow.hits:
        row, leg = next(n for n, thing in enumerate(THINGS) if thing.id == hit.id), hit.legs[f"{LEXICAL}#2"]
        if unwanted[row] > best[-1] + 1e-5:
            assert leg.raw == pytest.approx(unwanted[row], abs=1e-5)
            assert leg.contribution < 0
        elif unwanted[row] < best[-1] - 1e-5:
            assert (leg.raw, leg.status, leg.contribution) == (None, "not_retrieved", 0)
    assert len({hit.legs[f"{LEXICAL}#2"].raw for hit in narrow.hits}) > 3


def test_what_is_pushed_away_votes_by_the_best_of_the_candidates(world: World) -> None:
    """Not by its one best product, which may be none of them."""
    inputs = _both(made_shop.vector("words", 3), made_shop.vector("words", 4), -0.5)
    result = ask(world, inputs, size=WHOLE, window=WHOLE, vote={"field": "brand", "neighbours": 20})
    assert result.predicted is not None
    wanted: dict[str, float] = {str(thing.fields["brand"]): 0.0 for thing in THINGS}
    legs = columns(inputs)
    rows = np.flatnonzero(~np.isnan(legs[0].raw)).astype(float)
    for leg in legs:
        scaled, _, _ = on_one_scale(leg, rows, float(np.nanmax(leg.raw)), "calibrated")
        best = np.argsort(-scaled)[:20]
        for place in best:
            brand = str(THINGS[int(rows[place])].fields["brand"])
            wanted[brand] += leg.weight * scaled[place] / scaled[best].sum() / legs[0].weight
    assert sum(share < 0 for share in wanted.values()) > 3, "many are voted against"
    for brand, share in result.predicted.shares.items():
        assert share == pytest.approx(max(0.0, wanted[brand]), abs=1e-4), brand


def _both(wanted: list[float], unwanted: list[float], weight: float) -> tuple[QueryInput, ...]:
    return (
        QueryInput("vector", 1.0, space="words", vector=wanted),
        QueryInput("vector", weight, space="words", vector=unwanted),
    )


@pytest.mark.parametrize("mean", ["geometric", "harmonic"])
def test_a_mean_of_ratios_takes_no_weight_below_zero(world: World, mean: Any) -> None:
    inputs = _both(made_shop.vector("words", 3), made_shop.vector("words", 4), -0.9)
    with pytest.raises(QueryError) as error:
        ask(world, inputs, mean=mean)
    assert error.value.code == "query.bad_mean"
