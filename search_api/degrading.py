"""What is left out of an answer beside what failed while it was asked, and the error where nothing is left."""

from __future__ import annotations

from collections.abc import Sequence

from search_api.answer import Degraded
from search_api.fusion import FusedLeg
from search_api.query import SearchRequest
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, QueryError, TriptychError
from triptych.schema import Space


class NothingLeftError(ElasticsearchError):
    """No leg of a query could answer: the error of one of them, which is a 503 whatever Elasticsearch said."""


def nothing_left(error: TriptychError) -> TriptychError:
    """The error of a query whose legs have all failed, by that of one of them."""
    if not isinstance(error, ElasticsearchError):
        return error  # the user's, or a 503 as it is
    return NothingLeftError(error.message, code=error.code, field=error.field, remedy=error.remedy, retryable=error.retryable)


def words_refused(request: SearchRequest, error: TriptychError) -> QueryError | None:
    """An analyzer that is not there, or a lexical_query that Elasticsearch refuses: that is no leg to leave out."""
    analyzer = request.text_options.analyzer
    if analyzer is not None and error.code == "elasticsearch.bad_request" and "analyzer" in error.message:
        return QueryError(
            f"The index has no analyzer {analyzer!r}.", code="query.bad_text_option", field="text_options.analyzer"
        )
    if request.lexical_query is not None and error.code == "elasticsearch.bad_request":
        return QueryError(
            f"Elasticsearch refuses the query: {error.message}", code="query.bad_lexical_query", field="lexical_query"
        )
    return None


def nothing_answered(request: SearchRequest, error: TriptychError) -> TriptychError:
    """Why no leg answered. What is wrong with the words' query, or a filter whose value does not fit its field, is the user's
    to mend.
    """
    refused = words_refused(request, error)
    if refused is not None:
        return refused
    if request.filters and error.code == "elasticsearch.bad_request":
        return QueryError(f"A filter does not fit its field: {error.message}", code="query.bad_filter", field="filters")
    return nothing_left(error)


def check_mapped(info: IndexInfo, space: Space) -> None:
    """Raise ElasticsearchError `index.field_missing` where the mapping lacks a field of a space: there is nothing to find."""
    wanted = (space.field, space.parts_vector) if space.has_parts else (space.field,)
    for name in wanted:
        if name not in info.fields:
            raise ElasticsearchError(
                f"The mapping of {info.index!r} has no field {name!r}.",
                code="index.field_missing",
                remedy="Build the index anew: `triptych reindex start`.",
            )


def unmeasured(legs: Sequence[FusedLeg], min_relevance: float) -> tuple[Degraded, ...]:
    """That nothing was cut off although it was asked, where no leg's noise was measured."""
    if min_relevance <= 0 or any(leg.level is not None and leg.level.noise and leg.weight > 0 for leg in legs):
        return ()
    message = "Nothing was cut off: no leg of this query was measured yet, which a job does at its end."
    return (Degraded("relevance", code="relevance.not_measured", message=message),)
