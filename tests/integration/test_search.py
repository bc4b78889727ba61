"""Searching in process: scores that are true, filters, languages, media, errors, and what happens when a leg fails."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from processes import spaces_here

from indexer import pipeline
from indexer.calibrate import calibrate
from search_api import Searcher, SearchRequest, SearchResult
from triptych.domain import Modality
from triptych.elastic.bodies import index_body
from triptych.elastic.engine import unpack
from triptych.elastic.lexical import lexical_query
from triptych.elastic.lifecycle import create_version, current_version, describe, read_mapping_file, spaces_schema
from triptych.encoders.base import Input
from triptych.errors import EncoderError, InputError, MediaError, NotFoundError, QueryError, TriptychError
from triptych.media.decode import decode
from triptych.schema import LEXICAL, IndexSchema, Space
from triptych.services import Services

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
MAPPING = ROOT / "mappings" / "products.json"
VECTOR_LEGS = ("text.text", "text.image", "image.image", "audio.audio")
WORDS = "brass instrument"

Stored = dict[str, dict[str, npt.NDArray[np.float32]]]


@pytest.fixture(scope="module")
def searcher(services: Services) -> Searcher:
    return Searcher(services)


@pytest.fixture(scope="module")
def picture() -> bytes:
    return (SHOP / "images" / "demo-012-1.jpg").read_bytes()


@pytest.fixture(scope="module")
def sound() -> bytes:
    return (SHOP / "audio" / "demo-007.ogg").read_bytes()


@pytest.fixture(scope="module")
def vectors(shop: str, services: Services) -> Stored:
    """What lies in the index: product id -> space -> its vector, or those of its several pictures; a row each."""
    services.elasticsearch.indices.refresh(index=shop)
    source: dict[str, Any] = {"includes": ["triptych"]}
    if services.server.hides_vectors:
        source["exclude_vectors"] = False
    hits = services.elasticsearch.search(index=shop, size=1000, source=source)["hits"]["hits"]
    found: Stored = {}
    for hit in hits:
        ours, mine = hit["_source"]["triptych"], found.setdefault(hit["_id"], {})
        for space in spaces_here(services):
            parts = ours.get(space.parts_name) or []
            rows = [part["vector"] for part in (parts if isinstance(parts, list) else [parts])]
            rows += [ours[space.name]] if space.name in ours else []
            if rows:
                mine[space.name] = np.stack([unpack(row) for row in rows])
    return found


def raws(result: SearchResult) -> dict[tuple[str, str], float | None]:
    """Raw scores by (product, leg)."""
    return {(hit.id, name): leg.raw for hit in result.hits for name, leg in hit.legs.items()}


def statuses(result: SearchResult, leg: str) -> set[str]:
    return {hit.legs[leg].status for hit in result.hits}


def code_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert isinstance(error.value, TriptychError)
    return error.value.code


# Scores


@pytest.mark.parametrize("inputs", ["words", "picture", "sound", "words picture", "words sound", "words picture sound"])
def test_contributions_of_all_legs_add_up_to_the_score(
    inputs: str, searcher: Searcher, shop: str, picture: bytes, sound: bytes
) -> None:
    request = SearchRequest(
        shop,
        text=WORDS if "words" in inputs else None,
        image=picture if "picture" in inputs else None,
        audio=sound if "sound" in inputs else None,
        size=30,
        window=30,
    )
    legs = {
        *(("lexical", "text.text", "text.image") if "words" in inputs else ()),
        *(("image.image",) if "picture" in inputs else ()),
        *(("audio.audio",) if "sound" in inputs else ()),
    }
    result = searcher.search(request)
    assert len(result.hits) == 30
    assert result.degraded == ()
    for hit in result.hits:
        assert set(hit.legs) == legs, "every hit has every leg of the query"
        assert math.fsum(leg.contribution for leg in hit.legs.values()) == pytest.approx(hit.score, abs=1e-9)
        assert sum(leg.weight for leg in hit.legs.values()) == pytest.approx(1)
        for leg in hit.legs.values():
            assert leg.contribution == pytest.approx(leg.weight * leg.normalised)
            assert leg.completed == (leg.status == "completed")
            assert leg.normalised <= 1 + 1e-6
    order = [(-hit.score, hit.id) for hit in result.hits]
    assert order == sorted(order), "best first, ties by id"
    assert len({hit.id for hit in result.hits}) == 30


def test_scores_equal_a_brute_force_over_the_stored_vectors(
    searcher: Searcher, services: Services, shop: str, picture: bytes, sound: bytes, vectors: Stored
) -> None:
    """Retrieved and completed alike, of several pictures the best; windows are small so that most scores must be completed."""
    result = searcher.search(SearchRequest(shop, text=WORDS, image=picture, audio=sound, size=15, window=15))
    inputs: dict[Modality, Input] = {
        Modality.TEXT: WORDS,
        Modality.IMAGE: decode(picture, Modality.IMAGE, services.settings),
        Modality.AUDIO: decode(sound, Modality.AUDIO, services.settings),
    }
    spaces = {"text.text": "text", "text.image": "image_words", "image.image": "image", "audio.audio": "audio"}
    compared = dict.fromkeys(VECTOR_LEGS, 0)
    completed = set()
    for leg, space in spaces.items():
        modality = Modality(leg.partition(".")[0])
        query = services.encoders(IndexSchema())[space].embed_queries([inputs[modality]], modality)[0]
        for hit in result.hits:
            mine = hit.legs[leg]
            stored = vectors[hit.id].get(space)
            if stored is None:
                assert (mine.raw, mine.status) == (None, "no_modality")
                assert mine.contribution <= 0, "a lack is never a reward"
                continue
            exact = (1 + float(np.max(stored @ query / np.linalg.norm(query) / np.linalg.norm(stored, axis=1)))) / 2
            assert mine.raw == pytest.approx(exact, abs=1e-4), (leg, hit.id, mine.status)
            compared[leg] += 1
            if mine.completed:
                completed.add(leg)
    assert min(compared.values()) >= 5, compared
    assert completed == set(VECTOR_LEGS), "each leg had scores to complete"


def test_lexical_scores_equal_those_of_one_search_for_all(
    searcher: Searcher, services: Services, shop: str, picture: bytes
) -> None:
    """Many products match, ten are returned; those the picture brings get the score the words' own search gives them."""
    text = "brown black red blue"
    result = searcher.search(SearchRequest(shop, text=text, image=picture, size=10, window=10, weights={"image.image": 0.8}))
    query = lexical_query(text, describe(services.elasticsearch, shop).schema.lexical_fields)
    hits = services.elasticsearch.search(index=shop, query=query, size=200, source=False)["hits"]["hits"]
    exact = {hit["_id"]: hit["_score"] for hit in hits}
    for hit in result.hits:
        leg = hit.legs[LEXICAL]
        assert leg.raw == pytest.approx(exact.get(hit.id, 0.0), abs=1e-4)
        assert (leg.status == "no_match") == (hit.id not in exact)
    assert {"completed", "no_match"} <= statuses(result, LEXICAL)


