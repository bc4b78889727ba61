"""The engine with real nodes: what a user of `engine` and of `triptych up` relies on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import redis
from elasticsearch import AuthenticationException, Elasticsearch
from together import Reached

from engine import ElasticsearchNode, Jvm, elasticsearch_cluster, elasticsearch_node, guard, redis_server
from triptych.errors import EngineError
from triptych.settings import Settings

pytestmark = pytest.mark.integration

TRIPTYCH = (sys.executable, "-c", "from triptych.cli import main; main()")


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The real ones: the server's files are fetched once per machine."""
    return Settings()


@pytest.fixture(scope="module")
def newest(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticsearchNode]:
    with elasticsearch_node(settings, data_dir=tmp_path_factory.mktemp("newest")) as node:
        yield node


@pytest.fixture(params=["newest", "oldest_node"])
def node(request: pytest.FixtureRequest) -> ElasticsearchNode | Reached:
    """Each version in turn; from the second test on both run at once."""
    found: ElasticsearchNode | Reached = request.getfixturevalue(request.param)
    return found


def client(node: ElasticsearchNode | Reached, **options: Any) -> closing[Elasticsearch]:
    return closing(Elasticsearch(node.url, request_timeout=60, **options))


def test_get_root_names_the_version(node: ElasticsearchNode | Reached) -> None:
    with client(node) as es:
        assert es.ping()
        assert es.info()["version"]["number"] == node.version
        assert es.license.get()["license"]["type"] == "basic"
    assert node.version in ("9.5.3", "8.19.21")


def test_vectors_are_scored_natively_where_there_is_a_library(node: ElasticsearchNode | Reached) -> None:
    if sys.platform == "darwin" and os.uname().machine == "x86_64":
        pytest.skip("Elastic ships no vector library for Intel Macs")
    assert node.native_vectors


@pytest.mark.parametrize(
    ("analyzer", "text", "tokens"),
    [
        ("english", "The quick foxes were jumping over lazy dogs'", ["quick", "fox", "were", "jump", "over", "lazi", "dog"]),
        ("cjk", "東京都の天気 shoes", ["東京", "京都", "都の", "の天", "天気", "shoes"]),
        ("smartcn", "我是中国人，喜欢红色的鞋子。", ["我", "是", "中国", "人", "喜欢", "红色", "的", "鞋子"]),
        ("french", "Les chaussures rouges de l'été", ["chausur", "roug", "été"]),
        ("german", "Die schönen Häuser", ["schon", "haus"]),
        ("pattern", "Red-Shoes, size 42", ["red", "shoes", "size", "42"]),
    ],
)
def test_analyzers_go_by_elasticsearchs_names(
    node: ElasticsearchNode | Reached, analyzer: str, text: str, tokens: list[str]
) -> None:
    with client(node) as es:
        found = es.indices.analyze(analyzer=analyzer, text=text)["tokens"]
    assert [token["token"] for token in found] == tokens


def test_an_index_with_its_own_analysis_and_vectors(node: ElasticsearchNode | Reached) -> None:
    analysis = {
        "filter": {
            "codes": {"type": "pattern_capture", "preserve_original": True, "patterns": ["([a-z]+)", "([0-9]+)"]},
            "own": {"type": "stemmer_override", "rules": ["shoes => shoe"]},
            "kept": {"type": "keep", "keep_words": ["shoe", "ab12", "ab", "12"]},
        },
        "analyzer": {
            "mine": {"type": "custom", "tokenizer": "whitespace", "filter": ["lowercase", "codes", "own", "kept", "unique"]}
        },
    }
    vector = {"type": "dense_vector", "dims": 64, "index": True, "similarity": "cosine"}
    with client(node) as es:
        es.indices.create(
            index="analysed",
            settings={"analysis": analysis, "number_of_replicas": 0},
            mappings={"properties": {"title": {"type": "text", "analyzer": "mine"}, "v": vector}},
        )
        shown = es.indices.analyze(index="analysed", analyzer="mine", text="Shoes AB12 and AB12")["tokens"]
        assert [token["token"] for token in shown] == ["shoe", "ab12", "ab", "12"]
        for number in range(20):
            es.index(index="analysed", id=str(number), document={"title": "shoes", "v": [1.0] * 32 + [float(number)] * 32})
        es.indices.refresh(index="analysed")
        nearest = es.search(index="analysed", knn={"field": "v", "query_vector": [1.0] * 64, "k": 1, "num_candidates": 20})
        assert nearest["hits"]["hits"][0]["_id"] == "1"
        es.indices.delete(index="analysed")


def test_documents_survive_a_crash(newest: ElasticsearchNode) -> None:
    url, crashed = newest.url, newest.pid
    with client(newest) as es:
        es.index(index="kept", id="1", document={"title": "red shoes"})
        newest.kill()
        assert not newest.running
        newest.restart()
        assert (newest.url, newest.running) == (url, True)
        assert newest.pid != crashed
        assert es.get(index="kept", id="1")["_source"] == {"title": "red shoes"}
        assert es.count(index="kept")["count"] == 1


def test_security_asks_for_the_password(settings: Settings, newest: ElasticsearchNode) -> None:
    with elasticsearch_node(settings, security=True) as node:
        assert node.user
        assert node.password
        assert newest.running  # two nodes of one version share a home
        with client(node) as anonymous, pytest.raises(AuthenticationException):
            anonymous.info()
        with client(node, basic_auth=(node.user, "wrong")) as wrong, pytest.raises(AuthenticationException):
            wrong.info()
        with client(node, basic_auth=(node.user, node.password)) as es:
            assert es.security.authenticate()["roles"] == ["superuser"]
            key = es.security.create_api_key(name="indexer")["encoded"]
        with client(node, api_key=key) as es:
            assert es.cluster.health()["status"] == "green"
            assert es.security.authenticate()["authentication_type"] == "api_key"
        commands = Path(f"/proc/{node.pid}/cmdline")
        assert not commands.exists() or node.password.encode() not in commands.read_bytes()


