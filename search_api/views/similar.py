"""`GET /v1/products/{id}/similar`: products like a product, and those that are bought together with it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from search_api.schemas import InvalidBodyError, parse
from search_api.searcher import Searcher
from search_api.similar_query import SimilarQuery
from search_api.views.search import json_response


def blueprint(searcher: Searcher) -> Blueprint:
    views = Blueprint("similar", __name__, url_prefix="/v1")

    @views.get("/products/<any_text:product_id>/similar")
    def similar(product_id: str) -> Response:
        if not request.args.get("index"):
            raise InvalidBodyError("Which index?", code="request.no_index", field="index", remedy="Add ?index=NAME.")
        query = parse(SimilarQuery, request.args.to_dict())
        return json_response(searcher.similar(query.to_request(product_id)))

    return views
