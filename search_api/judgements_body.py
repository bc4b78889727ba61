"""The body of `POST /v1/judgements`: a pydantic model, of which the OpenAPI document is made too."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from search_api.query import AudioAs
from search_api.schemas import Body

MOST_QUERIES: Final = 500
MOST_GRADES: Final = 1000
BEST_GRADE: Final = 100

_Name = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
"""Qrels have blanks between their columns."""

_File = Annotated[str, Field(min_length=1, max_length=255)]


class JudgedQueryBody(Body):
    """A query as a line of queries.jsonl has it. Of a picture or a sound only the file's name is kept."""

    qid: _Name = Field(description="the id that its judgements name")
    text: str | None = Field(None, min_length=1, max_length=2000, description="words")
    image: _File | None = Field(None, description="the name of the picture's file, to be put beside queries.jsonl")
    audio: _File | None = Field(None, description="the name of the sound's file")
    audio_as: AudioAs | None = Field(None, description="`sound`, `words` or `both`")
    lang: str | None = Field(None, min_length=1, max_length=35, description="the language of the words")
    exclude: list[str] | None = Field(None, max_length=100, description="ids of products that count in no ranking")
    tags: list[str] | None = Field(None, max_length=20, description="to show queries apart; `head`: it must not get worse")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not any(one and one.strip() for one in (self.text, self.image, self.audio)):
            raise ValueError("it has no text, image or audio")
        return self


class JudgedBody(Body):
    """A query, and how well products answer it."""

    query: JudgedQueryBody
    grades: dict[_Name, Annotated[int, Field(ge=0, le=BEST_GRADE)] | None] = Field(
        min_length=1,
        max_length=MOST_GRADES,
        description="product id -> grade: 0 is wrong, above 0 relevant; null takes a grade back",
    )


class JudgementsBody(Body):
    """The body of `POST /v1/judgements`: grades of products for up to 500 queries."""

    index: str = Field(min_length=1, max_length=255, description="the index alias of the products")
    judgements: list[JudgedBody] = Field(min_length=1, max_length=MOST_QUERIES, description="the queries, and their grades")
