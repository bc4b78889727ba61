"""What the settings of a version that is filled gain (triptych.elastic.building): seconds, and CPU seconds of the nodes.

    python benchmarks/building.py --folder FOLDER [--count 20000] [--nodes 2] [--refresh 1s]

Both ways fill an empty index by pipeline.run in threads of this process, with vectors that come with the records. They take
turns. Counted is the time until the last record is written, and until the index could serve: its own settings again, its copies
made, everything searchable. All nodes share this machine's cores, so a copy costs what the primary has not; on machines of
their own it costs network and the other machine's time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import click
import made
from made import Made
from psutil import Process  # type: ignore[import-untyped]

from engine import ElasticsearchNode, Jvm, elasticsearch_cluster, redis_server
from indexer import pipeline, records
from triptych.elastic import building
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import create_version, read_mapping_file, read_schema
from triptych.jobs import batching
from triptych.services import Services
from triptych.settings import load

MAPPING = Path(__file__).parents[1] / "mappings" / "products.json"
AS_IT_IS, BUILDING = "as it is", "for building"


Took = tuple[float, float, float]
"""Seconds until all is written, seconds until the index could serve, CPU seconds of all nodes until then."""


def cpu(nodes: Sequence[ElasticsearchNode]) -> float:
    """CPU seconds that the nodes took so far."""
    times = [Process(node.pid).cpu_times() for node in nodes]
    return float(sum(one.user + one.system for one in times))


def fill(
    services: Services, catalogue: Made, nodes: Sequence[ElasticsearchNode], *, way: str, refresh: str | None, threads: int
) -> Took:
    """Fill an index in one of the two ways."""
    client, most = services.elasticsearch, services.settings.batch_bytes
    version = create_version(client, f"building-{time.monotonic_ns()}", read_mapping_file(MAPPING), services.schema())
    with translated():
        client.indices.put_settings(index=version, settings={"refresh_interval": refresh})
    building.wait_for_copies(client, version, seconds=60)
    kept = building.before(client, version)
    schema = read_schema(client, version)
    target = pipeline.Target(version, schema, catalogue.path.parent, "benchmark")
    began, before = time.monotonic(), cpu(nodes)
    if way == BUILDING:
        building.tune(client, version, kept)
    with closing(records.read(catalogue.path, services.settings)) as lines, ThreadPoolExecutor(threads) as pool:
        cut = batching.cut(lines, size=services.settings.batch_size, most_bytes=most, encoded=schema.encoded)
        for result in pool.map(lambda batch: pipeline.run(batch.records, target, services), cut):
            if result.dead_letters:
                raise RuntimeError(result.dead_letters[0].message)
    written = time.monotonic() - began
    if way == BUILDING:
        building.restore(client, version, kept)
    building.wait_for_copies(client, version, seconds=600)
    with translated():
        client.indices.refresh(index=version)
    served, spent = time.monotonic() - began, cpu(nodes) - before
    if building.before(client, version) != kept or client.count(index=version)["count"] != catalogue.count:
        raise RuntimeError(f"{version} is not as it should be")
    client.indices.delete(index=version)
    return written, served, spent


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where what is made is kept.")
@click.option("--count", type=click.IntRange(min=100), default=20_000, show_default=True, help="Products.")
@click.option("--dims", type=click.IntRange(min=2), default=64, show_default=True, help="Numbers of a vector.")
@click.option("--nodes", type=click.IntRange(1, 3), default=2, show_default=True)
@click.option(
    "--refresh", help="The index's own refresh_interval, as 1s; default: none, so what nobody searches is not refreshed."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def main(*, folder: Path, count: int, dims: int, nodes: int, refresh: str | None, rounds: int, threads: int) -> None:
    """Measure what the settings for building gain."""
    catalogue = made.catalogue(folder.resolve(), count, dims, None)
    with ExitStack() as stack:
        settings = load()
        cluster = stack.enter_context(elasticsearch_cluster(settings, size=nodes, jvm=Jvm(heap="1g", compiler="full")))
        redis = stack.enter_context(redis_server(settings))
        services = Services(made.settings(cluster[0].url, redis.url, made.profile(folder.resolve(), dims), 32))
        found: dict[str, list[Took]] = {AS_IT_IS: [], BUILDING: []}
        fill(services, catalogue, cluster, way=AS_IT_IS, refresh=refresh, threads=threads)  # a cold Java machine is slow
        for number in range(rounds):
            for way in (AS_IT_IS, BUILDING) if number % 2 else (BUILDING, AS_IT_IS):
                took = fill(services, catalogue, cluster, way=way, refresh=refresh, threads=threads)
                found[way].append(took)
                click.echo(
                    f"round {number + 1}, {way}: written {took[0]:.1f} s, could serve {took[1]:.1f} s, CPU {took[2]:.1f} s"
                )
    for part, name in enumerate(("written", "could serve", "CPU")):
        before, after = (median(one[part] for one in found[way]) for way in (AS_IT_IS, BUILDING))
        click.echo(f"{name}: {before:.1f} s {AS_IT_IS}, {after:.1f} s {BUILDING}, {after / before:.2f} of it")


if __name__ == "__main__":
    main()
