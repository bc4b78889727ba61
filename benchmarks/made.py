"""What benchmarks/ingest.py indexes: products with a vector each, and the settings of its installation."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from indexer import documents
from triptych.elastic.client import Server
from triptych.elastic.engine import pack
from triptych.schema import FIELD
from triptych.settings import Settings

SPACE = "given"
_BASE64 = Server(version="9.5.3", name="", cluster="")  # every server that `engine` starts takes vectors as base64
_COLOURS = ("red", "blue", "green", "black", "white", "yellow")
_THINGS = ("guitar", "kettle", "lamp", "chair", "jacket", "printer", "camera", "bicycle")


@dataclass(frozen=True, slots=True)
class Made:
    """A catalogue as a file, and how many records it has."""

    path: Path
    count: int


def catalogue(folder: Path, count: int, dims: int, data: Path | None) -> Made:
    """`count` products; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = "real" if data else "simple"
    path = folder / f"ingest-{kind}-{count}-{dims}.jsonl"
    if not path.exists():
        part = path.with_suffix(".part")
        chance = np.random.default_rng(1)
        with part.open("wb") as file:
            for record in _real(data, count) if data else _simple(count):
                vector = chance.standard_normal(dims)
                values = [round(float(x), 6) for x in vector / np.linalg.norm(vector)]
                file.write(orjson.dumps({**record, "vectors": {SPACE: values}}) + b"\n")
        part.rename(path)
    return Made(path, count)


def _real(data: Path, count: int) -> Iterator[dict[str, Any]]:
    """Real texts with changed facts, by the developers' script."""
    command = [sys.executable, str(data / "scale" / "scale_gen.py"), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603
        for line in process.stdout or ():
            yield orjson.loads(line)


def _simple(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)  # noqa: S311  no secret
    for number in range(count):
        colour, thing = chance.choice(_COLOURS), chance.choice(_THINGS)
        words = " ".join(chance.choice(_COLOURS + _THINGS) for _ in range(30))
        yield {
            "id": f"i-{number}",
            "title": {"en": f"{colour} {thing} {number}"},
            "description": {"en": f"A {thing} with {words}."},
            "category": [thing],
            "colour": colour,
            "price": round(chance.uniform(1, 500), 2),
        }


def actions(path: Path, index: str) -> Iterator[dict[str, Any]]:
    """The documents as parallel_bulk takes them: the same that Triptych writes, our fields included, as if it cost nothing to
    know what stands in those."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            record = orjson.loads(line)
            vector = np.asarray(record.pop("vectors")[SPACE], dtype=np.float32)
            digest = f"{number:064x}"
            made = {"hash": digest}
            own = documents.bookkeeping(digest=digest, job="by-hand", line=number, failed=(), made=made)
            record[FIELD] = {"key": record["id"], **own, SPACE: pack(vector, _BASE64)}
            yield {"_op_type": "index", "_index": index, "_id": record["id"], "_source": record}


def profile(folder: Path, dims: int) -> Path:
    """One space of vectors that come with the record."""
    path = folder / f"ingest-{dims}.yaml"
    space = json.dumps({"family": "precomputed", "fingerprint": "ingest", "documents": "text", "dims": dims, "licence": "none"})
    path.write_text(f"description: vectors that come with the record\nspaces:\n  {SPACE}: {space}\n", encoding="utf-8")
    return path


def settings(elasticsearch: str, redis: str, profile: Path, batch: int) -> Settings:
    """Those of the benchmark's installation."""
    given: dict[str, Any] = {"elasticsearch_url": elasticsearch, "redis_url": redis, "profile": str(profile)}
    return Settings(**given, batch_size=batch, queue="ingest", system_prefix="ingest-t-")
