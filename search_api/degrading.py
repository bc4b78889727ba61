"""What is left out of an answer beside what failed while it was asked, and the error where nothing is left."""

from __future__ import annotations

from collections.abc import Sequence

from search_api.answer import Degraded
from search_api.fusion import FusedLeg
from triptych.elastic.lifecycle import IndexInfo
from triptych.errors import ElasticsearchError, TriptychError
from triptych.schema import Space


class NothingLeftError(ElasticsearchError):
    """No leg of a query could answer: the error of one of them, which is a 503 whatever Elasticsearch said."""


def nothing_left(error: TriptychError) -> TriptychError:
    """The error of a query whose legs have all failed, by that of one of them."""
    if not isinstance(error, ElasticsearchError):
        return error  # the user's, or a 503 as it is
    return NothingLeftError(error.message, code=error.code, field=error.field, remedy=error.remedy, retryable=error.retryable)


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
