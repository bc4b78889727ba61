"""Indexing as an operator sees it: every kind of bad record, second runs, changes, errors before anything is entered."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import spaces_here

from triptych.elastic.lifecycle import current_version, read_schema
from triptych.jobs.store import JobStore
from triptych.services import Services

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("worker")]

MOST = 4000
"""TRIPTYCH_RECORD_BYTES of the catalogue with bad records."""

PICTURE, OTHER_PICTURE, SOUND = "images/demo-001-1.jpg", "images/demo-003-1.jpg", "audio/demo-001.ogg"
COUNTERS = ("written", "unchanged", "partial", "dead")


def add(command: Any, index: str, path: Path, *, code: int = 0, **changes: str) -> dict[str, Any]:
    """Run `index add --follow --json`, which must end with `code`, and give the job."""
    done = command("index", "add", index, str(path), "--follow", "--json", check=False, **changes)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return dict(json.loads(done.stdout))


def counters(job: dict[str, Any]) -> dict[str, int]:
    return {name: job[name] for name in COUNTERS}


def versions(services: Services, index: str) -> dict[str, tuple[int, int]]:
    """(_version, _seq_no) of every document of a small index, by id."""
    services.elasticsearch.indices.refresh(index=index)
    hits = services.elasticsearch.search(index=index, size=1000, version=True, seq_no_primary_term=True, source=False)
    return {h["_id"]: (h["_version"], h["_seq_no"]) for h in hits["hits"]["hits"]}


def document(services: Services, index: str, key: str) -> dict[str, Any]:
    return dict(services.elasticsearch.get(index=index, id=key)["_source"])


@pytest.fixture
def refused(command: Any, services: Services) -> Iterator[Callable[..., str]]:
    """`refused(*args)` runs a command that must fail with exit code 1 and one clear error; gives the error's code.

    Afterwards no job may be in the ledger that was not there before.
    """

    def jobs() -> set[str]:
        return {job.id for job in services.jobs.newest(size=1000)}

    before = jobs()

    def run(*args: str, **changes: str) -> str:
        done = command(*args, check=False, **changes)
        assert done.returncode == 1, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        assert any(line.startswith("error: ") for line in lines), done.stderr
        return lines[-1].strip("()")

    yield run
    assert jobs() == before


# A catalogue with every kind of bad record


@dataclass(frozen=True)
class Bad:
    """The catalogue with every kind of bad record after its first run."""

    index: str
    path: Path
    job: dict[str, Any]
    lines: dict[str, int]

    def letters(self, what: str) -> list[dict[str, Any]]:
        return [letter for letter in self.job["letters"] if letter["line"] == self.lines[what]]


def title(words: str) -> dict[str, str]:
    return {"en": words}


RECORDS: dict[str, dict[str, Any] | bytes] = {
    "good": {
        "id": "good",
        "title": title("Brown cello"),
        "price": 10,
        "images": [PICTURE],
        "audio": [SOUND],
        "odd": {"a": [1]},
    },
    "not json": b'{"id": "broken", "title": ',
    "array": b'[1, 2, "three"]',
    "no id": {"title": title("Nobody's hat")},
    "first": {"id": "twice", "title": title("Green teapot")},
    "same batch": {"id": "twice", "title": title("Green teapot again")},
    "price": {"id": "dear", "title": title("Dear lamp"), "price": "abc"},
    "bad picture": {"id": "blurred", "title": title("Purple zither"), "images": ["bad.jpg"], "audio": [SOUND]},
    "missing picture": {"id": "unseen", "title": title("Yellow raincoat"), "images": ["images/none.jpg"]},
    "outside": {"id": "outsider", "title": title("Grey stone"), "images": ["../outside.jpg", PICTURE]},
    "bad sound": {"id": "noisy", "title": title("Silver trumpet"), "images": [PICTURE], "audio": [{"path": "noise.ogg"}]},
    "no text": {"id": "wordless", "images": [PICTURE]},
    "too long": {"id": "long", "title": title("x" * MOST)},
    "not utf-8": b'{"id": "latin", "title": "caf\xe9"}',
    "other batch": {"id": "good", "title": title("Another cello")},
    "last": {"id": "last", "title": title("Wooden spoon")},
}


@pytest.fixture(scope="module")
def bad(command: Any, worker: Any, run_id: str, tmp_path_factory: pytest.TempPathFactory) -> Bad:
    folder = tmp_path_factory.mktemp("bad") / "catalogue"
    shop = Path(__file__).parents[2] / "examples" / "shop"
    for reference in (PICTURE, SOUND):
        (folder / reference).parent.mkdir(parents=True, exist_ok=True)
        (folder / reference).write_bytes((shop / reference).read_bytes())
    (folder.parent / "outside.jpg").write_bytes((shop / PICTURE).read_bytes())
    (folder / "bad.jpg").write_bytes((shop / PICTURE).read_bytes()[:2000])
    (folder / "noise.ogg").write_bytes(bytes((i * 7919) % 251 for i in range(5000)))
    path = folder / "catalogue.jsonl"
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in RECORDS.values()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    index = f"bad-{run_id}"
    command("index", "create", index)
    # batches of 8: "good" and its duplicate lie in different ones
    job = add(command, index, path, code=3, TRIPTYCH_BATCH_SIZE="8", TRIPTYCH_RECORD_BYTES=str(MOST))
    return Bad(index, path, job, {what: number for number, what in enumerate(RECORDS, start=1)})


def test_every_record_ends_in_exactly_one_outcome(bad: Bad, services: Services) -> None:
    assert bad.job["state"] == "completed_with_dead_letters"
    assert bad.job["read"] == len(RECORDS) == sum(counters(bad.job).values())
    assert bad.job["pending"] == 0
    assert counters(bad.job) == {"written": 4, "unchanged": 0, "partial": 4, "dead": 8}
    written = {"good", "twice", "wordless", "last"}
    partial = {"blurred", "unseen", "outsider", "noisy"}
    assert set(versions(services, bad.index)) == written | partial
    assert document(services, bad.index, "twice")["title"] == title("Green teapot"), "the first of two records is taken"
    assert document(services, bad.index, "good")["title"] == title("Brown cello")


@pytest.mark.parametrize(
    ("what", "code", "stage", "product", "file"),
    [
        ("not json", "record.not_json", "parse", None, None),
        ("array", "record.not_an_object", "parse", None, None),
        ("no id", "record.invalid", "parse", None, None),
        ("same batch", "record.duplicate_id", "parse", "twice", None),
        ("other batch", "record.duplicate_id", "parse", "good", None),
        ("price", "elasticsearch.rejected", "write", "dear", None),
        ("bad picture", "media.truncated", "decode", "blurred", "bad.jpg"),
        ("missing picture", "media.not_found", "fetch", "unseen", "images/none.jpg"),
        ("outside", "media.outside_root", "fetch", "outsider", "../outside.jpg"),
        ("bad sound", "media.not_a_sound", "decode", "noisy", "noise.ogg"),
        ("too long", "record.too_long", "read", None, None),
        ("not utf-8", "record.not_utf8", "read", None, None),
    ],
)
def test_dead_letter_names_product_line_file_stage_code_and_reason(
    bad: Bad, command: Any, what: str, code: str, stage: str, product: str | None, file: str | None
) -> None:
    (letter,) = bad.letters(what)
    assert (letter["code"], letter["stage"], letter["product_id"], letter["reference"]) == (code, stage, product, file)
    assert letter["modality"] == (None if file is None else "audio" if file.endswith(".ogg") else "image")
    assert len(letter["message"]) > 15
    assert letter["job"] == bad.job["id"]
    assert letter["index"] == bad.index


def test_dead_letters_are_all_there_and_only_they(bad: Bad, command: Any) -> None:
    shown = command.json("job", "show", bad.job["id"])
    assert len(shown["letters"]) == shown["dead_letters"] == 12
    assert [letter["line"] for letter in shown["letters"]] == sorted(letter["line"] for letter in shown["letters"])
    assert {key: shown[key] for key in (*COUNTERS, "read", "state")} == {
        key: bad.job[key] for key in (*COUNTERS, "read", "state")
    }
    (price,) = bad.letters("price")
    assert "abc" in price["message"], "the reason says which value"
    (missing,) = bad.letters("no id")
    assert missing["message"].startswith("id:"), "the reason says which field"


def test_job_show_is_readable_by_people(bad: Bad, command: Any) -> None:
    text = command("job", "show", bad.job["id"], COLUMNS="200").stdout
    for word in ("completed_with_dead_letters", "blurred", "bad.jpg", "media.truncated", "record.not_json"):
        assert word in text


def test_partial_product_is_found_by_its_words_and_by_its_good_media(
    bad: Bad, services: Services, read_vectors: Callable[..., Any], command: Any
) -> None:
    vectors = read_vectors(bad.index)
    assert set(vectors["blurred"]) >= {"text", "audio"}
    assert not {"image", "image_words"} & set(vectors["blurred"])
    assert {"text", "image", "image_words"} <= set(vectors["outsider"]), "its good picture is embedded"
    assert {"text", "image", "image_words"} <= set(vectors["noisy"])
    assert "audio" not in vectors["noisy"]
    own = document(services, bad.index, "blurred")["triptych"]
    assert (own["outcome"], own["missing"]) == ("partial", ["image"])
    assert own["line"] == bad.lines["bad picture"]
    found = command.json(
        "search", bad.index, "purple zither", "--audio", str(bad.path.parent / SOUND), "--weight", "text.image=0.1"
    )
    best = found["hits"][0]
    assert best["id"] == "blurred"
    assert best["legs"]["audio.audio"]["raw"] == pytest.approx(1.0, abs=1e-3), "it has the very sound that was asked"
    assert best["legs"]["text.image"]["status"] == "no_modality"


def test_product_without_words_is_found_by_its_picture(bad: Bad, command: Any, read_vectors: Callable[..., Any]) -> None:
    assert not {"text", "audio"} & set(read_vectors(bad.index)["wordless"])
    found = command.json("search", bad.index, "--image", str(bad.path.parent / PICTURE))
    best = {hit["id"]: hit["legs"]["image.image"]["raw"] for hit in found["hits"]}
    assert best["wordless"] == pytest.approx(1.0, abs=1e-3)


def test_second_run_of_the_same_catalogue_tries_only_what_was_partial(bad: Bad, services: Services, command: Any) -> None:
    before = versions(services, bad.index)
    job = add(command, bad.index, bad.path, code=3, TRIPTYCH_BATCH_SIZE="8", TRIPTYCH_RECORD_BYTES=str(MOST))
    after = versions(services, bad.index)
    marked = {"good", "twice"}  # the first job has dead letters of them, which may be redriven
    assert {key for key in after if after[key] != before[key]} == {"blurred", "unseen", "outsider", "noisy", *marked}
    assert counters(job) == {"written": 0, "unchanged": 4, "partial": 4, "dead": 8}
    assert job["dead_letters"] == 12


def test_media_that_are_something_else_do_not_touch_their_neighbours(
    index: str, command: Any, catalogue: Callable[..., Path], services: Services
) -> None:
    """A text named .jpg, a picture named .ogg, an empty file, a folder, a URL: each costs its product that medium, no more."""
    references = {
        "text.jpg": "not_a_picture",
        "empty.jpg": "empty",
        "folder.jpg": "not_a_file",
        "http://a/b.jpg": "host_not_allowed",
        "ftp://a/b.jpg": "unsupported_reference",
    }
    records: list[dict[str, Any]] = [{"id": ref, "title": ref, "images": [ref]} for ref in references]
    records += [
        {"id": "sound", "title": "sound", "audio": ["picture.ogg"]},
        {"id": "good", "title": "good", "images": [PICTURE]},
    ]
    path = catalogue(*records)
    (path.parent / "text.jpg").write_text("not a picture", encoding="utf-8")
    (path.parent / "empty.jpg").touch()
    (path.parent / "folder.jpg").mkdir()
    (path.parent / "picture.ogg").write_bytes((path.parent / PICTURE).read_bytes())
    job = add(command, index, path, code=3)
    assert counters(job) == {"written": 1, "unchanged": 0, "partial": 6, "dead": 0}
    codes = {letter["reference"]: letter["code"].removeprefix("media.") for letter in job["letters"]}
    assert codes == {**references, "picture.ogg": "not_a_sound"}
    assert set(versions(services, index)) == {record["id"] for record in records}


# A small catalogue of good records


@pytest.fixture
def five(shop_products: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Five products of the demo shop with short texts; the first has a picture and a sound, the second a picture."""
    cut = [{**p, "description": {}, "images": [], "audio": []} for p in shop_products[:5]]
    cut[0] |= {"images": [PICTURE], "audio": [SOUND]}
    cut[1] |= {"images": [OTHER_PICTURE]}
    return cut


