"""What to judge next, adding a judgement, and importing those of Quepid."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluation import judging
from evaluation.cli import evaluate
from evaluation.judged import read, read_all
from evaluation.metrics import read_qrels
from evaluation.pictures import Pictures
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def test_the_pool_holds_the_best_of_every_ranking_that_nobody_judged() -> None:
    one = {"q": ["a", "b", "c", "d"], "r": ["x"]}
    two = {"q": ["c", "a", "e"], "r": []}
    assert judging.pool([one, two], {"q": {"b": 0}}, 2) == {"q": ["a", "c"], "r": ["x"]}
    assert judging.pool([one, two], {"q": {"a": 2}}, 3)["q"] == ["c", "b", "e"]


def test_a_judgement_is_added_and_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    assert judging.add(path, "q", "a", 2) is None
    assert judging.add(path, "q", "b", 0) is None
    assert judging.add(path, "q", "a", 1) == 2
    assert read_qrels(path) == {"q": {"a": 1, "b": 0}}


def test_no_writer_damages_the_file(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    judging.add(path, "q", "a", 2)
    with pytest.raises(InputError, match="has a blank"):
        judging.write(path, {"q": {"a": 1, "b c": 1}})
    with pytest.raises(InputError, match="has a blank"):
        judging.add_all(path, {"q": {"a": 1}, "r s": {"a": 1}})
    assert read_qrels(path) == {"q": {"a": 2}}


def test_a_row_of_quepid_that_no_file_can_hold_is_left_out_and_told(tmp_path: Path) -> None:
    csv, out = tmp_path / "case.csv", tmp_path / "qrels.txt"
    csv.write_text("query,docid,rating\nred,a b,3\nred,c,2\n", encoding="utf-8")
    result = CliRunner().invoke(evaluate, ["import", str(csv), "--out", str(out)])
    assert "1 rows were left out" in result.output
    assert read_qrels(out) == {"red": {"c": 2}}


def test_ratings_of_another_scale(tmp_path: Path) -> None:
    csv, trec, out = tmp_path / "case.csv", tmp_path / "more.txt", tmp_path / "qrels.txt"
    csv.write_text("query,docid,rating\nred,a,1\nred,b,5.4\nred,c,6\nred,d,10\nred,e,5\nred,e,6\n", encoding="utf-8")
    trec.write_text("blue 0 a 4\nblue 0 b 7\nblue 0 c -1\n", encoding="utf-8")
    for file in (csv, trec):
        assert CliRunner().invoke(evaluate, ["import", str(file), "--out", str(out), "--relevant-from", "6"]).exit_code == 0
    assert read_qrels(out) == {"red": {"a": 0, "b": 0, "c": 1, "d": 5, "e": 1}, "blue": {"a": 0, "b": 2, "c": -1}}


@pytest.mark.parametrize(("column", "value"), [("rating", "2.5"), ("rating", "good"), ("docid", "a b"), ("query_id", "")])
def test_a_list_is_looked_at_before_any_of_it_is_written(tmp_path: Path, column: str, value: str) -> None:
    todo, out = tmp_path / "todo.csv", tmp_path / "qrels.txt"
    rows = judging.pool_rows({"q": ["a", "b"]}, {}, {})
    rows[0]["rating"] = "2.0"
    rows[1] = {**rows[1], "rating": "1", column: value}
    judging.write_pool(todo, rows)
    result = CliRunner().invoke(evaluate, ["judge", str(out), "--pool", str(todo)])
    assert isinstance(result.exception, InputError)
    assert result.exception.code == "evaluation.bad_judgements"
    assert not out.exists()
    rows[1] = {**rows[0], "docid": "b", "rating": "s"}
    judging.write_pool(todo, rows)
    assert CliRunner().invoke(evaluate, ["judge", str(out), "--pool", str(todo)]).exit_code == 0
    assert read_qrels(out) == {"q": {"a": 2}}


def test_a_long_list_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo, out = tmp_path / "todo.csv", tmp_path / "qrels.txt"
    rows = judging.pool_rows({"q": [f"p{n}" for n in range(50)]}, {}, {})
    judging.write_pool(todo, [{**row, "rating": "1"} for row in rows])
    written = []
    really = judging.write
    monkeypatch.setattr(judging, "write", lambda path, grades: (written.append(path), really(path, grades)))
    assert CliRunner().invoke(evaluate, ["judge", str(out), "--pool", str(todo)]).exit_code == 0
    assert written == [out]
    assert len(read_qrels(out)["q"]) == 50


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"qid": 12, "text": "x"}', "qid"),
        ('{"qid": "a b", "text": "x"}', "qid"),
        ('{"text": "x"}', "qid"),
        ('{"qid": "a"}', "no text, image or audio"),
        ('{"qid": "a", "text": " "}', "no text, image or audio"),
        ('{"qid": "a", "text": 5}', "text"),
        ('{"qid": "a", "text": "x", "tags": "head"}', "tags"),
        ('{"qid": "a", "text": "x", "exclude": "p123"}', "exclude"),
        ('{"qid": "a", "text": "x", "exclude": [1]}', "exclude"),
        ('{"qid": "a", "image": 1}', "image"),
        ('["a"]', "valid dictionary|object"),
        ("{", "JSON"),
        ('{"qid": "first", "text": "x"}', "is in line 1 already"),
    ],
)
def test_a_line_that_is_no_query_is_named(tmp_path: Path, line: str, word: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": "first", "text": "x", "note": "my own", "lang": null}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"line 3.*({word})") as caught:
        read_all(path)
    assert caught.value.code == "evaluation.bad_queries"


def test_what_is_no_query_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": 12, "text": "x"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        judging.write_queries(path, [{"qid": "a", "text": "a"}])


@pytest.mark.parametrize(("query", "product"), [("red shoe", "a"), ("q", ""), ("q", "a\tb")])
def test_an_id_that_the_form_cannot_hold_is_refused(tmp_path: Path, query: str, product: str) -> None:
    with pytest.raises(InputError) as caught:
        judging.add(tmp_path / "qrels.txt", query, product, 1)
    assert caught.value.code == "evaluation.bad_judgements"
    assert not (tmp_path / "qrels.txt").exists()


def test_ratings_of_quepid_become_judgements_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "case.csv"
    rows = ["Query Text,Doc ID,Rating", '"red, shoe",p1,3', '"red, shoe",p1,2', "Red shoe!,p2,0", "blue,p3,", "红鞋,p4,1"]
    path.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    found = judging.read_quepid(path)
    assert found.judgements == {"red-shoe-ca0745": {"p1": 3}, "red-shoe-f22240": {"p2": 0}, "红鞋": {"p4": 1}}
    assert found.queries[0] == {"qid": "red-shoe-ca0745", "text": "red, shoe"}
    assert found.skipped == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a,b\n1,2\n", "no columns"),
        ("", "no columns"),
        ("query,docid,rating\nred,p,good\n", "line 2"),
        ("query,docid,rating\nred,p,nan\n", "line 2"),
        ("query,docid,rating\nred,p,1e999\n", "line 2"),
    ],
)
def test_a_csv_that_is_none_of_quepid_is_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "case.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=word):
        judging.read_quepid(path)


def test_a_list_is_filled_in_and_read_back(tmp_path: Path) -> None:
    """Two rows: one filled in by hand, one asked for on the terminal, then stopped."""
    todo, out = tmp_path / "todo.csv", tmp_path / "qrels.txt"
    rows = judging.pool_rows({"q": ["a", "b", "c"]}, {"q": "red, shoe"}, {"a": 'A "red" shoe'})
    rows[0]["rating"] = "3"
    judging.write_pool(todo, rows)
    assert judging.read_pool(todo)[0]["title"] == 'A "red" shoe'
    result = CliRunner().invoke(evaluate, ["judge", str(out), "--pool", str(todo)], input="9\n1\nq\n")
    assert result.exit_code == 0, result.output
    assert "2 judgements" in result.output
    assert read_qrels(out) == {"q": {"a": 3, "b": 1}}


def test_one_judgement_on_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "qrels.txt"
    for grade, told in (("2", "q a: 2\n"), ("0", "q a: 0, was 2\n")):
        assert CliRunner().invoke(evaluate, ["judge", str(out), "q", "a", grade]).output == told
    assert CliRunner().invoke(evaluate, ["judge", str(out), "q"]).exit_code == 2


def test_an_import_is_put_over_what_is_there(tmp_path: Path) -> None:
    out, csv, trec, queries = (tmp_path / name for name in ("out.txt", "case.csv", "more.txt", "queries.jsonl"))
    csv.write_text("query,docid,rating\nred,a,3\nred,b,1\n", encoding="utf-8")
    trec.write_text("red 0 a 0\n", encoding="utf-8")
    result = CliRunner().invoke(evaluate, ["import", str(csv), "--out", str(out), "--queries-out", str(queries), "--json"])
    assert json.loads(result.output) == {"judgements": 2, "queries": 1, "skipped": 0, "unfit_ids": 0}
    assert json.loads(queries.read_text(encoding="utf-8")) == {"qid": "red", "text": "red"}
    assert CliRunner().invoke(evaluate, ["import", str(trec), "--out", str(out)]).exit_code == 0
    assert read_qrels(out) == {"red": {"a": 0, "b": 1}}


def test_ids_of_words_are_the_same_in_each_import_and_of_one_query_each() -> None:
    assert judging.id_of("red") == "red"
    assert len({judging.id_of(words) for words in ("C++", "C#", "c", "C", "!", "?")}) == 6
    assert judging.id_of("C#") == judging.id_of("C#")


def test_queries_are_put_beside_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"qid": "a", "text": "old", "tags": ["head"]}\n\n{"qid": "b", "text": "b"}\n', encoding="utf-8")
    judging.write_queries(path, [{"qid": "c", "text": "c"}, {"qid": "a", "text": "new"}])
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"qid": "a", "text": "new", "tags": ["head"]}, {"qid": "b", "text": "b"}, {"qid": "c", "text": "c"}]
    path.write_text("[]\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        judging.write_queries(path, [])


def test_a_title_is_no_formula_and_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "todo.csv"
    rows = judging.pool_rows({"-q": ["=a", "'b", "'=c"]}, {"-q": "@SUM(1)"}, {"=a": "=HYPERLINK(1)", "'b": "\t+1"})
    judging.write_pool(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert judging.read_pool(path) == rows


def test_pictures_and_sounds_of_queries_lie_below_their_folder(tmp_path: Path) -> None:
    path = tmp_path / "queries" / "queries.jsonl"
    path.parent.mkdir()
    (tmp_path / "secret.png").write_bytes(b"1")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a\0b"):
        path.write_text(json.dumps({"qid": "a", "image": name}) + "\n", encoding="utf-8")
        with pytest.raises(InputError, match="line 1") as caught:
            read_all(path)
        assert caught.value.code == "evaluation.bad_queries"
    path.write_text('{"qid": "a", "image": "secret.png"}\n', encoding="utf-8")
    assert read_all(path, media=tmp_path)[0].image == (tmp_path / "secret.png").resolve()


def test_what_a_query_excludes_counts_in_no_judgement(tmp_path: Path) -> None:
    qrels, queries = tmp_path / "qrels.txt", tmp_path / "queries.jsonl"
    qrels.write_text("a 0 own 2\na 0 other 1\nb 0 own 1\n", encoding="utf-8")
    queries.write_text("".join(f'{{"qid": "{name}", "text": "x", "exclude": ["own"]}}\n' for name in "ab"), encoding="utf-8")
    found = read(qrels, queries)
    assert found.judgements["a"] == {"other": 1}
    assert ([query.id for query in found.queries], found.unjudged) == (["a"], ("b",))


@pytest.mark.parametrize("images", [None, 7, [None, 7, "a\0b", {"path": None}, {}, "a" * 5000, "../x.png", "no.png"]])
def test_odd_references_to_pictures_are_passed_over(tmp_path: Path, images: object) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "x.png").write_bytes(b"1")
    pictures = Pictures(Services(Settings(data_dir=tmp_path)), tmp_path / "media")
    assert pictures.of_product({"images": images}) is None
