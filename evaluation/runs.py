"""Run judged queries against anything that answers a search, and count how often the answer is right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from evaluation.metrics import Judgements, hit_at
from search_api.query import AudioAs

DEPTHS = (1, 5)

Search = Callable[["Query"], Sequence[str]]
"""Answers a query with product ids, best first."""


@dataclass(frozen=True, slots=True)
class Query:
    """One judged query: any mix of words, a picture and a sound (files). `exclude` are products that no answer counts.

    `audio_as` says whether the sound is something to find the like of, spoken words, or both.
    """

    id: str
    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    language: str | None = None
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    audio_as: AudioAs = "sound"

    @property
    def kind(self) -> str:
        """words_en, words_zh, image, audio, words_image, words_audio ..."""
        media = [name for name, given in (("image", self.image), ("audio", self.audio)) if given]
        if self.text is None:
            return "_".join(media)
        return "_".join(["words", *media]) if media else f"words_{self.language or 'und'}"

    def only(self, part: str) -> Query:
        """This query with nothing but its text, image or audio."""
        others: dict[str, Any] = {name: None for name in ("text", "image", "audio") if name != part}
        return dataclasses.replace(self, **others)


def read_queries(path: Path, *, place: Callable[[str], Path] | None = None) -> list[Query]:
    """Queries as JSON lines: qid, text, image, audio, audio_as, lang, exclude, tags. Raises ValueError naming the line.

    `place` finds the file of an image or audio; by default they are paths beside `path`.
    """
    find = place or path.parent.joinpath
    queries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            queries.append(_query(json.loads(line), find))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a query ({error})") from error
    return queries


def _query(data: Mapping[str, Any], find: Callable[[str], Path]) -> Query:
    """One query. Raises KeyError, TypeError or ValueError."""
    files: dict[str, Any] = {name: find(data[name]) for name in ("image", "audio") if data.get(name)}
    lists: dict[str, Any] = {name: tuple(data[name]) for name in ("exclude", "tags") if data.get(name)}
    audio_as = data.get("audio_as", "sound")
    if audio_as not in get_args(AudioAs):
        raise ValueError(f"audio_as is {audio_as!r}")
    return Query(data["qid"], text=data.get("text"), language=data.get("lang"), audio_as=audio_as, **files, **lists)


@dataclass(frozen=True, slots=True)
class Hits:
    """How many of `queries` had a relevant product among the best k, for each k of DEPTHS."""

    queries: int
    hits: Mapping[int, int]

    def rate(self, depth: int) -> float:
        return self.hits[depth] / self.queries if self.queries else 0.0

    def to_dict(self) -> dict[str, float | int]:
        return {**{f"hit@{k}": round(self.rate(k), 4) for k in DEPTHS}, "queries": self.queries}


def count(queries: Iterable[Query], judgements: Judgements, search: Search) -> Hits:
    """Ask every query and count."""
    asked = 0
    hits = dict.fromkeys(DEPTHS, 0)
    for query in queries:
        ranked = search(query)
        asked += 1
        for depth in DEPTHS:
            hits[depth] += hit_at(depth, ranked, judgements.get(query.id, {}))
    return Hits(asked, hits)


def by_kind(queries: Sequence[Query], judgements: Judgements, search: Search) -> dict[str, Hits]:
    """`count` per kind of query, in the order the kinds first appear."""
    kinds = dict.fromkeys(query.kind for query in queries)
    return {kind: count([q for q in queries if q.kind == kind], judgements, search) for kind in kinds}
