"""The HTTP contract against a running `triptych serve`, and the commands `search` and `doctor` beside it."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import spaces_here
from said import check_said

from engine import redis_server
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

SHOP = Path(__file__).parents[2] / "examples" / "shop"
PICTURE, SOUND = SHOP / "images" / "demo-012-1.jpg", SHOP / "audio" / "demo-007.ogg"


@dataclass(frozen=True)
class Answer:
    """An answer of the API; `body` is its decoded JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Api:
    """The API at `url`, spoken to without any client library's help."""

    url: str
    index: str

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(
                method, path, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            headers_back = {name.lower(): value for name, value in answer.getheaders()}
            data = answer.read()
            is_json = headers_back.get("content-type", "").endswith("json")
            return Answer(answer.status, headers_back, json.loads(data) if is_json else data)
        finally:
            connection.close()

    def search(self, **fields: Any) -> Answer:
        body = json.dumps({"index": self.index, **fields}).encode()
        return self.call("POST", "/v1/search", body, Content_Type="application/json")

    def form(self, parts: Mapping[str, bytes | str] | Sequence[tuple[str, bytes | str]], path: str = "/v1/search") -> Answer:
        """A multipart form: text parts as fields, bytes as files."""
        boundary = uuid.uuid4().hex
        lines = []
        for name, value in parts.items() if isinstance(parts, Mapping) else parts:
            file = "" if isinstance(value, str) else f'; filename="{name}.bin"\r\nContent-Type: application/octet-stream'
            data = value.encode() if isinstance(value, str) else value
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            lines.append(head.encode() + data + b"\r\n")
        body = b"".join(lines) + f"--{boundary}--\r\n".encode()
        return self.call("POST", path, body, Content_Type=f"multipart/form-data; boundary={boundary}")


@pytest.fixture
def web(api: str, shop: str) -> Api:
    return Api(api, shop)


def encoded(path: Path) -> dict[str, str]:
    return {"base64": base64.b64encode(path.read_bytes()).decode()}


def ranked(answer: Answer) -> list[tuple[str, Any]]:
    assert answer.status == 200, answer.body
    return [(hit["id"], pytest.approx(hit["score"], abs=1e-5)) for hit in answer.body["hits"]]


def check_problem(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    """The answer is problem+json with this status, code and field."""
    assert (answer.status, answer.body.get("code")) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body["status"] == status
    assert answer.body["type"].endswith(code)
    assert answer.body["title"]
    assert answer.body.get("field") == field, answer.body
    assert "Traceback" not in json.dumps(answer.body)


# Searching


def test_answer_has_the_form_of_the_contract(web: Api, shop_products: list[dict[str, Any]]) -> None:
    answer = web.search(text="red hat", image=encoded(PICTURE), size=4)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.body
    assert set(body) == {
        "query_id",
        "took_ms",
        "total_matched",
        "hits",
        "degraded",
        "reachable",
        "next",
        "index",
        "index_version",
        "offset",
    }
    assert body["reachable"] >= 4
    assert isinstance(body["query_id"], str)
    assert body["took_ms"] > 0
    assert isinstance(body["total_matched"], int)
    assert body["degraded"] == []
    assert len(body["hits"]) == 4
    products = {product["id"]: product for product in shop_products}
    for hit in body["hits"]:
        assert set(hit) == {"id", "score", "product", "legs", "relevance", "variants", "highlight", "boost"}
        assert 0 <= hit["relevance"] <= 1
        assert hit["product"] == products[hit["id"]]
        assert set(hit["legs"]) == {"lexical", "text.text", "text.image", "image.image"}
        for leg in hit["legs"].values():
            assert set(leg) == {
                "raw", "normalised", "weight", "contribution", "completed", "status", "floor", "top", "rank", "matched_media",
            }  # fmt: skip
            assert isinstance(leg["completed"], bool)
        assert sum(leg["contribution"] for leg in hit["legs"].values()) == pytest.approx(hit["score"], abs=1e-6)


def test_explain_says_how_legs_were_used(web: Api) -> None:
    body = web.search(text="red hat", explain=True, window=20).body
    assert set(body) == {
        "query_id",
        "took_ms",
        "total_matched",
        "hits",
        "degraded",
        "reachable",
        "next",
        "explain",
        "index",
        "index_version",
        "offset",
    }
    assert body["explain"]["index"].startswith(web.index + "-20")
    assert (body["explain"]["window"], body["explain"]["fusion"], body["explain"]["failed"]) == (20, "calibrated", {})
    for leg in body["explain"]["legs"].values():
        assert set(leg) == {"weight", "floor", "top", "measured", "reliability", "input"}
        assert leg["input"] == "text"
        assert leg["top"] > leg["floor"]
        assert leg["measured"]


def test_json_and_form_give_the_same_hits(web: Api) -> None:
    more = {"weights": {"image.image": 0.5}, "filters": {"price": {"lte": 500}}, "size": 7, "window": 50}
    as_json = web.search(text="brass", image=encoded(PICTURE), audio=encoded(SOUND), **more)
    query = json.dumps({"index": web.index, "text": "brass", **more})
    media = {"image": PICTURE.read_bytes(), "audio": SOUND.read_bytes()}
    as_form = web.form({"query": query, **media})
    with_file = web.form({"query": query.encode(), **media})  # as `curl -F query=@file` sends it
    assert ranked(as_form) == ranked(as_json)
    assert ranked(with_file) == ranked(as_json)
    assert len(ranked(as_json)) == 7
    mixed = web.form({"query": json.dumps({**json.loads(query), "audio": encoded(SOUND)}), "image": PICTURE.read_bytes()})
    assert ranked(mixed) == ranked(as_json), "one medium in the JSON, the other as a file"


def test_words_of_any_script(web: Api) -> None:
    assert web.search(text="小提琴").body["hits"][0]["id"] == "demo-002"


def test_content_type_with_charset(web: Api) -> None:
    body = json.dumps({"index": web.index, "text": "大提琴"}, ensure_ascii=False).encode()
    answer = web.call("POST", "/v1/search", body, Content_Type="application/json; charset=utf-8")
    assert answer.status == 200


def test_many_at_once_give_what_one_gives(web: Api) -> None:
    queries: list[dict[str, Any]] = [{"text": f"{colour} hat"} for colour in ("red", "blue", "green", "brown")]
    queries += [{"image": encoded(PICTURE)}, {"audio": encoded(SOUND)}, {"text": "violin", "audio": encoded(SOUND)}]
    alone = [ranked(web.search(**query)) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: ranked(web.search(**query)), queries * 2))
    assert together == alone * 2


# Bad input


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"txt": "hat"}, 400, "request.invalid", "txt"),
        ({"text": 5}, 400, "request.invalid", "text"),
        ({"text": "a", "size": "5"}, 400, "request.invalid", "size"),
        ({"text": "a", "explain": "yes"}, 400, "request.invalid", "explain"),
        ({"text": "a", "weights": {"lexical": "much"}}, 400, "request.invalid", "weights.lexical"),
        ({"text": "a", "index": ""}, 400, "request.invalid", "index"),
        ({"image": "AAAA"}, 400, "request.invalid", "image"),
        ({"image": {"base64": "%%%"}}, 400, "request.not_base64", "image.base64"),
        ({"audio": {"base64": "AAA"}}, 400, "request.not_base64", "audio.base64"),
        ({"image": {"base64": ""}}, 400, "request.invalid", "image.base64"),
        ({"image": {"base64": "AAAA", "url": "http://a"}}, 400, "request.invalid", "image.url"),
        ({"text": "a", "index": "no-such-index"}, 404, "index.not_found", "index"),
        ({"text": "a", "filters": {"color": "red"}}, 400, "query.unknown_field", "filters.color"),
        ({"text": "a", "weights": {"image.imgae": 1}}, 400, "query.unknown_leg", "weights.image.imgae"),
        ({"text": "a", "weights": {"lexical": -1}}, 400, "query.bad_weight", "weights"),
        ({"text": "a", "size": 101}, 400, "query.bad_size", "size"),
        ({"text": "a", "size": 11, "window": 10}, 400, "query.bad_size", "size"),
        ({"text": "a", "window": 5000}, 400, "query.bad_window", "window"),
        ({"text": "a", "fusion": "magic"}, 400, "request.invalid", "fusion"),
        ({"text": ""}, 400, "query.empty", "text"),
        ({}, 400, "query.empty", None),
        ({"image": {"base64": "bm90IGEgcGljdHVyZQ=="}}, 400, "media.not_a_picture", "image"),
        ({"audio": {"base64": "bm90IGEgc291bmQ="}}, 400, "media.not_a_sound", "audio"),
    ],
)
def test_bad_body_is_a_problem_with_code_and_field(
    fields: dict[str, Any], status: int, code: str, field: str | None, web: Api
) -> None:
    check_problem(web.search(**fields), status, code, field)


