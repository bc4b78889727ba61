"""Run judged queries against anything that answers a search, and count how often the answer is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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


class QueryLine(BaseModel):
    """A line of a file of queries. Other fields are notes of whoever made it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    qid: Annotated[str, Field(pattern=r"^\S+$")]
    text: str | None = None
    image: str | None = None
    audio: str | None = None
    audio_as: AudioAs | None = None
    lang: str | None = None
    exclude: list[str] | None = None
    tags: list[str] | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not any(one and one.strip() for one in (self.text, self.image, self.audio)):
            raise ValueError("it has no text, image or audio")
        return self

    @classmethod
    def of(cls, line: str) -> QueryLine:
        """Raises ValueError with a sentence."""
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def read_queries(path: Path, *, place: Callable[[str], Path] | None = None) -> list[Query]:
    """Queries as JSON lines, a QueryLine each. Raises ValueError naming the line, also for an id that a line before it has.

    `place` finds the file of an image or audio; by default they are paths beside `path`.
    """
    find = place or path.parent.joinpath
    queries = []
    lines: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            query = _query(QueryLine.of(line), find)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a query ({error})") from error
        if query.id in lines:
            raise ValueError(f"{path}, line {number}: the query {query.id!r} is in line {lines[query.id]} already")
        lines[query.id] = number
        queries.append(query)
    return queries


def _query(line: QueryLine, find: Callable[[str], Path]) -> Query:
    """One query. Raises ValueError where a file lies elsewhere."""
    return Query(
        line.qid,
        text=line.text or None,
        image=find(line.image) if line.image else None,
        audio=find(line.audio) if line.audio else None,
        language=line.lang,
        exclude=tuple(line.exclude or ()),
        tags=tuple(line.tags or ()),
        audio_as=line.audio_as or "sound",
    )


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
