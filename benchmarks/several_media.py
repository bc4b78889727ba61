"""Several media per product: one mean vector, or one nested document per medium; index time, latency, recall, exactness.

    python benchmarks/several_media.py embeddings.npy --products 20000

`embeddings.npy` holds real embeddings (n, dims); products are grown from pairs of neighbours, and their media lie around them.
The variants are searched in turn, query by query, so that a busy machine is equally busy for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt
from elasticsearch import Elasticsearch

from engine import Jvm, elasticsearch_node
from triptych.domain import Modality, Vectors
from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.encoders.base import unit
from triptych.schema import FIELD, KEY_FIELD, IndexType, Space, vector_properties
from triptych.settings import Settings

OVERSAMPLE = 1.5
BATCH = 200
SPREAD = 0.75
"""Length of what a medium adds to its product: media of one product then have a cosine of .64 (the demo shop's: .57 to .98)."""

Media = npt.NDArray[np.float32]
"""(products, media, dims)"""


@dataclass(frozen=True, slots=True)
class Variant:
    """How an index holds products of `media` media each.

    mean: as one vector; nested: one by one, even a single one; kept: one by one, but a single one as a plain vector.
    """

    media: int
    way: Literal["mean", "nested", "kept"]
    index_type: IndexType = "int8_hnsw"

    @property
    def name(self) -> str:
        return f"{self.media} media, {self.way}, {self.index_type}"

    @property
    def apart(self) -> bool:
        return self.way == "nested" or (self.way == "kept" and self.media > 1)

    def space(self, dims: int) -> Space:
        return Space(
            name="image", encoder="grown", fingerprint="none", dims=dims, document_modality=Modality.IMAGE,
            index_type=self.index_type, several="mean" if self.way == "mean" else "best",
        )  # fmt: skip


VARIANTS = (
    *(Variant(media, way) for media in (1, 3) for way in ("mean", "nested", "kept")),
    Variant(3, "kept", "hnsw"),
)


def grown(base: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Unit vectors like those of `base`: between two neighbours, with noise."""
    base = unit(base)
    first = rng.integers(len(base), size=count)
    near = np.argpartition(-(base @ base.T), 8, axis=1)[:, :8]
    second = near[first, rng.integers(8, size=count)]
    share = rng.uniform(0.5, 1, size=(count, 1)).astype(np.float32)
    return unit(share * base[first] + (1 - share) * base[second] + around(rng, (count, base.shape[1]), 0.6))


def around(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> npt.NDArray[np.float32]:
    return np.asarray(length * rng.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[-1]), dtype=np.float32)


def documents(variant: Variant, media: Media, space: Space, server: Server) -> Iterator[dict[str, Any]]:
    for number, some in enumerate(media[:, : variant.media]):
        own: dict[str, Any] = {"key": str(number)}
        if variant.apart:
            own[space.parts_name] = [{"vector": pack(v, server), "reference": f"{number}-{n}.jpg"} for n, v in enumerate(some)]
        else:
            own[space.name] = pack(unit(some.mean(axis=0)), server)
        yield {FIELD: own}


def fill(client: Elasticsearch, index: str, variant: Variant, media: Media, server: Server) -> float:
    """Make the index; returns the seconds that writing took."""
    space = variant.space(media.shape[2])
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=index, settings=settings, mappings={"properties": {FIELD: vector_properties([space])}})
    started, waiting = time.perf_counter(), {}
    for number, document in enumerate(documents(variant, media, space, server)):
        waiting[str(number)] = document
        if len(waiting) == BATCH or number == len(media) - 1:
            bulk_index(client, index, waiting)
            waiting = {}
    client.indices.refresh(index=index)
    return time.perf_counter() - started


def body(variant: Variant, query: npt.NDArray[np.float32], k: int, server: Server, *, name_best: bool) -> dict[str, Any]:
    """As a leg asks: a clause for products with one vector, one for those with parts, or both."""
    space = variant.space(len(query))
    clause: dict[str, Any] = {"query_vector": pack(query, server), "k": k, "num_candidates": max(100, int(k * OVERSAMPLE) + 1)}
    if space.quantised:
        clause["rescore_vector"] = {"oversample": OVERSAMPLE}
    clauses = [] if variant.way == "nested" else [{**clause, "field": space.field}]
    if variant.way != "mean":
        inner = {"size": 1, "_source": False, "docvalue_fields": [f"{space.parts_field}.reference"]}
        clauses.append({**clause, "field": space.parts_vector, **({"inner_hits": inner} if name_best else {})})
    keys = {"_source": False, "stored_fields": "_none_", "docvalue_fields": [KEY_FIELD], "track_total_hits": False}
    return {"knn": clauses, "size": k, **keys}


def scores_of(hit: dict[str, Any], field: str) -> float:
    inner = hit.get("inner_hits", {}).get(field, {}).get("hits", {}).get("hits", [])
    return float(inner[0]["_score"] if inner else hit["_score"])


def compare(client: Elasticsearch, index: str, variant: Variant, media: Media, queries: Vectors, k: int, server: Server) -> str:
    """Recall of the best k products, and the largest error of their scores, against brute force."""
    some = media[:, : variant.media]
    flat = some if variant.apart else unit(some.mean(axis=1))[:, None]
    field, recalls, outer, inner = variant.space(media.shape[2]).parts_field, [], 0.0, 0.0
    for query in queries:
        exact = (1 + (flat @ query).max(axis=1)) / 2
        hits = client.search(index=index, **body(variant, query, k, server, name_best=True))["hits"]["hits"]
        keys = [int(hit["fields"][KEY_FIELD][0]) for hit in hits]
        recalls.append(len(set(keys) & set(np.argsort(-exact)[:k].tolist())) / k)
        outer = max([outer, *(abs(hit["_score"] - exact[key]) for hit, key in zip(hits, keys, strict=True))])
        inner = max([inner, *(abs(scores_of(hit, field) - exact[key]) for hit, key in zip(hits, keys, strict=True))])
    return f"recall@{k} {np.mean(recalls):.4f}, error of the hit's score {outer:.0e}, of the inner hit's {inner:.0e}"


@click.command()
@click.argument("embeddings", type=click.Path(exists=True, path_type=Path))
@click.option("--products", default=20_000, show_default=True)
@click.option("--queries", "asked", default=150, show_default=True)
@click.option("--window", default=100, show_default=True, help="Products asked for.")
def main(embeddings: Path, products: int, asked: int, window: int) -> None:
    rng = np.random.default_rng(1)
    base = np.load(embeddings).astype(np.float32)
    centres = grown(base, products, rng)
    media = np.stack([unit(centres + around(rng, centres.shape, SPREAD)) for _ in range(3)], axis=1)
    queries = grown(base, asked, rng)
    with elasticsearch_node(Settings(), jvm=Jvm(heap="1g", compiler="full")) as node:
        client = Elasticsearch(node.url, request_timeout=120)
        info = client.info()
        server = Server(info["version"]["number"], info["cluster_name"], info["cluster_uuid"])
        for number, variant in enumerate(VARIANTS):
            seconds = fill(client, f"v{number}", variant, media, server)
            size = client.indices.stats(index=f"v{number}")["_all"]["primaries"]["store"]["size_in_bytes"]
            click.echo(f"{variant.name}: written in {seconds:.0f} s, {size / 1e6:.0f} MB")
        ways = [(n, v, named) for n, v in enumerate(VARIANTS) for named in ((False,) if v.way == "mean" else (False, True))]
        taken: dict[str, list[float]] = {}
        for turn, query in enumerate(np.concatenate([queries[:30], queries])):
            for number, variant, named in ways:
                asking = body(variant, query, window, server, name_best=named)
                started = time.perf_counter()
                client.search(index=f"v{number}", **asking)
                if turn >= 30:  # noqa: PLR2004  the first are for warmth
                    name = f"{variant.name}{', inner hits' if named else ''}"
                    taken.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        for name, times in taken.items():
            click.echo(f"{name}: p50 {np.percentile(times, 50):.1f} ms, p95 {np.percentile(times, 95):.1f} ms")
        for number, variant in enumerate(VARIANTS):
            found = compare(client, f"v{number}", variant, media, queries[:40], window, server)
            click.echo(f"{variant.name}: {found}")


if __name__ == "__main__":
    main()
