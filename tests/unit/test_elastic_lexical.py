"""How many words a text has for BM25."""

from __future__ import annotations

import pytest

from triptych.elastic.lexical import LONGEST, words_in

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" - !", 0),
        ("shoe", 1),
        ("red T-shirt, size 40", 5),
        ("día señal Ürümqi", 3),
        ("красная обувь", 2),
        ("红鞋", 2),
        ("红shoe鞋2", 4),
        ("バイオリン", 5),
        ("한국", 2),
        ("𠀋", 1),
        ("𠀋a", 2),
        ("x" * 1000, 1),
        ("x " * 1000, LONGEST // 2),
    ],
    ids=lambda value: str(value)[:20],
)
def test_words_are_runs_of_letters_and_each_character_of_the_east(text: str, words: int) -> None:
    assert words_in(text) == words
