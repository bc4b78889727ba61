"""Answers of `/v1/jobs` and `/v1/dry-runs`, as the OpenAPI document says them; tests hold them to what is sent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from triptych.domain import Modality
from triptych.jobs.job import JobState, Wanted


class JobSummary(BaseModel):
    """A job with its state and counters. Times are ISO 8601 in UTC.

    Of the records that were `read`, `written`, `unchanged`, `partial`, `deleted` and `dead` have ended, `pending` not yet.
    """

    id: str
    index: str
    alias: str
    catalogue: str
    root: str
    submitted_at: str
    reading: bool = Field(description="the catalogue is not read whole yet")
    finished_at: str | None
    error: str | None = Field(description="why it failed")
    wanted: Wanted
    paused_because: str | None = Field(description="why it paused itself")
    resumable: bool = Field(description="another process can read on in its catalogue")
    key: str | None = Field(description="the submitter's idempotency key")
    redrive_of: str | None = Field(description="the job whose dead letters it tries again")
    priority: int
    state: JobState
    read: int
    written: int
    unchanged: int
    partial: int
    deleted: int
    dead: int
    dead_letters: int
    pending: int
    running_batches: int


class LetterCount(BaseModel):
    """How many dead letters there are of one code, stage and modality; `modality` null: of whole records."""

    code: str
    stage: str
    modality: Modality | None
    letters: int


class JobAnswer(JobSummary):
    """A job, and why records died."""

    reasons: list[LetterCount]


class JobsAnswer(BaseModel):
    """The newest jobs, the newest first."""

    jobs: list[JobSummary]


class Redriven(BaseModel):
    """What became of the dead letters that were asked for."""

    records: int
    without_record: int
    superseded: int
    duplicates: int


class RedriveAnswer(JobSummary):
    """The job that tries the records again."""

    redriven: Redriven


class Letter(BaseModel):
    """A record, or one modality of it, that was given up: what, where in the flow, why."""

    job: str
    index: str
    line: int
    product_id: str | None
    modality: Modality | None
    reference: str | None
    stage: str
    code: str
    message: str
    attempt: int
    at: str


class LettersAnswer(BaseModel):
    """Dead letters in the catalogue's order, and how many there are of each reason."""

    letters: list[Letter]
    reasons: list[LetterCount]


class DryRunReport(BaseModel):
    """What a catalogue is like: `records` and `bad` are counted, all else is of the first records or estimated from them."""

    records: int
    bad: dict[str, int]
    checked: int
    media: dict[str, int]
    bad_media: dict[str, int]
    timed: int
    valid_estimate: int
    embed_seconds_estimate: float | None
    vector_bytes_estimate: int | None


class DryRunProblem(BaseModel):
    """Why nothing was found."""

    code: str
    message: str
    field: str | None = None
    remedy: str | None = None


class DryRunAnswer(BaseModel):
    """A dry run as it stands: `report` once it is done, `problem` where it failed."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    report: DryRunReport | None = None
    problem: DryRunProblem | None = None


class SubmittedAnswer(RootModel[JobSummary | DryRunAnswer]):
    """The job that was entered; with `dry_run` the dry run that was begun."""


MODELS: tuple[type[BaseModel], ...] = (
    SubmittedAnswer,
    JobSummary,
    JobAnswer,
    JobsAnswer,
    RedriveAnswer,
    LettersAnswer,
    DryRunAnswer,
)
