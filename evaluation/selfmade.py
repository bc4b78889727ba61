"""Queries without judgements: parts of products' own titles, which must find their product again.

What `calibrate` asks by whole titles is asked here by half of their words, as people type, and of all legs together. A product
that has the same title is as right. This favours BM25, which knows every word of a title: what nobody would type is not asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from evaluation.judged import Judged
from evaluation.runs import Query
from indexer.calibrate import Sample, draw
from triptych.elastic.lexical import words_in
from triptych.elastic.lifecycle import IndexInfo
from triptych.services import Services

_LONGEST = 4
"""Words of a query: people type two or three."""


def queries(services: Services, info: IndexInfo, number: int) -> Judged:
    """At most `number` queries, one a product, and the products they must find (grade 1)."""
    sample = draw(services, info.index, info.schema)
    return of_sample([one for one in sample if one.titles][:number])


def of_sample(sample: Sequence[Sample]) -> Judged:
    """The queries and judgements of a sample of products. Pure."""
    asked, grades = [], {}
    for one in sample:
        name = f"self-{one.id}"
        asked.append(Query(name, text=part_of(one.titles[0], one.id)))
        grades[name] = {other.id: 1 for other in sample if other.id == one.id or other.names & one.names}
    return Judged(grades, tuple(asked))


def part_of(title: str, seed: str) -> str:
    """Half of a title's words, at most four, in their order; of a title without spaces (Chinese) half of it in one piece."""
    dice = np.random.default_rng(zlib.crc32(seed.encode()))
    words = title.split()
    if len(words) > 1:
        count = min(_LONGEST, max(1, -(-len(words) // 2)))
        return " ".join(words[place] for place in sorted(dice.permutation(len(words))[:count].tolist()))
    if words_in(title) > 1:
        size = -(-len(title) // 2)
        at = int(dice.integers(0, len(title) - size + 1))
        return title[at : at + size]
    return title
