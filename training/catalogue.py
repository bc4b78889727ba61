"""A catalogue as training sees it: of each product its group and its labels, of each of its inputs the row of a vector on disk.

    source -> records -> products, some at a time -> texts, pictures and sounds (and changed copies of them)
           -> not seen before: decoded, embedded by the frozen encoder -> VectorFile

Memory holds a few numbers a product and a few an input, never the inputs nor their vectors.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from indexer.documents import passage
from indexer.embedding import AT_ONCE
from indexer.sources.source import Source
from training.asked import Asked
from training.groups import Groups
from training.products import Reading, joining_texts, products_of, texts_of, value_of
from training.vectors import Rows, VectorFile, digest_of
from triptych.domain import Media, Modality, Product, Vector, Vectors
from triptych.encoders import bases
from triptych.encoders.base import Encoder, Input
from triptych.errors import InputError, MediaError
from triptych.media.fetcher import BatchMedia
from triptych.services import Services

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
"""Told what is done, how many of them, and of how many where that is known."""

_AT_ONCE = 64  # products read together: their media are fetched side by side, their texts embedded together
NO_VALUE = NO_QUERY = -1

_OF_ONE_MEDIUM = 20
"""Products that a picture or sound may belong to and still join them: variants. One of more products is a placeholder."""


class Change(Protocol):
    """Makes the changed copies of pictures and sounds (augment.py)."""

    @property
    def copies(self) -> int: ...

    def named(self, number: int) -> str: ...

    def __call__(self, value: Input, *, seed: bytes) -> Input: ...


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs of one modality: whose they are, (m,), the row of each one's vector, (m,), its language or "", copies.

    `copy` is 0 for the thing itself and counts its changed copies, (m,). `query` is the number of the query that an input is,
    NO_QUERY where it is the product's own, (m,); None where no input is one.
    """

    product: Rows
    row: Rows
    copy: Rows
    language: tuple[str, ...]
    vectors: VectorFile
    query: Rows | None = None

    def read(self, which: Rows) -> Vectors:
        """The vectors of these inputs, (n, dims), float32."""
        return self.vectors.read(self.row[which])

    def of(self, products: Rows, *, copies: bool, queries: bool = True) -> Rows:
        """The numbers of the inputs that these products have, with their changed copies and the queries for them or without."""
        wanted = np.isin(self.product, products) & (copies | (self.copy == 0))
        return np.flatnonzero(wanted if queries or self.query is None else wanted & (self.query == NO_QUERY))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A catalogue that is embedded: n products by number, their groups (n,), codes of positive values (n, fields), labels.

    `wanted` has the products that each query led to, by its number.
    """

    name: str
    ids: tuple[str, ...]
    group: Rows
    positive: Rows
    label: tuple[str | None, ...]
    inputs: Mapping[Modality, Inputs]
    passages: Inputs | None = None
    wanted: tuple[Rows, ...] = ()

    @property
    def keys(self) -> dict[int, str]:
        """The id that names each group: its first product's."""
        return {int(group): self.ids[group] for group in np.unique(self.group)}

    @property
    def digest(self) -> str:
        """64 hex digits over all that training can see; the vectors by their rows, so it is of this machine."""
        found = hashlib.sha256()
        for part in (*self.ids, *map(str, self.label)):
            found.update(part.encode() + b"\0")
        for array in (self.group, self.positive):
            found.update(array.tobytes())
        for modality, some in sorted(self.inputs.items()):
            found.update(modality.encode() + some.product.tobytes() + some.row.tobytes() + some.copy.tobytes())
        for products in self.wanted:
            found.update(products.tobytes() + b"\0")
        return found.hexdigest()

    def alike(self, products: Rows, others: Rows) -> Any:
        """Which of `others` answers for which of `products`: bool (n, m). Same group, or the same value of a field."""
        found = self.group[products][:, None] == self.group[others][None]
        for codes in self.positive.T:
            mine, theirs = codes[products], codes[others]
            found |= (mine[:, None] == theirs[None]) & (mine != NO_VALUE)[:, None]
        return found

    def led(self, modality: Modality, which: Rows, products: Rows) -> npt.NDArray[np.bool_]:
        """To which products, or variants of them, (m,), the queries among these inputs, (n,), led: bool (n, m)."""
        found = np.zeros((len(which), len(products)), dtype=np.bool_)
        query = self.inputs[modality].query
        if query is not None:
            groups = self.group[products]
            for place in np.flatnonzero(query[which] != NO_QUERY):
                found[place] = np.isin(groups, self.group[self.wanted[query[which[place]]]])
        return found

    def answers(self, modality: Modality, which: Rows, products: Rows) -> npt.NDArray[np.bool_]:
        """Which products answer which inputs of a modality, bool (n, m): those like the one it is of, those it led to."""
        found: npt.NDArray[np.bool_] = self.alike(self.inputs[modality].product[which], products)
        return found | self.led(modality, which, products)