def test_second_run_touches_no_document(
    index: str, command: Any, services: Services, catalogue: Callable[..., Path], five: list[dict[str, Any]]
) -> None:
    path = catalogue(*five)
    first = add(command, index, path)
    assert counters(first) == {"written": 5, "unchanged": 0, "partial": 0, "dead": 0}
    assert first["state"] == "completed"
    assert first["letters"] == []
    before = versions(services, index)
    assert counters(add(command, index, path)) == {"written": 0, "unchanged": 5, "partial": 0, "dead": 0}
    assert versions(services, index) == before

    five[3]["price"] += 1
    assert counters(add(command, index, catalogue(*five))) == {"written": 1, "unchanged": 4, "partial": 0, "dead": 0}
    after = versions(services, index)
    assert {key for key in after if after[key] != before[key]} == {five[3]["id"]}
    assert document(services, index, five[3]["id"])["price"] == five[3]["price"]


def test_changed_picture_under_the_same_name_is_noticed(
    index: str,
    command: Any,
    catalogue: Callable[..., Path],
    five: list[dict[str, Any]],
    read_vectors: Callable[..., Any],
) -> None:
    path = catalogue(*five)
    add(command, index, path)
    before = read_vectors(index)
    picture = path.parent / PICTURE
    kept = picture.stat()
    picture.write_bytes((path.parent / OTHER_PICTURE).read_bytes())
    os.utime(picture, (kept.st_atime, kept.st_mtime))  # a copy that keeps times must be noticed as well
    job = add(command, index, path)
    assert counters(job) == {"written": 1, "unchanged": 4, "partial": 0, "dead": 0}
    after = read_vectors(index)
    first, second = five[0]["id"], five[1]["id"]
    assert not np.allclose(after[first]["image"], before[first]["image"], atol=1e-3)
    np.testing.assert_allclose(after[first]["image"], after[second]["image"], atol=1e-5)


