"""The products of one side of a split ranked by the vectors of each modality's inputs: how well one modality finds another."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from training.catalogue import Catalogue, Inputs
from training.measuring import Answers, first_places
from training.vectors import Rows
from triptych.domain import Modality, Vectors
from triptych.encoders.base import unit

MOST_QUERIES = 20_000
"""Of a modality, when a side is measured: the first ones."""

_LANGUAGES = 8  # told apart, those with the most texts

Embed = Callable[[Modality, Rows], Vectors]
"""The vectors of a modality's inputs, by their numbers."""


def directions(
    catalogue: Catalogue, products: Rows, embed: Embed, modalities: Collection[Modality], *, languages: bool = True
) -> dict[str, dict[str, float]]:
    """Measures by direction, "text>image"; of words also by language, "text.en>image".

    A query is each input of a modality, the same text once; a document is each product, by the mean of its inputs, without the
    queries that led to it; an answer is a product of the same group, or one that the query led to.
    """
    found: dict[str, dict[str, float]] = {}
    present = [modality for modality in Modality if modality in modalities]
    for asked, held in itertools.permutations(present, 2):
        owners, documents = documents_of(catalogue, products, held, embed)
        queries = queries_of(catalogue.inputs[asked], products)
        if not len(queries) or not len(owners):
            continue
        vectors = embed(asked, queries)
        answers = answers_of(catalogue, asked, queries, owners)
        found[f"{asked}>{held}"] = first_places(vectors, documents, answers).measures()
        for language, mine in by_language(catalogue.inputs[asked], queries) if languages else ():
            answers = answers_of(catalogue, asked, queries[mine], owners)
            found[f"{asked}.{language}>{held}"] = first_places(vectors[mine], documents, answers).measures()
    return found


def answers_of(catalogue: Catalogue, modality: Modality, queries: Rows, products: Rows) -> Answers:
    """Which of these products, (m,), answer inputs of a modality: those of the same group, and those that a query led to."""
    held = catalogue.group[products]

    def answers(some: slice) -> npt.NDArray[np.bool_]:
        which = queries[some]
        own = catalogue.group[catalogue.inputs[modality].product[which]]
        same: npt.NDArray[np.bool_] = own[:, None] == held[None]
        return same | catalogue.led(modality, which, products)

    return answers


def queries_of(inputs: Inputs, products: Rows) -> Rows:
    """The inputs of these products that ask, the same vector once, the first MOST_QUERIES."""
    which = inputs.of(products, copies=False)
    _, first = np.unique(inputs.row[which], return_index=True)
    return which[np.sort(first)][:MOST_QUERIES]


def documents_of(catalogue: Catalogue, products: Rows, modality: Modality, embed: Embed) -> tuple[Rows, Vectors]:
    """The products that have inputs of a modality, (n,), and for each the mean of their vectors, of length 1, (n, dims)."""
    inputs = catalogue.inputs[modality]
    which = inputs.of(products, copies=False, queries=False)
    owners, place = np.unique(inputs.product[which], return_inverse=True)
    vectors = embed(modality, which)
    sums = np.zeros((len(owners), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, place, vectors)
    return owners, unit(sums)


def by_language(inputs: Inputs, queries: Rows) -> list[tuple[str, Rows]]:
    """The places of the queries of each language, of those with the most."""
    languages = [inputs.language[query] for query in queries]
    most = [name for name, _ in Counter(name for name in languages if name).most_common(_LANGUAGES)]
    told = np.array(languages)
    return [(name, np.flatnonzero(told == name)) for name in sorted(most)] if len(most) > 1 else []
