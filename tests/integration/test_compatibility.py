"""docs/compatibility.md says what the nodes say, and what Triptych takes from a version number is so."""

from __future__ import annotations

import pytest
from compatibility import ALL, CLIENTS, FEATURES, PAGE, can, client_name, clients_table, features_table, meets, table_in

from engine import ElasticsearchNode
from triptych.services import Services

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def found(services: Services, oldest_services: Services) -> dict[str, dict[str, bool]]:
    """What each server can, by its version."""
    return {one.server.version: {f.what: can(one.elasticsearch, f) for f in ALL} for one in (oldest_services, services)}


def test_the_table_of_features_is_what_the_nodes_say(found: dict[str, dict[str, bool]]) -> None:
    assert table_in(PAGE.read_text(encoding="utf-8"), FEATURES) == features_table(found)


def test_what_is_needed_every_server_can(found: dict[str, dict[str, bool]]) -> None:
    lacking = {version: [one.what for one in ALL if one.needed and not some[one.what]] for version, some in found.items()}
    assert lacking == {version: [] for version in found}


def test_what_the_version_number_tells_is_so(
    found: dict[str, dict[str, bool]], services: Services, oldest_services: Services
) -> None:
    told = {one.server.version: (one.server.base64_vectors, one.server.hides_vectors) for one in (services, oldest_services)}
    optional = [one.what for one in ALL if not one.needed]
    assert told == {version: tuple(some[what] for what in optional) for version, some in found.items()}
    assert len(set(told.values())) > 1, "servers that differ in nothing tell nothing"


def test_the_installed_clients_row_is_what_the_nodes_say(services: Services, oldest_services: Services) -> None:
    table = table_in(PAGE.read_text(encoding="utf-8"), CLIENTS)
    assert f"| {client_name()} |" in table
    assert table == clients_table(table, {one.server.version: meets(one.elasticsearch) for one in (oldest_services, services)})


def test_each_version_there_is_stands_in_the_tables(oldest_node: ElasticsearchNode, services: Services) -> None:
    from engine.versions import RELEASES

    assert set(RELEASES) == {oldest_node.version, services.server.version}