def test_record_is_stored_as_it_was_given(
    index: str, command: Any, services: Services, catalogue: Callable[..., Path], five: list[dict[str, Any]]
) -> None:
    strange = {**five[1], "loyalty": {"points": [1, 2.5, None], "note": "ящик 箱"}, "tags": ["a", "b"], "flag": True}
    add(command, index, catalogue(strange))
    stored = document(services, index, strange["id"])
    del stored["triptych"]
    assert stored == strange


@pytest.mark.parametrize("field", ["images", "audio"])
def test_reference_may_be_an_object(
    field: str, index: str, command: Any, services: Services, catalogue: Callable[..., Path], read_vectors: Callable[..., Any]
) -> None:
    """As docs/records.md says of every media reference: a path, or an object with `path` and whatever else one likes."""
    references = [{"path": PICTURE if field == "images" else SOUND, "role": "front", "order": 1}]
    job = add(command, index, catalogue({"id": "a", "title": "A", field: references}))
    assert counters(job) == {"written": 1, "unchanged": 0, "partial": 0, "dead": 0}
    assert document(services, index, "a")[field] == references
    assert ("image" if field == "images" else "audio") in read_vectors(index)["a"]


def test_vectors_and_meta_of_the_index(shop: str, services: Services, read_vectors: Callable[..., Any]) -> None:
    vectors = read_vectors(shop)
    dims = {"text": 384, "image": 1280, "image_words": 384, "audio": 1024}
    assert len(vectors) == 131
    for space, size in dims.items():
        mine = np.stack([found[space] for found in vectors.values() if space in found])
        assert mine.shape[1] == size
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1.0, atol=1e-5)
    assert all("text" in found for found in vectors.values())

    mapping = services.elasticsearch.indices.get_mapping(index=shop)
    (body,) = mapping.values()
    meta = body["mappings"]["_meta"]["triptych"]
    assert {space["name"]: space["fingerprint"] for space in meta["spaces"]} == {
        space.name: space.fingerprint for space in spaces_here(services)
    }
    schema = read_schema(services.elasticsearch, current_version(services.elasticsearch, shop))
    named = [leg for leg in schema.legs if not leg.startswith("vector.")]
    assert named == ["lexical", "text.text", "image.image", "text.image", "audio.audio"]
    assert set(schema.levels) == set(schema.legs), "every leg was measured"
    for leg, level in schema.levels.items():
        assert level.sample >= 10
        if leg != "lexical":
            assert 0.4 < level.floor < 1
            assert 0 < level.sigma < 0.2
    assert schema.levels["lexical"].floor == 0
    for leg in ("lexical", "text.text"):
        reliability = schema.levels[leg].reliability
        assert reliability is not None
        assert reliability > 0.8, "titles find their own products"