def test_problem_corrects_names(web: Api) -> None:
    assert "'colour'" in web.search(text="a", filters={"color": "red"}).body["remedy"]
    assert "'image.image'" in web.search(text="a", weights={"image.imgae": 1}).body["remedy"]


def test_problem_lists_every_fault(web: Api) -> None:
    answer = web.search(text=5, size="a", colour="red")
    check_problem(answer, 400, "request.invalid", answer.body["field"])
    assert {fault["field"] for fault in answer.body["errors"]} == {"text", "size", "colour"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"{", "request.not_json", "body"),
        (b"", "request.not_json", "body"),
        (b"\xff\xfe", "request.not_json", "body"),
        (b"[]", "request.invalid", "body"),
        (b"null", "request.invalid", "body"),
        (b'{"text": "hat"}', "request.invalid", "index"),
        (b'{"index": "a", "text": "hat", "size": 1e999}', "request.not_json", "body"),
        (b"[" * 100_000, "request.not_json", "body"),
    ],
)
def test_body_that_is_no_query_is_a_problem(body: bytes, code: str, field: str, web: Api) -> None:
    check_problem(web.call("POST", "/v1/search", body, Content_Type="application/json"), 400, code, field)


def test_media_given_twice_is_a_problem(web: Api) -> None:
    query = json.dumps({"index": web.index, "image": encoded(PICTURE)})
    check_problem(web.form({"query": query, "image": PICTURE.read_bytes()}), 400, "request.invalid", "image")


