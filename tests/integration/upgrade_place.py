"""What the tests of upgrades share: an index of small products, and what is done with it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from processes import SHOP, Command

from triptych.elastic.lifecycle import current_version
from triptych.services import Services

COLOURS = """description: pictures by colour
spaces:
  image: {family: colour_histogram, documents: image, queries: [image], dims: 114, licence: none}
"""
OUTLINES = """description: pictures by outline, and by colour as before
spaces:
  image: {family: hog, documents: image, queries: [image], dims: 1764, licence: none}
  colour: {family: colour_histogram, documents: image, queries: [image], dims: 114, licence: none, label: colour}
"""

LEARNS = """description: words as the catalogue has them
spaces:
  text: {family: bag_of_words, documents: text, queries: [text], dims: 8, licence: none}
"""


class Place:
    """An index of small products with the first profile, and what is done with it."""

    def __init__(self, services: Services, command: Command, name: str, folder: Path) -> None:
        self.services, self.command, self.name, self.folder = services, command, name, folder
        self.colours, self.outlines = folder / "colours.yaml", folder / "outlines.yaml"
        self.colours.write_text(COLOURS, encoding="utf-8")
        self.outlines.write_text(OUTLINES, encoding="utf-8")
        (folder / "images").mkdir()
        for number in range(1, 42):
            name_ = f"images/demo-{number:03}-1.jpg"
            (folder / name_).write_bytes((SHOP / name_).read_bytes())
        command("index", "create", name, TRIPTYCH_PROFILE=str(self.colours))

    def catalogue(self, records: list[dict[str, Any]]) -> Path:
        path = self.folder / f"{time.monotonic_ns()}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    def add(self, *records: dict[str, Any]) -> dict[str, Any]:
        job = self.command.json("index", "add", self.name, str(self.catalogue(list(records))), "--follow")
        assert job["state"] == "completed", job
        return dict(job)

    def start(self, *options: str, profile: Path | None = None) -> dict[str, Any]:
        args = ("--profile", str(profile or self.outlines), *options)
        return dict(self.command.json("reindex", "start", self.name, *args, check=False))

    def status(self) -> dict[str, Any]:
        return dict(self.command.json("reindex", "status", self.name))

    def reindex(self, what: str, *options: str) -> dict[str, Any]:
        return dict(self.command.json("reindex", what, self.name, *options))

    def version(self) -> str:
        return current_version(self.services.elasticsearch, self.name)

    def sources(self, version: str) -> dict[str, dict[str, Any]]:
        client = self.services.elasticsearch
        client.indices.refresh(index=version)
        hits = client.search(index=version, size=1000, source={"exclude_vectors": False})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def fields(self, version: str) -> dict[str, dict[str, Any]]:
        """The products as their owner knows them."""
        return {key: {n: v for n, v in one.items() if n != "triptych"} for key, one in self.sources(version).items()}


def product(number: int, **more: Any) -> dict[str, Any]:
    pictures = {"images": [f"images/demo-{number:03}-1.jpg"]} if number % 3 else {}
    return {"id": f"p{number}", "title": {"en": f"thing number {number}"}, "price": number, **pictures, **more}


def asked(folder: Path) -> list[str]:
    """The options of `evaluate` for a query of words and one of a picture, each with a product that must be found first."""
    queries = [{"qid": "words", "text": "7"}, {"qid": "picture", "image": "images/demo-002-1.jpg"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries), encoding="utf-8")
    (folder / "qrels.txt").write_text("words 0 p7 1\npicture 0 p2 1\n", encoding="utf-8")
    return ["--queries", str(folder / "queries.jsonl"), "--judgements", str(folder / "qrels.txt")]


def code_of(done: Any) -> str:
    return str(json.loads(done.stdout.splitlines()[-1])["code"])
