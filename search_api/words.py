"""How a query's words are searched: which fields, how strictly, in which language. Pure.

Without options it is the query that the index was measured with (`triptych.elastic.lexical`).
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from triptych.elastic.lexical import LONGEST, lexical_query
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError

Fuzziness = Literal["AUTO", "0", "1", "2"]

_SEARCHABLE = {"text", "keyword", "match_only_text", "search_as_you_type", "constant_keyword", "wildcard", "version"}
_MOST_BOOST = 1e30
"""Scores are 32 bit floats, which end at 3e38."""

_TITLE = re.compile(r"title\.([a-z]{2,3})")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How words are searched by BM25.

    `fields` (with boosts: `title.en^3`, patterns: `title.*`) take the place of the index's lexical fields; patterns stand for
    its fields of words, never for ours. `operator` "and" asks for every word, `minimum_should_match` for so many, in any of the
    fields. `fuzziness` forgives typing errors, as Elasticsearch's. `language` (as `en`) searches only that language's fields
    beside those of none. `phrase_boost` adds so many times the score of the words as a phrase. `analyzer` is one of the index's
    search analyzers, such as one with synonyms. `query` is the whole query in Elasticsearch's own language (a request's
    `lexical_query`), and all else is nothing then.
    """

    fields: tuple[str, ...] = ()
    operator: Literal["or", "and"] = "or"
    fuzziness: Fuzziness | None = None
    language: str | None = None
    phrase_boost: float = 0.0
    minimum_should_match: str | None = None
    analyzer: str | None = None
    query: Mapping[str, Any] | None = None


def words_query(text: str, fields: Sequence[str], options: TextOptions) -> dict[str, Any]:
    """The query of the lexical leg.

    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-multi-match-query
    """
    if options.query is not None:
        return dict(options.query)
    query = lexical_query(text, fields)
    match = query["multi_match"]
    if options.fuzziness is not None and options.operator == "or":
        match["fuzziness"] = options.fuzziness
    if options.analyzer is not None:
        match["analyzer"] = options.analyzer
    if options.operator == "and" or options.minimum_should_match is not None:
        query = {"bool": {"must": query, "filter": _enough(match, options)}}
    if not options.phrase_boost:
        return query
    phrase: dict[str, Any] = {
        "query": text[:LONGEST],
        "fields": list(fields),
        "type": "phrase",
        "boost": options.phrase_boost,
        "lenient": True,
    }
    if options.analyzer is not None:
        phrase["analyzer"] = options.analyzer
    return {"bool": {"must": query, "should": {"multi_match": phrase}}}


def _enough(match: Mapping[str, Any], options: TextOptions) -> dict[str, Any]:
    """The filter of products that have enough of the words, in whatever fields. It leaves the scores as they were measured.

    One multi_match asks for them in one field, or in the fields of one analyzer (cross_fields), so each word, as spaces part
    them, is looked for alone too. One that a field's analyzer drops (`the`) is not missed. All at once also counts: there may
    be synonyms of several words.
    """
    whole: dict[str, Any] = {name: value for name, value in match.items() if name != "tie_breaker"}
    every = options.operator == "and"
    if every:
        whole |= {"type": "cross_fields", "operator": "and"}
    else:
        whole["minimum_should_match"] = options.minimum_should_match
    words = match["query"].split()
    if len(words) == 1:
        return {"multi_match": whole}
    apart = [{"multi_match": {**whole, "query": word, "zero_terms_query": "all"}} for word in words]
    enough = {"must": apart} if every else {"should": apart, "minimum_should_match": options.minimum_should_match}
    return {"bool": {"should": [{"multi_match": whole}, {"bool": enough}]}}


def fields_of(options: TextOptions, info: IndexInfo) -> tuple[str, ...]:
    """The fields that words are searched in. Raises QueryError for an option the index cannot follow."""
    _check_options(options)
    fields = options.fields or info.schema.lexical_fields
    for number, name in enumerate(options.fields):
        _check_field(name, f"text_options.fields.{number}", info)
    if options.language:
        fields = _in_language(fields, options.language, info)
    found = _spelled_out(fields, options.language, info) if options.fields else tuple(fields)
    if any(float(name.partition("^")[2] or 1) > _MOST_BOOST for name in found):
        raise QueryError(
            "Together the boosts of a field are too large.", code="query.bad_text_option", field="text_options.fields"
        )
    if options.language and not found:
        raise QueryError(
            f"None of the fields has words in {options.language!r}.",
            code="query.unknown_language",
            field="text_options.language",
            remedy="Leave out the language, or the fields.",
        )
    return found