def test_a_form_whose_parts_would_be_left_out_is_a_problem(web: Api) -> None:
    one = ("image", PICTURE.read_bytes())
    query = json.dumps({"index": web.index, "text": "hat"})
    twice = web.form([("query", query), one, one])
    check_problem(twice, 400, "request.invalid", "image")
    assert "more than one part" in twice.body["detail"]
    check_problem(web.form([("query", query), ("query", query)]), 400, "request.invalid", "query")
    for path, body in (
        ("/v1/msearch", {"searches": [{"index": web.index, "text": "hat"}]}),
        ("/v1/reweigh", {"query_id": "x"}),
    ):
        check_problem(web.form([("query", json.dumps(body)), one], path), 400, "request.invalid", "image")


@pytest.mark.parametrize(
    ("parts", "code", "field"),
    [
        ({"image": b"x"}, "request.not_json", "query"),
        ({"query": "not json"}, "request.not_json", "query"),
        ({"query": "{}"}, "request.invalid", "index"),
        ({"query": '{"index": "a", "text": "b"}', "video": b"x"}, "request.invalid", "video"),
    ],
)
def test_bad_form_is_a_problem(parts: dict[str, Any], code: str, field: str, web: Api) -> None:
    check_problem(web.form(parts), 400, code, field)


def test_bad_media_in_a_form_are_a_problem(web: Api) -> None:
    query = json.dumps({"index": web.index, "text": "hat"})
    check_problem(web.form({"query": query, "image": b"junk"}), 400, "media.not_a_picture", "image")
    check_problem(web.form({"query": query, "image": b""}), 400, "media.empty", "image")
    check_problem(web.form({"query": query, "audio": PICTURE.read_bytes()}), 400, "media.not_a_sound", "audio")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_wrong_content_type_is_a_problem(content_type: str, web: Api) -> None:
    answer = web.call("POST", "/v1/search", b'{"index": "a"}', Content_Type=content_type)
    check_problem(answer, 400, "request.content_type", "Content-Type")
    assert "application/json" in answer.body["remedy"]


def test_too_large_bodies_are_refused_unread(web: Api, settings: Settings) -> None:
    """The announced length is enough: nothing of the body needs to be sent."""
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(web.url).netloc, timeout=30)
        connection.putrequest("POST", "/v1/search")
        connection.putheader("Content-Type", content_type)
        connection.putheader("Content-Length", str(10 * settings.media_bytes))
        connection.endheaders()
        answer = connection.getresponse()
        body = json.loads(answer.read())
        check_problem(Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body), 413, "http.too_large")
        connection.close()


def test_too_large_medium_is_refused(web: Api, settings: Settings) -> None:
    query = json.dumps({"index": web.index})
    answer = web.form({"query": query, "image": bytes(settings.media_bytes + 1)})
    check_problem(answer, 413, "media.too_many_bytes", "image")