class _Rows:
    """What grows while a catalogue is read."""

    def __init__(self) -> None:
        self.product: list[int] = []
        self.row: list[int] = []
        self.copy: list[int] = []
        self.language: list[str] = []
        self.query: list[int] = []

    def add(self, product: int, row: int | None, *, copy: int = 0, language: str = "", query: int = NO_QUERY) -> None:
        if row is not None:
            self.product.append(product)
            self.row.append(row)
            self.copy.append(copy)
            self.language.append(language)
            self.query.append(query)

    def done(self, vectors: VectorFile) -> Inputs:
        product, row, copy = (np.array(some, dtype=np.int64) for some in (self.product, self.row, self.copy))
        query = np.array(self.query, dtype=np.int64)
        return Inputs(product, row, copy, tuple(self.language), vectors, query if (query != NO_QUERY).any() else None)


class Reader:
    """Reads one catalogue. `encoders` and `files` are by modality; a modality without an encoder is passed over."""

    def __init__(
        self,
        services: Services,
        encoders: Mapping[Modality, Encoder],
        files: Mapping[Modality, VectorFile],
        reading: Reading,
        change: Change | None = None,
    ) -> None:
        self._services, self._encoders, self._files = services, encoders, files
        self._reading, self._change = reading, change
        self._groups = Groups()
        self._values: list[dict[str, int]] = [{} for _ in reading.positives_by]
        self._found = {modality: _Rows() for modality in encoders}
        self._passages = _Rows()
        self._queries = Asked()

    def read(self, source: Source, progress: Progress) -> Catalogue:
        """The whole catalogue. Raises InputError `training.nothing` where it has no product."""
        ids: list[str] = []
        labels: list[str | None] = []
        positives: list[list[int]] = []
        with closing(products_of(source)) as found:
            while some := list(islice(found, _AT_ONCE)):
                numbered = list(enumerate(some, start=len(ids)))
                for _, product in numbered:
                    ids.append(product.id)
                    labels.append(value_of(product, self._reading.label) if self._reading.label else None)
                    positives.append([self._code(product, at) for at in range(len(self._reading.positives_by))])
                self._texts(numbered)
                if self._reading.passages and Modality.TEXT in self._encoders:
                    self._passages_of(numbered)
                with self._services.fetcher.batch(source.root or Path(os.devnull)) as media:
                    for modality in (Modality.IMAGE, Modality.AUDIO):
                        if modality in self._encoders:
                            self._media(numbered, modality, media)
                progress("products", len(ids), None)
        if not ids:
            raise InputError(f"{source.name} has no product.", code="training.nothing", field="catalogue")
        inputs = {modality: rows.done(self._files[modality]) for modality, rows in self._found.items()}
        for modality, mine in inputs.items():
            if modality is not Modality.TEXT:
                self._groups.join_by(mine.product, mine.row, most=_OF_ONE_MEDIUM)
        return Catalogue(
            name=source.name,
            ids=tuple(ids),
            group=self._groups.of_all(),
            positive=np.array(positives, dtype=np.int64).reshape(len(ids), len(self._reading.positives_by)),
            label=tuple(labels),
            wanted=self._queries.wanted(),
            inputs=inputs,
            passages=self._passages.done(self._files[Modality.TEXT]) if Modality.TEXT in self._files else None,
        )

    def _code(self, product: Product, at: int) -> int:
        value, known = value_of(product, self._reading.positives_by[at]), self._values[at]
        return NO_VALUE if value is None else known.setdefault(value, len(known))

    def _texts(self, products: Sequence[tuple[int, Product]]) -> None:
        wanted: list[tuple[int, str, str, int]] = []
        for number, product in products:
            mine = texts_of(product, self._reading)
            shared = [digest_of(text) for text in joining_texts(product, self._reading)]
            values = {name: value_of(product, name) for name in self._reading.group_by}
            self._groups.add(shared + [digest_of(name, value) for name, value in values.items() if value is not None])
            wanted += [(number, language, text, NO_QUERY) for language, text in mine]
            asked = self._queries.of(number, self._reading.queries.get(product.id, ()))
            wanted += [(number, "", text, query) for query, text in asked]
        if Modality.TEXT not in self._encoders:
            return
        encoder, file = self._encoders[Modality.TEXT], self._files[Modality.TEXT]
        fresh = {digest_of(text): text for _, _, text, _ in wanted if digest_of(text) not in file}
        self._embed(iter(fresh.items()), Modality.TEXT, lambda inputs: bases.as_query(encoder, inputs, Modality.TEXT))
        for number, language, text, query in wanted:
            self._found[Modality.TEXT].add(number, file.row(digest_of(text)), language=language, query=query)

    def _passages_of(self, products: Sequence[tuple[int, Product]]) -> None:
        encoder, file = self._encoders[Modality.TEXT], self._files[Modality.TEXT]
        wanted = [(number, text) for number, product in products if (text := passage(product))]
        keys = {text: digest_of(text, "passage") for _, text in wanted}
        fresh = {key: text for text, key in keys.items() if key not in file}
        self._embed(iter(fresh.items()), Modality.TEXT, lambda inputs: bases.as_document(encoder, inputs, Modality.TEXT))
        for number, text in wanted:
            self._passages.add(number, file.row(keys[text]))

    def _media(self, products: Sequence[tuple[int, Product]], modality: Modality, media: BatchMedia) -> None:
        encoder, file = self._encoders[modality], self._files[modality]
        wanted = [(number, one) for number, product in products for one in product.of(modality)]
        digests = media.digests(one for _, one in wanted)
        keys = {one: self._keys(found) for one, found in digests.items() if isinstance(found, str)}
        fresh = {key[0]: one for one, key in keys.items() if any(part not in file for part in key)}
        self._embed(
            self._changed(self._decoded(fresh, modality, media), {key[0]: key for key in keys.values()}),
            modality,
            lambda inputs: bases.as_document(encoder, inputs, modality),
        )
        for number, one in wanted:
            for copy, key in enumerate(keys.get(one, ())):
                self._found[modality].add(number, file.row(key), copy=copy)

    def _keys(self, digest: str) -> tuple[bytes, ...]:
        """The key of a medium, and those of its changed copies."""
        change = self._change
        names = [change.named(number) for number in range(1, change.copies + 1)] if change is not None else []
        return (digest_of(digest), *(digest_of(digest, name) for name in names))

    def _decoded(self, media: Mapping[bytes, Media], modality: Modality, batch: BatchMedia) -> Iterator[tuple[bytes, Input]]:
        sent: deque[bytes] = deque()

        def feed() -> Iterator[tuple[bytes, Modality]]:
            for key, one in media.items():
                try:
                    data = batch.data(one)
                except MediaError as error:
                    log.info("%s is not learned from: %s", one.name, error)
                    continue
                sent.append(key)
                yield data, modality

        for result in self._services.decoder.decode_all(feed()):
            key = sent.popleft()
            if isinstance(result, MediaError):
                log.info("%s is not learned from: %s", media[key].name, result)
            else:
                yield key, result

    def _changed(
        self, decoded: Iterable[tuple[bytes, Input]], keys: Mapping[bytes, Sequence[bytes]]
    ) -> Iterator[tuple[bytes, Input]]:
        for key, value in decoded:
            yield key, value
            for copy in keys[key][1:]:
                if self._change is not None:
                    yield copy, self._change(value, seed=copy)

    def _embed(
        self, inputs: Iterator[tuple[bytes, Input]], modality: Modality, embed: Callable[[Sequence[Input]], Vectors]
    ) -> None:
        """Vectors of new inputs into their file; one in which the encoder finds nothing has none."""
        while some := list(islice(inputs, AT_ONCE[modality])):
            vectors = embed([value for _, value in some])
            self._files[modality].add({key: row for (key, _), row in zip(some, vectors, strict=True) if _says(row)})


def _says(row: Vector) -> bool:
    """Whether a vector is one: finite, and not zeros."""
    return bool(np.isfinite(row).all() and row.any())
