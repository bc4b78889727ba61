"""Which products belong together, and which side of a split they are on. Pure.

Products that share a text, a picture or sound, or a value of a field that says so, are one *group*, and so are those connected
through others. A group is never divided: what is measured on the held-out products was not seen in training under another id.
A medium that many products share, such as a placeholder, says nothing of them and joins none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from training.vectors import Rows
from triptych.errors import InputError


class Groups:
    """Products joined by what they share (union-find with path halving; Tarjan and van Leeuwen 1984)."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._first: dict[Hashable, int] = {}  # of a catalogue digests: 16 bytes a thing, never its text

    def add(self, shared: Iterable[Hashable]) -> int:
        """The next product, which has these things; returns its number."""
        number = len(self._parent)
        self._parent.append(number)
        self.join(number, shared)
        return number

    def join(self, number: int, shared: Iterable[Hashable]) -> None:
        """A product has these things too."""
        for thing in shared:
            self._join(number, self._first.setdefault(thing, number))

    def _join(self, one: int, other: int) -> None:
        mine, theirs = self._root(one), self._root(other)
        self._parent[max(mine, theirs)] = min(mine, theirs)

    def join_by(self, products: Rows, things: Rows, *, most: int) -> None:
        """These products have these things, (n,) each. A thing that more than `most` products have joins none of them."""
        pairs = np.unique(np.stack([things, products], axis=1), axis=0) if len(things) else np.empty((0, 2), dtype=np.int64)
        _, starts, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
        for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
            first, *others = pairs[start : start + count, 1].tolist() if count <= most else [0]
            for other in others:
                self._join(first, other)

    def of_all(self) -> Rows:
        """The group of each product: the number of its first product, (n,)."""
        return np.array([self._root(number) for number in range(len(self._parent))], dtype=np.int64)

    def _root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number


def normalised(text: str) -> str:
    """A text without what does not make it another one: case, spaces, the stop at its end."""
    return " ".join(text.casefold().split()).rstrip(" .。!！")


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of products: to learn from, to stop by, to report on. No group is in two of them."""

    train: Rows
    validation: Rows
    test: Rows

    def sizes(self, groups: Rows) -> Mapping[str, Mapping[str, int]]:
        """How many products and groups each side has."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: {"products": len(rows), "groups": len(np.unique(groups[rows]))} for name, rows in sides.items()}


def split(groups: Rows, keys: Mapping[int, str], *, validation: float, test: float, seed: int) -> Split:
    """Divide products by their groups, (n,), each group by its key and the seed: the rest of a catalogue moves no group.

    `keys` names each group (an id that stays). The shares are of products, reached to within one group.
    Raises InputError `training.no_split` where a side that is wanted would be empty, or one group is most of the catalogue.
    """
    order = sorted(keys, key=lambda group: hashlib.sha256(f"{seed}:{keys[group]}".encode()).digest())
    sizes = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    wanted = {"test": test * len(groups), "validation": validation * len(groups)}
    sides: dict[int, str] = {}
    for name, most in wanted.items():
        held = 0
        for group in order:
            if held >= most:
                break
            if group not in sides and sizes[group] <= max(most - held, most / 2):
                sides[group] = name
                held += int(sizes[group])
    side = np.array([sides.get(int(group), "train") for group in groups])
    found = {name: np.flatnonzero(side == name) for name in ("train", "validation", "test")}
    empty = [name for name, share in (("validation", validation), ("test", test)) if share and not len(found[name])]
    if empty or not len(found["train"]):
        raise InputError(
            f"The {len(groups)} products make {len(sizes)} groups, which leaves {', '.join(empty) or 'train'} empty.",
            code="training.no_split",
            remedy="A text that many products share joins them; name other languages, or give more products.",
        )
    return Split(**found)
