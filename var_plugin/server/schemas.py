"""Schemas of requests and responses. They follow OpenAI's API where it has an equivalent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, field_validator, model_validator
from pydantic_core import PydanticCustomError

from var_plugin.retrievers.anomalies import Order
from var_plugin.retrievers.search import GroupBy
from var_plugin.types import (
    MAX_QUERY_LENGTH,
    MAX_WEIGHT,
    ClockOrigin,
    Event,
    EventKind,
    Filter,
    Grade,
    Modality,
    Scalar,
    Share,
    Value,
)

EncodingFormat = Literal["float", "base64"]
Dimensions = Annotated[int, Field(ge=1)]
Weight = Annotated[FiniteFloat, Field(ge=0, le=MAX_WEIGHT)]

MAX_INPUTS = 2048
"""Maximum number of inputs per request."""

MAX_NAME_LENGTH = 256
"""Maximum length of a name (model, camera, user, metadata key or value), in characters."""

MAX_NAMES = 1000
"""Maximum number of values in one list of a filter."""

MAX_KINDS = 100
"""Maximum number of kinds of events in a request."""

MAX_METADATA_KEYS = 64
"""Maximum number of metadata keys in a filter."""

MAX_SPACE_WEIGHTS = 64
"""Maximum number of spaces in the weights of a search."""


def default_if_empty(default: Any) -> BeforeValidator:
    """Return a validator that replaces an empty string or `null` in a query or a form with the default."""
    return BeforeValidator(lambda value: default if value in ("", "null") else value)


_URI = "a data: URI with base64, or an https: URL if the server allows its host"


class MediaUrl(Value):
    """Location of an image, audio or video file."""

    url: str = Field(description=_URI)
    detail: str | None = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="accepted for OpenAI compatibility and ignored"
    )


class AudioData(Value):
    """An audio file in the format of OpenAI's chat API."""

    data: str = Field(description="the file in base64")
    format: str = Field(
        max_length=MAX_NAME_LENGTH, description="file format, such as wav or mp3; ignored, the format is detected"
    )


class TextPart(Value):
    """A text input."""

    type: Literal["text"]
    text: str


class ImagePart(Value):
    """An image input."""

    type: Literal["image_url"]
    image_url: MediaUrl


class AudioPart(Value):
    """An audio input by URL."""

    type: Literal["audio_url"]
    audio_url: MediaUrl


class InputAudioPart(Value):
    """An audio input as base64 data."""

    type: Literal["input_audio"]
    input_audio: AudioData


class VideoPart(Value):
    """A video input."""

    type: Literal["video_url"]
    video_url: MediaUrl


ContentPart = Annotated[
    TextPart | ImagePart | AudioPart | InputAudioPart | VideoPart, Field(discriminator="type", title="Content part")
]
Input = str | ContentPart


class _Request(Value):
    """Base class of request bodies. An empty string in an optional field counts as absent, as in a form."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in body.items() if value != "" or name not in optional}


class EmbeddingsRequest(_Request):
    """Inputs to embed. Each input becomes one vector."""

    model: str = Field(max_length=MAX_NAME_LENGTH, description="model id from /v1/models", examples=["lite/scene"])
    input: Input | Annotated[list[Input], Field(min_length=1, max_length=MAX_INPUTS)] = Field(
        description=f"texts, content parts, or media as strings ({_URI})", examples=[["a man falls off a bicycle"]]
    )
    modality: Modality | None = Field(
        default=None,
        description="modality of string inputs; null: the type that a data: URI declares, other strings are text",
    )
    encoding_format: EncodingFormat | None = Field(
        default=None, description="float, or base64 of little-endian float32; null: float"
    )
    dimensions: Dimensions | None = Field(
        default=None, description="must equal the dimensions of the model; vectors are not truncated"
    )
    user: str | None = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="accepted for OpenAI compatibility and ignored"
    )

    @field_validator("input", mode="before")
    @classmethod
    def _check_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        # Pydantic would report the length only after the errors of the other types of the union.
        if len(value) > MAX_INPUTS:
            raise PydanticCustomError("too_long", f"a request has at most {MAX_INPUTS} inputs")
        if not value:
            raise ValueError("send at least one input")
        first = value[0]
        if isinstance(first, int) or (isinstance(first, list) and first and isinstance(first[0], int)):
            raise ValueError("token ids are not supported; send texts (LangChain: check_embedding_ctx_length=False)")
        return value

    def items(self) -> list[Input]:
        """Return the inputs as a list."""
        return self.input if isinstance(self.input, list) else [self.input]


class Embedding(Value):
    """One vector. The inner product of two vectors of a model is their similarity."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(Value):
    """Number of words in the texts, not tokens. Media are not counted."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Value):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(Value):
    """A model: one space of the suite."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="start time of the server, in seconds since 1970-01-01 UTC")
    owned_by: Literal["var-plugin"] = "var-plugin"
    capabilities: list[Modality] = Field(description="supported modalities")
    dimensions: int
    metric: str
    fingerprint: str = Field(description="vectors with the same fingerprint can be compared")


