"""What Elasticsearch's error bodies say."""

from __future__ import annotations

from typing import Final

from triptych.errors import ElasticsearchError

_CLOSED: Final = "index_closed_exception"
_BLOCKED: Final = "cluster_block_exception"


def shut(body: object) -> ElasticsearchError | None:
    """The error of an index that is closed or blocked, which passes when its owner opens it; None if `body` tells of none."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict) or error.get("type") not in {_CLOSED, _BLOCKED}:
        return None
    kind = error["type"]
    index = next((one["index"] for one in (error, *(error.get("root_cause") or ())) if one.get("index")), None)
    name = "The index" if index is None else f"The index {index}"
    what = "is closed." if kind == _CLOSED else f"is blocked: {str(reason_of(body)).rstrip(' ;')}."
    remedy = "Open it" if kind == _CLOSED else "Take the block away (settings index.blocks.* or cluster.blocks.*)"
    return ElasticsearchError(
        f"{name} {what}",
        code="elasticsearch.busy",
        remedy=f"{remedy}; a job goes on by itself then.",
        retryable=True,
    )


def reason_of(body: object) -> str:
    """The sentence in an error body that tells most: the innermost cause."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error)
    causes = error.get("root_cause") or []
    inner = error.get("caused_by") or (causes[0] if causes else error)
    while isinstance(inner.get("caused_by"), dict):
        inner = inner["caused_by"]
    return str(inner.get("reason") or error.get("reason") or error.get("type") or error)