def test_wrong_method_and_unknown_path_are_problems(web: Api) -> None:
    answer = web.call("GET", "/v1/search")
    check_problem(answer, 405, "http.method_not_allowed")
    assert "POST" in answer.headers["allow"]
    for path in ("/nowhere", "/v1", "/v1/serch", "/v1/products/", "/v2/search"):
        check_problem(web.call("GET", path), 404, "http.not_found")


def test_api_answers_after_all_that(web: Api) -> None:
    assert web.search(text="hat").status == 200


# Products


@pytest.fixture(scope="module")
def odd_ids(services: Services, run_id: str) -> tuple[str, list[str]]:
    """An index with products of odd ids."""
    from indexer import pipeline
    from triptych.elastic.lifecycle import create_version, read_mapping_file, spaces_schema

    name = f"odd-{run_id}"
    mapping = read_mapping_file(Path(__file__).parents[2] / "mappings" / "products.json")
    schema = spaces_schema(spaces_here(services), "0")
    version = create_version(services.elasticsearch, name, mapping, schema)
    ids = [
        "plain",
        "a/b",
        "a/b/",
        "a//b",
        "/a",
        "100%",
        "100%25",
        "ключ 1",
        "商品",
        "a?b#c&d=e",
        "a+b",
        "..",
        "q\"uo'te",
        "x" * 512,
    ]
    records = [{"line": n, "text": json.dumps({"id": key, "title": f"Thing {n}"})} for n, key in enumerate(ids, start=1)]
    result = pipeline.run(records, pipeline.Target(version, schema, SHOP, "job"), services)
    assert result.dead_letters == []
    services.elasticsearch.indices.refresh(index=version)
    return name, ids


def product_path(index: str, key: str) -> str:
    return f"/v1/products/{urllib.parse.quote(key, safe='')}?index={urllib.parse.quote(index)}"


def test_product_by_id(web: Api, shop_products: list[dict[str, Any]]) -> None:
    answer = web.call("GET", product_path(web.index, "demo-002"))
    assert answer.status == 200
    check_said("ProductAnswer", answer.body)
    assert answer.body == {"id": "demo-002", "product": shop_products[1]}


def test_products_of_odd_ids(web: Api, odd_ids: tuple[str, list[str]]) -> None:
    index, ids = odd_ids
    answers = {key: web.call("GET", product_path(index, key)) for key in ids}
    wrong = {key: (a.status, a.body) for key, a in answers.items() if a.status != 200 or a.body["id"] != key}
    assert wrong == {}


def test_odd_ids_are_found_with_their_scores(web: Api, odd_ids: tuple[str, list[str]]) -> None:
    index, ids = odd_ids
    answer = web.search(index=index, text="thing 3", size=20)
    assert {hit["id"] for hit in answer.body["hits"]} == set(ids)


def test_unknown_product_is_a_problem(web: Api) -> None:
    check_problem(web.call("GET", product_path(web.index, "none")), 404, "product.not_found", "id")
    check_problem(web.call("GET", product_path("no-such-index", "demo-001")), 404, "index.not_found", "index")
    check_problem(web.call("GET", "/v1/products/demo-001"), 400, "request.no_index", "index")
    check_problem(web.call("GET", product_path(web.index, "y" * 600)), 404, "product.not_found", "id")


# Health


def test_health(web: Api) -> None:
    assert web.call("GET", "/v1/health/live").body == {"status": "live"}
    ready = web.call("GET", "/v1/health/ready")
    check_said("ReadyAnswer", ready.body)
    assert (ready.status, ready.body["status"]) == (200, "ready")
    assert {name: check["ok"] for name, check in ready.body["services"].items()} == {
        "elasticsearch": True,
        "redis": True,
        "encoders": True,
    }


