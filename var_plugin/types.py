"""The nouns of the package, as values: what goes in (Span, Query, Filter) and what comes out (Moment, Receipt).

Times are seconds from the start of the video, unless a name ends in ``_ms`` (milliseconds) or ``_at`` (clock time).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, computed_field, model_validator
from pydantic.dataclasses import dataclass

Modality = Literal["text", "image", "audio", "video"]
SegmentKind = Literal["uniform", "anomaly", "video"]
Scalar = str | int | float | bool
ClockSource = Literal["caller", "sidecar", "file name", "container", "unknown"]

MAX_QUERY_LENGTH = 32_768
"""Characters of the text of a query."""

MAX_WEIGHT = 1000.0
"""Weight of a space in a search. Weighted scores stay finite."""


def _finite(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]


class Value(BaseModel):
    """A frozen record; an unknown field is an error, not a typing mistake that is swallowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Span:
    """A part of one media file, in seconds from its start."""

    path: Path
    start: Finite
    end: Finite

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span needs 0 <= start < end, got {self.start} to {self.end}")


class Segment(Value):
    """A span of a video that has a vector in the store."""

    start: Finite
    end: Finite
    key: Finite = Field(description="time of the frame that shows this segment best, in seconds")
    kind: SegmentKind = "uniform"
    anomaly: Annotated[float, Field(ge=0, le=1)] = 0.0


class Filter(Value):
    """What a hit must satisfy. Every field that is set must hold; the values of one list are alternatives.

    ``after`` and ``before`` are clock times with a time zone: some of the segment must be recorded between them, so a
    segment that began before ``after`` and ends later satisfies it. Segments whose clock time is unknown satisfy
    neither. ``after_second`` and ``before_second`` are positions in the video: some of the segment must lie between
    them. ``metadata`` compares the values given when the video was added.
    """

    cameras: tuple[str, ...] | None = None
    video_ids: tuple[str, ...] | None = None
    kinds: tuple[SegmentKind, ...] | None = None
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    after_second: Finite | None = None
    before_second: Finite | None = None
    min_anomaly: Finite | None = None
    max_anomaly: Finite | None = None
    metadata: Mapping[str, Scalar] = Field(default_factory=dict)


class Query(Value):
    """What is looked for: text, an image, a sound, a video span, or several of them at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    text: str | None = None
    image: Any = None
    audio: Any = None
    video: Any = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Query:
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is empty")
        if not self.parts():
            raise ValueError("a query needs a text, an image, an audio or a video")
        return self

    def parts(self) -> dict[Modality, Any]:
        """The content per modality, without the ones not asked for."""
        found: dict[Modality, Any] = {
            "text": self.text, "image": self.image, "audio": self.audio, "video": self.video,
        }  # fmt: skip
        return {modality: content for modality, content in found.items() if content is not None}


class Moment(Value):
    """What a person sees: neighbouring hits of one video around a peak, as one."""

    id: str
    video_id: str
    uri: str
    camera: str
    start: float
    end: float
    peak: float = Field(description="key frame of the best segment, in seconds")
    score: float = Field(description="similarity of the best segment; comparable within one query only")
    confidence: float | None = Field(default=None, description="probability, where the suite was calibrated; else null")
    anomaly_score: float
    matched: dict[str, float] = Field(description="best similarity per space")
    recorded_at: datetime | None = Field(default=None, description="clock time at `start`; null when unknown")
    thumbnail: Path | None = None


class ClockOrigin(Value):
    """How the clock time of a video is known."""

    certainty: Literal["known", "derived", "unknown"] = Field(
        description="known from a person, derived from the camera's own marks, or unknown"
    )
    source: ClockSource
    notes: tuple[str, ...] = Field(default=(), description="what was found and not used, and what makes it doubtful")


class VideoReceipt(Value):
    """What happened to one file, by the numbers: planned, embedded, stored, and counted again in the store."""

    path: str
    status: Literal["stored", "unchanged", "failed"]
    video_id: str | None = None
    duration: float | None = None
    content: str | None = Field(default=None, description="SHA-256 of the file")
    recorded_at: datetime | None = Field(default=None, description="clock time at its start; null when unknown")
    clock: ClockOrigin | None = Field(default=None, description="how that time is known; null where nobody asked")
    planned: dict[str, int] = Field(default_factory=dict, description="rows to write, per space")
    embedded: dict[str, int] = Field(default_factory=dict, description="vectors made, per space")
    stored: dict[str, int] = Field(default_factory=dict, description="rows sent to the store, per space")
    verified: dict[str, int] = Field(default_factory=dict, description="rows counted in the store then, per space")
    seconds: dict[str, float] = Field(default_factory=dict, description="wall time per stage")
    replaced: tuple[str, ...] = Field(
        default=(), description="ids of videos that lay at this path before and left the index"
    )
    reason: str | None = Field(
        default=None, description="why it failed, was left as it was, lacks its sound, or what it replaces"
    )
    exit_code: int = 0


class Receipt(Value):
    """The outcome of adding files: one entry each, in the order given."""

    videos: tuple[VideoReceipt, ...]
    passed_over: Mapping[str, int] = Field(
        default_factory=dict, description="folders of the system and hidden ones, and hidden video files, by name"
    )
    interrupted: bool = Field(default=False, description="Ctrl-C came before everything was done")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """True when everything asked for was done."""
        return not self.interrupted and all(video.status != "failed" for video in self.videos)

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; else the code shared by all failures, 1 when they differ, 0 when there is none."""
        if self.interrupted:
            return 130
        codes = {video.exit_code for video in self.videos if video.status == "failed"}
        return 0 if not codes else codes.pop() if len(codes) == 1 else 1


class Video(Value):
    """A video of the index, as its catalogue row tells it."""

    video_id: str
    camera: str
    uri: str
    duration: float
    recorded_at: datetime | None
    clock: ClockOrigin | None = Field(description="how that time is known; null where nothing was kept of it")
    metadata: dict[str, Scalar]
    state: Literal["pending", "committed", "deleting"]
    rows: dict[str, int]
    added_at: datetime