def test_score_does_not_change_with_the_size_of_the_page(searcher: Searcher, shop: str, picture: bytes) -> None:
    small = searcher.search(SearchRequest(shop, text=WORDS, image=picture, size=5, window=50))
    large = searcher.search(SearchRequest(shop, text=WORDS, image=picture, size=20, window=50))
    assert [hit.id for hit in large.hits[:5]] == [hit.id for hit in small.hits]
    assert [hit.score for hit in large.hits[:5]] == pytest.approx([hit.score for hit in small.hits], abs=1e-6)
    assert small.total_matched == large.total_matched


def test_scores_of_a_product_do_not_change_with_the_window(searcher: Searcher, shop: str, picture: bytes) -> None:
    narrow = searcher.search(SearchRequest(shop, text=WORDS, image=picture, size=10, window=10))
    wide = searcher.search(SearchRequest(shop, text=WORDS, image=picture, size=100, window=100))
    mine, theirs = raws(narrow), raws(wide)
    common = mine.keys() & theirs.keys()
    assert len(common) >= 30
    for key in common:
        assert mine[key] == pytest.approx(theirs[key], abs=1e-6), key
    scores = {hit.id: hit.score for hit in wide.hits}
    for hit in narrow.hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=1e-5), "top and floor do not depend on the window"


