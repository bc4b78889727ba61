"""Profiles and encoders without weights, for tests that need no model: a toy family, and the default profile's spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from search_api.candidates import NO_MODALITY, NOT_RETRIEVED, RETRIEVED, Candidates, single
from triptych.domain import Modality, Vectors
from triptych.encoders import profiles, registry
from triptych.encoders.base import EncoderSpec, Family, Fitted, Input, Options, Setup, unit
from triptych.encoders.inputs import check_modality
from triptych.encoders.profiles import Profile
from triptych.schema import Space
from triptych.settings import Settings

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO

NOWHERE = Settings.model_construct(data_dir=Path("no-such-folder"))
"""Settings of nobody's environment; the digests of models that come as packages are pinned, so no weights are needed."""


def offline_spaces() -> tuple[Space, ...]:
    """The spaces of the default profile: text, image, image_words, audio."""
    return tuple(registry.spaces_of(profiles.read("offline"), NOWHERE))


class LetterOptions(Options):
    shift: int = Field(0, ge=0, le=25, description="letters are counted from here")


class Letters:
    """A text as how often each letter stands in it; of length 1, or zeros where it has no letter."""

    def __init__(self, setup: Setup) -> None:
        self.spec: EncoderSpec = setup.spec
        self.setup = setup
        self.asked = 0

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        self.asked += len(inputs)
        rows = np.zeros((len(inputs), self.spec.dims), dtype=np.float32)
        for row, text in zip(rows, inputs, strict=True):
            for letter in str(text).lower():
                if "a" <= letter <= "z":
                    row[(ord(letter) - ord("a") + self.setup.options.shift) % self.spec.dims] += 1
        return unit(rows)

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        return self.embed_documents(inputs)


def learn(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """How many inputs there were."""
    return Fitted({"seen": np.array([sum(1 for _ in inputs)], dtype=np.int64)}, {"space": setup.spec.space})


LETTERS = Family("letters", "words by their letters", Letters, (TEXT,), (TEXT,), options=LetterOptions)
LEARNED = Family("learned", "letters, after learning", Letters, (TEXT,), (TEXT,), options=LetterOptions, fit=learn)
CARRIED = Family("carried", "over another space", Letters, (TEXT,), (TEXT,), options=LetterOptions, parts=("words",))
WEIGHTY = Family("weighty", "wants a model", Letters, (TEXT, IMAGE), (TEXT,), options=LetterOptions, wants_model=True)
TOYS = (LETTERS, LEARNED, CARRIED, WEIGHTY)


def with_toys() -> Any:
    """In place of `entry_points`: the installed families and the toys, as another package would bring them."""
    points = [EntryPoint(family.name, f"toys:{family.name.upper()}", "triptych.encoders") for family in TOYS]
    return lambda group: [*entry_points(group=group), *points]


def profile_of(spaces: str, *, folder: Path | None = None, name: str = "mine.yaml") -> Profile:
    """A profile from the YAML text of its spaces, which is indented as it stands in a file."""
    return profiles.parse(f"description: mine\nspaces:\n{spaces}", name=name, folder=folder)


def space_text(name: str = "text", family: str = "letters", dims: int = 26, more: str = "") -> str:
    """The YAML text of one space, for `profile_of`."""
    head = f"  {name}:\n    family: {family}\n    dims: {dims}\n    licence: MIT\n    documents: text\n    queries: [text]\n"
    return head + "".join(f"    {line}\n" for line in more.splitlines())


def an_encoded(name: str = "text", dims: int = 3, **changes: Any) -> Space:
    """A space as an index remembers it, of words by words unless said otherwise."""
    given: dict[str, Any] = {
        "encoder": "toy", "fingerprint": f"print-{name}", "document_modality": TEXT, "query_modalities": (TEXT,),
    }  # fmt: skip
    return Space(name=name, dims=dims, **{**given, **changes})


def a_precomputed(name: str = "own", dims: int = 3, **changes: Any) -> Space:
    return an_encoded(name, dims, **{"kind": "precomputed", "encoder": "mine-v1", "query_modalities": (), **changes})


def a_fused(parts: dict[str, float], dims: int, name: str = "all", **changes: Any) -> Space:
    given = {"kind": "fused", "parts": parts, "document_modality": None, "query_modalities": ()}
    return an_encoded(name, dims, **{**given, **changes})


# The scores of a query's candidates


def a_table(
    raw: Mapping[str, Sequence[float | None]], legs: Sequence[str] = ("one", "two", "three"), **more: Any
) -> Candidates:
    """Candidates of these raw scores, by id; None: the product has nothing of the leg's modality.

    Each leg returned all it scores: `rank` and `tops` follow from that. `status` and `rank` (by id, where they differ), `tops`,
    `lasts`, `rounds`, `values` and `extra` say otherwise.
    """
    rounds = more.get("rounds", {})
    ids = sorted(raw, key=lambda key: (rounds.get(key, 0), key))
    names = tuple(legs[: len(next(iter(raw.values())))] if raw else legs)
    table = np.array([[np.nan if x is None else x for x in raw[key]] for key in ids], dtype=float).reshape(len(ids), len(names))
    status = np.where(np.isnan(table), NO_MODALITY, RETRIEVED).astype(np.uint8)
    for key, row in more.get("status", {}).items():
        status[ids.index(key)] = row
    table[status == NOT_RETRIEVED] = np.nan
    rank = np.zeros(table.shape, dtype=np.int32)
    for column in range(len(names)):
        found = [n for n in range(len(ids)) if status[n, column] == RETRIEVED]
        for place, row in enumerate(sorted(found, key=lambda n: (-table[n, column], ids[n])), start=1):
            rank[row, column] = place
    for key, row in more.get("rank", {}).items():
        rank[ids.index(key)] = row
    best = [max((x for x in table[:, c] if x == x), default=np.nan) for c in range(len(names))]  # noqa: PLR0124  NaN
    return Candidates(
        names,
        tuple(ids),
        single(table),
        status,
        rank,
        single(np.array(more.get("tops", best), dtype=float)),
        single(np.array(more.get("lasts", [np.nan] * len(names)), dtype=float)),
        np.array([rounds.get(key, 0) for key in ids], dtype=np.int32),
        more.get("values", {}),
        frozenset(more.get("extra", ())),
    )
