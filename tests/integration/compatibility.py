"""What each server can, asked of real nodes, as the tables of docs/compatibility.md.

    python tests/integration/compatibility.py     starts a node of each version and writes the tables anew

A row of the table of clients is made by a run with that client; rows of other clients stay as they are.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import elasticsearch
import numpy as np

from engine import elasticsearch_node
from engine.versions import RELEASES
from triptych.elastic.client import Client, Server, connect, server, translated
from triptych.elastic.engine import pack, unpack
from triptych.errors import ElasticsearchError
from triptych.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
DIMS = 64
FEATURES, CLIENTS = "features", "clients"
"""The tables' names in the page: each stands between two comments."""

NEAR, FAR = np.eye(DIMS, dtype=np.float32)[:2]


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a server can or cannot: what for, and how to see it. `needed`: every supported server can."""

    what: str
    used_for: str
    works: Callable[[Client, str], bool]
    needed: bool = True


def _mappings(index_type: str, **more: Any) -> dict[str, Any]:
    vector = {"type": "dense_vector", "dims": DIMS, "similarity": "cosine", "index_options": {"type": index_type}}
    nested = {"type": "nested", "properties": {"vector": vector}}
    properties = {"key": {"type": "keyword"}, "title": {"type": "text"}, "vector": vector, "parts": nested}
    return {"properties": {**properties, **more}}


@contextmanager
def _index(client: Client, name: str, index_type: str = "int8_hnsw", **more: Any) -> Iterator[str]:
    """An index with two products, of which one has parts."""
    with translated():
        client.indices.create(index=name, mappings=_mappings(index_type), **more)
    try:
        near, far = NEAR.tolist(), FAR.tolist()
        with translated():
            client.index(index=name, id="a", document={"key": "a", "title": "red hat", "vector": near})
            parts = [{"vector": near}, {"vector": far}]
            client.index(index=name, id="b", document={"key": "b", "title": "hat", "vector": far, "parts": parts}, refresh=True)
        yield name
    finally:
        client.indices.delete(index=name)


def _found(client: Client, index: str, **body: Any) -> list[str]:
    with translated():
        return [hit["_id"] for hit in client.search(index=index, **body)["hits"]["hits"]]


def _knn(**more: Any) -> dict[str, Any]:
    return {"field": "vector", "query_vector": FAR.tolist(), "k": 1, "num_candidates": 10, **more}


def _filtered(client: Client, name: str) -> bool:
    with _index(client, name) as index:
        return _found(client, index, knn=_knn(filter={"term": {"key": "a"}})) == ["a"]


def _in_bool(client: Client, name: str) -> bool:
    query = {"bool": {"should": [{"match": {"title": "red"}}, {"knn": _knn(boost=2.0)}]}}
    with _index(client, name) as index:
        return sorted(_found(client, index, query=query)) == ["a", "b"]


def _nested(client: Client, name: str) -> bool:
    inner = {"field": "parts.vector", "query_vector": FAR.tolist(), "k": 1, "num_candidates": 10, "inner_hits": {"size": 1}}
    with _index(client, name) as index, translated():
        hits = client.search(index=index, knn=inner)["hits"]["hits"]
        best = [one["_nested"]["offset"] for one in hits[0]["inner_hits"]["parts"]["hits"]["hits"]]
        return [hit["_id"] for hit in hits] == ["b"] and best == [1]


def _rescored(client: Client, name: str) -> bool:
    with _index(client, name) as index:
        return _found(client, index, knn=_knn(rescore_vector={"oversample": 2.0})) == ["b"]


def _indexed(index_type: str) -> Callable[[Client, str], bool]:
    def works(client: Client, name: str) -> bool:
        with _index(client, name, index_type) as index:
            return _found(client, index, knn=_knn()) == ["b"]

    return works


def _moment(client: Client, name: str) -> bool:
    """A point in time of an alias: what is written later is not seen, what the alias leaves out neither."""
    with _index(client, name, aliases={f"{name}-some": {"filter": {"term": {"key": "a"}}}}) as index, translated():
        pit = client.open_point_in_time(index=f"{name}-some", keep_alive="1m")["id"]
        client.index(index=index, id="c", document={"key": "a"}, refresh=True)
        found = client.search(pit={"id": pit, "keep_alive": "1m"})["hits"]["hits"]
        client.close_point_in_time(id=pit)
        return [hit["_id"] for hit in found] == ["a"]


def _base64(client: Client, name: str) -> bool:
    packed = pack(FAR, Server("9.3.0", "", ""))
    with _index(client, name) as index, translated():
        client.index(index=index, id="c", document={"key": "c", "vector": packed}, refresh=True)
        return sorted(_found(client, index, knn={**_knn(k=2), "query_vector": packed})) == ["b", "c"]


def _hidden(client: Client, name: str) -> bool:
    """Vectors are in `_source` only where they are asked for."""
    with _index(client, name) as index, translated():
        plain = client.get(index=index, id="a")["_source"]
        asked = client.search(index=index, query={"ids": {"values": ["a"]}}, source={"exclude_vectors": False})
        vector = unpack(asked["hits"]["hits"][0]["_source"]["vector"])
        return "vector" not in plain and bool(np.allclose(vector, NEAR, atol=1e-6))


def _updated(client: Client, name: str) -> bool:
    with _index(client, name) as index, translated():
        client.update(index=index, id="b", doc={"title": "coat"}, refresh=True)
        return _found(client, index, knn=_knn()) == ["b"]


def _synthetic(client: Client, name: str) -> bool:
    with _index(client, name, settings={"index.mapping.source.mode": "synthetic"}) as index:
        return _found(client, index, knn=_knn()) == ["b"]


ALL: Sequence[Feature] = (
    Feature("a filter inside of kNN", "filters, tenants, exact scores of chosen products", _filtered),
    Feature("kNN clauses in a bool", "`fusion: native`, in one request", _in_bool),
    Feature("nested kNN with inner hits", "several pictures of a product (`several: best`)", _nested),
    Feature("vectors as `int8_hnsw`", "the profiles that come with Triptych", _indexed("int8_hnsw")),
    Feature("kNN scored again by whole vectors", "true scores of shortened vectors", _rescored),
    Feature("vectors as `bbq_hnsw`", "profiles that say so; `dims` of 64 or more", _indexed("bbq_hnsw")),
    Feature("vectors as `bbq_flat`", "profiles that say so; `dims` of 64 or more", _indexed("bbq_flat")),
    Feature("points in time, of filtered aliases too", "`deep`, `certify`", _moment),
    Feature("partial updates that keep vectors", "attached indices, changed fields", _updated),
    Feature("vectors beside a synthetic `_source`", "attached indices", _synthetic),
    Feature("vectors in base64", "less to send and parse; lists of numbers elsewhere", _base64, needed=False),
    Feature("vectors left out of `_source` unless asked for", "asked for where they are read back", _hidden, needed=False),
)


def can(client: Client, feature: Feature) -> bool:
    """Whether the server can do it. Raises what is not the server's refusal."""
    try:
        return feature.works(client, f"compatible-{uuid.uuid4().hex[:8]}")
    except ElasticsearchError as error:
        if error.code != "elasticsearch.bad_request":
            raise
        return False


