"""Two versions of an index side by side: how far their answers to the same queries are the same, and how good each is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation.metrics import Judgements
from evaluation.runs import Query
from search_api.query import DEFAULT_WINDOW, SearchRequest
from search_api.searcher import Searcher

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answers of both versions, best first, by query, and where there are judgements each version's mean measures."""

    serving: str
    waiting: str
    k: int
    answers: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    measures: Mapping[str, Mapping[str, float]]

    @property
    def overlaps(self) -> dict[str, float]:
        """By query, that with the least first."""
        found = {query: overlap(one, other, self.k) for query, (one, other) in self.answers.items()}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def to_dict(self) -> dict[str, Any]:
        overlaps = self.overlaps
        return {
            "serving": self.serving,
            "waiting": self.waiting,
            "k": self.k,
            "queries": len(overlaps),
            "overlap": round(fmean(overlaps.values()), 4),
            "overlaps": {query: round(value, 4) for query, value in overlaps.items()},
            "measures": {name: {n: round(v, 4) for n, v in some.items()} for name, some in self.measures.items()},
        }


def overlap(one: Sequence[str], other: Sequence[str], k: int) -> float:
    """The share of the first k products of either answer that is in both, of as many as there are; 1 for two empty answers."""
    first, second = set(one[:k]), set(other[:k])
    return len(first & second) / most if (most := max(len(first), len(second))) else 1.0


def compare(
    searcher: Searcher,
    versions: tuple[str, str],
    queries: Sequence[Query],
    *,
    k: int,
    judgements: Judgements | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Comparison:
    """Ask both versions all queries. `versions`: the one that serves, and the one that waits. Raises as a search does."""
    answers: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    for number, query in enumerate(queries, start=1):
        serving, waiting = (_ask(searcher, version, query, k) for version in versions)
        answers[query.id] = (serving, waiting)
        progress(number, len(queries))
    measures: dict[str, Mapping[str, float]] = {}
    if judgements is not None:
        from evaluation.measures import mean, per_query  # noqa: PLC0415  an extra

        for place, version in enumerate(versions):
            measures[version] = mean(per_query(judgements, {query: both[place] for query, both in answers.items()}))
    return Comparison(*versions, k, answers, measures)


def _ask(searcher: Searcher, version: str, query: Query, k: int) -> list[str]:
    size = k + len(query.exclude)
    request = SearchRequest(
        version,
        text=query.text,
        image=None if query.image is None else query.image.read_bytes(),
        audio=None if query.audio is None else query.audio.read_bytes(),
        audio_as=query.audio_as,
        size=size,
        window=max(size, DEFAULT_WINDOW),
        fields=(),
    )
    return [hit.id for hit in searcher.search(request).hits if hit.id not in query.exclude][:k]
