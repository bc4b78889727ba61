"""The bodies of jobs over HTTP: pydantic models, of which the OpenAPI document is made too."""

from __future__ import annotations

from pydantic import Field

from search_api.schemas import Body
from triptych.catalogues import MOST_SLICES, SentFormat
from triptych.jobs.queue import NORMAL


class CatalogueBody(Body):
    """How a catalogue is read; docs/records.md says what each option does."""

    location: str | None = Field(None, min_length=1, max_length=4096, description="its address, if it is not sent along")
    format: SentFormat | None = Field(None, description="what it is; by default its name says it")
    columns: str | None = Field(None, max_length=10_000, description="other names of fields: sku=id,name=title.en")
    separator: str | None = Field(None, min_length=1, max_length=10, description="between the values of a list in one cell")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="between the cells of a row")
    quote: str | None = Field(None, max_length=4, description="what encloses a cell, or none")
    encoding: str | None = Field(None, max_length=40, description="of a table that is not UTF-8")
    query: str | None = Field(None, max_length=100_000, description="of an index: which of its documents, as JSON")
    slices: int | None = Field(None, ge=1, le=MOST_SLICES, description="of an index: parts read side by side")


class JobBody(Body):
    """The body of `POST /v1/jobs`; in a multipart form the part `job`, beside the file `catalogue`."""

    index: str = Field(min_length=1, max_length=255, description="the index alias to add the catalogue to")
    catalogue: CatalogueBody | None = Field(None, description="where it is and how it is read")
    priority: int = Field(NORMAL, ge=0, le=9, description="jobs of higher priority are worked on first")
    dry_run: bool = Field(False, description="enter no job: let a worker look at the catalogue and estimate time and space")
    name: str | None = Field(None, min_length=1, max_length=200, description="what the job's list calls the catalogue")
    idempotency_key: str | None = Field(
        None, min_length=1, max_length=200, description="the same key makes one job; the header Idempotency-Key says the same"
    )


class LetterBody(Body):
    """The body of `POST /v1/jobs/{id}/redrive`: which dead letters, all by default."""

    code: str | None = Field(None, max_length=100, description="only those of this code")
    stage: str | None = Field(None, max_length=100, description="only those of this stage")
    modality: str | None = Field(None, max_length=100, description="only those of this modality")
    product: str | None = Field(None, max_length=512, description="only those of this product")
    force: bool = Field(False, description="let the records win over what newer jobs wrote or deleted")
