"""The query string of `GET /v1/products/{id}/similar`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Json

from search_api.query import DEFAULT_SIZE, DEFAULT_WINDOW, LARGEST_WINDOW
from search_api.similar import MOST_BOUGHT, MOST_SIMILAR, SimilarRequest

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class SimilarQuery(BaseModel):
    """Text as it stands in a URL: numbers in digits, objects as JSON, lists with commas."""

    model_config = ConfigDict(extra="forbid")

    index: str = Field(min_length=1, max_length=255, description="the index alias")
    size: int = Field(DEFAULT_SIZE, ge=1, le=MOST_SIMILAR, description="products to return")
    window: int = Field(DEFAULT_WINDOW, ge=1, le=LARGEST_WINDOW, description="hits that each leg returns")
    spaces: str = Field("", max_length=1000, description="the spaces that may say what is like it, with commas; default: all")
    weights: Json[dict[str, _Finite]] = Field(default_factory=dict, description="legs' shares of the score, as JSON")
    filters: Json[dict[str, Any]] = Field(default_factory=dict, description="conditions that every product must meet, as JSON")
    min_relevance: _Finite = Field(0.0, description="0 to 1: leave out what noise would reach as well")
    diversity: _Finite = Field(0.0, ge=0, le=1, description="0 to 1: what a product loses for being like one above it")
    cap: int | None = Field(None, ge=1, description="most products of the same value of cap_field")
    cap_field: str | None = Field(None, max_length=512, description="the field that cap is about, such as category")
    fields: str = Field("", max_length=1000, description="fields of the products to return, with commas; default: all")
    complementary: int = Field(0, ge=0, le=MOST_BOUGHT, description="products that are bought together with it to return")

    def to_request(self, product: str) -> SimilarRequest:
        plain = self.model_dump(exclude={"spaces", "fields"})
        return SimilarRequest(product=product, spaces=_listed(self.spaces), fields=_listed(self.fields) or None, **plain)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
