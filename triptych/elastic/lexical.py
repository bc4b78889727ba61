"""The query of the words leg: BM25 over an index's lexical fields, for searches and for the measuring of levels alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lexical_query(text: str, fields: Sequence[str]) -> dict[str, Any]:
    """A product is as good as its best field, and a third of each other field that matches too.

    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-multi-match-query
    """
    return {"multi_match": {"query": text, "fields": list(fields), "type": "best_fields", "tie_breaker": 0.3, "lenient": True}}