def test_the_same_query_twice_gives_the_same_answer(searcher: Searcher, shop: str, picture: bytes, sound: bytes) -> None:
    request = SearchRequest(shop, text=WORDS, image=picture, audio=sound)
    one, two = searcher.search(request), searcher.search(request)
    assert [hit.id for hit in one.hits] == [hit.id for hit in two.hits]
    assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in two.hits], abs=1e-6)
    assert one.query_id != two.query_id


def test_hits_bring_their_products(searcher: Searcher, shop: str, shop_products: list[dict[str, Any]]) -> None:
    known = {product["id"]: product for product in shop_products}
    result = searcher.search(SearchRequest(shop, text="violin"))
    assert result.hits[0].product["title"]["en"] == "Student violin"
    for hit in result.hits:
        assert hit.product == known[hit.id], "the record as it was given, without our own field"


# Filters


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({"price": {"gte": 50, "lte": 100}}, lambda p: 50 <= p["price"] <= 100),
        ({"price": {"gt": 1000}}, lambda p: p["price"] > 1000),
        ({"price": {"lt": 5}}, lambda p: p["price"] < 5),
        ({"colour": ["red", "blue"]}, lambda p: p["colour"] in ("red", "blue")),
        ({"colour": "green"}, lambda p: p["colour"] == "green"),
        ({"colour": ["red"], "price": {"lte": 30}}, lambda p: p["colour"] == "red" and p["price"] <= 30),
        ({"category": "bowed strings"}, lambda p: "bowed strings" in p["category"]),
        ({"stock": 4}, lambda p: p["stock"] == 4),
        ({"sku": "MUS-002"}, lambda p: p["sku"] == "MUS-002"),
        ({"colour": "no such colour"}, lambda _: False),
    ],
)
def test_filters_act_inside_the_legs(
    filters: dict[str, Any],
    holds: Callable[[Any], bool],
    searcher: Searcher,
    shop: str,
    picture: bytes,
    shop_products: list[Any],
) -> None:
    """However few products a filter leaves, and however bad they are for the query, they are found, all and only they."""
    wanted = {p["id"] for p in shop_products if holds(p)}
    result = searcher.search(SearchRequest(shop, text="trumpet", image=picture, filters=filters, size=100, window=100))
    assert {hit.id for hit in result.hits} == wanted
    assert result.total_matched == len(wanted)
    assert result.degraded == ()


def test_filter_holds_within_a_small_window(searcher: Searcher, shop: str, picture: bytes) -> None:
    result = searcher.search(SearchRequest(shop, text="trumpet", image=picture, filters={"colour": "green"}, size=5, window=5))
    assert len(result.hits) == 5
    assert {hit.product["colour"] for hit in result.hits} == {"green"}


@pytest.mark.parametrize(
    ("filters", "code", "field"),
    [
        ({"color": "red"}, "query.unknown_field", "filters.color"),
        ({"title.en": "cello"}, "query.not_filterable", "filters.title.en"),
        ({"triptych.image": 1}, "query.unknown_field", "filters.triptych.image"),
        ({"price": {"above": 3}}, "query.bad_filter", "filters.price"),
        ({"price": {}}, "query.bad_filter", "filters.price"),
        ({"colour": []}, "query.bad_filter", "filters.colour"),
        ({"price": "cheap"}, "query.bad_filter", "filters.price"),
        ({"price": {"gte": "cheap"}}, "query.bad_filter", "filters.price"),
        ({"stock": ["many"]}, "query.bad_filter", "filters.stock"),
        ({"images": "images/demo-001-1.jpg"}, "query.not_filterable", "filters.images"),
    ],
)
def test_bad_filter_names_its_field(filters: dict[str, Any], code: str, field: str, searcher: Searcher, shop: str) -> None:
    with pytest.raises(QueryError) as error:
        searcher.search(SearchRequest(shop, text="cello", filters=filters))
    assert (error.value.code, error.value.field) == (code, field)


def test_unknown_filter_field_is_corrected(searcher: Searcher, shop: str) -> None:
    with pytest.raises(QueryError) as error:
        searcher.search(SearchRequest(shop, text="cello", filters={"color": "red"}))
    assert "'colour'" in str(error.value)


# Weights


