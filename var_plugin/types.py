"""Values of the public API: inputs (Span, Query, Filter) and results (Moment, Receipt, Video).

Times are seconds from the start of the video, unless a name ends in ``_ms`` (milliseconds) or ``_at`` (clock time).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, computed_field, model_validator
from pydantic.dataclasses import dataclass

Modality = Literal["text", "image", "audio", "video"]
SegmentKind = Literal["uniform", "anomaly", "video"]
Scalar = str | int | float | bool
ClockSource = Literal["caller", "sidecar", "file name", "container", "unknown"]

MAX_QUERY_LENGTH = 32_768
"""Maximum number of characters of a query's text."""

MAX_WEIGHT = 1000.0
"""Maximum weight of a space in a search. It keeps weighted scores finite."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A score from 0 to 1."""
EventKind = Annotated[str, Field(pattern=r"^[a-z][a-z ]{0,63}$")]
"""A kind of anomalous event, such as `fire` or `traffic accident`."""

MIN_EVENT_SCORE = 0.5
"""A segment is of a kind if its score for that kind is at least this."""


class Value(BaseModel):
    """Base class of frozen records that reject unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Span:
    """A part of one media file, in seconds from its start."""

    path: Path
    start: FiniteFloat
    end: FiniteFloat

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a span needs 0 <= start < end, got {self.start} to {self.end}")


class Segment(Value):
    """A span of a video that has a vector in the store."""

    start: FiniteFloat
    end: FiniteFloat
    key: FiniteFloat = Field(description="time of the frame that represents the segment, in seconds")
    kind: SegmentKind = "uniform"
    anomaly: Share = Field(default=0.0, description="events and novelty, combined by `encoders.anomaly`")
    events: Mapping[EventKind, Share] = Field(default_factory=dict, description="score per kind of event")
    trained: Mapping[EventKind, Share] = Field(
        default_factory=dict, description="scores of the trained detector, before the owner's sentences apply"
    )
    novelty: Share = Field(default=0.0, description="how unlike the history of its camera the segment is")
    reason: str = Field(default="", description="the sentence of the caption memory that explains the strongest event")


class Filter(Value):
    """Conditions on segments. All fields that are set must hold. The values of a list are alternatives.

    ``after`` and ``before`` are clock times with a time zone. A segment matches if a part of it was recorded between
    them. Segments with an unknown recording time do not match. ``after_second`` and ``before_second`` are positions in
    the video, in seconds. A segment matches if a part of it lies between them. ``kinds`` are kinds of events. A segment
    matches if its score for one of them is at least 0.5. ``metadata`` is compared with the values that were given when
    the video was added.
    """

    cameras: tuple[str, ...] | None = None
    video_ids: tuple[str, ...] | None = None
    kinds: tuple[EventKind, ...] | None = None
    segment_kinds: tuple[SegmentKind, ...] | None = None
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    after_second: FiniteFloat | None = None
    before_second: FiniteFloat | None = None
    min_anomaly: FiniteFloat | None = None
    max_anomaly: FiniteFloat | None = None
    metadata: Mapping[str, Scalar] = Field(default_factory=dict)


class Query(Value):
    """A search query: text, an image, audio, a video span, or several of them combined."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    text: str | None = None
    image: Any = None
    audio: Any = None
    video: Any = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> Query:
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is empty")
        if not self.parts():
            raise ValueError("a query needs a text, an image, audio or a video")
        return self

    def parts(self) -> dict[Modality, Any]:
        """Return the content per modality, without unset modalities."""
        parts: dict[Modality, Any] = {
            "text": self.text, "image": self.image, "audio": self.audio, "video": self.video,
        }  # fmt: skip
        return {modality: content for modality, content in parts.items() if content is not None}


class EmbeddedQuery(Value):
    """A query by one image, audio or video that is already embedded. Its file is no longer needed."""

    modality: Modality
    source: str = Field(description="name of the file, for people")
    vectors: Mapping[str, tuple[FiniteFloat, ...]] = Field(description="vector per space")
    fingerprints: Mapping[str, str] = Field(description="fingerprint per space")


class Event(Value):
    """A kind of event in a moment."""

    kind: EventKind
    score: Share
    reason: str | None = Field(default=None, description="a sentence that describes what was recognised")


