"""A large index for benchmarks/search.py: real texts with changed facts, and vectors grown from real embeddings.

The data are the developers' (docs/evaluation.md): DATA/scale/scale_gen.py makes the records, DATA/scale/scale_vec.py the
vectors. Everything is made once and kept in the benchmark's folder: the embeddings of the base sample, the grown vectors, the
records and the profile; the index stays in the data folder of the benchmark's node.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.catalogues import Data
from indexer import documents, records
from indexer.calibrate import calibrate
from triptych.domain import Modality, Product, Vectors
from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import translated
from triptych.elastic.lifecycle import create_version, current_version, read_mapping_file
from triptych.encoders.base import Encoder, Input
from triptych.errors import MediaError, NotFoundError
from triptych.schema import IndexSchema
from triptych.services import Services
from triptych.settings import Settings

MAPPING = Path(__file__).parents[1] / "mappings" / "products.json"
SOURCES: Mapping[str, Sequence[str]] = {
    "text": ("icecat",),
    "image": ("grocery", "clothing"),
    "audio": ("esc10", "instruments"),
}
"""Space -> the catalogues whose embeddings it is grown from."""

_TEXTS = 1500  # of icecat's 19,406: an encoder takes 20 ms a text
_HELD_OUT = 0.1  # share of the base that no product is grown from: queries are
_CHUNK = 250  # documents a bulk request: 3.6 MB with three vectors
_WRITERS = 2  # more threads make more segments and no more speed


@dataclass(frozen=True, slots=True)
class Question:
    """One query of the benchmark: words, and a vector for each space."""

    text: str
    vectors: Mapping[str, list[float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the data are, where everything is kept, how many products, and who is told what is being done."""

    data: Path
    folder: Path
    count: int
    say: Callable[[str], None]

    @property
    def alias(self) -> str:
        return f"scale{self.count}"

    @property
    def profile(self) -> Path:
        return self.folder / "scale.yaml"

    @property
    def records(self) -> Path:
        return self.folder / f"records-{self.count}.jsonl"

    def vectors(self, space: str, what: str) -> Path:
        return self.folder / f"{space}-{what}.npy"

    def script(self, name: str) -> Path:
        return self.data / "scale" / name


def questions(scale: Scale, settings: Settings) -> list[Question]:
    """The queries; makes the files that are not there yet."""
    scale.folder.mkdir(parents=True, exist_ok=True)
    if not scale.profile.exists():
        _embed(scale, Services(settings.model_copy(update={"profile": "offline", "cache_bytes": 0})))
    if not scale.records.exists():
        scale.say(f"{scale.count} records")
        part = scale.records.with_suffix(".part")
        with part.open("wb") as file:
            subprocess.run([sys.executable, scale.script("scale_gen.py"), str(scale.count)], stdout=file, check=True)  # noqa: S603
        part.rename(scale.records)
    with scale.script("wands_query.csv").open(encoding="utf-8", newline="") as lines:
        texts = [row["query"] for row in csv.DictReader(lines, delimiter="\t")]
    asked = {space: _grown(scale, space, "held-out", len(texts), seed=2) for space in SOURCES}
    return [Question(text, {space: asked[space][n].tolist() for space in SOURCES}) for n, text in enumerate(texts)]


def index(scale: Scale, services: Services, *, merge: bool) -> str:
    """Make the index unless it is there; returns its alias. `merge`: into one segment."""
    version = _whole(scale, services)
    if version is None:
        version = create_version(services.elasticsearch, scale.alias, _mapping(), services.schema())
        _write(scale, services, version)
    with translated():
        if merge and len(segments(services, version)) > 1:
            scale.say("merging")
            services.elasticsearch.options(request_timeout=3600).indices.forcemerge(index=version, max_num_segments=1)
        services.elasticsearch.indices.refresh(index=version)
    calibrate(services, version)
    return scale.alias


def _mapping() -> dict[str, Any]:
    """The mapping that comes with Triptych; the 5,354 names of attributes, of which a shop maps a few, are one field."""
    base = read_mapping_file(MAPPING)
    properties = {**base["mappings"]["properties"], "attrs": {"type": "flattened"}}
    return {**base, "mappings": {**base["mappings"], "properties": properties}}


def _whole(scale: Scale, services: Services) -> str | None:
    """The index version that is there with all its products; one that is not whole is deleted."""
    client = services.elasticsearch
    try:
        version = current_version(client, scale.alias)
    except NotFoundError:
        return None
    with translated():
        client.indices.refresh(index=version)
        if client.count(index=version)["count"] == scale.count:
            return version
        client.indices.delete(index=version)
    return None


def segments(services: Services, version: str) -> list[int]:
    """The documents of each segment."""
    with translated():
        found = services.elasticsearch.indices.segments(index=version)["indices"]
    shards = (shard for one in found.values() for copies in one["shards"].values() for shard in copies)
    return sorted((part["num_docs"] for shard in shards for part in shard["segments"].values()), reverse=True)