def test_weight_is_the_share_of_the_leg(searcher: Searcher, shop: str, picture: bytes) -> None:
    given = {"image.image": 0.5}
    result = searcher.search(SearchRequest(shop, text=WORDS, image=picture, weights=given, explain=True))
    weights = {name: leg.weight for name, leg in result.hits[0].legs.items()}
    assert weights["image.image"] == pytest.approx(0.5)
    assert sum(weights.values()) == pytest.approx(1)
    assert result.explain is not None
    assert {name: leg["weight"] for name, leg in result.explain["legs"].items()} == weights


def test_the_class_of_a_query_changes_its_weights(searcher: Searcher, shop: str) -> None:
    """Given, or seen by its words; the scores follow."""
    found = {
        kind: searcher.search(SearchRequest(shop, text="wooden drum with a case for it", query_class=kind))
        for kind in ("auto", "sentence", "sku")
    }
    share = {kind: result.hits[0].legs["lexical"].weight for kind, result in found.items()}
    assert (share["sku"], share["sentence"]) == (pytest.approx(0.9), pytest.approx(0.3))
    assert share["auto"] == share["sentence"]
    assert [hit.score for hit in found["sku"].hits] != [hit.score for hit in found["sentence"].hits]


def test_leg_without_weight_is_not_asked(searcher: Searcher, shop: str, picture: bytes) -> None:
    zero = {"image.image": 0.0, "text.image": 0}
    result = searcher.search(SearchRequest(shop, text="violin", image=picture, weights=zero))
    assert set(result.hits[0].legs) == {"lexical", "text.text"}
    plain = searcher.search(SearchRequest(shop, text="violin", weights={"text.image": 0}))
    assert [hit.id for hit in result.hits] == [hit.id for hit in plain.hits]


def test_whole_weight_on_one_leg_ranks_by_it(searcher: Searcher, shop: str, picture: bytes) -> None:
    alone = searcher.search(SearchRequest(shop, image=picture))
    mixed = searcher.search(SearchRequest(shop, text=WORDS, image=picture, weights={"image.image": 1}))
    assert [hit.id for hit in mixed.hits] == [hit.id for hit in alone.hits]


def test_default_weights_give_each_input_the_same_share(searcher: Searcher, shop: str, picture: bytes, sound: bytes) -> None:
    legs = searcher.search(SearchRequest(shop, text=WORDS, image=picture, audio=sound)).hits[0].legs
    assert legs["image.image"].weight == pytest.approx(1 / 3)
    assert legs["audio.audio"].weight == pytest.approx(1 / 3)
    assert legs["lexical"].weight + legs["text.text"].weight + legs["text.image"].weight == pytest.approx(1 / 3)


# What is found


def test_picture_finds_its_own_product(searcher: Searcher, shop: str, picture: bytes) -> None:
    result = searcher.search(SearchRequest(shop, image=picture))
    assert result.hits[0].id == "demo-012"
    assert set(result.hits[0].legs) == {"image.image"}
    assert result.hits[0].legs["image.image"].raw == pytest.approx(1, abs=1e-3)


def test_sound_finds_its_own_product(searcher: Searcher, shop: str, sound: bytes) -> None:
    result = searcher.search(SearchRequest(shop, audio=sound))
    assert result.hits[0].id == "demo-007"
    assert set(result.hits[0].legs) == {"audio.audio"}


def test_words_beside_a_picture_and_a_sound_shift_the_answer(
    searcher: Searcher, shop: str, picture: bytes, sound: bytes
) -> None:
    for media in ({"image": picture}, {"audio": sound}):
        alone = searcher.search(SearchRequest(shop, **media))
        mixed = searcher.search(SearchRequest(shop, text="red balloon", **media))
        assert [hit.id for hit in mixed.hits] != [hit.id for hit in alone.hits]
        assert {hit.id for hit in mixed.hits} & {hit.id for hit in alone.hits}
        assert any("balloon" in hit.product["title"]["en"].lower() for hit in mixed.hits)