def test_api_without_services_is_live_but_not_ready(command: Any, tmp_path: Path, wait: Callable[..., None]) -> None:
    """No Elasticsearch, no Redis: the process answers, says what is missing, and a search is a problem, not a crash."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down = {"TRIPTYCH_ELASTICSEARCH_URL": "http://127.0.0.1:1", "TRIPTYCH_REDIS_URL": "redis://127.0.0.1:1/0"}
    process = command.start("serve", "--port", str(port), log=tmp_path / "api.log", **down)
    web = Api(f"http://127.0.0.1:{port}", "shop")

    def live() -> bool:
        try:
            return web.call("GET", "/v1/health/live").status == 200
        except OSError:
            return False

    try:
        wait(live, "the API", alive=process)
        ready = web.call("GET", "/v1/health/ready")
        assert (ready.status, ready.body["status"]) == (503, "not_ready")
        checks = ready.body["services"]
        assert (checks["elasticsearch"]["ok"], checks["elasticsearch"]["code"]) == (False, "elasticsearch.unavailable")
        assert (checks["redis"]["ok"], checks["redis"]["code"]) == (False, "queue.unavailable")
        check_problem(web.search(text="a"), 503, "elasticsearch.unavailable")
    finally:
        process.terminate()
        process.wait(timeout=60)


# The commands


def test_search_command_gives_what_http_gives(web: Api, command: Any) -> None:
    options = ("--image", str(PICTURE), "--audio", str(SOUND), "--weight", "image.image=0.5", "--explain")
    by_command = command.json("search", web.index, "red hat", *options)
    over_http = web.search(
        text="red hat", image=encoded(PICTURE), audio=encoded(SOUND), weights={"image.image": 0.5}, explain=True
    ).body
    assert [hit["id"] for hit in by_command["hits"]] == [hit["id"] for hit in over_http["hits"]]
    assert set(by_command) == set(over_http)
    assert by_command["explain"] == over_http["explain"]
    assert by_command["hits"][0]["legs"]["image.image"]["weight"] == pytest.approx(0.5)


def test_search_command_prints_a_table(web: Api, command: Any) -> None:
    done = command("search", web.index, "student violin", "--filter", "colour=brown", "--explain", COLUMNS="200")
    assert "Student violin" in done.stdout
    assert "学生小提琴" in done.stdout
    assert "demo-002" in done.stdout
    for leg in ("lexical", "text.text", "text.image"):
        assert leg in done.stdout


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("no-such-index", "a"), "index.not_found"),
        (("SHOP", "--image", "/no/such/file.jpg"), "query.unreadable_file"),
        (("SHOP",), "query.empty"),
        (("SHOP", "a", "--weight", "nothing=1"), "query.unknown_leg"),
    ],
)
def test_search_command_says_what_is_wrong(args: tuple[str, ...], code: str, web: Api, command: Any) -> None:
    done = command("search", *(web.index if arg == "SHOP" else arg for arg in args), check=False)
    assert done.returncode == 1
    assert f"({code})" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_all_well(command: Any, worker: Any) -> None:
    checks = command.json("doctor")
    assert all(check["ok"] for check in checks), checks
    assert {check["what"] for check in checks} >= {
        "settings",
        "elasticsearch",
        "redis",
        "workers",
        "encoder text",
        "encoder image",
        "encoder image_words",
        "encoder audio",
    }


def failing(done: Any) -> dict[str, dict[str, Any]]:
    """The checks of a `doctor --json` that are not ok, by name."""
    assert done.returncode == 1, done.stdout
    return {check["what"]: check for check in json.loads(done.stdout) if not check["ok"]}


def test_doctor_names_what_is_missing(command: Any, settings: Settings, tmp_path: Path) -> None:
    with redis_server(settings) as own:  # a queue nobody serves
        wrong = failing(command("doctor", "--json", check=False, TRIPTYCH_REDIS_URL=own.url))
    assert set(wrong) == {"workers"}
    assert "triptych worker" in wrong["workers"]["remedy"]
    down = {"TRIPTYCH_ELASTICSEARCH_URL": "http://127.0.0.1:1", "TRIPTYCH_REDIS_URL": "redis://127.0.0.1:1/0"}
    wrong = failing(command("doctor", "--json", check=False, TRIPTYCH_DATA_DIR=str(tmp_path), **down))
    assert {"elasticsearch", "redis", "workers", "encoder text", "encoder audio"} <= set(wrong)
    assert "triptych encoders prepare" in wrong["encoder text"]["remedy"]
    assert all(check["remedy"] for check in wrong.values())


def test_doctor_does_not_count_workers_of_another_queue(command: Any, worker: Any) -> None:
    """A worker on the same Redis that serves another queue will never take this queue's batches."""
    done = command("doctor", "--json", check=False, TRIPTYCH_QUEUE=f"nobody-{uuid.uuid4().hex[:6]}")
    assert set(failing(done)) == {"workers"}
