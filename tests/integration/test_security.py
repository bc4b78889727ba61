"""Security on: every way to log in, TLS with a CA of one's own, the least rights of `mappings/roles`, and no secret shown."""

from __future__ import annotations

import io
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attach_shop import make, product_of
from guarded import INDEX, PASSWORD, ROLES, Guarded, asked, guarded_node, refused
from plain_server import certificates
from processes import SHOP, Command, end, free_port, wait_for
from pydantic import SecretStr
from tls_front import tls_front

from indexer.attach import attaching
from indexer.attach.wanted import Wanted
from search_api import Searcher, SearchRequest
from search_api.app import create_app
from triptych.access import KeyStore
from triptych.elastic import artefacts
from triptych.elastic.client import connect, server
from triptych.elastic.events import EventStore, Shown
from triptych.elastic.judgements import Judged, JudgementStore
from triptych.elastic.lifecycle import current_version, describe, mapping_of, switch, write_weight_sets
from triptych.errors import ElasticsearchError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.integration

COUNT = 12


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_node(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def worker_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded") / "worker.log"


@pytest.fixture(scope="module")
def worker(guarded: Guarded, worker_log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process with the rights of the role `worker`, that says all it can."""
    process = guarded.command("worker").start("worker", "--loglevel", "DEBUG", log=worker_log)
    try:
        wait_for(lambda: " ready." in worker_log.read_text(), f"the worker ({worker_log})", alive=process)
        yield process
    finally:
        end(process)


@pytest.fixture(scope="module")
def filled(guarded: Guarded, worker: subprocess.Popen[bytes], shop_products: list[dict[str, Any]]) -> dict[str, Any]:
    """The finished job that filled the index, which an administrator made, an API with the role `jobs` took in, and the worker
    with its role did.
    """
    guarded.command("admin")("index", "create", INDEX)
    api = create_app(guarded.services("jobs")).test_client()
    records = [{**record, "images": [], "audio": []} for record in shop_products[:COUNT]]
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    form = {"job": json.dumps({"index": INDEX}), "catalogue": (io.BytesIO(data), "a.jsonl")}
    answer = api.post("/v1/jobs", data=form, content_type="multipart/form-data")
    assert answer.status_code == 202, answer.get_json()
    place = answer.headers["Location"]
    wait_for(lambda: api.get(place).get_json()["state"].startswith("completed"), "the end of the job", seconds=240)
    return dict(api.get(place).get_json())


# Ways in


def ways(guarded: Guarded) -> dict[str, dict[str, str]]:
    """Secrets of every kind that Elasticsearch takes."""
    made = guarded.root.security.create_service_token(namespace="elastic", service="fleet-server", refresh=True)
    return {
        "basic": {"elasticsearch_user": "triptych-search", "elasticsearch_password": PASSWORD.format(role="search")},
        "key": {"elasticsearch_api_key": guarded.key("search")},
        "bearer": {"elasticsearch_bearer_token": made["token"]["value"]},
    }


def test_each_way_to_log_in_is_taken_and_a_wrong_secret_is_refused_unshown(guarded: Guarded) -> None:
    for kind, secrets in ways(guarded).items():
        with connect(Settings(elasticsearch_url=guarded.node.url, **secrets)) as client:
            assert server(client).version == guarded.node.version, kind
        wrong = {name: value if name.endswith("user") else f"{value[:-4]}AAAA" for name, value in secrets.items()}
        with connect(Settings(elasticsearch_url=guarded.node.url, **wrong)) as client:
            with pytest.raises(ElasticsearchError) as caught:
                server(client)
            assert caught.value.code == "elasticsearch.forbidden", kind
            assert not any(value in str(caught.value) for name, value in wrong.items() if not name.endswith("user")), kind


def test_several_nodes_are_asked_in_turn_and_one_that_is_away_is_passed_over(guarded: Guarded) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    settings = guarded.settings("search").model_copy(update={"elasticsearch_url": SecretStr(f"{away}, {guarded.node.url}")})
    with connect(settings) as client:
        for _ in range(4):
            assert server(client).version == guarded.node.version


def test_sniffing_finds_the_nodes_only_where_it_is_on(guarded: Guarded) -> None:
    port = urlsplit(guarded.node.url).port
    named = SecretStr(f"http://localhost:{port}")
    for sniff, hosts in ((False, {"localhost"}), (True, {"localhost", "127.0.0.1"})):
        settings = guarded.settings("search").model_copy(update={"elasticsearch_url": named, "elasticsearch_sniff": sniff})
        with connect(settings) as client:
            assert server(client).version == guarded.node.version
            assert {node.config.host for node in client.transport.node_pool.all()} == hosts


def test_tls_with_a_ca_and_a_certificate_of_ones_own(guarded: Guarded, tmp_path: Path) -> None:
    certificates(tmp_path)
    files = {"elasticsearch_ca_file": tmp_path / "ca.pem", "elasticsearch_client_certificate": tmp_path / "client.pem"}
    with tls_front(urlsplit(guarded.node.url).port or 0, tmp_path) as url:
        for lacking in (None, *files):
            given = {name: path for name, path in files.items() if name != lacking}
            settings = guarded.settings("search", **given).model_copy(update={"elasticsearch_url": SecretStr(url)})
            with connect(settings) as client:
                if lacking is None:
                    assert server(client).version == guarded.node.version
                    continue
                with pytest.raises(ElasticsearchError) as caught:
                    server(client)
                assert caught.value.code == "elasticsearch.unavailable", lacking


def test_a_key_beside_its_certificate(guarded: Guarded, tmp_path: Path) -> None:
    certificates(tmp_path)
    certificate, _, key = (tmp_path / "client.pem").read_text().partition("-----BEGIN PRIVATE")
    (tmp_path / "alone.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE{key}")
    files = {
        "elasticsearch_ca_file": "ca.pem",
        "elasticsearch_client_certificate": "alone.pem",
        "elasticsearch_client_key": "key.pem",
    }
    with tls_front(urlsplit(guarded.node.url).port or 0, tmp_path) as url:
        settings = guarded.settings("search", **{name: tmp_path / file for name, file in files.items()})
        with connect(settings.model_copy(update={"elasticsearch_url": SecretStr(url)})) as client:
            assert server(client).version == guarded.node.version


# Roles


def test_the_files_are_what_the_roles_are(guarded: Guarded) -> None:
    assert set(ROLES) == {"admin", "events", "jobs", "search", "worker"}
    for role, body in ROLES.items():
        kept = guarded.root.security.get_role(name=f"triptych-{role}")[f"triptych-{role}"]
        assert kept["cluster"] == body["cluster"]
        names = [(sorted(one["names"]), sorted(one["privileges"])) for one in kept["indices"]]
        assert names == [(sorted(one["names"]), sorted(one["privileges"])) for one in body["indices"]]


def test_a_job_runs_whole_with_the_roles_of_jobs_and_worker(guarded: Guarded, filled: dict[str, Any]) -> None:
    assert (filled["state"], filled["read"], filled["written"]) == ("completed", COUNT, COUNT), filled
    info = Searcher(guarded.services("search")).info(INDEX)
    assert info.schema.levels, "the worker keeps the measured levels"


def test_a_searcher_with_the_role_search_searches_and_cannot_write(guarded: Guarded, filled: dict[str, Any]) -> None:
    services = guarded.services("search")
    searcher = Searcher(services)
    request = SearchRequest(INDEX, text="cello", facets={"brand": {}}, highlight=True, deep=True, size=2)
    found = searcher.search(request)
    assert (found.hits[0].id, found.degraded) == ("demo-001", ())
    assert found.facets
    assert searcher.search(SearchRequest(INDEX, page=found.next)).hits
    assert searcher.search(SearchRequest(INDEX, products=("demo-001",))).hits
    assert searcher.search(SearchRequest(INDEX, text="cello", fusion="native")).hits
    assert searcher.product(INDEX, "demo-001")["id"] == "demo-001"
    assert searcher.explain(SearchRequest(INDEX, text="cello"), "demo-002")
    client, version = services.elasticsearch, current_version(services.elasticsearch, INDEX)
    refused(lambda: asked(client, "PUT", f"/{INDEX}/_doc/new", {"id": "new"}))
    refused(lambda: asked(client, "DELETE", f"/{INDEX}/_doc/demo-001"))
    refused(lambda: asked(client, "DELETE", f"/{version}"))
    refused(lambda: write_weight_sets(client, version, {"gifts": {"lexical": 1.0}}))
    assert services.upgrades.all_open() == []
    assert KeyStore(client, services.settings).in_force(seconds=10) == {}
    refused(services.jobs.prepare)
    learned = artefacts.put(guarded.root, services.fitted_index, b"what an encoder learned")
    assert artefacts.get(client, services.fitted_index, learned) == b"what an encoder learned"
    refused(lambda: asked(client, "GET", "/_security/user"))


def test_a_worker_can_neither_delete_nor_create_an_index_of_products(guarded: Guarded, filled: dict[str, Any]) -> None:
    client = guarded.services("worker").elasticsearch
    version = current_version(client, INDEX)
    refused(lambda: asked(client, "DELETE", f"/{version}"))
    refused(lambda: asked(client, "PUT", "/shop-other"))
    refused(lambda: asked(client, "PUT", "/other/_doc/1", {"id": "1"}))
    refused(lambda: asked(client, "POST", "/_aliases", {"actions": [{"remove_index": {"index": version}}]}))
    refused(lambda: asked(client, "PUT", f"/{version}/_settings", {"index": {"blocks.write": True}}))
    assert current_version(guarded.root, INDEX) == version


def test_a_swap_that_was_lost_is_ended_by_an_administrator(guarded: Guarded, filled: dict[str, Any]) -> None:
    """Who may change aliases may delete indices by `remove_index`, so a worker may not (`indexer.upgrade.swapping.settle`)."""
    version, other = current_version(guarded.root, INDEX), "shop-20260131t030000"
    guarded.root.indices.create(index=other)
    refused(lambda: switch(guarded.services("worker").elasticsearch, INDEX, version, other))
    admin = guarded.services("admin").elasticsearch
    switch(admin, INDEX, version, other)
    switch(admin, INDEX, other, version)
    assert current_version(guarded.root, INDEX) == version


def test_an_api_that_keeps_events_writes_nothing_else_and_a_worker_deletes_old_ones(guarded: Guarded) -> None:
    settings = guarded.settings("events")
    client = connect(settings)
    EventStore(client, settings).write([Shown("q", INDEX, ["demo-001"])])
    refused(lambda: asked(client, "GET", f"/{INDEX}/_search"))
    refused(lambda: asked(client, "PUT", "/triptych-jobs/_doc/1", {}))
    guarded.root.indices.create(index="triptych-events-2020.01.01")
    assert EventStore(guarded.services("worker").elasticsearch, settings).expire() == ["triptych-events-2020.01.01"]
    guarded.root.indices.refresh(index="triptych-events-*")
    assert EventStore(guarded.services("search").elasticsearch, settings).search(size=1)["hits"]["hits"]


def test_judgements_are_written_with_the_role_of_jobs_and_read_with_that_of_search(guarded: Guarded) -> None:
    jobs, search = guarded.services("jobs"), guarded.services("search")
    given = Judged({"qid": "cello", "text": "cello"}, {"demo-001": 2})
    JudgementStore(jobs.elasticsearch, jobs.settings).write(INDEX, [given])
    assert JudgementStore(search.elasticsearch, search.settings).read(INDEX) == [given]
    refused(lambda: JudgementStore(search.elasticsearch, search.settings).write(INDEX, [given]))


def test_the_keys_of_the_http_api_are_made_by_an_administrator_alone(guarded: Guarded) -> None:
    for role in ("search", "jobs", "worker", "events"):
        services = guarded.services(role)
        refused(lambda one=services: KeyStore(one.elasticsearch, one.settings).create("mine", ["admin"]))
    admin = guarded.services("admin")
    key, _ = KeyStore(admin.elasticsearch, admin.settings).create("front", ["search"], days=1)
    for role in ("search", "jobs"):
        services = guarded.services(role)
        assert set(KeyStore(services.elasticsearch, services.settings).in_force(seconds=10)) == {key.id}
    refused(lambda: asked(guarded.services("worker").elasticsearch, "GET", "/triptych-api-keys/_search"))


def test_the_jobs_api_cannot_write_products(guarded: Guarded, filled: dict[str, Any]) -> None:
    client = guarded.services("jobs").elasticsearch
    refused(lambda: asked(client, "PUT", f"/{INDEX}/_doc/new", {"id": "new"}))
    refused(lambda: asked(client, "DELETE", f"/{current_version(client, INDEX)}"))
    refused(lambda: asked(client, "DELETE", "/triptych-jobs"))


def test_an_index_of_somebody_elses_is_attached_with_the_rights_of_a_worker_on_it(
    guarded: Guarded, shop_products: list[dict[str, Any]]
) -> None:
    make(guarded.root, "shop-owned", [product_of(record, number) for number, record in enumerate(shop_products[:2])])
    services, wanted = guarded.services("worker"), Wanted(("title^2", "description"), root=str(SHOP))
    attaching.attach(services, attaching.planned(services, "shop-owned", wanted, tried=0))
    seen = describe(guarded.services("search").elasticsearch, "shop-owned").schema
    assert seen.attachment is not None
    seen_round = guarded.command("worker").json("attached", "watch", "shop-owned", "--once", "--sweep")
    assert seen_round["written"] == 2, seen_round
    assert attaching.detach(services, "shop-owned") == 2
    refused(lambda: asked(services.elasticsearch, "DELETE", "/shop-owned"))


def test_tenants_with_an_index_each_are_kept_apart_by_their_roles(guarded: Guarded, filled: dict[str, Any]) -> None:
    other = json.loads(json.dumps(ROLES["search"]).replace('"shop', '"north'))
    key = guarded.root.security.create_api_key(name="north", role_descriptors={"north": other})["encoded"]
    services = Services(guarded.settings("search", elasticsearch_api_key=key))
    assert services.server.version == guarded.node.version
    for index in (INDEX, current_version(guarded.root, INDEX)):
        refused(lambda name=index: Searcher(services).search(SearchRequest(name, text="cello")))


def test_looking_at_an_index_and_printing_templates_need_no_more_than_their_roles(
    guarded: Guarded, filled: dict[str, Any]
) -> None:
    assert guarded.command("search").json("index", "diff", INDEX)["differences"] == []
    made = json.loads(guarded.command("admin")("index", "template", "zh").stdout)
    assert made["index_patterns"] == ["shop-*"]


# Secrets


def test_no_secret_is_logged_shown_or_kept(guarded: Guarded, filled: dict[str, Any], worker_log: Path) -> None:
    secret = PASSWORD.format(role="worker")
    shown = worker_log.read_text()
    assert "elastic_transport" in shown, "the log says little: nothing is shown by this test"
    command = guarded.command("worker")
    doctor = command("doctor", "--json", check=False)
    said = command("-vv", "job", "list", check=False)
    wrong = guarded.command("worker", TRIPTYCH_ELASTICSEARCH_PASSWORD=f"{secret}-not")("doctor", check=False)
    assert wrong.returncode == 1
    mapping = mapping_of(guarded.root, current_version(guarded.root, INDEX))
    kept = guarded.root.search(index="triptych-*", size=1000)["hits"]["hits"]
    assert kept
    for text in (shown, doctor.stdout, doctor.stderr, said.stdout, said.stderr, wrong.stdout, wrong.stderr):
        assert secret not in text
        assert "Basic " not in text
    for value in (mapping, [hit["_source"] for hit in kept]):
        assert secret not in json.dumps(value)
        assert "triptych-worker" not in json.dumps(value)


def test_a_login_in_the_url_is_shown_nowhere(guarded: Guarded) -> None:
    secret = PASSWORD.format(role="worker")
    parts = urlsplit(guarded.node.url)
    with socket.socket() as other:  # a port on which nobody listens
        other.bind(("127.0.0.1", 0))
        away = f"http://triptych-worker:{secret}@127.0.0.1:{other.getsockname()[1]}"
        both = f"{away},http://triptych-worker:{secret}@{parts.hostname}:{parts.port}"
        for url, code in ((both, 0), (away, 1)):
            environment = {"TRIPTYCH_ELASTICSEARCH_URL": url, "TRIPTYCH_REDIS_URL": guarded.redis_url}
            done = Command(environment)("-vv", "job", "list", check=False)
            assert done.returncode == code, done.stderr
            assert secret not in done.stdout + done.stderr
