"""The shapes of requests and answers: OpenAI's where OpenAI has one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from var_plugin.retrievers.search import GroupBy
from var_plugin.types import MAX_QUERY_LENGTH, MAX_WEIGHT, ClockOrigin, Filter, Finite, Modality, Scalar, Value

EncodingFormat = Literal["float", "base64"]
Dimensions = Annotated[int, Field(ge=1)]
Weight = Annotated[Finite, Field(ge=0, le=MAX_WEIGHT)]

MAX_INPUTS = 2048

MAX_NAME_LENGTH = 256
"""Characters of a name: of a model, a camera, a key or a value of metadata, a user."""

MAX_NAMES = 1000
"""Values of one list of a filter."""

MAX_METADATA_KEYS = 64
"""Keys of the metadata of a filter."""

MAX_SPACE_WEIGHTS = 64

_URI = "a data: URI with base64; or an https: URL, where the server allows its host"


class MediaUrl(Value):
    """Where an image, a sound or a video is."""

    url: str = Field(description=_URI)
    detail: str | None = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="accepted from OpenAI's clients; changes nothing"
    )


class SoundData(Value):
    """A sound as OpenAI's chat takes it."""

    data: str = Field(description="the file in base64")
    format: str = Field(
        max_length=MAX_NAME_LENGTH, description="its kind, such as wav or mp3; the file itself is believed"
    )


class TextPart(Value):
    """A text."""

    type: Literal["text"]
    text: str


class ImagePart(Value):
    """An image."""

    type: Literal["image_url"]
    image_url: MediaUrl


class AudioPart(Value):
    """A sound by URL."""

    type: Literal["audio_url"]
    audio_url: MediaUrl


class InputAudioPart(Value):
    """A sound as data."""

    type: Literal["input_audio"]
    input_audio: SoundData


class VideoPart(Value):
    """A video."""

    type: Literal["video_url"]
    video_url: MediaUrl


ContentPart = Annotated[
    TextPart | ImagePart | AudioPart | InputAudioPart | VideoPart, Field(discriminator="type", title="Content part")
]
Input = str | ContentPart


class _Request(Value):
    """A body in which an empty string in an optional field means that the field is absent, as in a form."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in given.items() if value != "" or name not in optional}


class EmbeddingsRequest(_Request):
    """What to embed; every item becomes one vector."""

    model: str = Field(max_length=MAX_NAME_LENGTH, description="an id that /v1/models lists", examples=["lite/scene"])
    input: Input | Annotated[list[Input], Field(min_length=1, max_length=MAX_INPUTS)] = Field(
        description=f"texts, content parts, or media as strings: {_URI}", examples=[["a man falls off a bicycle"]]
    )
    modality: Modality | None = Field(
        default=None, description="what the strings are; by default data: URIs are what they declare, the rest is text"
    )
    encoding_format: EncodingFormat | None = Field(
        default=None, description="base64: little-endian float32; null: float"
    )
    dimensions: Dimensions | None = Field(
        default=None, description="the model's own number of dimensions; vectors are not cut"
    )
    user: str | None = Field(
        default=None, max_length=MAX_NAME_LENGTH, description="accepted from OpenAI's clients; changes nothing"
    )

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, given: Any) -> Any:
        first = given[0] if isinstance(given, list) and given else None
        if isinstance(first, int) or (isinstance(first, list) and first and isinstance(first[0], int)):
            raise ValueError(
                "token ids mean nothing to these models; send texts (LangChain: check_embedding_ctx_length=False)"
            )
        return given

    def items(self) -> list[Input]:
        """Return the inputs as a list."""
        return self.input if isinstance(self.input, list) else [self.input]


class Embedding(Value):
    """One vector; inner products of vectors of one model are similarities."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(Value):
    """Size of the texts in words: tokens are another number for each model. Media count nothing."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Value):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(Value):
    """A space of the suite: what it takes, and what its vectors are."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when this server started, in seconds since 1970 UTC")
    owned_by: Literal["var-plugin"] = "var-plugin"
    capabilities: list[Modality]
    dimensions: int
    metric: str
    fingerprint: str = Field(description="vectors of models with the same fingerprint can be compared")


class Models(Value):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


def _bounded(given: Filter) -> Filter:
    """Refuse a filter with more or longer names than the limits."""
    lists = [given.cameras or (), given.video_ids or (), given.kinds or ()]
    texts = [value for value in given.metadata.values() if isinstance(value, str)]
    names = [*given.metadata, *texts, *(name for names in lists for name in names)]
    if any(len(names) > MAX_NAMES for names in lists) or len(given.metadata) > MAX_METADATA_KEYS:
        raise PydanticCustomError(
            "too_long", f"a filter holds at most {MAX_NAMES} names in a list, {MAX_METADATA_KEYS} keys"
        )
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise PydanticCustomError("too_long", f"a name in a filter has at most {MAX_NAME_LENGTH} characters")
    return given


class SearchRequest(_Request):
    """What is looked for: a text, an image, a sound, a video, or several of them at once."""

    text: str | None = Field(default=None, max_length=MAX_QUERY_LENGTH, examples=["a man smashes a window"])
    image: str | None = Field(default=None, description=_URI)
    audio: str | None = Field(default=None, description=_URI)
    video: str | None = Field(default=None, description=_URI)
    k: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="number of moments; null: 5")
    filter: Annotated[Filter, AfterValidator(_bounded)] | None = Field(
        default=None, description="what the moments must satisfy"
    )
    min_score: Finite | None = Field(
        default=None, description="leave out moments below it, in deviations above unrelated footage"
    )
    group_by: GroupBy | None = Field(
        default=None, description="video: the best moment of each video only; null: every moment"
    )
    weights: Annotated[dict[str, Weight], Field(max_length=MAX_SPACE_WEIGHTS)] | None = Field(
        default=None, description="per space, what its scores count against those of the others; 0 leaves it out"
    )


class FoundMoment(Value):
    """A moment, with addresses on this server in place of files."""

    id: str
    video_id: str
    uri: str = Field(description="the video on this server")
    name: str = Field(description="name of the video's file")
    camera: str
    start: float = Field(description="seconds from the start of the video, as `end` and `peak`")
    end: float
    peak: float
    score: float = Field(description="comparable within one query only")
    confidence: float | None = Field(description="probability, where the suite was calibrated; else null")
    anomaly_score: float
    matched: dict[str, float] = Field(description="best similarity per space")
    recorded_at: datetime | None = Field(description="clock time at `start`; null when unknown")
    thumbnail: str = Field(description="an image of the peak, on this server")


class SearchAnswer(Value):
    """The moments found, best first."""

    object: Literal["list"] = "list"
    data: list[FoundMoment]


class IndexedVideo(Value):
    """A video of the index."""

    id: str
    object: Literal["video"] = "video"
    name: str = Field(description="name of its file")
    camera: str
    duration: float = Field(description="seconds")
    recorded_at: datetime | None = Field(description="clock time at its start; null when unknown")
    clock: ClockOrigin | None = Field(description="how that time is known")
    added_at: datetime
    metadata: dict[str, Scalar]
    rows: dict[str, int] = Field(description="segments per space")


class IndexedVideos(Value):
    """A page of videos in order of addition."""

    object: Literal["list"] = "list"
    data: list[IndexedVideo]
    has_more: bool = Field(description="whether others follow; ask with `after` set to the last id of this page")


class Health(Value):
    """Whether the server is in order."""

    status: Literal["live", "ready"]
