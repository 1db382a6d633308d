"""Build the rows of one video: segments with their key frames, anomaly scores and vectors.

Image and audio streams are segmented separately. Segments that barely change are merged. The loudest two seconds of an
audio segment get a row of their own if they differ from the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np

from var_plugin.config import IndexOptions
from var_plugin.encoders.anomaly import ClipAnomalies, match_captions, score_clips
from var_plugin.encoders.audio_features import AudioFeatures, encode_audio, pool_audio
from var_plugin.encoders.base import AudioEncoder, ClipFeatureExtractor, Vectors, VideoEncoder
from var_plugin.encoders.caption_memory import CaptionMemory
from var_plugin.encoders.clip_features import ClipFeatures, embed_clips, pool_clips
from var_plugin.encoders.novelty import novelty_scores
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    BrokenTimestampsError,
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingTimeoutError,
    NoAudioStreamError,
    TooLongMediaError,
    UnreadableMediaError,
)
from var_plugin.media.decoded import SILENCE_RMS
from var_plugin.media.sandbox.client import decode_audio, probe
from var_plugin.media.segmentation import anomaly_spans, choose_keyframe, group_static_spans, uniform_segments
from var_plugin.types import Segment, SegmentKind

SpaceRows = tuple[list[Segment], Vectors]
"""Segments and their vectors (n, dim)."""
Rows = dict[str, SpaceRows]
"""Rows per space."""

AUDIO_ERRORS = (
    BrokenTimestampsError, DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, TooLongMediaError,
    UnreadableMediaError,
)  # fmt: skip
"""Errors of the audio track. The video is stored without audio and with a warning."""
_PEAK_SECONDS = 2.0
_MIN_PEAK_RATIO = 1.25
"""Minimum loudness of an audio peak, relative to the median of its segment (2 dB). Steady noise has no peak."""


@dataclass(frozen=True)
class VideoEmbeddings:
    """The rows of one video."""

    rows: Rows
    """Rows of every space that takes images or audio. Audio spaces are empty for a silent video."""
    duration: float
    """Seconds."""
    warnings: str | None
    """Parts of the video that could not be used, and why."""


class StreamPlan:
    """The streams of a video that a suite reads: clips per extractor, audio windows per audio space.

    Args:
        suite: The suite.
    """

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._spaces = suite.spaces
        self._videos: dict[str, tuple[VideoEncoder, int]] = {}
        self.extractors: list[ClipFeatureExtractor] = []
        """Clip feature extractors. An extractor that several spaces share occurs once."""
        self.audio_encoders: dict[str, AudioEncoder] = {}
        """Audio encoders per space."""
        for name, encoders in suite.encoders.items():
            if (video := encoders.video_encoder) is not None:
                if (extractor := video.extractor) not in self.extractors:
                    self.extractors.append(extractor)
                self._videos[name] = video, self.extractors.index(extractor)
            if encoders.audio is not None:
                self.audio_encoders[name] = encoders.audio

    def build_rows(
        self, clips: list[ClipFeatures], audio_rows: Rows, warnings: str | None, options: IndexOptions
    ) -> VideoEmbeddings:
        """Return the rows of one video.

        Args:
            clips: Clip features per extractor.
            audio_rows: Audio rows per space, without spaces that have none.
            warnings: Parts of the video that could not be used.
            options: How footage is cut into segments.
        """
        rows: Rows = {
            name: _build_video_rows(clips[number], video, self._suite.caption_memory(name), options)
            for name, (video, number) in self._videos.items()
        }
        duration = clips[-1].end if clips else 0.0
        last_frame = float(clips[-1].times[-1]) if clips else 0.0
        for name in self.audio_encoders:
            segments, vectors = audio_rows.get(name, ([], np.zeros((0, self._spaces[name].dim), np.float32)))
            rows[name] = [_limit_key(segment, last_frame) for segment in segments], vectors
        return VideoEmbeddings(rows, duration, warnings)


def embed(
    file: Path, suite: Suite, options: IndexOptions, progress: Callable[[float], None] | None = None
) -> VideoEmbeddings:
    """Decode and embed a video. Audio that cannot be decoded is skipped with a warning.

    Args:
        file: The video.
        suite: Its encoders embed the video.
        options: How footage is cut into segments.
        progress: Called with the position reached, in seconds.

    Raises:
        MediaError: The images cannot be decoded.
    """
    streams = StreamPlan(suite)
    audio_rows: Rows = {}
    warnings: list[str] = []
    with _embed_audio_in_background(file, streams, options) as futures:
        clips = [embed_clips(file, extractor, fps=suite.fps, progress=progress) for extractor in streams.extractors]
        for name, future in futures.items():
            try:
                if rows := future.result():
                    audio_rows[name] = rows
            except AUDIO_ERRORS as error:
                warnings.append(audio_warning(error))
    return streams.build_rows(clips, audio_rows, receipt_warnings(file, warnings), options)


def receipt_warnings(file: Path, warnings: Sequence[str]) -> str | None:
    """Return the warnings of a receipt: those of the file's header, then those of decoding, without duplicates."""
    return "; ".join([*probe(file).notes, *dict.fromkeys(warnings)]) or None