Grade = Literal["strong", "possible", "weak"]
"""How clearly a moment stands above the others. A strong first moment is right 8 times out of 10, a weak one is wrong 9
times out of 10."""


class Moment(Value):
    """A search result: neighbouring segments of one video joined around a peak."""

    id: str
    video_id: str
    uri: str
    camera: str
    start: float
    end: float
    peak: float = Field(description="key frame of the best segment, in seconds")
    score: float = Field(
        description="similarity of the best segment, comparable within one query only; without a query, its anomaly "
        "score"
    )
    confidence: float | None = Field(
        default=None, description="probability of a match; null if the suite is not calibrated"
    )
    grade: Grade | None = Field(
        default=None,
        description="how clearly it stands above the others; null if the suite is not calibrated or there are too few",
    )
    anomaly_score: float
    events: tuple[Event, ...] = Field(default=(), description="recognised kinds of events, the strongest first")
    novelty: float = Field(default=0.0, description="how unlike the history of its camera it is, 0 to 1")
    matched: dict[str, float] = Field(description="best similarity per space; empty without a query")
    recorded_at: datetime | None = Field(default=None, description="clock time at `start`; null if unknown")
    thumbnail: Path | None = None


class ClockOrigin(Value):
    """The source of a video's recording time."""

    certainty: Literal["known", "derived", "unknown"] = Field(
        description="known: stated by a person; derived: from the camera's file name or header; or unknown"
    )
    source: ClockSource
    notes: tuple[str, ...] = Field(default=(), description="times that were not used and why, and reasons for doubt")


class VideoReceipt(Value):
    """The outcome of one file, with the numbers of planned, embedded, stored and verified rows."""

    path: str
    status: Literal["stored", "unchanged", "failed"]
    video_id: str | None = None
    duration: float | None = None
    content: str | None = Field(default=None, description="SHA-256 of the file")
    recorded_at: datetime | None = Field(default=None, description="clock time at its start; null if unknown")
    clock: ClockOrigin | None = Field(
        default=None, description="source of the clock time; null if it was not determined"
    )
    planned: dict[str, int] = Field(default_factory=dict, description="rows to write, per space")
    embedded: dict[str, int] = Field(default_factory=dict, description="vectors embedded, per space")
    stored: dict[str, int] = Field(default_factory=dict, description="rows sent to the store, per space")
    verified: dict[str, int] = Field(
        default_factory=dict, description="rows counted in the store afterwards, per space"
    )
    seconds: dict[str, float] = Field(default_factory=dict, description="wall time per stage")
    replaced: tuple[str, ...] = Field(default=(), description="IDs of deleted videos that had this path before")
    reason: str | None = Field(
        default=None, description="why the file failed, was unchanged or lacks audio, or what it replaces"
    )
    error: str | None = Field(default=None, description="class of the error of a failed file, such as EmptyMediaError")
    exit_code: int = 0


class Receipt(Value):
    """The outcome of adding files: one receipt per file, in the given order."""

    videos: tuple[VideoReceipt, ...]
    skipped: Mapping[str, int] = Field(
        default_factory=dict, description="skipped system folders, hidden folders and hidden video files, by name"
    )
    interrupted: bool = Field(default=False, description="true after Ctrl-C")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """True if no file failed and the run was not interrupted."""
        return not self.interrupted and all(video.status != "failed" for video in self.videos)

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; otherwise the common code of all failures, 1 if they differ, 0 without failures."""
        if self.interrupted:
            return 130
        codes = {video.exit_code for video in self.videos if video.status == "failed"}
        return 0 if not codes else codes.pop() if len(codes) == 1 else 1


class Video(Value):
    """A video of the index, from its catalog row."""

    video_id: str
    camera: str
    uri: str
    paths: tuple[str, ...] = Field(description="all paths at which its content was indexed; the last one is `uri`")
    duration: float
    recorded_at: datetime | None
    clock: ClockOrigin | None = Field(description="source of the clock time; null if it was not recorded")
    metadata: dict[str, Scalar]
    state: Literal["pending", "committed", "deleting"]
    rows: dict[str, int]
    added_at: datetime
