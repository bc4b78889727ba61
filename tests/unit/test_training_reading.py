"""What of a catalogue training reads: texts, values, queries, changed copies, and the card that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from indexer.records import parse
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from training import card
from training.augment import Augment
from training.cli import train
from training.predicting import filled
from training.products import Reading, joining_texts, texts_of, value_of
from training.queries import read, read_judged
from triptych.domain import Product, Waveform
from triptych.encoders.trained import shortened, whole
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import load

pytestmark = pytest.mark.unit

RECORD = (
    '{"id": "p1", "title": {"en": "Red hat", "de": "Roter Hut", "fr": "Chapeau rouge"}, "description": {"en": "Red hat.", '
    '"de": "Warm und rot"}, "category": ["clothes", "hats"], "colour": "red", "size": {"cm": 58}}'
)


def product() -> Product:
    found = parse({"line": 1, "text": RECORD})
    assert isinstance(found, Product)
    return found


def test_a_text_that_differs_by_its_stop_is_read_once() -> None:
    found = texts_of(product(), Reading(texts=9))
    assert sorted(found) == [("de", "Roter Hut"), ("de", "Warm und rot"), ("en", "Red hat"), ("fr", "Chapeau rouge")]


def test_first_texts_come_before_others_and_languages_are_those_named() -> None:
    reading = Reading(languages=("de", "fr"), texts=2, queries={"p1": ["warm cap"]})
    assert texts_of(product(), reading) == [("de", "Roter Hut"), ("de", "Warm und rot")]
    assert "warm cap" not in joining_texts(product(), reading), "a query says not that products are one"
    assert texts_of(product(), reading) == texts_of(product(), reading)
    assert len(texts_of(product(), Reading(texts=2))) == 2


def test_texts_of_the_languages_named_join_products() -> None:
    assert sorted(joining_texts(product(), Reading(group_languages=("de",)))) == ["roter hut", "warm und rot"]
    assert len(joining_texts(product(), Reading(texts=1))) == 5, "those that are not learned from join too"


@pytest.mark.parametrize(
    ("name", "value"),
    [("category", "clothes > hats"), ("colour", "red"), ("size.cm", "58"), ("size", None), ("nothing", None), ("title", None)],
)
def test_the_value_of_a_field(name: str, value: str | None) -> None:
    assert value_of(product(), name) == value


def test_queries_by_product_without_those_of_grade_nought(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query": "hat", "product": "a"}\n\n{"query": "cap", "product": "a", "grade": 2}\n'
                    '{"query": "shoe", "product": "a", "grade": 0}\n')  # fmt: skip
    assert read(path) == {"a": ["hat", "cap"]}


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"query": "a"}', '{"query": 1, "product": "a"}', '{"query": "a", "product": "b", "grade": "x"}',
             '{"query": "' + "a" * 20_000 + '", "product": "b"}'], ids=["json", "list", "lacks", "number", "grade", "long"]
)  # fmt: skip
def test_a_line_that_is_no_query_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query": "hat", "product": "a"}\n' + line)
    with pytest.raises(InputError, match="line 2") as caught:
        read(path)
    assert caught.value.code == "training.queries"


JUDGED = """{"qid": "1", "text": "warm hat", "lang": "en"}
{"qid": "2", "image": "hat.png"}
{"qid": "3", "text": "lamp", "exclude": ["c"]}
"""


def judged(folder: Path, queries: str = JUDGED, qrels: str = "1 0 a 3\n1 0 b 0\n\n2 0 a 1\n3 0 c 2\n3 0 d 1\n") -> Any:
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels.txt").write_text(qrels)
    return read_judged(folder / "queries.jsonl", folder / "qrels.txt")


def test_judged_queries_are_read_as_evaluate_writes_them(tmp_path: Path) -> None:
    assert judged(tmp_path) == {"a": ["warm hat"], "d": ["lamp"]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"qrels": "1 0 a 3\n1 a 3\n"}, "qrels.txt: line 2 is not"),
        ({"queries": JUDGED + '{"text": "a"}\n'}, "queries.jsonl: line 4 has not"),
        ({"qrels": "9 0 a 3\n"}, "No query of"),
    ],
    ids=["judgement", "query", "others"],
)
def test_what_is_no_judged_query_is_named(tmp_path: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        judged(tmp_path, **given)
    assert caught.value.code == "training.queries"


def test_judgements_without_queries_are_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue.jsonl").write_text(RECORD)
    given = ["heads", str(tmp_path / "catalogue.jsonl"), "--out", str(tmp_path / "out"), "--judgements", "qrels.txt"]
    done = CliRunner().invoke(train, given)
    assert done.exit_code == 2
    assert "--queries" in done.output


def test_queries_that_are_judged_elsewhere_ask_for_their_judgements(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text(JUDGED)
    with pytest.raises(InputError, match="--judgements"):
        read(tmp_path / "queries.jsonl")


def test_a_changed_picture_is_a_function_of_seed_and_thing() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    one, again, other = (Augment(1)(picture, seed=seed) for seed in (b"a", b"a", b"b"))
    assert isinstance(one, Image.Image)
    assert one.size == (256, 256)
    assert np.array_equal(np.asarray(one), np.asarray(again))
    assert not np.array_equal(np.asarray(one), np.asarray(other))


def test_a_changed_sound_is_a_part_of_it_with_noise_and_still_a_sound() -> None:
    tone = Waveform(np.sin(np.arange(16_000) * 0.3).astype(np.float32) * 0.5, 16_000)
    one, again, other = (Augment(1)(tone, seed=seed) for seed in (b"a", b"a", b"b"))
    assert isinstance(one, Waveform)
    assert 9_600 <= len(one.samples) <= 16_000
    assert np.abs(one.samples).max() <= 1
    assert isinstance(again, Waveform)
    assert np.array_equal(one.samples, again.samples)
    assert isinstance(other, Waveform)
    assert len(one.samples) != len(other.samples)
    assert not Augment(1)(Waveform(np.zeros(100, np.float32), 8_000), seed=b"a").samples.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(("how", "most", "share"), [("float32", 0.0, 1.0), ("bfloat16", 2**-8, 0.5), ("int8", 1 / 254, 0.26)])
def test_shortened_weights_are_near_what_they_were(how: Any, most: float, share: float) -> None:
    matrix = np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)
    given = {"a.weight": matrix, "a.bias": matrix[0] * 1.000001}
    kept = shortened(given, how)
    found = whole(kept)
    assert set(found) == set(given)
    scale = np.abs(matrix) if how == "bfloat16" else np.abs(matrix).max(axis=1, keepdims=True)
    assert (np.abs(found["a.weight"] - matrix) <= most * scale + 1e-7).all()
    assert np.array_equal(found["a.bias"], given["a.bias"])
    assert sum(array.nbytes for name, array in kept.items() if "bias" not in name) <= share * matrix.nbytes * 1.02


CARD: dict[str, Any] = {
    "kind": "heads", "name": "mine", "date": "2026-11-29", "versions": {"triptych": "1"}, "fingerprint": "f1", "sha256": "s",
    "bases": {"text": {"space": "text", "dims": 4}}, "data": {"products": 3, "catalogue": "a|b"},
    "compression": {"weights": "int8"},
    "split": {"seed": 7, "sides": {"train": {"products": 2, "groups": 1}}},
    "metrics": {"validation": {}, "test": {"text>image": {"R@10": 0.5}}}, "training": {"epochs": 2}, "options": {"dims": 4},
    "section": "spaces", "profile": "  aligned:\n    family: trained_head",
}  # fmt: skip


def test_the_card_is_written_for_machines_and_for_people(tmp_path: Path) -> None:
    card.write(tmp_path, CARD)
    page = (tmp_path / "card.md").read_text(encoding="utf-8")
    for said in (
        "f1",
        "| train | 2 | 1 |",
        "| text>image | 0.5 |",
        "a\\|b",
        "seed: 7",
        "int8",
        "family: trained_head",
        "In a profile, under spaces",
        "2026-11-29",
    ):
        assert said in page
    assert (tmp_path / "card.json").read_text(encoding="utf-8").startswith('{\n  "kind": "heads"')


def test_a_yes_or_no_is_a_value_as_json_has_it() -> None:
    assert value_of(Product("a", {}, {"sold": True, "size": 38}), "sold") == "true"
    assert value_of(Product("a", {}, {"sold": True, "size": 38}), "size") == "38"


def test_what_is_filled_in_is_an_update_or_for_a_category_the_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.jsonl"
    lines = [{"id": "a", "title": "Pear"}, {"id": "b", "title": "Ball", "price": 3}, {"id": "c", "_op": "delete"}, {"id": "d"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    source = open_source(SourceSpec(str(path)), Services(load()))
    predicted = [{"id": "b", "category": "toys > balls", "confidence": 0.9, "by": {}}]
    assert list(filled(source, "category", iter(predicted))) == [{**lines[1], "category": ["toys", "balls"]}]
    coloured = [{"id": "b", "colour": "red", "confidence": 0.9, "by": {}}]
    assert list(filled(source, "colour", iter(coloured))) == [{"id": "b", "_op": "update", "colour": "red"}]