def audio_warning(error: Exception) -> str:
    """Return the warning of a receipt for audio that cannot be decoded."""
    return f"its audio is skipped: {error}"


def embed_audio(
    file: Path, encoder: AudioEncoder, options: IndexOptions, progress: Callable[[float], None] | None = None
) -> SpaceRows | None:
    """Decode and embed the audio of a video.

    The embedded windows are far more numerous than the rows and are released on return.

    Args:
        file: The video.
        encoder: The audio encoder.
        options: How footage is cut into segments.
        progress: Called with the position reached, in seconds.

    Returns:
        The rows, as `build_audio_rows`. None if the file has no audio.

    Raises:
        MediaError: The audio cannot be decoded.
    """
    try:
        audio = encode_audio(decode_audio(file), encoder, progress)
    except NoAudioStreamError:
        return None
    return build_audio_rows(audio, options)


def build_audio_rows(audio: AudioFeatures, options: IndexOptions) -> SpaceRows | None:
    """Return the audible segments and their vectors (n, dim), and a row for the whole video. None if all is silent.

    Segments have the length of image segments. The key of a segment is its loudest time, which may be later than the
    last image.
    """
    cut = [span for span in uniform_segments(audio.end, options.segment_seconds) if _is_audible(audio, span)]
    if not cut:
        return None
    merged = [span for part in _split_at_gaps(cut) for span in _merge(audio, part, options)]
    peaks = [peak for span in merged for peak in _peaks(audio, span, cut, options.merge_threshold)]
    spans = [*merged, *peaks, (0.0, audio.end)]
    novelty = novelty_scores(audio.times, audio.vectors)

    def segment(span: tuple[float, float], kind: SegmentKind) -> Segment:
        inside = audio.within(*span)
        key = _loudest_time(audio, span)
        highest = float(novelty[inside].max())
        return Segment(start=span[0], end=span[1], key=key, kind=kind, anomaly=highest, novelty=highest)

    segments = [segment(span, "uniform") for span in merged] + [segment(span, "anomaly") for span in peaks]
    return [*segments, segment(spans[-1], "video")], pool_audio(audio, spans)


@contextmanager
def _embed_audio_in_background(
    file: Path, streams: StreamPlan, options: IndexOptions
) -> Iterator[dict[str, Future[SpaceRows | None]]]:
    """Embed the audio of a file in a thread during a `with` block. If the block fails, the thread stops early."""
    is_cancelled = Event()

    def check_cancelled(_: float) -> None:
        if is_cancelled.is_set():
            raise CancelledError

    with ThreadPoolExecutor(1, "audio") as thread:
        try:
            yield {
                name: thread.submit(embed_audio, file, encoder, options, check_cancelled)
                for name, encoder in streams.audio_encoders.items()
            }
        finally:
            is_cancelled.set()
            thread.shutdown(cancel_futures=True)