THINGS = [
    ("hat", "Red woollen hat", "红色羊毛帽"),
    ("drum", "Large wooden drum", "大木鼓"),
    ("lamp", "Reading lamp for the desk", "书桌阅读灯"),
    ("kettle", "Electric water kettle", "电热水壶"),
    ("boat", "Inflatable rubber boat", "充气橡皮艇"),
    ("shoe", "Black leather shoes", "黑色皮鞋"),
    ("bread", "Fresh rye bread", "新鲜黑麦面包"),
    ("camera", "Digital camera with zoom", "变焦数码相机"),
    ("umbrella", "Folding umbrella", "折叠雨伞"),
    ("bicycle", "Mountain bicycle", "山地自行车"),
    ("piano", "Upright piano", "立式钢琴"),
    ("scissors", "Kitchen scissors", "厨房剪刀"),
]


@pytest.fixture(scope="module")
def tongues(services: Services, run_id: str) -> dict[str, str]:
    """Two indices of the same things: one described in English only, one in Chinese only."""
    found = {}
    for number, language in enumerate(("en", "zh"), start=1):
        name = f"tongue-{language}-{run_id}"
        version = make_index(services, name)
        fill(services, version, [{"id": thing[0], "title": {language: thing[number]}} for thing in THINGS])
        calibrate(services, version)
        found[language] = name
    return found


def make_index(services: Services, name: str, *, schema: IndexSchema | None = None) -> str:
    base = read_mapping_file(MAPPING)
    return create_version(services.elasticsearch, name, base, schema or spaces_schema(spaces_here(services), "0"))


def fill(services: Services, version: str, records: list[dict[str, Any]], *, root: Path = SHOP) -> None:
    """Index records in process, by the flow itself."""
    import orjson

    raw = [{"line": n, "text": orjson.dumps(record).decode()} for n, record in enumerate(records, start=1)]
    schema = describe(services.elasticsearch, version).schema
    result = pipeline.run(raw, pipeline.Target(version, schema, root, "job"), services)
    assert result.dead_letters == []
    services.elasticsearch.indices.refresh(index=version)


@pytest.mark.parametrize(("described", "asked"), [("en", 2), ("zh", 1), ("en", 1), ("zh", 2)])
def test_words_find_products_described_in_another_language(
    described: str, asked: int, tongues: dict[str, str], searcher: Searcher
) -> None:
    first = {t[0]: [h.id for h in searcher.search(SearchRequest(tongues[described], text=t[asked])).hits] for t in THINGS}
    right = [thing for thing, found in first.items() if found[0] == thing]
    assert len(right) >= 11, first
    assert all(thing in found[:3] for thing, found in first.items()), first


def test_space_an_index_has_no_media_in_changes_nothing(tongues: dict[str, str], searcher: Searcher, picture: bytes) -> None:
    """No product has a picture: the picture's leg answers with nothing, and words still rank."""
    result = searcher.search(SearchRequest(tongues["en"], text="umbrella", image=picture))
    assert result.hits[0].id == "umbrella"
    assert statuses(result, "image.image") == {"no_modality"}
    assert result.degraded == ()


# Errors


@pytest.mark.parametrize(
    ("request_", "kind", "code", "field"),
    [
        ({"image": b"not a picture"}, MediaError, "media.not_a_picture", "image"),
        ({"image": b""}, MediaError, "media.empty", "image"),
        ({"audio": b"not a sound" * 100}, MediaError, "media.not_a_sound", "audio"),
        ({"audio": b""}, MediaError, "media.empty", "audio"),
        ({"text": "  \n"}, QueryError, "query.empty", "text"),
        ({"text": ""}, QueryError, "query.empty", "text"),
        ({}, QueryError, "query.empty", None),
        ({"text": "x" * 10_001}, QueryError, "query.too_long", "text"),
        ({"text": "a", "fusion": "magic"}, QueryError, "query.unknown_fusion", "fusion"),
        ({"text": "a", "weights": {"image.imgae": 1}}, QueryError, "query.unknown_leg", "weights.image.imgae"),
        ({"text": "a", "weights": {"lexical": -1}}, QueryError, "query.bad_weight", "weights"),
        ({"text": "a", "weights": {"lexical": float("inf")}}, QueryError, "query.bad_weight", "weights.lexical"),
        ({"text": "a", "weights": {"lexical": float("nan")}}, QueryError, "query.bad_weight", "weights.lexical"),
        (
            {"text": "a", "weights": {"lexical": 0, "text.text": 0, "text.image": 0}},
            QueryError,
            "query.bad_weight",
            "weights",
        ),
        ({"text": "a", "size": 0}, QueryError, "query.bad_size", "size"),
        ({"text": "a", "size": 101}, QueryError, "query.bad_size", "size"),
        ({"text": "a", "window": 1001}, QueryError, "query.bad_window", "window"),
        ({"text": "a", "window": 0}, QueryError, "query.bad_window", "window"),
    ],
)
def test_bad_query_is_refused_with_code_and_field(
    request_: dict[str, Any], kind: type[InputError], code: str, field: str | None, searcher: Searcher, shop: str
) -> None:
    with pytest.raises(kind) as error:
        searcher.search(SearchRequest(shop, **request_))
    assert (error.value.code, error.value.field) == (code, field)