def test_a_cluster_lives_on_without_one_node(settings: Settings) -> None:
    with elasticsearch_cluster(settings, jvm=Jvm("256m")) as nodes:
        urls = [node.url for node in nodes]
        with closing(Elasticsearch(urls, request_timeout=60, retry_on_timeout=True)) as es, client(nodes[1]) as other:
            es.indices.create(index="spread", settings={"number_of_shards": 2, "number_of_replicas": 1})
            es.index(index="spread", id="1", document={"n": 1}, refresh=True)
            assert es.cluster.health(wait_for_status="green", timeout="60s")["number_of_nodes"] == 3
            nodes[0].kill()
            assert es.count(index="spread")["count"] == 1
            assert other.cluster.health(wait_for_nodes="2", timeout="60s")["number_of_nodes"] == 2


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=f"Port {port}") as caught, elasticsearch_node(settings, port=port):
            pytest.fail("started on a taken port")
        assert caught.value.code == "engine.port_taken"
        with pytest.raises(EngineError, match=f"Port {port}") as caught, redis_server(settings, port=port):
            pytest.fail("started on a taken port")
        assert caught.value.code == "engine.port_taken"


def test_a_node_that_refuses_to_start_says_why(settings: Settings) -> None:
    wrong = {"index.number_of_shards": "3"}
    with pytest.raises(EngineError, match="index level settings") as caught, elasticsearch_node(settings, extra=wrong):
        pytest.fail("started with a wrong setting")
    assert caught.value.code == "engine.node_exited"


def test_redis_answers_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    with redis_server(settings, data_dir=tmp_path, durable=True) as server:
        with closing(redis.Redis.from_url(server.url)) as queue:
            assert queue.ping()
            queue.set("job", "7")
            assert queue.wait(0, 0) == 0
            time.sleep(1.2)  # appendfsync everysec
        server.kill()
        assert not server.running
        server.restart()
        with closing(redis.Redis.from_url(server.url)) as queue:
            assert queue.get("job") == b"7"
            assert queue.info("server")["process_id"] == server.pid


def test_killing_the_parent_leaves_no_orphan(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from engine import elasticsearch_node, redis_server
from triptych.settings import load
folder = Path({str(tmp_path)!r})
redis, node = redis_server(load(), data_dir=folder / "r"), elasticsearch_node(load(), version="8.19.21", data_dir=folder / "e")
with redis as queue, node as node:
    for server in (queue, node):
        print(server.pid, server.child.birth, flush=True)
    time.sleep(120)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        children = [parent.stdout.readline().strip().split(" ", 1) for _ in range(2)]
        assert all(guard.is_ours(int(pid), born) for pid, born in children)
        parent.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(guard.is_ours(int(pid), born) for pid, born in children):
        time.sleep(0.1)
    assert not [pid for pid, born in children if guard.is_ours(int(pid), born)]


class Machine:
    """A user's machine: an empty data folder, but with the files that were fetched already, and `triptych` run in it."""

    def __init__(self, data_dir: Path, fetched: Path) -> None:
        self.data_dir = data_dir
        self.state_file = data_dir / "engine" / "state.json"
        (data_dir / "engine").mkdir(parents=True)
        for name in ("artifacts", "homes"):
            (data_dir / "engine" / name).symlink_to(fetched / name)

    def run(self, *words: str, code: int = 0) -> str:
        environment = {**os.environ, "TRIPTYCH_DATA_DIR": str(self.data_dir)}
        done = subprocess.run([*TRIPTYCH, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr


def request(url: str, method: str, path: str, body: str | None = None) -> Any:
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())


def test_up_and_down(settings: Settings, newest: ElasticsearchNode, tmp_path: Path) -> None:
    assert newest.version  # the files are there
    machine = Machine(tmp_path / "data", settings.engine_dir)
    try:
        first = json.loads(machine.run("up", "--json"))
        assert first["started"] == ["elasticsearch", "redis"]
        here = Settings(data_dir=machine.data_dir)
        assert (here.elasticsearch_address, here.redis_address) == (first["elasticsearch_url"], first["redis_url"])
        assert request(here.elasticsearch_address, "PUT", "/shop/_doc/1", '{"n": 1}')["result"] == "created"
        with closing(redis.Redis.from_url(here.redis_address)) as queue:
            assert queue.ping()

        written = machine.state_file.read_text()
        shown = machine.run("up", "--export").splitlines()
        assert f"export TRIPTYCH_ELASTICSEARCH_URL={first['elasticsearch_url']}" in shown
        assert f"export TRIPTYCH_REDIS_URL={first['redis_url']}" in shown
        assert machine.state_file.read_text() == written  # the second `up` started nothing

        assert {entry["pid"] for entry in json.loads(machine.run("down", "--json"))["stopped"]} == {
            entry["pid"] for entry in first["services"]
        }
        assert not machine.state_file.exists()
        assert not any(guard.is_ours(entry["pid"], entry["birth"]) for entry in first["services"])

        port = int(first["elasticsearch_url"].rpartition(":")[2])
        second = json.loads(machine.run("up", "--only", "elasticsearch", "--port", str(port), "--json"))
        assert second["elasticsearch_url"] == first["elasticsearch_url"]
        assert "redis_url" not in second
        assert request(second["elasticsearch_url"], "GET", "/shop/_doc/1")["_source"] == {"n": 1}
    finally:
        ended = machine.run("down")
    assert "Stopped elasticsearch 9.5.3" in ended