def _build_video_rows(
    clips: ClipFeatures, encoder: VideoEncoder, memory: CaptionMemory | None, options: IndexOptions
) -> SpaceRows:
    """Return uniform segments with static neighbours merged, anomaly segments, and the row of the whole video."""
    cut = uniform_segments(clips.end, options.segment_seconds)
    cut_vectors = pool_clips(clips, encoder, cut)
    runs = group_static_spans(
        cut,
        cut_vectors,
        similarity=options.merge_threshold,
        max_seconds=options.max_merged_seconds,
    )
    detected = score_clips(clips, encoder)
    anomalies = match_captions(detected, clips.times, memory, cut, cut_vectors)
    uniform = [(cut[run.start][0], cut[run.stop - 1][1]) for run in runs]
    peaks = anomaly_spans(clips.times, anomalies.score, clips.end, min_score=options.anomaly_threshold)
    compared = replace(clips, vectors=encoder.comparable(clips.vectors))
    segments = [_segment(compared, detected, span, "uniform") for span in uniform]
    segments += [_segment(compared, detected, span, "anomaly") for span in peaks]
    segments.append(_segment(compared, detected, (0.0, clips.end), "video"))
    # As in the paper, anomaly-led sampling follows the trained detector.
    whole = encoder.embed_video(clips.vectors, detected.score)
    return segments, np.concatenate([pool_clips(clips, encoder, [*uniform, *peaks]), whole[None]])


def _limit_key(segment: Segment, last_frame: float) -> Segment:
    """Return an audio segment whose key is not later than the last image, in seconds."""
    return segment if segment.key <= last_frame else segment.model_copy(update={"key": last_frame})


def _segment(clips: ClipFeatures, anomalies: ClipAnomalies, span: tuple[float, float], kind: SegmentKind) -> Segment:
    inside = clips.within(*span)
    trained = {kind: float(scores[inside].max()) for kind, scores in anomalies.events.items()}
    key = choose_keyframe(clips.times[inside].tolist(), clips.vectors[inside], clips.usable[inside].tolist())
    return Segment(
        start=span[0],
        end=span[1],
        key=min(max(key, span[0]), span[1]),  # the first frame of a span may be presented before its start
        kind=kind,
        anomaly=float(anomalies.score[inside].max()),
        events=trained,
        trained=trained,
        novelty=float(anomalies.novelty[inside].max()),
    )


def _peaks(
    audio: AudioFeatures, span: tuple[float, float], cut: Sequence[tuple[float, float]], max_similarity: float
) -> Iterator[tuple[float, float]]:
    """Yield the loudest two seconds of each uniform segment of a merged span that differ from the span."""
    (whole,) = pool_audio(audio, [span])
    for start, end in cut:
        if span[0] <= start and end <= span[1] and end - start > 2 * _PEAK_SECONDS:
            middle = _loudest_time(audio, (start, end))
            first = min(max(start, middle - _PEAK_SECONDS / 2), end - _PEAK_SECONDS)
            peak = (first, first + _PEAK_SECONDS)
            loudness = audio.loudness[audio.within(start, end)]
            is_loud = loudness.max() >= _MIN_PEAK_RATIO * np.median(loudness)
            if is_loud and pool_audio(audio, [peak])[0] @ whole < max_similarity:
                yield peak


def _loudest_time(audio: AudioFeatures, span: tuple[float, float]) -> float:
    inside = audio.within(*span)
    return float(audio.times[inside][audio.loudness[inside].argmax()])


def _is_audible(audio: AudioFeatures, span: tuple[float, float]) -> bool:
    return bool(audio.loudness[audio.within(*span)].max() >= SILENCE_RMS)


def _split_at_gaps(spans: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Split spans into runs without gaps. Gaps are silent segments."""
    parts: list[list[tuple[float, float]]] = []
    for span in spans:
        if parts and parts[-1][-1][1] == span[0]:
            parts[-1].append(span)
        else:
            parts.append([span])
    return parts


def _merge(
    audio: AudioFeatures, spans: Sequence[tuple[float, float]], options: IndexOptions
) -> list[tuple[float, float]]:
    runs = group_static_spans(
        spans,
        pool_audio(audio, spans),
        similarity=options.merge_threshold,
        max_seconds=options.max_merged_seconds,
    )
    return [(spans[run.start][0], spans[run.stop - 1][1]) for run in runs]
