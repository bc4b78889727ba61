"""Reading the tasks of the developers' data, and rewriting its catalogues, on a small folder of the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.bench import request
from evaluation.catalogues import Data, inside, rewritten, some, write
from evaluation.runs import Query
from evaluation.task_list import ALL, TASKS, Recipe, Task
from evaluation.tasks import ALL_LEGS, Row, group_table, grouped, table
from indexer import records
from triptych.domain import Product
from triptych.settings import Settings

pytestmark = pytest.mark.unit

RECORD: dict[str, Any] = {
    "id": "frog",
    "source": "somewhere",
    "licence": "GPL-2",
    "title": {"en": "A frog", "zh_CN": "青蛙", "fr": "Une grenouille"},
    "description": {"en": "A green frog.", "sv": "En groda."},
    "category": ["animals"],
    "images": ["tuxpaint:animals/frog.png"],
    "audio": [
        {"path": "tuxpaint:animals/frog.ogg", "role": "effect", "lang": ""},
        {"path": "tuxpaint:animals/frog_desc_fr.ogg", "role": "name", "lang": "fr"},
    ],
}
RECIPE = Recipe("r", "stamps", sounds=("effect", ""))


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """A catalogue of one product and one task, with media in both places."""
    share, root = tmp_path / "share", tmp_path / "data"
    stamps = share / "tuxpaint" / "stamps" / "animals"
    for folder in (stamps, share / "ktuberling" / "sounds", root / "media", root / "catalogues", root / "tasks" / "task"):
        folder.mkdir(parents=True)
    for path in (stamps / "frog.png", stamps / "frog.ogg", stamps / "frog_desc_fr.ogg", root / "media" / "q.jpg"):
        path.write_bytes(path.name.encode())
    (root / "catalogues" / "stamps.jsonl").write_text(
        "".join(json.dumps({**RECORD, "id": name}) + "\n" for name in ("frog", "toad")), encoding="utf-8"
    )
    queries = [
        {"qid": "q1", "image": "media/q.jpg", "exclude": ["toad"], "tags": ["crop"]},
        {"qid": "q2", "audio": "tuxpaint:animals/frog.ogg", "lang": "fr"},
        {"qid": "q3", "text": "frog"},
    ]
    (root / "tasks" / "task" / "queries.dev.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (root / "tasks" / "task" / "qrels.dev.txt").write_text("q1 0 frog 2\nq2 0 frog 1\n", encoding="utf-8")
    return Data(root, share)


def test_queries_are_read_with_their_files(data: Data) -> None:
    image, audio, words = data.queries(Task("task", "", RECIPE))
    assert (image.id, image.image, image.exclude, image.tags) == ("q1", data.root / "media/q.jpg", ("toad",), ("crop",))
    assert (audio.audio, audio.language) == (data.share / "tuxpaint/stamps/animals/frog.ogg", "fr")
    assert (words.text, words.exclude, words.tags) == ("frog", (), ())


def test_judgements_are_read_from_the_folder_of_the_task(data: Data) -> None:
    assert data.judgements(Task("other", "", RECIPE, folder="task")) == {"q1": {"frog": 2}, "q2": {"frog": 1}}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("tuxpaint:no.png", "apt-get install --no-install-recommends tuxpaint-stamps-default"),
        ("ktuberling:fr/no.ogg", "apt-get install --no-install-recommends ktuberling-data"),
        ("media/no.png", "docs/evaluation.md"),
        ("http://media/no.png", "docs/evaluation.md"),
    ],
)
def test_a_missing_medium_is_named_with_its_remedy(data: Data, reference: str, said: str) -> None:
    with pytest.raises(FileNotFoundError, match=said):
        data.place(reference)


def test_a_missing_task_is_named(data: Data) -> None:
    with pytest.raises(FileNotFoundError, match="no_such_task"):
        data.queries(Task("no_such_task", "", RECIPE))


def test_only_the_languages_of_a_recipe_are_indexed() -> None:
    assert rewritten(RECORD, RECIPE)["title"] == {"en": "A frog"}
    assert rewritten(RECORD, RECIPE)["description"] == {"en": "A green frog."}


def test_chinese_gets_the_name_that_the_mapping_has_an_analyser_for() -> None:
    five = Recipe("r", "stamps", languages=("en", "zh_CN", "de"))
    assert rewritten(RECORD, five)["title"] == {"en": "A frog", "zh": "青蛙"}


def test_all_languages_may_be_indexed() -> None:
    assert rewritten(RECORD, Recipe("r", "stamps", languages=ALL))["description"] == RECORD["description"]


@pytest.mark.parametrize(
    ("sounds", "paths"),
    [
        (None, []),
        (("effect", ""), ["tuxpaint:animals/frog.ogg"]),
        (("name", "fr"), ["tuxpaint:animals/frog_desc_fr.ogg"]),
        (("name", "da"), []),
    ],
)
def test_only_the_sounds_of_a_recipe_are_indexed(sounds: tuple[str, str] | None, paths: list[str]) -> None:
    assert [sound["path"] for sound in rewritten(RECORD, Recipe("r", "stamps", sounds=sounds))["audio"]] == paths


def test_what_says_where_a_product_is_from_is_not_indexed() -> None:
    assert set(rewritten(RECORD, RECIPE)) == {"id", "title", "description", "category", "images", "audio"}


def test_the_written_catalogue_is_one_of_ours(data: Data, tmp_path: Path, settings: Settings) -> None:
    path = write(data, RECIPE, tmp_path / "written")
    products = [records.parse(raw) for raw in records.read(path, settings)]
    assert [product.id for product in products if isinstance(product, Product)] == ["frog", "toad"]
    for product in products:
        assert isinstance(product, Product)
        assert [medium.reference for medium in product.media] == ["tuxpaint/animals/frog.png", "tuxpaint/animals/frog.ogg"]
        for medium in product.media:
            assert (path.parent / medium.reference).is_file()
            assert not (path.parent / medium.reference).is_symlink()


def test_only_judged_products_may_be_written(data: Data, tmp_path: Path) -> None:
    path = write(data, Recipe("r", "stamps", judged_by="task"), tmp_path / "written")
    assert [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()] == ["frog"]


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("tuxpaint:a/b.png", "tuxpaint/a/b.png"),
        ("media/x.jpg", "media/x.jpg"),
        ("ktuberling:fr/ab.ogg", "ktuberling/fr/ab.ogg"),
    ],
)
def test_media_lie_in_the_folder(reference: str, path: str) -> None:
    assert inside(reference) == path


def test_a_limit_takes_queries_evenly() -> None:
    queries = [Query(str(number)) for number in range(10)]
    assert [query.id for query in some(queries, 3)] == ["0", "3", "6"]
    assert some(queries, None) == some(queries, 99) == queries


def test_each_language_has_its_own_index_where_a_task_wants_it() -> None:
    task = TASKS["audio_spoken_name"]
    french = task.recipe_for("fr")
    assert (french.languages, french.sounds) == (("en", "fr"), ("name", "fr"))
    assert french.name != task.recipe_for("da").name
    assert TASKS["text_multilingual"].recipe_for("fr").languages == ("en",)


def test_recipes_of_one_name_are_one_recipe() -> None:
    for task in TASKS.values():
        assert {other.recipe for other in TASKS.values() if other.recipe.name == task.recipe.name} == {task.recipe}


def test_a_query_is_asked_as_the_task_says(data: Data) -> None:
    image = data.queries(Task("task", "", RECIPE))[0]
    asked = request("index", Task("task", "", RECIPE, depth=50), image, {"image.image": 1.0})
    assert (asked.index, asked.image, asked.text, asked.size, asked.window) == ("index", b"q.jpg", None, 50, 50)
    assert asked.weights == {"image.image": 1.0}
    assert request("index", TASKS["audio_spoken_name_words"], image).audio_as == "words"


def test_measures_are_grouped_by_language_and_tag() -> None:
    queries = [Query("a", language="fr", tags=("crop",)), Query("b", language="fr"), Query("c", language="da")]
    values = {"a": {"AP": 1.0}, "b": {"AP": 0.0}, "c": {"AP": 0.5}}
    assert grouped(values, queries) == {"fr": {"AP": 0.5}, "crop": {"AP": 1.0}, "da": {"AP": 0.5}}
    assert grouped(values, queries[1:2]) == {}


def test_the_tables_show_every_row() -> None:
    rows = [
        Row("task", "chance", "", 3, {"AP": 0.1}),
        Row("task", "offline", ALL_LEGS, 3, {"AP": 0.5}, {"fr": {"AP": 0.4}, "da": {"AP": 0.6}}),
        Row("task", "offline", "image.image", 3, {"AP": 0.5}),
    ]
    assert table(rows).row_count == 3
    assert group_table(rows).row_count == 2