def test_levels_are_those_of_the_stored_vectors(shop: str, services: Services, read_vectors: Callable[..., Any]) -> None:
    """131 products are fewer than the sample, so floor and sigma can be computed again from all of them."""
    vectors = np.stack([v["audio"] for v in read_vectors(shop).values() if "audio" in v])
    scores = (1 + vectors @ vectors.T) / 2
    others = scores[~np.eye(len(vectors), dtype=bool)]
    level = read_schema(services.elasticsearch, current_version(services.elasticsearch, shop)).levels["audio.audio"]
    assert level.floor == pytest.approx(float(others.mean()), abs=1e-4)
    assert level.sigma == pytest.approx(float(others.std()), abs=1e-4)


def test_index_version_lies_behind_an_alias(index: str, services: Services) -> None:
    version = current_version(services.elasticsearch, index)
    assert version.startswith(f"{index}-20")
    aliases = services.elasticsearch.indices.get_alias(name=index)
    assert dict(aliases) == {version: {"aliases": {index: {"is_write_index": True}}}}


# Errors before anything is entered


def test_creating_an_index_twice_is_refused(index: str, refused: Callable[..., str], services: Services) -> None:
    assert refused("index", "create", index) == "index.exists"
    assert len(services.elasticsearch.indices.get_alias(name=index)) == 1


