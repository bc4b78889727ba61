"""The query of the words leg: BM25 over an index's lexical fields, for searches and for the measuring of levels alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LONGEST = 300
"""Characters of a text that BM25 is asked for: each word makes a clause per field, and Elasticsearch limits the clauses
(10,000 Chinese characters in 18 fields are refused)."""


def lexical_query(text: str, fields: Sequence[str]) -> dict[str, Any]:
    """A product is as good as its best field, and a third of each other field that matches too.

    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-multi-match-query
    """
    return {
        "multi_match": {
            "query": text[:LONGEST],
            "fields": list(fields),
            "type": "best_fields",
            "tie_breaker": 0.3,
            "lenient": True,
        }
    }


_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana, Han and Hangul: written without spaces, or analysed by character."""

_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def words_in(text: str) -> int:
    """How many words BM25 is asked for: runs of letters and digits, and each Chinese, Japanese or Korean character."""
    return len(_WORD.findall(text[:LONGEST]))
