"""A suite: the encoders that are used together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np

from var_plugin.config import DEFAULT_FPS, DEFAULT_SEGMENT_SECONDS
from var_plugin.encoders.anomaly import describe_anomaly_scope, match_captions, score_clips
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
from var_plugin.encoders.caption_memory import ALARM, CaptionMemory, caption_kinds
from var_plugin.encoders.clip_features import ClipFeatures, ImageVideoEncoder, embed_clips, pool_clips
from var_plugin.encoders.hub import LayoutName
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.media.image_input import load_image
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.segmentation import uniform_segments
from var_plugin.types import Modality, Span

T = TypeVar("T")


@dataclass(frozen=True)
class SuiteDescription:
    """An entry of the suite table: properties for choosing a suite, and the function that builds its encoders."""

    name: str
    summary: str
    spaces: Mapping[str, tuple[Modality, ...]]
    code_licence: str
    weights_licence: str
    revision: str
    megabytes: int
    """Size of all weights in MB; 0 if the user names the model."""
    languages: tuple[str, ...]
    needs_network: bool
    build: str
    """`module:function`. The function returns the encoders per space. Its arguments are the model name, if the suite
    takes one, and a `ModelOptions`."""
    model: Literal["none", "optional", "required"] = "none"
    """Whether the suite accepts a model name: `NAME:MODEL`."""
    is_remote: bool = False
    """Whether the model is the URL of a server, to which texts and images are sent."""
    default_model: str = ""
    """The model, with its revision, that is used without a model name."""
    layout: LayoutName = "transformers"
    """The files of the model's repository that are used."""
    dims: tuple[int, ...] = ()
    """Dimensions to which vectors can be truncated: `NAME@DIM`. The build function takes one, or None, at the end."""
    install_hint: str = ""
    """What to run if the default model is missing and not on the hub. MODELS is replaced by the model folder."""


@dataclass(frozen=True)
class SpaceEncoders:
    """A space and its encoders."""

    space: Space
    text: TextEncoder | None = None
    image: ImageEncoder | None = None
    video: VideoEncoder | None = None
    """If None, frames are embedded with the image encoder; see `video_encoder`."""
    audio: AudioEncoder | None = None
    audio_query: AudioQueryEncoder | None = None
    """Instead of `audio`, where recordings are only queries for video."""
    score_statistics: Mapping[Modality, ScoreStatistics] = field(default_factory=dict)
    """Per query modality, statistics of the similarity to unrelated content."""
    calibrators: Mapping[Modality, LogisticCalibrator] = field(default_factory=dict)
    """Calibrators per query modality; only modalities with labelled data."""
    uncounted_kinds: frozenset[str] = frozenset()
    """Kinds of events of the caption memory that do not raise the anomaly score in this space; see `CaptionMemory`."""

    @property
    def video_encoder(self) -> VideoEncoder | None:
        """The video encoder, or one that embeds single frames with the image encoder, or None."""
        return self.video or (ImageVideoEncoder(self.image) if self.image else None)


@dataclass(frozen=True)
class ClipScore:
    """The anomaly score in 0…1 of the clip from `start` to `end` seconds, and its parts."""

    start: float
    end: float
    score: float
    """All parts combined by `var_plugin.encoders.anomaly.anomaly_score`."""
    events: Mapping[str, float]
    """Score per kind of event."""
    novelty: float
    """How unlike the rest of its own video the clip looks."""
    reason: str
    """The sentence of the caption memory that explains the strongest event; empty if there is none."""


