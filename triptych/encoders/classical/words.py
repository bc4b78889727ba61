"""From text to terms: words where a script has spaces, characters and their pairs where it has none, and parts of words.

No dictionary and no language: a catalogue's text may be of any, and of several at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Han, Hiragana, Katakana, Thai, Lao, Myanmar, Khmer: written without spaces between words.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs and other marks belong to words, and Python's \w leaves them out: Hebrew, Arabic, the scripts of India.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_RUN = re.compile(f"(?P<spaceless>[{_SPACELESS}]+)|(?:(?![{_SPACELESS}])(?:[^\\W_]|[{_MARKS}]))+")
_ACCENTS = re.compile("[\u0300-\u036f]")

MOST_CHARACTERS = 20_000
"""A text is read so far: what a catalogue says of a product after that says little more."""

_SHORTEST_PART, _LONGEST_PART = 3, 5


def normalised(text: str) -> str:
    """Without differences of case, width and accents: "CAFÉ" and "ｃａｆｅ" are "cafe"."""
    folded = unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]).casefold()
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    for found in _RUN.finditer(normalised(text)):
        yield found.group(), found.group("spaceless") is not None


def words(text: str) -> list[str]:
    """The words in their order; a script without spaces gives its characters: "Red 大提琴" is red, 大, 提, 琴."""
    return [word for run, spaceless in _runs(text) for word in (run if spaceless else (run,))]


def terms(text: str) -> list[str]:
    """As `words`, with the pairs of characters too: "Red 大提琴" is red, 大, 提, 琴, 大提, 提琴."""
    found: list[str] = []
    for run, spaceless in _runs(text):
        if spaceless:
            found.extend(run)
            found.extend(run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.append(run)
    return found


def parts(text: str) -> list[str]:
    """Parts of 3 to 5 letters of the words of scripts with spaces: "red" is <re, red, ed>, <red, red>, <red>.

    The marks of a word's ends tell a beginning from a middle, as in fastText: Bojanowski et al. 2017, arXiv:1607.04606.
    """
    found: list[str] = []
    for run, spaceless in _runs(text):
        if spaceless:
            continue
        marked = f"<{run}>"
        for size in range(_SHORTEST_PART, _LONGEST_PART + 1):
            found.extend(marked[i : i + size] for i in range(len(marked) - size + 1))
    return found
