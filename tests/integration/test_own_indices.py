"""Indices of our own on a real cluster: templates per language, an index beside its file, snapshots."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from attach_shop import MAPPINGS, SETTINGS, make
from processes import ROOT, SHOP, Command

from indexer import pipeline
from indexer.attach import attaching
from indexer.attach.wanted import Wanted
from search_api import Searcher, SearchRequest
from triptych.domain import Outcome
from triptych.elastic.client import Client
from triptych.elastic.lifecycle import current_version, read_schema
from triptych.elastic.templates import ANALYZERS
from triptych.services import Services

pytestmark = pytest.mark.integration

TEMPLATES = ROOT / "mappings" / "templates"


@pytest.fixture
def name() -> str:
    return f"own-{uuid.uuid4().hex[:8]}"


def fill(services: Services, alias: str, *products: dict[str, Any]) -> str:
    """Index products without a worker; gives the index version."""
    version = current_version(services.elasticsearch, alias)
    records = [{"line": n, "text": json.dumps(product)} for n, product in enumerate(products, start=1)]
    target = pipeline.Target(version, read_schema(services.elasticsearch, version), SHOP, "job")
    assert pipeline.run(records, target, services).outcomes == [Outcome.WRITTEN] * len(products)
    services.elasticsearch.indices.refresh(index=version)
    return version


def tokens(client: Client, index: str, field: str, text: str) -> list[str]:
    return [one["token"] for one in client.indices.analyze(index=index, field=field, text=text)["tokens"]]


# Templates


@pytest.mark.parametrize("language", sorted(ANALYZERS))
def test_each_template_file_can_be_put_on_either_server(
    language: str, services: Services, oldest_services: Services, name: str
) -> None:
    body = json.loads((TEMPLATES / f"products-{language}.json").read_text(encoding="utf-8"))
    body |= {"index_patterns": [f"{name}-*"], "priority": 501}
    for one in (services, oldest_services):
        one.elasticsearch.indices.put_index_template(name=name, **{k: v for k, v in body.items() if k != "_meta"})
        one.elasticsearch.indices.create(index=f"{name}-1")
        one.elasticsearch.index(index=f"{name}-1", id="1", document={"title": {"und": "Red hats"}}, refresh=True)
        kept = one.elasticsearch.indices.get_mapping(index=f"{name}-1")[f"{name}-1"]["mappings"]["properties"]
        assert kept["title"]["properties"]["und"]["analyzer"] == ANALYZERS[language][-1]
        one.elasticsearch.indices.delete(index=f"{name}-1")
        one.elasticsearch.indices.delete_index_template(name=name)


def test_the_printed_template_has_the_servers_best_analyzer_and_its_indices_are_ours(
    command: Command, services: Services, name: str
) -> None:
    """smartcn is in this node; kuromoji and icu are not."""
    made = {language: json.loads(command("index", "template", language, "--name", name).stdout) for language in ("zh", "ja")}
    for language, analyzer in (("zh", "smartcn"), ("ja", "cjk")):
        title = made[language]["template"]["mappings"]["properties"]["title"]["properties"]
        assert title[language]["analyzer"] == analyzer
    client = services.elasticsearch
    client.perform_request(
        "PUT",
        f"/_index_template/{name}",
        body=made["zh"],
        headers={"content-type": "application/json", "accept": "application/json"},
    )
    client.indices.create(index=f"{name}-20260131t030000", aliases={name: {"is_write_index": True}})
    assert read_schema(client, f"{name}-20260131t030000").spaces == services.schema().spaces
    fill(services, name, {"id": "1", "title": {"zh": "喜欢红色的鞋子"}}, {"id": "2", "title": {"zh": "蓝色的帽子"}})
    assert tokens(client, name, "title.zh", "喜欢红色的鞋子") == ["喜欢", "红色", "的", "鞋子"]
    found = Searcher(services).search(SearchRequest(name, text="鞋子"))
    assert found.hits[0].id == "1"
    client.indices.delete(index=f"{name}-*")
    client.indices.delete_index_template(name=name)


def test_a_template_is_a_mapping_too(command: Command, services: Services, name: str) -> None:
    file = str(TEMPLATES / "products-de.json")
    version = command.json("index", "create", name, "--mapping", file)["version"]
    fill(services, name, {"id": "1", "title": "Schöne Häuser"})
    assert tokens(services.elasticsearch, version, "title.und", "Häuser") == ["haus"]
    assert command.json("index", "diff", name, "--mapping", file) == {"index": version, "differences": []}


# An index beside its file


def test_an_index_is_as_its_file_until_somebody_changes_it(command: Command, services: Services, name: str) -> None:
    version = command.json("index", "create", name)["version"]
    fill(
        services,
        name,
        {
            "id": "1",
            "title": {"en": "Hat", "it": "Cappello"},
            "size": 3,
            "new": True,
            "made": "2026-01-31",
            "maker": {"town": "Ulm"},
        },
    )
    same = command("index", "diff", name)
    assert f"{version} is as the file says." in same.stdout
    client = services.elasticsearch
    client.indices.put_mapping(
        index=version, properties={"sku": {"type": "keyword", "ignore_above": 20}, "ean": {"type": "keyword"}}
    )
    client.indices.put_settings(index=version, settings={"index.refresh_interval": "9s"})
    done = command("index", "diff", name, "--json", check=False)
    assert done.returncode == 5
    found = {
        (one["part"], one["path"]): (one["kind"], one["file"], one["index"]) for one in json.loads(done.stdout)["differences"]
    }
    assert found == {
        ("settings", "index.refresh_interval"): ("different", "1s", "9s"),
        ("mapping", "sku: ignore_above"): ("extra", None, 20),
        ("mapping", "ean"): ("extra", None, {"type": "keyword"}),
    }
    table = command("index", "diff", name, check=False)
    assert table.returncode == 5
    assert all(word in table.stdout for word in ("refresh_interval", "ignore_above", "extra"))


def test_an_index_of_other_encoders_differs(command: Command, services: Services, name: str, tmp_path: Path) -> None:
    command("index", "create", name)
    profile = tmp_path / "words.yaml"
    text = (ROOT / "triptych" / "profiles" / "offline.yaml").read_text(encoding="utf-8")
    profile.write_text(text.replace("several: best", "several: mean"), encoding="utf-8")
    done = command("index", "diff", name, "--json", check=False, TRIPTYCH_PROFILE=str(profile))
    assert done.returncode == 5
    paths = {one["path"] for one in json.loads(done.stdout)["differences"]}
    assert {"triptych.spaces.image", "triptych.image_parts"} <= paths


def test_an_attached_index_is_compared_with_its_owners_file(
    command: Command, services: Services, name: str, tmp_path: Path
) -> None:
    make(services.elasticsearch, name, [])
    attaching.attach(services, attaching.planned(services, name, Wanted(("title^2",), root=str(SHOP)), tried=0))
    owners = tmp_path / "owners.json"
    owners.write_text(json.dumps({"settings": dict(SETTINGS), "mappings": dict(MAPPINGS)}), encoding="utf-8")
    assert command.json("index", "diff", name, "--mapping", str(owners)) == {"index": name, "differences": []}
    wrong = command("index", "diff", name, check=False)
    assert wrong.returncode == 2
    assert "--mapping" in wrong.stderr
    attaching.detach(services, name)


# Snapshots


def test_a_snapshot_brings_an_index_back_with_alias_levels_and_vectors(
    services: Services, name: str, command: Command, shop_products: list[dict[str, Any]]
) -> None:
    client = services.elasticsearch
    command("index", "create", name)
    version = fill(services, name, *({**one, "images": one["images"][:1], "audio": []} for one in shop_products[:3]))
    request = SearchRequest(name, text="student violin", size=3)
    before = [(hit.id, hit.score) for hit in Searcher(services).search(request).hits]
    (node,) = client.nodes.info(metric="settings")["nodes"].values()
    place = {"location": str(Path(*node["settings"]["path"]["repo"]) / name)}
    client.snapshot.create_repository(name=name, repository={"type": "fs", "settings": place})
    done = client.snapshot.create(
        repository=name, snapshot="one", indices=f"{name}-*", include_global_state=False, wait_for_completion=True
    )
    assert done["snapshot"]["state"] == "SUCCESS"
    client.indices.delete(index=version)
    restored = client.snapshot.restore(
        repository=name, snapshot="one", indices=f"{name}-*", include_global_state=False, wait_for_completion=True
    )
    assert restored["snapshot"]["shards"]["failed"] == 0
    assert current_version(client, name) == version
    after = [(hit.id, hit.score) for hit in Searcher(services).search(request).hits]
    assert [key for key, _ in after] == [key for key, _ in before]
    assert [score for _, score in after] == pytest.approx([score for _, score in before])
    again = pipeline.run(
        [{"line": 1, "text": json.dumps({**shop_products[0], "images": shop_products[0]["images"][:1], "audio": []})}],
        pipeline.Target(version, read_schema(client, version), SHOP, "after"),
        services,
    )
    assert again.outcomes == [Outcome.UNCHANGED]
    aside = {"rename_pattern": f"{name}-(.+)", "rename_replacement": f"{name}-aside-$1", "include_aliases": False}
    client.snapshot.restore(
        repository=name, snapshot="one", indices=f"{name}-*", include_global_state=False, wait_for_completion=True, **aside
    )
    assert client.count(index=f"{name}-aside-*")["count"] == 3
    assert current_version(client, name) == version, "what is restored aside is not searched"
    client.snapshot.delete(repository=name, snapshot="one")
    client.snapshot.delete_repository(name=name)
    client.indices.delete(index=f"{name}-*")