def _check_options(options: TextOptions) -> None:
    if not 0 <= options.phrase_boost <= 100:  # noqa: PLR2004  said in the message
        raise QueryError("phrase_boost is 0 to 100.", code="query.bad_text_option", field="text_options.phrase_boost")
    if options.fuzziness is not None and options.operator == "and":
        raise QueryError(
            "Fuzziness and the operator `and` do not go together.",
            code="query.bad_text_option",
            field="text_options.fuzziness",
            remedy="Use minimum_should_match: 100% in place of the operator.",
        )
    if options.minimum_should_match is not None and not re.fullmatch(r"-?[0-9]{1,3}%?", options.minimum_should_match):
        raise QueryError(
            f"minimum_should_match is {options.minimum_should_match[:40]!r}.",
            code="query.bad_text_option",
            field="text_options.minimum_should_match",
            remedy="Give a number of words or a share, such as 2 or 75%.",
        )


def _check_field(given: str, where: str, info: IndexInfo) -> None:
    name, _, boost = given.partition("^")
    if "^" in given and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", boost):
        raise QueryError(f"The boost of {given!r} is no number.", code="query.bad_text_option", field=where)
    able = _able(info)
    if not any(fnmatch.fnmatchcase(field, name) for field in able):
        close = difflib.get_close_matches(name, able, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Fields of words: {', '.join(sorted(able)[:20])}."
        raise QueryError(f"The index has no field {name!r} of words.", code="query.unknown_field", field=where, remedy=hint)


def _able(info: IndexInfo) -> list[str]:
    """The fields of words, without our own."""
    return [name for name, kind in info.fields.items() if kind in _SEARCHABLE and not info.schema.is_ours(name)]


def _spelled_out(fields: Sequence[str], language: str | None, info: IndexInfo) -> tuple[str, ...]:
    """The fields with each pattern as the fields of words it stands for: Elasticsearch would take ours and vectors' too.

    A field that is named several times has the product of its boosts, as Elasticsearch has it.
    """
    others = languages_of(info) - {language} if language else frozenset()
    boosts: dict[str, str] = {}
    able = _able(info)
    for given in fields:
        name, _, boost = given.partition("^")
        found = [name] if name in able else [f for f in able if fnmatch.fnmatchcase(f, name)]
        for field in found:
            if name in able or field.rpartition(".")[2] not in others:
                both = [one for one in (boosts.get(field), boost) if one]
                boosts[field] = both[0] if len(both) == 1 else f"{math.prod(map(float, both)):.6f}" if both else ""
    return tuple(f"{field}^{boost}" if boost else field for field, boost in boosts.items())


def _in_language(fields: Sequence[str], language: str, info: IndexInfo) -> tuple[str, ...]:
    """The fields of one language and those that have none; `title.*` becomes `title.en`."""
    there = languages_of(info)
    if language not in there:
        raise QueryError(
            f"The index has no words in {language[:20]!r}.",
            code="query.unknown_language",
            field="text_options.language",
            remedy=f"Languages: {', '.join(sorted(there)) or 'none'}.",
        )
    kept: list[str] = []
    for given in fields:
        name, caret, boost = given.partition("^")
        stem, _, last = name.rpartition(".")
        if last == "*":
            here = {name for name in info.fields if name.rpartition(".")[0] == stem}
            mine = [f"{stem}.{code}" for code in (language, "und") if f"{stem}.{code}" in here]
            of_languages = all(_LANGUAGE.fullmatch(name.rpartition(".")[2]) for name in here)
            kept += [f"{name}{caret}{boost}" for name in mine] if of_languages and here else [given]
        elif last not in there or last == language:
            kept.append(given)
    return tuple(kept)


def languages_of(info: IndexInfo) -> frozenset[str]:
    """The languages of an index's titles, by the names of their fields (`title.en`)."""
    return frozenset(found[1] for name in info.fields if (found := _TITLE.fullmatch(name)) and found[1] != "und")