def _write(scale: Scale, services: Services, version: str) -> None:
    """Index all records with their vectors."""
    client = services.elasticsearch
    grown = {space: _grown(scale, space, "base", scale.count, seed=1) for space in SOURCES}
    with translated():
        client.indices.put_settings(index=version, settings={"refresh_interval": "-1", "number_of_replicas": 0})

    def send(chunk: Sequence[Product]) -> None:
        made = {}
        for product in chunk:
            row = int(product.id.removeprefix("sc-"))
            own = documents.bookkeeping(digest=product.id, job="benchmark", line=row, failed=())
            rows = {space: vectors[row] for space, vectors in grown.items()}
            made[product.id] = documents.build(product, rows, own=own, server=services.server)
        failed = [one.reason for one in bulk_index(client, version, made).values() if one.reason]
        if failed:
            raise RuntimeError(f"{len(failed)} documents were refused: {failed[0]}")

    with ThreadPoolExecutor(_WRITERS) as pool:
        products = _products(scale, services.settings)
        done = 0
        while wave := [chunk for _ in range(8) if (chunk := list(islice(products, _CHUNK)))]:
            list(pool.map(send, wave))
            done += sum(map(len, wave))
            if done % 10_000 == 0:
                scale.say(f"{done} of {scale.count} products written")
    with translated():
        client.indices.put_settings(index=version, settings={"refresh_interval": None})
        client.indices.flush(index=version)


def _products(scale: Scale, settings: Settings) -> Iterator[Product]:
    for raw in records.read(scale.records, settings):
        product = records.parse(raw)
        if not isinstance(product, Product):
            raise TypeError(product.message)
        yield product


def _grown(scale: Scale, space: str, base: str, count: int, *, seed: int) -> Vectors:
    """`count` vectors grown from a base; made once."""
    path = scale.vectors(space, f"{base}-{count}")
    if not path.exists():
        scale.say(f"{count} vectors of {space} from its {base}")
        part = path.with_name(f"part-{path.name}")
        command: list[str | Path] = [sys.executable, scale.script("scale_vec.py"), scale.vectors(space, base), str(count), part]
        subprocess.run([*command, "--seed", str(seed)], check=True)  # noqa: S603
        part.rename(path)
    vectors: Vectors = np.load(path, mmap_mode="r")
    return vectors


def _embed(scale: Scale, services: Services) -> None:
    """The base of each space and what is held out of it, and the profile of the index."""
    encoders = services.encoders(IndexSchema())
    lines = ["description: vectors grown from those of the profile offline", "spaces:"]
    for space in SOURCES:
        encoder = encoders[space]
        modality = Modality(space)
        scale.say(f"embedding for {space}: {', '.join(SOURCES[space])}")
        inputs = _texts(scale) if modality is Modality.TEXT else _media(scale, services, modality)
        found = _embedded(encoder, inputs)
        order = np.random.default_rng(1).permutation(len(found))
        held = int(len(found) * _HELD_OUT)
        np.save(scale.vectors(space, "held-out"), found[order[:held]])
        np.save(scale.vectors(space, "base"), found[order[held:]])
        fingerprint = json.dumps(f"grown-{encoder.spec.fingerprint}")
        entry = f"family: precomputed, fingerprint: {fingerprint}, documents: {space}, dims: {found.shape[1]}, licence: none"
        lines.append(f"  {space}: {{{entry}}}")
    scale.profile.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _texts(scale: Scale) -> Iterator[Input]:
    lines = _catalogue(scale, SOURCES["text"][0])
    step = max(1, len(lines) // _TEXTS)
    return (str(record["title"]["en"]) for record in lines[::step][:_TEXTS])


def _media(scale: Scale, services: Services, modality: Modality) -> Iterator[Input]:
    data = Data(scale.data)
    found = [record for name in SOURCES[modality.value] for record in _catalogue(scale, name)]
    if modality is Modality.IMAGE:
        references = [str(reference) for record in found for reference in record["images"]]
    else:
        references = [str(sound["path"]) for record in found for sound in record["audio"]]
    decoded = services.decoder.decode_all((data.place(reference).read_bytes(), modality) for reference in references)
    return (value for value in decoded if not isinstance(value, MediaError))


def _catalogue(scale: Scale, name: str) -> list[dict[str, Any]]:
    with (scale.data / "catalogues" / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _embedded(encoder: Encoder, inputs: Iterator[Input]) -> Vectors:
    """All vectors that are no zeros."""
    rows = []
    while chunk := list(islice(inputs, 32)):
        rows.append(encoder.embed_documents(chunk))
    whole = np.concatenate(rows)
    return whole[whole.any(axis=1)]
