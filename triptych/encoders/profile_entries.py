"""The form of a profile's file: its spaces, its speech, its classifiers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from triptych.domain import Modality
from triptych.schema import MOST_DIMS, SEGMENT_SECONDS, Combine, IndexType, Several, Similarity

FUSED, PRECOMPUTED = "fused", "precomputed"
"""Families without an encoder: a space made of other spaces' vectors, and one whose vectors come with the records."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceEntry(_Entry):
    """One space of a profile. What each key means stands in docs/profiles.md."""

    family: str
    dims: int = Field(ge=1, le=MOST_DIMS)
    licence: str = Field(min_length=1)
    documents: Modality | None = None
    queries: tuple[Modality, ...] = ()
    model: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    over: dict[str, str] = Field(default_factory=dict)
    parts: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    combine: Combine = "concatenate"
    several: Several = "mean"
    segment_seconds: float = Field(SEGMENT_SECONDS, ge=1, le=600)
    fingerprint: str | None = Field(None, min_length=1, max_length=200)
    similarity: Similarity = "cosine"
    index: IndexType = "int8_hnsw"
    label: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    description: str = ""


class SpeechEntry(_Entry):
    """What recognises spoken queries: a Whisper model."""

    model: str
    licence: str = Field(min_length=1)
    family: Literal["whisper_speech"] = "whisper_speech"


class ClassifierEntry(_Entry):
    """What tells a field of a query: the folder that `triptych train classifier` wrote, over a space for each modality."""

    model: str
    licence: str = Field(min_length=1)
    over: dict[Modality, str] = Field(min_length=1)


class Body(_Entry):
    description: str
    cost: str = ""
    spaces: dict[str, SpaceEntry] = Field(min_length=1)
    speech: SpeechEntry | None = None
    classifiers: dict[str, ClassifierEntry] = Field(default_factory=dict)
