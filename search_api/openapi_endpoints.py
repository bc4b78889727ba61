"""The endpoints, as the OpenAPI document lists them: what each takes, answers, and is refused with."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from search_api.similar_query import SimilarQuery


class Endpoint(BaseModel):
    method: str
    path: str
    summary: str
    body: str | None = None
    answer: str | None = None
    errors: tuple[int, ...] = ()
    query: Mapping[str, str] = {}
    media: bool = False
    upload: bool = False
    status: int = 200
    optional: Mapping[str, str] = {}
    types: tuple[str, ...] = ("application/json",)
    scope: str | None = None  # where it is not that of its path


_LETTERS = {name: f"only those of this {name}" for name in ("code", "stage", "modality", "product")}
_FAULTS = (400, 404, 405, 409, 413, 500, 502, 503)

ENDPOINTS = (
    Endpoint(
        method="post",
        path="/v1/search",
        summary="Ranked products for a query of words, pictures, sounds, vectors and products",
        body="SearchBody",
        answer="SearchResult",
        errors=_FAULTS,
        media=True,
    ),
    Endpoint(
        method="post",
        path="/v1/msearch",
        summary="Several queries at once, each with an answer or a problem of its own",
        body="MsearchBody",
        answer="MsearchAnswer",
        errors=_FAULTS,
    ),
    Endpoint(
        method="post",
        path="/v1/explain",
        summary="Why a product stands where it stands in an answer, or in none, and what would lift it",
        body="ExplainBody",
        answer="ExplainAnswer",
        errors=_FAULTS,
        media=True,
    ),
    Endpoint(
        method="post",
        path="/v1/reweigh",
        summary="The answer of an earlier query under other weights, without searching again",
        body="ReweighBody",
        answer="SearchResult",
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/products/{id}",
        summary="One product",
        answer="ProductAnswer",
        query={"index": "the index alias"},
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/products",
        summary="One product, by any id",
        answer="ProductAnswer",
        query={"index": "the index alias", "id": "the product's id"},
        errors=_FAULTS,
    ),
    Endpoint(
        method="post",
        path="/v1/jobs",
        summary="Add a catalogue to an index: sent along, or named by its address. A worker reads it",
        answer="SubmittedAnswer",
        body="JobBody",
        errors=_FAULTS,
        upload=True,
        status=202,
    ),
    Endpoint(
        method="get",
        path="/v1/dry-runs/{id}",
        summary="What a worker found in a catalogue that was submitted with dry_run",
        answer="DryRunAnswer",
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/jobs",
        summary="The newest jobs",
        answer="JobsAnswer",
        optional={"size": "1 to 200, 20 by default"},
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/jobs/{id}",
        summary="A job: state, counters, and why records died",
        answer="JobAnswer",
        errors=_FAULTS,
    ),
    Endpoint(
        method="delete",
        path="/v1/jobs/{id}",
        summary="Delete a job that has ended or is stopped from the ledger; what it wrote stays in the index",
        errors=_FAULTS,
        status=204,
        types=(),
    ),
    Endpoint(
        method="get",
        path="/v1/jobs/{id}/events",
        summary="A job's summary whenever it changes, as server-sent events, until nothing more happens by itself",
        errors=_FAULTS,
        types=("text/event-stream",),
    ),
    Endpoint(
        method="get",
        path="/v1/jobs/{id}/letters",
        summary="A job's dead letters and how many there are of each reason",
        answer="LettersAnswer",
        optional={**_LETTERS, "size": "1 to 1000, 100 by default"},
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/jobs/{id}/records/{product}",
        summary="What became of a product's record in a job: state, stage, attempt, content hash, and why",
        answer="Record",
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/jobs/{id}/export",
        summary="All dead letters of a job with their records, as JSON lines",
        optional=_LETTERS,
        errors=_FAULTS,
        types=("application/x-ndjson",),
    ),
    Endpoint(
        method="post",
        path="/v1/jobs/{id}/pause",
        summary="Let running batches end, start no more",
        answer="JobSummary",
        errors=_FAULTS,
        status=202,
    ),
    Endpoint(
        method="post",
        path="/v1/jobs/{id}/stop",
        summary="Pause, and read no more of the catalogue",
        answer="JobSummary",
        errors=_FAULTS,
        status=202,
    ),
    Endpoint(
        method="post",
        path="/v1/jobs/{id}/resume",
        summary="Go on exactly where it was",
        answer="JobSummary",
        errors=_FAULTS,
        status=202,
    ),
    Endpoint(
        method="post",
        path="/v1/jobs/{id}/redrive",
        summary="Try the records of a job's dead letters again, in a new job",
        answer="RedriveAnswer",
        body="LetterBody",
        errors=_FAULTS,
        status=202,
    ),
    Endpoint(
        method="get",
        path="/v1/products/{id}/similar",
        summary="Products like a product, and those that are bought together with it",
        answer="SimilarResult",
        query={"index": "the index alias"},
        optional={name: one.description or "" for name, one in SimilarQuery.model_fields.items() if name != "index"},
        errors=_FAULTS,
    ),
    Endpoint(
        method="post",
        path="/v1/events",
        summary="Keep what a user did with the products of an answer",
        answer="EventsAnswer",
        body="EventsBody",
        errors=(*_FAULTS, 429),
    ),
    Endpoint(
        method="delete",
        path="/v1/events",
        summary="Delete the events of a session",
        answer="ForgottenAnswer",
        query={"session": "the session's id"},
        errors=_FAULTS,
        scope="index",
    ),
    Endpoint(
        method="post",
        path="/v1/judgements",
        summary="Keep how well products answer queries",
        answer="JudgementsAnswer",
        body="JudgementsBody",
        errors=_FAULTS,
    ),
    Endpoint(
        method="get",
        path="/v1/judgements",
        summary="The judgements of an index in TREC form: query, 0, product, grade",
        query={"index": "the index alias"},
        errors=_FAULTS,
        types=("text/plain",),
    ),
    Endpoint(
        method="get",
        path="/v1/judgements/queries",
        summary="The queries that were judged on an index, as JSON lines",
        query={"index": "the index alias"},
        errors=_FAULTS,
        types=("application/x-ndjson",),
    ),
    Endpoint(method="get", path="/v1/health/live", summary="The process answers", answer="LiveAnswer", errors=(500,)),
    Endpoint(method="get", path="/v1/health/ready", summary="It can answer queries", answer="ReadyAnswer", errors=(500, 503)),
    Endpoint(method="get", path="/v1/openapi.json", summary="This document", errors=(500,)),
    Endpoint(method="get", path="/metrics", summary="What Prometheus reads", errors=(500,), types=("text/plain",)),
    Endpoint(method="get", path="/v1/docs", summary="This document, to read", errors=(500,), types=("text/html",)),
)
