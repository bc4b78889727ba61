"""Word embeddings from a file: word2vec's and fastText's text format (.vec), or safetensors beside a JSON list of words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from triptych.encoders.classical.words import normalised
from triptych.errors import EncoderError

VECTORS, WORDS = "vectors.safetensors", "words.json"
_HEADER = 2  # "COUNT DIMS", which GloVe's files do not have

Table = tuple[list[str], npt.NDArray[np.float32]]


def read(path: Path, most: int) -> Table:
    """The first `most` words, normalised, and their vectors (words, dims), float32; of two alike words the first.

    `path` is a .vec file, or a folder with vectors.safetensors (a tensor "vectors", (words, dims)) and words.json.
    Raises EncoderError `encoder.model`.
    """
    try:
        found, vectors = _read_folder(path, most) if path.is_dir() else _read_text(path, most)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise EncoderError(
            f"The word vectors {path} cannot be read: {error}.",
            code="encoder.model",
            remedy=f"Give a word2vec or fastText text file (.vec), or a folder with {VECTORS} and {WORDS}.",
        ) from error
    first: dict[str, int] = {}
    for number, word in enumerate(found):
        first.setdefault(normalised(word), number)
    return list(first), vectors[list(first.values())]


def _read_folder(folder: Path, most: int) -> Table:
    vectors = load_file(folder / VECTORS)["vectors"]
    known = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    if not isinstance(known, list) or vectors.ndim != 2 or len(known) != len(vectors) or not known:  # noqa: PLR2004
        raise ValueError(f"{WORDS} has not one word for each row of {VECTORS}")
    return [str(word) for word in known[:most]], np.asarray(vectors[:most], dtype=np.float32)


def _read_text(path: Path, most: int) -> Table:
    known: list[str] = []
    rows: list[npt.NDArray[np.float32]] = []
    for word, values in _lines(path):
        if rows and len(values) != len(rows[0]):
            raise ValueError(f"{word!r} has {len(values)} values, the first word has {len(rows[0])}")
        known.append(word)
        rows.append(values)
        if len(rows) == most:
            break
    if not rows:
        raise ValueError("it has no words")
    return known, np.stack(rows)


def _lines(path: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file):
            word, *values = line.rstrip().split(" ")
            if number == 0 and len(values) == _HEADER - 1:
                continue
            yield word, np.array(values, dtype=np.float32)