class Suite:
    """Encoders by space. Create it with `load_suite`. The weights of an encoder load at its first use."""

    def __init__(
        self,
        description: SuiteDescription,
        encoders: Mapping[str, SpaceEncoders],
        *,
        base: Suite | None = None,
        fps: float = DEFAULT_FPS,
        cache: Path | None = None,
    ) -> None:
        self.description = description
        self.encoders = dict(encoders)
        self.base = base
        """The suite that this one extends, if it was loaded from a suite folder."""
        self.fps = fps
        """Frames per second of video that are analysed, for encoders that set none."""
        self.cache = cache
        """Folder for derived files, such as the vectors of the caption memory. None: nothing is stored."""
        self._memories: dict[str, CaptionMemory | None] = {}
        self._loading = Lock()

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
        """Hash of the fingerprints of all spaces. It changes whenever a vector could change."""
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
        """Encode content into vectors, exactly as they would be stored.

        Args:
            modality: type of the items. "text": strings. "image": paths, PIL images or (h, w, 3) uint8 RGB arrays.
                "video": paths or `Span`s. "audio": paths (also of videos), `Span`s of them, or pairs of samples (n,)
                float32 in -1…1 and their sample rate in Hz.
            items: the content; may be empty.
            space: name of the space. Default: the first one that takes the modality.
            limits: decoding limits.

        Returns:
            (len(items), dim) float32.

        Raises:
            UnsupportedModalityError: there is no such space, or it does not take the modality.
            InvalidInputError: an item has the wrong type. Errors of reading media also propagate.
            InvalidVectorError: the model returned an invalid vector.
        """
        if isinstance(items, str | bytes | Path):
            raise InvalidInputError(
                f"encode takes a list of items, not one {type(items).__name__}", fix="pass a list: [item]"
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
            vectors = np.stack(
                [_video_vector(item, _required(target.video_encoder), self.fps, limits) for item in items]
            )
        check_vectors(vectors, target.space)
        return vectors

    def encoders_for(self, modality: Modality, space: str | None = None) -> SpaceEncoders:
        """Return the encoders of the named space, or of the first one that takes the modality.

        Raises:
            UnsupportedModalityError: there is no such space, or it does not take the modality.
        """
        for name, encoders in self.encoders.items():
            if space in (None, name) and modality in encoders.space.modalities:
                return encoders
        offered = "; ".join(f"{n}: {', '.join(sorted(s.modalities))}" for n, s in self.spaces.items())
        raise UnsupportedModalityError(
            f"suite '{self.name}' cannot encode {modality}" + (f" in space '{space}'" if space else ""),
            why=f"it offers {offered}",
            fix="choose another suite (list them: var-plugin suites)",
        )

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kinds of events that footage can have: of trained detectors, of the caption memory, and the owner's."""
        kinds: list[str] = []
        for encoders in self.encoders.values():
            if encoders.video_encoder is not None:
                kinds += encoders.video_encoder.event_kinds
            if encoders.text is not None:
                kinds += [kind for kind in caption_kinds(encoders.space) if kind not in encoders.uncounted_kinds]
        return (*dict.fromkeys(kinds), ALARM)

    def caption_memory(self, space: str) -> CaptionMemory | None:
        """Return the sentences about events, embedded into a space, or None if the space has no text encoder.

        They are embedded on first use and kept in the cache folder, if the suite has one.
        """
        with self._loading:
            if space not in self._memories:
                self._memories[space] = CaptionMemory.load(self.encoders[space], self.cache)
            return self._memories[space]

    def anomaly(self, video: str | Path, *, segment_seconds: float = DEFAULT_SEGMENT_SECONDS) -> list[ClipScore]:
        """Return the anomaly score of every clip of a video. `anomaly_scope` describes what the score covers.

        Args:
            video: the file.
            segment_seconds: length of the segments that are matched with the caption memory, as in an index.

        Raises:
            MediaNotFoundError, UnreadableMediaError, NoVideoStreamError, TruncatedMediaError: decoding fails.
        """
        encoder = _required(self.encoders_for("video").video_encoder)
        return self.anomaly_of_clips(
            embed_clips(Path(video), encoder.extractor, fps=self.fps), segment_seconds=segment_seconds
        )

    def anomaly_of_clips(
        self, clips: ClipFeatures, *, segment_seconds: float = DEFAULT_SEGMENT_SECONDS
    ) -> list[ClipScore]:
        """Return the scores of `anomaly` from the clip features of a video, such as cached ones."""
        encoders = self.encoders_for("video")
        spans = uniform_segments(clips.end, segment_seconds)
        memory = self.caption_memory(encoders.space.name)
        encoder = _required(encoders.video_encoder)
        vectors = pool_clips(clips, encoder, spans)
        scores = match_captions(score_clips(clips, encoder), clips.times, memory, spans, vectors)
        ends = [*clips.times[1:].tolist(), clips.end]
        return [
            ClipScore(
                start=float(clips.times[number]),
                end=ends[number],
                score=float(scores.score[number]),
                events={kind: float(values[number]) for kind, values in scores.events.items()},
                novelty=float(scores.novelty[number]),
                reason=scores.reason(number),
            )
            for number in range(len(clips.times))
        ]

    @property
    def anomaly_scope(self) -> str:
        """What the anomaly score covers and what it does not."""
        encoders = self.encoders_for("video")
        encoder = _required(encoders.video_encoder)
        kinds = caption_kinds(encoders.space) if encoders.text else ()
        described = [kind for kind in kinds if kind not in encoders.uncounted_kinds and kind not in encoder.event_kinds]
        return describe_anomaly_scope(encoder, described)


def _required(encoder: T | None) -> T:
    """Narrow the type; `encoders_for` has checked that the space takes the modality."""
    if encoder is None:
        raise UnsupportedModalityError(
            "the space lists a modality without an encoder", fix="report it to the author of the suite"
        )
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
                why="it contains half of a surrogate pair, such as half an emoji, or bytes that are not UTF-8",
                fix="remove them",
            ) from error
    return list(items)


def _video_vector(item: Any, encoder: VideoEncoder, fps: float, limits: Limits) -> Vectors:
    span = item if isinstance(item, Span) else None
    if span is None and not isinstance(item, str | Path):
        raise InvalidInputError(f"not a video: {type(item).__name__}", fix="pass a path or a var_plugin.Span")
    path, start, end = (Path(span.path), span.start, span.end) if span else (Path(item), 0.0, float("inf"))
    clips = embed_clips(path, encoder.extractor, fps=fps, start=start, end=end, limits=limits)
    if not len(clips.times):
        raise InvalidInputError(f"{path} has no frame from {start} to {end} s", fix="choose a span inside the video")
    return np.asarray(encoder.embed_spans(clips.vectors, [slice(None)])[0], np.float32)