def test_truncated_picture_and_too_large_picture_are_refused(services: Services, shop: str, picture: bytes) -> None:
    limits = {"media_pixels": 1000, "media_bytes": len(picture), "cache_bytes": 0}  # a vector known needs no decoding
    tight = Searcher(Services(services.settings.model_copy(update=limits)))
    with pytest.raises(MediaError) as error:
        tight.search(SearchRequest(shop, image=picture))
    assert code_of(error) == "media.too_many_pixels"
    with pytest.raises(MediaError) as error:
        tight.search(SearchRequest(shop, image=picture + b"more"))
    assert code_of(error) == "media.too_many_bytes"
    with pytest.raises(MediaError) as error:
        Searcher(services).search(SearchRequest(shop, image=picture[:3000]))
    assert code_of(error) == "media.truncated"


def test_unknown_and_foreign_index_are_refused(searcher: Searcher, services: Services, own_id: str) -> None:
    with pytest.raises(NotFoundError) as error:
        searcher.search(SearchRequest("no-such-index", text="a"))
    assert code_of(error) == "index.not_found"
    services.elasticsearch.indices.create(index=f"plain-{own_id}")
    with pytest.raises(NotFoundError) as error:
        searcher.search(SearchRequest(f"plain-{own_id}", text="a"))
    assert code_of(error) == "index.not_triptych"


@pytest.mark.parametrize("name", ["*", "_all", "ONE*", "ONE,ONE", "-ONE", "", "../_cluster/health", "<shop-{now/d}>"])
def test_index_patterns_are_not_index_names(name: str, searcher: Searcher, tongues: dict[str, str]) -> None:
    """A stranger may not reach an index without knowing its name, nor make one search touch several."""
    with pytest.raises((NotFoundError, InputError)) as error:
        searcher.search(SearchRequest(name.replace("ONE", tongues["en"]), text="a"))
    assert code_of(error) in ("index.not_found", "index.bad_name")


def test_index_of_another_encoder_is_refused(
    searcher: Searcher, services: Services, own_id: str, command: Any, tmp_path: Path
) -> None:
    spaces = [s.model_copy(update={"fingerprint": "0" * 16}) if s.name == "text" else s for s in spaces_here(services)]
    name = f"other-encoder-{own_id}"
    make_index(services, name, schema=spaces_schema(spaces, "0"))
    with pytest.raises(EncoderError) as error:
        searcher.search(SearchRequest(name, text="a"))
    assert (error.value.code, error.value.field) == ("encoder.fingerprint_mismatch", "triptych.text")
    (tmp_path / "c.jsonl").write_text('{"id": "a"}\n')
    done = command("index", "add", name, str(tmp_path / "c.jsonl"), check=False)
    assert (done.returncode, "encoder.fingerprint_mismatch" in done.stderr) == (1, True)


def test_index_with_a_space_nobody_here_can_fill_is_refused(searcher: Searcher, services: Services, own_id: str) -> None:
    strange = Space(
        name="clip",
        encoder="clip-vit",
        fingerprint="1" * 16,
        dims=8,
        document_modality=Modality.IMAGE,
        query_modalities=(Modality.TEXT,),
    )
    name = f"strange-space-{own_id}"
    make_index(services, name, schema=spaces_schema([*spaces_here(services), strange], "0"))
    with pytest.raises(EncoderError) as error:
        searcher.search(SearchRequest(name, text="a"))
    assert error.value.field == "triptych.clip"


# A leg that fails


