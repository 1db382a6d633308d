"""A suite: the encoders that are used together, and what they turn content into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from var_plugin.config import settings
from var_plugin.encoders.anomaly import describe_anomaly_scope, score_clips
from var_plugin.encoders.audio_features import audio_vector
from var_plugin.encoders.base import (
    AudioEncoder,
    AudioQueryEncoder,
    ImageEncoder,
    LogisticCalibrator,
    ScoreStatistics,
    Space,
    TextEncoder,
    Vectors,
    VideoEncoder,
    check_vectors,
)
from var_plugin.encoders.clip_features import ImageVideoEncoder, embed_clips
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.media.image_input import load_image
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.types import Modality, Span

T = TypeVar("T")


@dataclass(frozen=True)
class SuiteDescription:
    """A line of the suite table: everything a person chooses by, and where the encoders are built."""

    name: str
    summary: str
    spaces: Mapping[str, tuple[Modality, ...]]
    code_licence: str
    weights_licence: str
    revision: str
    megabytes: int
    """Size of all weights; 0 where the model is named by the user."""
    languages: tuple[str, ...]
    needs_network: bool
    build: str
    """`module:function`; the function returns the encoders per space, and takes the model's name where one is given."""
    model: Literal["none", "optional", "required"] = "none"
    """Whether the suite can be called by `NAME:MODEL`."""
    default_model: str = ""
    """The model of a suite that is called by its own name, with its revision."""
    install_hint: str = ""
    """What to run where the default model is missing and not on the hub; MODELS stands for the folder of models."""


@dataclass(frozen=True)
class SpaceEncoders:
    """A space with the encoders that reach it."""

    space: Space
    text: TextEncoder | None = None
    image: ImageEncoder | None = None
    video: VideoEncoder | None = None
    """None where the suite sees a video as stills; then `frames` makes one of `image`."""
    audio: AudioEncoder | None = None
    audio_query: AudioQueryEncoder | None = None
    """Instead of `sound` where sounds are queries only, for what is seen."""
    score_statistics: Mapping[Modality, ScoreStatistics] = field(default_factory=dict)
    """Per query modality, the similarity to content that has nothing to do with the query."""
    calibrators: Mapping[Modality, LogisticCalibrator] = field(default_factory=dict)
    """Per query modality that was calibrated on labelled data, how sure a score makes one."""

    @property
    def video_encoder(self) -> VideoEncoder | None:
        """What turns the frames of a video into vectors, if anything does."""
        return self.video or (ImageVideoEncoder(self.image) if self.image else None)


@dataclass(frozen=True)
class ClipScore:
    """The anomaly score, in 0…1, of the clip from `start` to `end` seconds, and the parts it was made of."""

    start: float
    end: float
    score: float
    """Both parts by the rule of `var_plugin.encoders.anomaly`."""
    event: float | None
    """The trained part; None where the suite has none."""
    novelty: float
    """The label-free part: how unlike the rest of its own video the clip looks."""


