"""How words are searched: every option, the fields, the languages."""

from __future__ import annotations

from typing import Any

import pytest

from search_api.words import TextOptions, fields_of, languages_of, words_query
from triptych.elastic.lexical import lexical_query
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import QueryError
from triptych.schema import IndexSchema

pytestmark = pytest.mark.unit

FIELDS = {
    "title.en": "text", "title.zh": "text", "title.und": "text", "title.en.raw": "keyword", "description.en": "text",
    "description.fr": "text", "subtitle.fr": "text", "spec.power": "text", "brand": "keyword", "price": "double",
    "sku": "keyword", "category.path": "text", "triptych.key": "keyword", "where": "geo_point",
}  # fmt: skip
LEXICAL_FIELDS = ("title.*^3", "description.*", "brand^2", "sku")
INFO = IndexInfo("shop-1", IndexSchema(lexical_fields=LEXICAL_FIELDS), FIELDS)


def fields(**options: Any) -> tuple[str, ...]:
    return fields_of(TextOptions(**options), INFO)


# Fields


def test_without_options_the_indexs_own_fields_are_searched() -> None:
    assert fields() == LEXICAL_FIELDS


def test_given_fields_take_their_place() -> None:
    given = ("title.en^3.5", "category.path")
    assert fields(fields=given) == given


@pytest.mark.parametrize(
    ("given", "searched"),
    [
        (("title.*",), ("title.en", "title.zh", "title.und", "title.en.raw")),
        (("t*^2",), ("title.en^2", "title.zh^2", "title.und^2", "title.en.raw^2")),
        (("*p*",), ("description.en", "description.fr", "spec.power", "category.path")),  # nor triptych.key
        (("title.en^3", "sku", "title.??"), ("title.en^3", "sku", "title.zh")),
        (("title.en^3", "title.e*^2"), ("title.en^6.000000", "title.en.raw^2")),  # as Elasticsearch has it
    ],
)
def test_a_pattern_stands_for_the_fields_of_words_that_are_not_ours(given: tuple[str, ...], searched: tuple[str, ...]) -> None:
    assert fields(fields=given) == searched


def test_no_pattern_finds_any_of_our_object_fields() -> None:
    """An attached index may have several, under names of its owner's choice."""
    there = {"name": "text", "mine.key": "keyword", "mine_v2.outcome": "keyword", "triptych.key": "keyword"}
    info = IndexInfo("shop#mine", IndexSchema(object_field="mine", others=("mine_v2",)), there)
    assert fields_of(TextOptions(fields=("*",)), info) == ("name", "triptych.key"), "the last is the owner's own"


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("titel.en", "query.unknown_field", "Did you mean 'title.en'?"),
        ("zzzzzzzz", "query.unknown_field", "Fields of words: brand, "),
        ("price", "query.unknown_field", "no field 'price' of words"),
        ("where", "query.unknown_field", "of words"),
        ("triptych.key", "query.unknown_field", "of words"),
        ("triptych.*", "query.unknown_field", "of words"),
        ("", "query.unknown_field", "of words"),
        ("title.en^", "query.bad_text_option", "boost"),
        ("title.en^x", "query.bad_text_option", "boost"),
        ("title.en^-1", "query.bad_text_option", "boost"),
        ("title.en^1e9", "query.bad_text_option", "boost"),
        ("title.en^2^3", "query.bad_text_option", "boost"),
        ("title.en^1.", "query.bad_text_option", "boost"),
    ],
)
def test_a_bad_field_is_named_by_its_place(name: str, code: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        fields(fields=("brand", name))
    assert (caught.value.code, caught.value.field) == (code, "text_options.fields.1")
    assert said in str(caught.value)
    assert "triptych" not in (caught.value.remedy or "")


# Languages


def test_the_languages_are_those_of_the_titles() -> None:
    assert languages_of(INFO) == {"en", "zh"}
    assert languages_of(IndexInfo("v", IndexSchema(), {"title": "text", "title.raw.x": "text"})) == frozenset()


@pytest.mark.parametrize(
    ("given", "language", "kept"),
    [
        ((), "en", ("title.en^3", "title.und^3", "description.en", "brand^2", "sku")),
        ((), "zh", ("title.zh^3", "title.und^3", "brand^2", "sku")),  # no description is Chinese
        (("title.en^2", "title.zh", "brand"), "en", ("title.en^2", "brand")),
        (("title.und", "sku"), "en", ("title.und", "sku")),
        (("spec.*", "brand"), "en", ("spec.power", "brand")),  # no languages stand under it
        (("t*^2",), "en", ("title.en^2", "title.und^2", "title.en.raw^2")),
        (("subtitle.*", "brand"), "en", ("brand",)),  # French alone
    ],
)
def test_only_the_fields_of_a_language_and_those_of_none(given: tuple[str, ...], language: str, kept: tuple[str, ...]) -> None:
    assert fields(fields=given, language=language) == kept


@pytest.mark.parametrize("given", [("title.zh",), ("subtitle.*",), ("title.z*",)])
def test_no_field_left_is_an_error_not_every_field(given: tuple[str, ...]) -> None:
    with pytest.raises(QueryError) as caught:
        fields(fields=given, language="en")
    assert (caught.value.code, caught.value.field) == ("query.unknown_language", "text_options.language")


@pytest.mark.parametrize("language", ["de", "und", "EN", "*", "x" * 1000])
def test_an_unknown_language_is_told_with_those_there_are(language: str) -> None:
    with pytest.raises(QueryError) as caught:
        fields(language=language)
    assert (caught.value.code, caught.value.field) == ("query.unknown_language", "text_options.language")
    assert caught.value.remedy == "Languages: en, zh."
    assert len(str(caught.value)) < 200


# Options that do not go


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"phrase_boost": -0.1}, "phrase_boost"),
        ({"phrase_boost": 101}, "phrase_boost"),
        ({"phrase_boost": float("nan")}, "phrase_boost"),
        ({"operator": "and", "fuzziness": "AUTO"}, "fuzziness"),
        ({"minimum_should_match": "some"}, "minimum_should_match"),
        ({"minimum_should_match": ""}, "minimum_should_match"),
        ({"minimum_should_match": "2<75%"}, "minimum_should_match"),
        ({"minimum_should_match": "2\n"}, "minimum_should_match"),
    ],
)
def test_an_option_that_cannot_be_followed_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(QueryError) as caught:
        fields(**options)
    assert (caught.value.code, caught.value.field) == ("query.bad_text_option", f"text_options.{field}")


