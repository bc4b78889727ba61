"""How a catalogue is read for training: what joins products, what memory keeps, which queries go with whom."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from training.asked import one_side
from training.catalogue import NO_QUERY, Catalogue, Reader
from training.groups import split
from training.products import Reading
from training.vectors import VectorFile
from triptych.domain import Modality, Vectors
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.services import Services
from triptych.settings import load

pytestmark = pytest.mark.unit

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE


class Means:
    """Pictures by their mean colour, words by their letters."""

    def __init__(self, modality: Modality) -> None:
        self.spec = EncoderSpec("means", str(modality), modality, (modality,), 4, "MIT")

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return unit(np.array([[*self._of(one), 1.0] for one in inputs], dtype=np.float32))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        assert modality == self.spec.document_modality
        return self.embed_documents(inputs)

    def _of(self, one: Input) -> Sequence[float]:
        if isinstance(one, Image.Image):
            return [float(part) / 255 for part in np.asarray(one.convert("RGB")).reshape(-1, 3).mean(axis=0)]
        return [str(one).count(letter) for letter in "aeo"]


@contextmanager
def read(folder: Path, products: Sequence[Mapping[str, Any]], **reading: Any) -> Iterator[tuple[Catalogue, Reader]]:
    """A catalogue of these products, with its reader."""
    path = folder / "catalogue.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in products), encoding="utf-8")
    services = Services(load())
    encoders = {IMAGE: Means(IMAGE), TEXT: Means(TEXT)}
    with ExitStack() as stack:
        files = {m: stack.enter_context(VectorFile(folder / "vectors", str(m), 4)) for m in encoders}
        reader = Reader(services, encoders, files, Reading(**reading))
        yield reader.read(open_source(SourceSpec(str(path)), services), lambda *_: None), reader


def coloured(folder: Path, name: str, red: int) -> str:
    Image.new("RGB", (24, 24), (red, 90, 30)).save(folder / name)
    return name


def product(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "title": f"product number {number}", **more}


def test_products_of_one_picture_are_a_group_but_not_those_of_a_placeholder(tmp_path: Path) -> None:
    variant, none = coloured(tmp_path, "variant.png", 200), coloured(tmp_path, "none.png", 10)
    copied = coloured(tmp_path, "other-name.png", 200)
    products = [product(n, images=[variant if n else copied]) for n in range(6)]
    products += [product(n, images=[none]) for n in range(6, 30)]
    products += [product(n, images=[coloured(tmp_path, f"{n}.png", n)]) for n in range(30, 33)]
    with read(tmp_path, products) as (catalogue, _):
        assert catalogue.group.tolist() == [0] * 6 + list(range(6, 33))
        assert catalogue.alike(np.array([0]), np.array([5, 6])).tolist() == [[True, False]], "no negatives of each other"


def test_memory_keeps_no_text_but_digests(tmp_path: Path) -> None:
    long = "a long description of a thing that is for sale " * 20
    products = [product(n, description={code: f"{long} {n} {code}" for code in ("en", "de", "fr")}) for n in range(40)]
    with read(tmp_path, products, languages=("en",)) as (_, reader):
        kept = reader._groups._first
        assert len(kept) == 40
        assert max(sys.getsizeof(key) for key in kept) < 64


def clicked(count: int, each: int) -> dict[str, list[str]]:
    """Queries that led to `each` of `count` products at random, by product."""
    random = np.random.default_rng(0)
    found: dict[str, list[str]] = {}
    for query in range(count // 2):
        for number in random.choice(count, each, replace=False).tolist():
            found.setdefault(f"p{number}", []).append(f"Query of {query} a")
    return found


def test_queries_join_no_products_and_lead_to_theirs_alone(tmp_path: Path) -> None:
    queries = {"p0": ["Warm hat", "warm hat.", "lamp"], "p1": ["warm hat"], "p2": ["lamp"]}
    with read(tmp_path, [product(n) for n in range(5)], queries=queries) as (catalogue, _):
        assert catalogue.group.tolist() == [0, 1, 2, 3, 4]
        assert [products.tolist() for products in catalogue.wanted] == [[0, 1], [0, 2]]
        inputs = catalogue.inputs[TEXT]
        assert inputs.query is not None
        which = np.flatnonzero(inputs.query == 0)
        assert inputs.product[which].tolist() == [0, 1]
        assert len(set(inputs.row[which])) == 1, "one text, one vector"
        assert catalogue.led(TEXT, which, np.arange(5)).tolist() == [[True, True, False, False, False]] * 2
        titles = inputs.of(np.arange(5), copies=False, queries=False)
        assert not catalogue.led(TEXT, titles, np.arange(5)).any()
        assert catalogue.answers(TEXT, titles, np.arange(5)).tolist() == np.eye(5, dtype=bool).tolist()


def test_each_query_is_on_one_side_with_those_of_its_products_that_are(tmp_path: Path) -> None:
    queries = clicked(100, 5)
    with read(tmp_path, [product(n) for n in range(100)], queries=queries) as (catalogue, _):
        sides = split(catalogue.group, catalogue.keys, validation=0.2, test=0.2, seed=0)
        found = one_side(catalogue, sides, seed=0)
    side = np.zeros(100, dtype=int)
    side[sides.validation], side[sides.test] = 1, 2
    inputs = found.inputs[TEXT]
    assert inputs.query is not None
    asked = [side[inputs.product[inputs.query == number]] for number in range(50)]
    assert all(len(set(some)) == 1 for some in asked)
    assert {int(some[0]) for some in asked} == {0, 1, 2}
    assert [len(some) for some in asked] == [len(products) for products in found.wanted]
    assert (inputs.query == NO_QUERY).sum() == 100, "own texts stay"
    assert len(inputs.language) == len(inputs.product) == len(inputs.row) == len(inputs.copy)
