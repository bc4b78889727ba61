"""`/v1/judgements`: how well products answer queries, as people say, and the files of it that `triptych evaluate` reads."""

from __future__ import annotations

import json
from typing import Final

from flask import Blueprint, Response, request

from search_api.judgements_body import JudgementsBody
from search_api.schemas import InvalidBodyError, decoded, parse
from search_api.searcher import Searcher
from search_api.views.search import json_response
from triptych.elastic.judgements import Judged, JudgementStore
from triptych.services import Services

MOST_BYTES: Final = 5_000_000
"""Of a request of judgements."""


def blueprint(services: Services, searcher: Searcher) -> Blueprint:
    views = Blueprint("judgements", __name__, url_prefix="/v1/judgements")
    store = JudgementStore(services.elasticsearch, services.settings)

    def of_index() -> list[Judged]:
        index = request.args.get("index", "")
        if not index:
            raise InvalidBodyError("Which index?", field="index", remedy="Add ?index=NAME.")
        searcher.info(index)  # that there is such an index
        return store.read(index)

    @views.post("")
    def record() -> Response:
        request.max_content_length = MOST_BYTES
        body = parse(JudgementsBody, decoded(request.get_data(), "body"))
        searcher.info(body.index)
        judged = [Judged(one.query.model_dump(exclude_none=True), one.grades) for one in body.judgements]
        store.write(body.index, judged)
        return json_response({"queries": len(judged), "grades": sum(len(one.grades) for one in judged)})

    @views.get("")
    def qrels() -> Response:
        lines = [f"{one.qid} 0 {product} {grade}\n" for one in of_index() for product, grade in one.grades.items()]
        return Response("".join(lines), mimetype="text/plain")

    @views.get("/queries")
    def queries() -> Response:
        lines = [json.dumps(one.query, ensure_ascii=False) + "\n" for one in of_index()]
        return Response("".join(lines), mimetype="application/x-ndjson")

    return views
