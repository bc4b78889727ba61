"""Heads and classifiers trained on the demo shop by the command, named in a profile, indexed with and searched."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import SHOP, Command

from search_api import Searcher, SearchRequest, SearchResult
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.encoders import contract, profiles
from triptych.errors import QueryError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

OVER = ("--over", "text=text", "--over", "image=image")
TRAINED = ("--languages", "en,zh", "--texts", "2", "--seed", "3", *OVER)
CATALOGUE = str(SHOP / "catalogue.jsonl")


@pytest.fixture(scope="module")
def heads(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of heads trained on the demo shop, and their card."""
    folder = tmp_path_factory.mktemp("trained") / "heads"
    options = ("--epochs", "25", "--validation", "0", "--test", "0.15", "--dims", "64", "--hidden", "128", "--compress", "int8")
    return folder, command.json("train", "heads", CATALOGUE, "--out", str(folder), *options, *TRAINED)


@pytest.fixture(scope="module")
def profile(heads: tuple[Path, dict[str, Any]]) -> Path:
    """A profile as the card says it is to be written."""
    folder, card = heads
    offline = profiles.read("offline")
    text = offline.text.split("\n  image_words:")[0] + "\n" + card["profile"] + "\n"
    path = folder.parent / "aligned.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_card_says_what_was_trained(heads: tuple[Path, dict[str, Any]]) -> None:
    folder, card = heads
    assert json.loads((folder / "card.json").read_text(encoding="utf-8")) == card
    assert card["data"]["products"] == 131
    sides = card["split"]["sides"]
    assert sum(side["products"] for side in sides.values()) == 131
    found = card["metrics"]["test"]["text>image"]
    assert found["R@10"] > found["chance R@10"]
    assert card["compression"]["bytes"] < card["compression"]["bytes_float32"] / 2.5
    assert card["fingerprint"] in (folder / "card.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "card.md", "model.safetensors"]


def test_the_same_seed_gives_the_same_file(command: Command, heads: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    options = {name: heads[1]["options"][name] for name in ("epochs", "dims", "hidden")}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    more = ("--validation", "0", "--test", "0.15", "--compress", "int8")
    again = command.json("train", "heads", CATALOGUE, "--out", str(tmp_path / "again"), *given, *more, *TRAINED)
    assert (again["sha256"], again["fingerprint"]) == (heads[1]["sha256"], heads[1]["fingerprint"])


def test_a_trained_head_keeps_the_contract_of_encoders(profile: Path, heads: tuple[Path, dict[str, Any]]) -> None:
    read = profiles.read(str(profile))
    findings = contract.check_profile(read, Settings(device="cpu", dtype="float32"), only="aligned")
    assert len(findings) > 20
    assert [finding for finding in findings if not finding.ok] == []


def written(path: Path, products: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """A catalogue of products of the shop, and where its media are."""
    path.write_text("".join(json.dumps(product) + "\n" for product in products), encoding="utf-8")
    return str(path), "--root", str(SHOP)


@dataclass(frozen=True)
class Aligned:
    """An index of the demo shop's pictures whose profile has the heads."""

    name: str
    prefix: str
    products: list[dict[str, Any]]


@pytest.fixture(scope="module")
def aligned(
    command: Command,
    start_worker: Callable[..., Any],
    run_id: str,
    profile: Path,
    shop_products: list[dict[str, Any]],
) -> Aligned:
    name = f"aligned-{run_id}"
    changes = {"TRIPTYCH_PROFILE": str(profile), "TRIPTYCH_QUEUE": name, "TRIPTYCH_SYSTEM_PREFIX": f"{name}-"}
    products = [{**one, "audio": []} for one in shop_products if one["images"]][::4]
    command("index", "create", name, **changes)
    with start_worker(**changes):
        job = command.json("index", "add", name, *written(profile.with_name("pictures.jsonl"), products), "--follow", **changes)
    assert job["state"] == "completed", job
    return Aligned(name, f"{name}-", products)


def searcher_of(settings: Settings, aligned: Aligned, profile: Path) -> Searcher:
    return Searcher(Services(settings.model_copy(update={"profile": str(profile), "system_prefix": aligned.prefix})))


def test_words_find_pictures_through_heads_named_in_a_profile(settings: Settings, aligned: Aligned, profile: Path) -> None:
    searcher = searcher_of(settings, aligned, profile)
    places = []
    for product in aligned.products[::2]:
        asked = SearchRequest(aligned.name, text=product["title"]["en"], weights={"text.aligned": 1.0}, size=5)
        ids = [hit.id for hit in searcher.search(asked).hits]
        places.append(ids.index(product["id"]) + 1 if product["id"] in ids else 999)
    assert len(places) >= 8
    # most of these were learned from; by chance one picture of 30 is among the first five in one of six searches
    assert np.mean(np.array(places) <= 5) > 0.6, places


def test_heads_over_other_encoders_than_they_were_trained_on_are_refused(command: Command, profile: Path) -> None:
    text = profile.read_text(encoding="utf-8").replace('query_prompt: "query: "', 'query_prompt: "other: "')
    path = profile.with_name("other.yaml")
    path.write_text(text, encoding="utf-8")
    done = command("encoders", "check", "--space", "aligned", "--profile", str(path), check=False)
    assert done.returncode == 1
    assert "encoder.trained" in done.stderr


@pytest.fixture(scope="module")
def kinds(
    command: Command,
    shop_products: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """The folder of classifiers of the shop's widest categories, and their card."""
    folder = tmp_path_factory.mktemp("classifiers") / "kinds"
    options = ("--validation", "0.2", "--test", "0", "--epochs", "30", "--field", "category")
    top = [{**product, "category": product["category"][:1]} for product in shop_products]
    given = written(folder.with_name("top.jsonl"), top)
    card = command.json("train", "classifier", *given, "--out", str(folder), *options, *TRAINED)
    return folder, card


def test_a_classifier_fills_in_categories_that_are_missing(
    command: Command,
    kinds: tuple[Path, dict[str, Any]],
    shop_products: list[dict[str, Any]],
    catalogue: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder, card = kinds
    assert {"text", "image", "joined by average"} == set(card["metrics"]["validation"])
    assert card["fingerprint"] == f"classifier-{card['sha256'][:16]}"
    bare = [{key: value for key, value in product.items() if key != "category"} for product in shop_products[:40]]
    given, out = str(catalogue(*bare, shop_products[50], name="bare.jsonl")), tmp_path / "kinds.jsonl"
    asked = ("--languages", "en,zh", "--texts", "2", "--out", str(out), *OVER)
    done = command.json("train", "predict", str(folder), given, *asked)
    assert done == {"products": 41, "asked": 40, "written": 40, "field": "category"}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    right = [line["category"] == product["category"][0] for line, product in zip(lines, shop_products, strict=False)]
    assert np.mean(right) > 0.7
    assert all(0 < line["confidence"] <= 1 and set(line["by"]) <= {"text", "image"} for line in lines)

    least = sorted(line["confidence"] for line in lines)[20]
    filled = command.json("train", "predict", str(folder), given, "--fill", "--least", str(least), *asked)
    sure = [line for line in lines if line["confidence"] >= least]
    assert filled["written"] == len(sure) < 40
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    by_id = {product["id"]: product for product in bare}
    assert records == [{**by_id[line["id"]], "category": [line["category"]]} for line in sure]


def test_classifiers_that_a_profile_names_say_what_a_query_is_of(
    settings: Settings, aligned: Aligned, profile: Path, kinds: tuple[Path, dict[str, Any]]
) -> None:
    folder = kinds[0]
    entry = f"classifiers:\n{kinds[1]['profile']}\n".replace(f"./{folder.name}", str(folder))
    path = profile.with_name("classified.yaml")
    path.write_text(profile.read_text(encoding="utf-8") + "\n" + entry, encoding="utf-8")
    searcher = searcher_of(settings, aligned, path)
    product = next(one for one in aligned.products if one["category"][0] == "musical instruments")
    picture = (SHOP / product["images"][0]).read_bytes()

    def asked(**vote: Any) -> SearchResult:
        request = SearchRequest(aligned.name, text=product["title"]["en"], image=picture, vote={"field": "category", **vote})
        return searcher.search(request)

    found = asked(use="filter", min_confidence=0.2)
    told = found.predicted
    assert told is not None
    assert (told.by, told.value) == ("classifiers", "musical instruments")
    assert set(told.modalities or {}) == {"text", "image"}
    assert told.shares["musical instruments"] == told.confidence > 0.2
    assert found.hits
    assert all(hit.product is not None and hit.product["category"][0] == "musical instruments" for hit in found.hits)
    assert found.degraded == ()
    again = searcher.reweigh(found.query_id, {"text.text": 1.0}, size=5, hydrate=True).predicted
    assert again == told
    neighbours = asked(by="neighbours").predicted
    assert neighbours is not None
    assert (neighbours.by, neighbours.modalities) == ("neighbours", None)


def test_where_no_classifier_is_the_neighbours_vote(
    settings: Settings, aligned: Aligned, profile: Path, kinds: tuple[Path, dict[str, Any]]
) -> None:
    words = {"text": "violin", "vote": {"field": "category"}}
    plain = searcher_of(settings, aligned, profile)
    told = plain.search(SearchRequest(aligned.name, **words)).predicted
    assert told is not None
    assert told.by == "neighbours"
    with pytest.raises(QueryError, match="classifier") as caught:
        plain.search(SearchRequest(aligned.name, **{**words, "vote": {"field": "category", "by": "classifiers"}}))
    assert (caught.value.code, caught.value.field) == ("query.bad_vote", "vote.by")

    gone = profile.with_name("gone.yaml")
    entry = "classifiers:\n  category: {model: ./nowhere, over: {text: text}, licence: our own}\n"
    gone.write_text(profile.read_text(encoding="utf-8") + "\n" + entry, encoding="utf-8")
    answer = searcher_of(settings, aligned, gone).search(SearchRequest(aligned.name, **words))
    assert answer.predicted is not None
    assert answer.predicted.by == "neighbours"
    assert [(one.name, one.code) for one in answer.degraded] == [("classifier category", "encoder.trained")]


@pytest.fixture(scope="module")
def joined(
    command: Command,
    start_worker: Callable[..., Any],
    run_id: str,
    shop_products: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Aligned]:
    """A profile with a fusion trained on the demo shop, as its card has it, and an index that a worker filled."""
    folder = tmp_path_factory.mktemp("joined")
    options = ("--epochs", "25", "--validation", "0", "--test", "0", "--dims", "64", "--hidden", "128")
    card = command.json("train", "fusion", CATALOGUE, "--out", str(folder / "fusion"), *options, *TRAINED)
    profile = folder / "fused.yaml"
    offline = profiles.read("offline").text.split("\n  image_words:")[0]
    profile.write_text(f"{offline}\n{card['profile']}\n", encoding="utf-8")
    name = f"joined-{run_id}-{uuid.uuid4().hex[:6]}"
    changes = {"TRIPTYCH_PROFILE": str(profile), "TRIPTYCH_QUEUE": name, "TRIPTYCH_SYSTEM_PREFIX": f"{name}-"}
    some = [{**one, "audio": []} for one in shop_products if one["images"]][::3]
    command("index", "create", name, **changes)
    with start_worker(**changes):
        job = command.json("index", "add", name, *written(folder / "some.jsonl", some), "--follow", **changes)
    assert job["state"] == "completed", job
    return profile, Aligned(name, f"{name}-", some)


def test_a_fusion_is_one_leg_of_words_and_pictures(settings: Settings, joined: tuple[Path, Aligned]) -> None:
    """The worker makes the products' vectors, the API those of queries: of words, of a picture, of both."""
    profile, index = joined
    searcher = searcher_of(settings, index, profile)
    for kinds in (("text",), ("image",), ("text", "image")):
        places = []
        for product in index.products[:6]:
            given = {"text": product["title"]["en"], "image": (SHOP / product["images"][0]).read_bytes()}
            asked = {kind: given[kind] for kind in kinds}
            found = searcher.search(SearchRequest(index.name, **asked, weights={"fusion": 1.0}, size=5))
            assert [hit.id for hit in found.hits]
            places.append(product["id"] in [hit.id for hit in found.hits])
        # they were learned from; by chance one of 30 is among the first five in one of six searches
        assert np.mean(places) > 0.6, (kinds, places)


def test_the_vectors_of_a_fusion_are_those_of_its_network(
    settings: Settings, joined: tuple[Path, Aligned], read_vectors: Callable[..., Any]
) -> None:
    profile, index = joined
    services = Services(settings.model_copy(update={"profile": str(profile)}))
    schema = read_schema(services.elasticsearch, current_version(services.elasticsearch, index.name))
    stored = list(read_vectors(index.name).values())
    assert len(stored) == len(index.products)
    made = services.joins(schema)["fusion"](stored)
    np.testing.assert_allclose(made, [vectors["fusion"] for vectors in stored], atol=1e-5)
    alone = services.joins(schema)["fusion"]([{"image": stored[0]["image"]}, {"audio": stored[0]["image"]}])
    assert alone[0] is not None
    assert np.linalg.norm(alone[0]) == pytest.approx(1, abs=1e-5)
    assert alone[1] is None


def test_a_fusion_over_other_encoders_is_refused(command: Command, joined: tuple[Path, Aligned]) -> None:
    text = joined[0].read_text(encoding="utf-8").replace('query_prompt: "query: "', 'query_prompt: "other: "')
    path = joined[0].with_name("other.yaml")
    path.write_text(text, encoding="utf-8")
    done = command("index", "create", f"other-{uuid.uuid4().hex[:6]}", TRIPTYCH_PROFILE=str(path), check=False)
    assert done.returncode == 1
    assert "encoder.trained" in done.stderr


@pytest.mark.parametrize("given", [("text=text",), ("text=text", "image=text")])
def test_a_fusion_stands_on_spaces_of_two_modalities(command: Command, tmp_path: Path, given: tuple[str, ...]) -> None:
    named = [part for one in given for part in ("--over", one)]
    done = command("train", "fusion", CATALOGUE, "--out", str(tmp_path / "fusion"), *named, check=False)
    assert done.returncode == 1
    assert "training.over" in done.stderr