@pytest.mark.parametrize("name", ["Upper", "a/b", "shop-20261124t081000"])
def test_bad_index_name_is_refused(name: str, refused: Callable[..., str]) -> None:
    assert refused("index", "create", name) == "index.bad_name"


def test_bad_mapping_file_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    name = f"never-{uuid.uuid4().hex[:6]}"
    file = tmp_path / "mapping.json"
    assert refused("index", "create", name, "--mapping", str(file)) == "mapping.unreadable"
    file.write_text("{", encoding="utf-8")
    assert refused("index", "create", name, "--mapping", str(file)) == "mapping.invalid"
    file.write_text('{"mappings": {"properties": {"a": {"type": "no such type"}}}}', encoding="utf-8")
    assert refused("index", "create", name, "--mapping", str(file)).startswith("elasticsearch.")


def test_adding_is_refused_before_anything_is_entered(
    index: str, refused: Callable[..., str], catalogue: Callable[..., Path], services: Services
) -> None:
    path = catalogue({"id": "a", "title": "A"})
    assert refused("index", "add", "no-such-index", str(path)) == "index.not_found"
    assert refused("index", "add", index, str(path.parent / "none.jsonl")) == "catalogue.unreadable"
    assert refused("index", "add", index, str(path.parent)) == "catalogue.unreadable"
    foreign = f"foreign-{uuid.uuid4().hex[:6]}"
    services.elasticsearch.indices.create(index=foreign)
    assert refused("index", "add", foreign, str(path)) == "index.not_triptych"
    assert services.elasticsearch.count(index=index)["count"] == 0


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://127.0.0.1:notaport/0", "http://127.0.0.1:1"])
def test_redis_down_is_a_clear_error(url: str, index: str, refused: Callable[..., str], catalogue: Callable[..., Path]) -> None:
    code = refused("index", "add", index, str(catalogue({"id": "a", "title": "A"})), TRIPTYCH_REDIS_URL=url)
    assert code in ("queue.unavailable", "settings.invalid")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:9200", "nonsense"])