@pytest.fixture(scope="module")
def crippled(services: Services, run_id: str) -> str:
    """An index whose `_meta` names four spaces, but whose field for the space of pictures takes vectors of another length."""
    name = f"crippled-{run_id}"
    made = index_body(read_mapping_file(MAPPING), spaces_schema(spaces_here(services), "0"))
    made["mappings"]["properties"]["triptych"]["properties"]["image"]["dims"] = 8
    services.elasticsearch.indices.create(
        index=f"{name}-v1", mappings=made["mappings"], settings=made["settings"], aliases={name: {"is_write_index": True}}
    )
    fill(services, f"{name}-v1", [{"id": thing[0], "title": {"en": thing[1]}} for thing in THINGS[:3]])
    return name


def test_leg_that_fails_is_left_out_and_named(crippled: str, searcher: Searcher, picture: bytes) -> None:
    result = searcher.search(SearchRequest(crippled, text="wooden drum", image=picture, explain=True))
    assert [(one.name, one.code) for one in result.degraded] == [("image.image", "elasticsearch.bad_request")]
    assert "query_vector" in result.degraded[0].message, "Elasticsearch's own reason"
    assert result.hits[0].id == "drum"
    for hit in result.hits:
        assert set(hit.legs) == {"lexical", "text.text", "text.image"}
        assert sum(leg.weight for leg in hit.legs.values()) == pytest.approx(1), "the others share its weight"
        assert sum(leg.contribution for leg in hit.legs.values()) == pytest.approx(hit.score)
    assert result.explain is not None
    assert "query_vector" in result.explain["failed"]["image.image"], "explain has Elasticsearch's own reason"


def test_query_of_which_every_leg_fails_is_an_error(crippled: str, searcher: Searcher, picture: bytes) -> None:
    with pytest.raises(TriptychError) as error:
        searcher.search(SearchRequest(crippled, image=picture))
    assert code_of(error) == "elasticsearch.bad_request"


def test_largest_window(searcher: Searcher, shop: str, picture: bytes, sound: bytes) -> None:
    result = searcher.search(SearchRequest(shop, text="a", image=picture, audio=sound, size=1000, window=1000))
    assert len(result.hits) == result.total_matched == 131
    assert result.degraded == ()


@pytest.mark.parametrize("text", ['+-=&|!(){}[]^"~*?:\\/', "\x00", "'; DROP TABLE", "𝕽𝖊𝖉 🎩", "帽子", "a" * 10_000, "\ud7ff"])
def test_any_text_is_only_text(text: str, searcher: Searcher, shop: str) -> None:
    result = searcher.search(SearchRequest(shop, text=text))
    assert result.degraded == ()
    assert len(result.hits) == 10


def test_switched_alias_is_seen(searcher: Searcher, services: Services, tongues: dict[str, str]) -> None:
    """A Searcher keeps what it knows of an index for some seconds only; a new one sees the switch at once."""
    name = f"switch-{uuid.uuid4().hex[:6]}"
    english, chinese = (current_version(services.elasticsearch, tongues[language]) for language in ("en", "zh"))
    services.elasticsearch.indices.put_alias(index=english, name=name)
    assert "en" in searcher.search(SearchRequest(name, text="hat")).hits[0].product["title"]
    services.elasticsearch.indices.update_aliases(
        actions=[{"remove": {"index": english, "alias": name}}, {"add": {"index": chinese, "alias": name}}]
    )
    assert "zh" in Searcher(services).search(SearchRequest(name, text="hat")).hits[0].product["title"]


@pytest.mark.parametrize("nonsense", ["qzxv wblorp", "xkcdq", "zzgrbl fnordix quuxle"])
def test_where_nothing_matches_the_answer_is_empty(searcher: Searcher, shop: str, nonsense: str) -> None:
    """By what noise reaches in this catalogue, as it was measured when the job ended."""
    assert searcher.search(SearchRequest(shop, text=nonsense)).hits, "vectors find something always"
    found = searcher.search(SearchRequest(shop, text=nonsense, min_relevance=0.4))
    assert (found.hits, found.next, found.reachable, found.degraded) == ((), None, 0, ())
    there = searcher.search(SearchRequest(shop, text=WORDS, min_relevance=0.4))
    assert all((hit.relevance or 0) >= 0.4 for hit in there.hits)
    assert (bool(there.hits), there.degraded) == (True, ())