# The query


def query(**options: Any) -> dict[str, Any]:
    return words_query("red shoe", ["title.en^3", "sku"], TextOptions(**options))


PLAIN = lexical_query("red shoe", ["title.en^3", "sku"])


def match(**options: Any) -> dict[str, Any]:
    return query(**options)["multi_match"]  # type: ignore[no-any-return]


def test_without_options_it_is_what_the_index_was_measured_with() -> None:
    assert query() == PLAIN


def alone(word: str, **more: Any) -> dict[str, Any]:
    """A word that must occur somewhere, or be one that an analyzer drops."""
    return {
        "multi_match": {
            "query": word, "fields": ["title.en^3", "sku"], "type": "best_fields", "lenient": True, "zero_terms_query": "all",
            **more,
        }
    }  # fmt: skip


def at_once(**more: Any) -> dict[str, Any]:
    match = {**alone("red shoe", **more)["multi_match"]}
    del match["zero_terms_query"]
    return {"multi_match": match}


def test_every_word_may_stand_in_another_field_and_scores_are_the_measured_ones() -> None:
    strict = {"type": "cross_fields", "operator": "and"}
    apart = {"bool": {"must": [alone("red", **strict), alone("shoe", **strict)]}}
    assert query(operator="and") == {"bool": {"must": PLAIN, "filter": {"bool": {"should": [at_once(**strict), apart]}}}}
    assert query(operator="and", minimum_should_match="1") == query(operator="and"), "every word is more"


@pytest.mark.parametrize("text", ["violin", "小提琴", " violin\n"])
def test_of_text_without_spaces_all_parts_are_asked_for(text: str) -> None:
    plain = lexical_query(text, ["sku"])
    strict = {"query": text, "fields": ["sku"], "type": "cross_fields", "operator": "and", "lenient": True}
    found = words_query(text, ["sku"], TextOptions(operator="and"))
    assert found == {"bool": {"must": plain, "filter": {"multi_match": strict}}}


@pytest.mark.parametrize("fuzziness", ["AUTO", "0", "1", "2"])
def test_typing_errors_are_forgiven(fuzziness: Any) -> None:
    assert match(fuzziness=fuzziness) == PLAIN["multi_match"] | {"fuzziness": fuzziness}


@pytest.mark.parametrize("least", ["2", "75%", "-1", "-25%"])
def test_so_many_words_must_occur(least: str) -> None:
    assert fields(minimum_should_match=least) == LEXICAL_FIELDS
    share = {"minimum_should_match": least}
    apart = {"bool": {"should": [alone("red", **share), alone("shoe", **share)], **share}}
    assert query(**share) == {"bool": {"must": PLAIN, "filter": {"bool": {"should": [at_once(**share), apart]}}}}


def test_typing_errors_are_forgiven_where_so_many_words_must_occur() -> None:
    found = query(minimum_should_match="2", fuzziness="AUTO")["bool"]
    assert found["must"] == query(fuzziness="AUTO")
    assert found["filter"]["bool"]["should"][1]["bool"]["should"][0] == alone("red", minimum_should_match="2", fuzziness="AUTO")


def test_another_analyzer() -> None:
    assert match(analyzer="synonyms") == PLAIN["multi_match"] | {"analyzer": "synonyms"}


def test_the_words_as_a_phrase_add_to_the_score_and_need_not_match() -> None:
    found = query(phrase_boost=2.5, operator="and", analyzer="synonyms")["bool"]
    assert found["must"] == query(operator="and", analyzer="synonyms")
    assert found["should"] == {
        "multi_match": {
            "query": "red shoe", "fields": ["title.en^3", "sku"], "type": "phrase", "boost": 2.5, "lenient": True,
            "analyzer": "synonyms",
        }
    }  # fmt: skip


def test_a_long_phrase_is_cut_as_the_words_are() -> None:
    found = words_query("x" * 10_000, ["sku"], TextOptions(phrase_boost=1))["bool"]
    assert len(found["should"]["multi_match"]["query"]) == len(found["must"]["multi_match"]["query"]) == 300


def test_words_behind_the_cut_are_not_missed() -> None:
    found = words_query("red " * 100, ["sku"], TextOptions(operator="and"))["bool"]["filter"]["bool"]["should"][1]
    assert len(found["bool"]["must"]) == 75
