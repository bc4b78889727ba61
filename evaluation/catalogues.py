"""A catalogue of the developers' data as Triptych takes it: a folder with the records of a recipe and just the media they need.

Records may only name media in their own folder, and the data's lie in three places, so the files are linked or copied there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from evaluation.metrics import read_qrels
from evaluation.runs import Query, read_queries
from evaluation.task_list import ALL, Recipe, Task

_PACKAGES = {"tuxpaint": "tuxpaint/stamps", "ktuberling": "ktuberling/sounds"}
"""Prefix of a path -> folder of the Debian package's files in /usr/share."""

_DEBIAN = {"tuxpaint": "tuxpaint-stamps-default", "ktuberling": "ktuberling-data"}

_LANGUAGES = {"zh_CN": "zh"}
"""The data's names of languages that mappings/products.json has an analyser for under another."""

_TEXTS = ("title", "description")


@dataclass(frozen=True, slots=True)
class Data:
    """The developers' data: its folder, and the folder in which Debian's packages have theirs."""

    root: Path
    share: Path = Path("/usr/share")

    def place(self, reference: str) -> Path:
        """The file of a reference: `tuxpaint:X`, `ktuberling:X` or a path in the data. Raises FileNotFoundError."""
        package, colon, name = reference.partition(":")
        known = bool(colon) and package in _PACKAGES
        path = self.share / _PACKAGES[package] / name if known else self.root / reference
        if not path.is_file():
            remedy = f"apt-get install --no-install-recommends {_DEBIAN[package]}" if known else "See docs/evaluation.md"
            raise FileNotFoundError(f"{path} is not there. {remedy}")
        return path

    def queries(self, task: Task) -> list[Query]:
        return read_queries(self._of(task) / "queries.dev.jsonl", place=self.place)

    def judgements(self, task: Task) -> dict[str, dict[str, int]]:
        return read_qrels(self._of(task) / "qrels.dev.txt")

    def _of(self, task: Task) -> Path:
        folder = self.root / "tasks" / (task.folder or task.name)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not there. See docs/evaluation.md")
        return folder

    def records(self, recipe: Recipe) -> Iterator[dict[str, Any]]:
        """The records of a recipe and of those beside it, with the data's own media references."""
        judged: set[str] | None = None
        if recipe.judged_by is not None:
            grades = read_qrels(self.root / "tasks" / recipe.judged_by / "qrels.dev.txt")
            judged = {product for some in grades.values() for product in some}
        with (self.root / "catalogues" / f"{recipe.source}.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if judged is None or record["id"] in judged:
                    yield rewritten(record, recipe)
        for other in recipe.also:
            yield from self.records(other)


def rewritten(record: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A record of the data as a recipe has it indexed. Pure."""
    new: dict[str, Any] = {"id": record["id"]}
    for name in _TEXTS:
        texts = record.get(name) or {}
        kept = texts if recipe.languages == ALL else {code: texts[code] for code in recipe.languages if code in texts}
        new[name] = {_LANGUAGES.get(code, code): text for code, text in kept.items()}
    new |= {name: record[name] for name in ("category", "brand", "price_cents") if record.get(name)}
    new["images"] = list(record.get("images", ())) if recipe.images else []
    new["audio"] = [sound for sound in record.get("audio", ()) if (sound["role"], sound["lang"]) == recipe.sounds]
    return new


def inside(reference: str) -> str:
    """Where a medium lies in the catalogue's folder, relative to it."""
    return str(PurePosixPath(*reference.split(":", 1)))


def write(data: Data, recipe: Recipe, folder: Path) -> Path:
    """Write the catalogue of a recipe into `folder`, media and all; returns the path of its records."""
    folder.mkdir(parents=True)
    path = folder / "catalogue.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for record in data.records(recipe):
            for reference in [*record["images"], *(sound["path"] for sound in record["audio"])]:
                _bring(data.place(reference), folder / inside(reference))
            record["images"] = [inside(reference) for reference in record["images"]]
            record["audio"] = [{**sound, "path": inside(sound["path"])} for sound in record["audio"]]
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _bring(source: Path, target: Path) -> None:
    """Link a file, or copy it where it lies on another disk or may not be linked."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def some(queries: Sequence[Query], limit: int | None) -> list[Query]:
    """At most `limit` queries, taken evenly from all so that every language and kind is among them."""
    if limit is None or limit >= len(queries):
        return list(queries)
    return [queries[number * len(queries) // limit] for number in range(limit)]