def meets(client: Client) -> str:
    """How the installed Python client gets on with a server: `yes`, or the code of the error."""
    try:
        server(client)
    except ElasticsearchError as error:
        return f"`{error.code}`"
    return "yes"


def client_name() -> str:
    return f"elasticsearch {'.'.join(map(str, elasticsearch.__version__[:2]))}"


def features_table(found: Mapping[str, Mapping[str, bool]]) -> str:
    """`found`: version -> what -> whether."""
    rows = [["feature", "used for", *found]]
    rows += [[one.what, one.used_for, *("yes" if some[one.what] else "no" for some in found.values())] for one in ALL]
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def table_in(page: str, name: str) -> str:
    """The table of that name in the page."""
    match = _between(name).search(page)
    if match is None:
        raise ValueError(f"the page has no table {name!r}")
    return match[2].strip()


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def _put(page: str, name: str, table: str) -> str:
    return _between(name).sub(lambda match: f"{match[1]}{table}\n{match[3]}", page)


def clients_table(old: str, found: Mapping[str, str]) -> str:
    """The table with the row of the installed client made anew. `found`: version -> how they get on."""
    kept = [line for line in old.splitlines()[2:] if not line.startswith(f"| {client_name()} |")]
    head = _table([["Python client", *found]])
    return "\n".join([head, *sorted([*kept, f"| {' | '.join([client_name(), *found.values()])} |"])])


def main() -> None:
    """Start each version, ask it, and write the page."""
    features: dict[str, dict[str, bool]] = {}
    clients: dict[str, str] = {}
    for version in sorted(RELEASES, key=lambda text: tuple(map(int, text.split(".")))):
        with elasticsearch_node(Settings(), version=version) as node, connect(Settings(elasticsearch_url=node.url)) as client:
            clients[version] = meets(client)
            if clients[version] == "yes":
                features[version] = {one.what: can(client, one) for one in ALL}
    page = PAGE.read_text(encoding="utf-8")
    if len(features) == len(clients):  # a client that a server refuses cannot ask it
        page = _put(page, FEATURES, features_table(features))
    PAGE.write_text(_put(page, CLIENTS, clients_table(table_in(page, CLIENTS), clients)), encoding="utf-8")


if __name__ == "__main__":
    main()