class Models(Value):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


def _check_filter_size(value: Filter) -> Filter:
    """Check the number and the length of the names in a filter."""
    lists = [value.cameras or (), value.video_ids or (), value.kinds or (), value.segment_kinds or ()]
    texts = [text for text in value.metadata.values() if isinstance(text, str)]
    names = [*value.metadata, *texts, *(name for names in lists for name in names)]
    if any(len(names) > MAX_NAMES for names in lists) or len(value.metadata) > MAX_METADATA_KEYS:
        raise PydanticCustomError(
            "too_long", f"a filter holds at most {MAX_NAMES} names in a list, {MAX_METADATA_KEYS} keys"
        )
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise PydanticCustomError("too_long", f"a name in a filter has at most {MAX_NAME_LENGTH} characters")
    return value


class SearchRequest(_Request):
    """A search query: text, image, audio or video, or several of them. With a filter only: the anomalies."""

    text: str | None = Field(default=None, max_length=MAX_QUERY_LENGTH, examples=["a man smashes a window"])
    image: str | None = Field(default=None, description=_URI)
    audio: str | None = Field(default=None, description=_URI)
    video: str | None = Field(default=None, description=_URI)
    k: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="number of moments; null: 5")
    filter: Annotated[Filter, AfterValidator(_check_filter_size)] | None = Field(
        default=None, description="conditions that the segments must meet"
    )
    min_score: FiniteFloat | None = Field(default=None, description="minimum score (z-score) of a moment")
    group_by: GroupBy | None = Field(
        default=None, description="video: only the best moment of each video; null: all moments"
    )
    weights: Annotated[dict[str, Weight], Field(max_length=MAX_SPACE_WEIGHTS)] | None = Field(
        default=None, description="weight of the scores of each space; 0 excludes the space"
    )


class AnomaliesRequest(_Request):
    """A request for the most anomalous moments. Every field is optional."""

    k: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="number of moments; null: 20")
    filter: Annotated[Filter, AfterValidator(_check_filter_size)] | None = Field(
        default=None, description="conditions that the segments must meet"
    )
    kinds: Annotated[tuple[EventKind, ...], Field(max_length=MAX_KINDS)] | None = Field(
        default=None, description="kinds of events, such as fire; a moment must have one of them"
    )
    min_score: Share | None = Field(default=None, description="minimum anomaly score")
    group_by: GroupBy | None = Field(
        default=None, description="video: only the strongest moment of each video; null: all moments"
    )
    order: Order | None = Field(default=None, description="time: newest first; null: strongest first")


class MomentResult(Value):
    """A moment. URLs on this server replace file paths."""

    id: str
    video_id: str
    uri: str = Field(description="path of the video on this server")
    name: str = Field(description="file name of the video")
    camera: str
    start: float = Field(description="seconds from the start of the video; so are `end` and `peak`")
    end: float
    peak: float
    score: float = Field(
        description="z-score of the similarity, comparable within one query only; without a query, the anomaly score"
    )
    confidence: float | None = Field(description="calibrated probability of a match; null: not calibrated")
    grade: Grade | None = Field(description="how clearly it stands above the other moments; null: not calibrated")
    anomaly_score: float = Field(description="0 to 1")
    events: tuple[Event, ...] = Field(description="kinds of events, the strongest first")
    novelty: float = Field(description="how unlike the history of its camera it is, 0 to 1")
    matched: dict[str, float] = Field(description="best score per space; empty without a query")
    recorded_at: datetime | None = Field(description="clock time at `start`; null: unknown")
    thumbnail: str = Field(description="path of a frame at the peak, on this server")


class SearchResponse(Value):
    """Matching moments, best first."""

    object: Literal["list"] = "list"
    data: list[MomentResult]


class IndexedVideo(Value):
    """A video in the index."""

    id: str
    object: Literal["video"] = "video"
    name: str = Field(description="file name of the video")
    camera: str
    duration: float = Field(description="seconds")
    recorded_at: datetime | None = Field(description="clock time at the start of the video; null: unknown")
    clock: ClockOrigin | None = Field(description="source of the clock time")
    added_at: datetime
    metadata: dict[str, Scalar]
    rows: dict[str, int] = Field(description="number of segments per space")


class IndexedVideos(Value):
    """A page of videos, in the order in which they were added."""

    object: Literal["list"] = "list"
    data: list[IndexedVideo]
    has_more: bool = Field(description="whether there are more videos after this page")


class Health(Value):
    """Health of the server."""

    status: Literal["live", "ready"]