def test_elasticsearch_down_is_a_clear_error(
    url: str, index: str, refused: Callable[..., str], catalogue: Callable[..., Path]
) -> None:
    code = refused("index", "add", index, str(catalogue({"id": "a", "title": "A"})), TRIPTYCH_ELASTICSEARCH_URL=url)
    assert code == ("elasticsearch.unavailable" if url.startswith("http") else "settings.invalid")


def test_mistyped_setting_is_a_clear_error(index: str, refused: Callable[..., str], catalogue: Callable[..., Path]) -> None:
    path = str(catalogue({"id": "a"}))
    assert refused("index", "add", index, path, TRIPTYCH_REDIS_ULR="redis://127.0.0.1:1/0") == "settings.unknown"
    assert refused("index", "add", index, path, TRIPTYCH_BATCH_SIZE="many") == "settings.invalid"


def test_unknown_job_is_a_clear_error(refused: Callable[..., str]) -> None:
    assert refused("job", "show", "20260101t000000-none") == "job.not_found"


def test_errors_are_json_for_machines(command: Any, catalogue: Callable[..., Path]) -> None:
    done = command("index", "add", "no-such-index", str(catalogue({"id": "a"})), "--json", check=False)
    assert done.returncode == 1
    error = json.loads(done.stdout)
    assert error["code"] == "index.not_found"
    assert "triptych index create" in error["remedy"]


def test_empty_catalogue_completes(index: str, command: Any, catalogue: Callable[..., Path]) -> None:
    job = add(command, index, catalogue(b"", b"   "))
    assert (job["state"], job["read"]) == ("completed", 0)


def test_duplicate_ids_are_found_by_workers_side_by_side(
    index: str,
    command: Any,
    services: Services,
    catalogue: Callable[..., Path],
    start_worker: Callable[..., Any],
    wait: Callable[..., None],
) -> None:
    """Two pool processes take the batches at the same moment; still one record per id is taken, the others are dead."""
    half = [{"id": f"p-{number}", "title": f"Product {number}"} for number in range(8)]
    own = {"TRIPTYCH_QUEUE": f"q-{index}", "TRIPTYCH_SYSTEM_PREFIX": f"{index}-", "TRIPTYCH_BATCH_SIZE": "8"}
    entered = command.json("index", "add", index, str(catalogue(*half, *half, *half, *half)), **own)
    with start_worker("--concurrency", "2", **own):
        jobs = JobStore(services.elasticsearch, services.settings.model_copy(update={"system_prefix": f"{index}-"}))
        wait(lambda: jobs.get(entered["id"]).finished_at is not None, "the job's end", seconds=400)
    job = command.json("job", "show", entered["id"], **own)
    assert job["read"] == 32
    assert counters(job) == {"written": 8, "unchanged": 0, "partial": 0, "dead": 24}
    assert services.elasticsearch.count(index=index)["count"] == 8
