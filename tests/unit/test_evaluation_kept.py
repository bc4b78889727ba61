"""What the files of kept leg scores are named after, and that damaged ones are asked again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from judged_toys import LEGS, SCHEMA, a_random

from evaluation.kept import _read, _scored, _write, key_of, meaning_of, request
from evaluation.runs import Query, read_queries
from search_api.session import Session
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import TriptychError
from triptych.schema import Level, Space

pytestmark = pytest.mark.unit

INFO = IndexInfo("shop-1", SCHEMA, {})
SPACE = Space(name="text", encoder="e", fingerprint="one", dims=2)


def _key(query: Query, *, window: int = 100, info: IndexInfo = INFO) -> str:
    return key_of(query, request("shop", query, info, window=window), info.schema)


def test_the_key_is_that_of_what_is_asked_and_of_no_name(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"1")
    copy = tmp_path / "b.png"
    copy.write_bytes(b"1")
    assert _key(Query("q1", text="red", image=picture)) == _key(Query("q2", text="red", image=copy, tags=("head",)))


@pytest.mark.parametrize("change", ["text", "picture", "sound", "as", "window", "encoder", "fields"])
def test_whatever_changes_the_scores_changes_the_key(change: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    query, info, window = Query("q", text="red", image=file, audio=file), replace(INFO), 100
    before = _key(query)
    if change == "text":
        query = replace(query, text="Red")
    elif change in {"picture", "sound"}:
        other = tmp_path / "b"
        other.write_bytes(b"2")
        query = replace(query, **{"image" if change == "picture" else "audio": other})
    elif change == "as":
        query = replace(query, audio_as="both")
    elif change == "window":
        window = 50
    elif change == "encoder":
        info = replace(INFO, schema=SCHEMA.model_copy(update={"spaces": (SPACE,)}))
    else:
        info = replace(INFO, schema=SCHEMA.model_copy(update={"lexical_fields": ("title.de",)}))
    assert _key(query, info=info, window=window) != before


def test_levels_and_weights_are_no_part_of_the_key_and_are_those_of_now() -> None:
    new = SCHEMA.model_copy(update={"levels": {"lexical": Level(floor=1.0, sigma=2.0)}, "weight_sets": {}})
    assert _key(Query("q", text="red")) == _key(Query("q", text="red"), info=replace(INFO, schema=new))
    session = Session("s", "shop", "shop-1", a_random("q", seed=1).candidates, LEGS, {})
    found = _scored(Query("q", text="red"), session, new)
    assert [leg.level for leg in found.legs] == [Level(floor=1.0, sigma=2.0), None, None]
    assert found.words == "red"


def test_what_was_kept_is_read_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    assert _read(path) is None
    session = Session("s", "shop", "shop-1", a_random("q", seed=1).candidates, LEGS, {})
    _write(path, session)
    assert [file.name for file in tmp_path.iterdir()] == ["q.json"]
    found = _read(path)
    assert found is not None
    assert found.candidates.ids == session.candidates.ids
    assert found.candidates.raw == pytest.approx(session.candidates.raw, nan_ok=True)
    path.write_bytes(path.read_bytes()[:-40])
    assert _read(path) is None


def test_a_query_whose_file_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="'q7' cannot be read") as caught:
        request("shop", Query("q7", image=tmp_path / "no.png"), INFO, window=10)
    assert caught.value.code == "evaluation.unreadable_file"


def test_a_query_says_what_its_sound_is(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": "a", "audio": "a.ogg", "audio_as": "words"}\n', encoding="utf-8")
    assert read_queries(path)[0].audio_as == "words"
    path.write_text('{"qid": "a", "audio": "a.ogg", "audio_as": "song"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        read_queries(path)


def test_another_model_of_speech_makes_another_key(tmp_path: Path) -> None:
    sound = tmp_path / "a.ogg"
    sound.write_bytes(b"1")
    query = Query("q", audio=sound, audio_as="words")
    asking = request("shop", query, INFO, window=10)
    assert len({key_of(query, asking, SCHEMA, speech=model) for model in (None, "base", "small")}) == 3


def test_the_meaning_of_an_index_is_its_mapping_and_analysis_without_what_is_measured() -> None:
    index = {
        "mappings": {"_meta": {"triptych": 1}, "properties": {"title": {"type": "text"}}},
        "settings": {"index": {"analysis": {"filter": {"s": {"type": "synonym"}}}, "number_of_replicas": "1"}},
    }
    before = meaning_of(index)
    assert meaning_of({**index, "mappings": {**index["mappings"], "_meta": {"triptych": 2}}}) == before
    assert meaning_of({**index, "mappings": {"properties": {"title": {"type": "keyword"}}}}) != before
    assert meaning_of({**index, "settings": {"index": {}}}) != before


def test_a_score_is_kept_although_another_process_deleted_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "state" / "q.json"
    _write(path, Session("s", "shop", "shop-1", a_random("q", seed=1).candidates, LEGS, {}))
    assert _read(path) is not None