class Suite:
    """Encoders by space. Made by `load_suite`; weights load at the first use of each encoder."""

    def __init__(
        self, description: SuiteDescription, encoders: Mapping[str, SpaceEncoders], *, base: Suite | None = None
    ) -> None:
        self.description = description
        self.encoders = dict(encoders)
        self.base = base
        """The suite that this one was made from, where a folder made it."""

    @property
    def name(self) -> str:
        """The suite's name, as in the suite table."""
        return self.description.name

    @property
    def spaces(self) -> dict[str, Space]:
        """The spaces by name."""
        return {name: encoders.space for name, encoders in self.encoders.items()}

    @property
    def fingerprint(self) -> str:
        """Changes whenever a vector could: hash of the fingerprints of all spaces."""
        parts = [f"{name}={space.fingerprint}" for name, space in sorted(self.spaces.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def encode(
        self,
        modality: Modality,
        items: Sequence[Any],
        *,
        space: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Vectors:
        """Turn content into vectors, exactly as the store would hold them.

        Args:
            modality: what the items are. "text": strings. "image": paths, PIL images or (h, w, 3) uint8 RGB arrays.
                "video": paths or `Span`s. "audio": paths, of videos as well, `Span`s of them, or pairs of samples (n,)
                float32 in -1…1 and their rate in Hz.
            items: the content; may be empty.
            space: name of the space; may be left out where only one takes the modality.
            limits: limits of decoding a file.

        Returns:
            (len(items), dim) float32.

        Raises:
            UnsupportedModalityError: no such space, or it does not take the modality.
            InvalidInputError: an item is not what the modality asks for; besides the errors of reading media.
            InvalidVectorError: the model produced something that must not be stored.
        """
        if isinstance(items, str | bytes | Path):
            raise InvalidInputError(
                f"encode takes a list of items, not one {type(items).__name__}", fix="put it in brackets: [item]"
            )
        target = self.encoders_for(modality, space)
        if not len(items):
            return np.zeros((0, target.space.dim), np.float32)
        if modality == "text":
            vectors = _required(target.text).encode(_texts(items))
        elif modality == "image":
            encoder = _required(target.image)
            vectors = encoder.encode([load_image(item, encoder.size, limits) for item in items])
        elif modality == "audio":
            listener = _required(target.audio or target.audio_query)
            vectors = np.stack([audio_vector(item, listener, limits) for item in items])
        else:
            vectors = np.stack([_video_vector(item, _required(target.video_encoder), limits) for item in items])
        check_vectors(vectors, target.space)
        return vectors

    def encoders_for(self, modality: Modality, space: str | None = None) -> SpaceEncoders:
        """Return the encoders of the named space, or of the first one that takes the modality.

        Raises:
            UnsupportedModalityError: no such space, or it does not take the modality.
        """
        for name, encoders in self.encoders.items():
            if space in (None, name) and modality in encoders.space.modalities:
                return encoders
        offered = "; ".join(f"{n}: {', '.join(sorted(s.modalities))}" for n, s in self.spaces.items())
        raise UnsupportedModalityError(
            f"suite '{self.name}' cannot encode {modality}" + (f" in space '{space}'" if space else ""),
            why=f"it offers {offered}",
            fix="choose another suite: var-plugin suites",
        )

    def anomaly(self, video: str | Path) -> list[ClipScore]:
        """Score every clip of a video; `anomaly_scope` says what the score knows and what not.

        Raises:
            As decoding: MediaNotFoundError, UnreadableMediaError, NoVideoStreamError, TruncatedMediaError and so on.
        """
        encoder = _required(self.encoders_for("video").video_encoder)
        clips = embed_clips(Path(video), encoder.extractor, fps=settings().fps)
        found = score_clips(clips, encoder)
        events = [None] * len(clips.times) if found.event is None else found.event.tolist()
        columns = (clips.times.tolist(), [*clips.times[1:].tolist(), clips.end], found.score.tolist(), events,
                   found.novelty.tolist())  # fmt: skip
        return [ClipScore(*values) for values in zip(*columns, strict=True)]

    @property
    def anomaly_scope(self) -> str:
        """What the anomaly score knows and what it never saw."""
        return describe_anomaly_scope(_required(self.encoders_for("video").video_encoder))


def _required(encoder: T | None) -> T:
    """Narrow the type: `encoders_for` has already checked that the space takes the modality."""
    if encoder is None:
        raise UnsupportedModalityError("the space lists a modality that it has no encoder for", fix="mend the suite")
    return encoder


def _texts(items: Sequence[Any]) -> list[str]:
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise InvalidInputError(f"not a text: {item!r}", fix="pass non-empty strings")
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"a text is not Unicode: {item[:80]!a}",
                why="it holds half of a surrogate pair, such as half an emoji, or bytes that are not UTF-8",
                fix="remove them",
            ) from error
    return list(items)


def _video_vector(item: Any, encoder: VideoEncoder, limits: Limits) -> Vectors:
    span = item if isinstance(item, Span) else None
    if span is None and not isinstance(item, str | Path):
        raise InvalidInputError(f"not a video: {type(item).__name__}", fix="pass a path or a var_plugin.Span")
    path, start, end = (Path(span.path), span.start, span.end) if span else (Path(item), 0.0, float("inf"))
    clips = embed_clips(path, encoder.extractor, fps=settings().fps, start=start, end=end, limits=limits)
    if not len(clips.times):
        raise InvalidInputError(f"{path} has no frame from {start} to {end} s", fix="name a span inside the video")
    return np.asarray(encoder.embed_spans(clips.vectors, [slice(None)])[0], np.float32)
