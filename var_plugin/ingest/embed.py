"""From one video to the rows that represent it: segments with their key frames, anomaly scores and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import settings
from var_plugin.encoders.anomaly import score_clips, unusualness
from var_plugin.encoders.audio_features import AudioFeatures, encode_audio, pool_audio
from var_plugin.encoders.base import AudioEncoder, ClipFeatureExtractor, Vectors, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures, embed_clips, pool_clips
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
from var_plugin.media.audio import SILENCE_RMS
from var_plugin.media.sandbox.client import decode_audio, probe
from var_plugin.media.segmentation import anomaly_spans, choose_keyframe, group_static_spans, uniform_segments
from var_plugin.types import Segment, SegmentKind

SpaceRows = tuple[list[Segment], Vectors]
"""Segments and their vectors (n, dim)."""
Rows = dict[str, SpaceRows]
"""Per space."""

SOUND_IS_BROKEN = (
    BrokenTimestampsError, DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, TooLongMediaError,
    UnreadableMediaError,
)  # fmt: skip
"""What leaves out the sound of a video and keeps its images."""


@dataclass(frozen=True)
class Embedded:
    """What is made of one video."""

    rows: Rows
    """Of every space that takes images or sounds; none in the latter where there is nothing to hear."""
    duration: float
    """Seconds."""
    left_out: str | None
    """What of the video could not be used, and why."""


class Streams:
    """What a suite reads of a video, each stream once: clips per reader, windows per space that hears."""

    def __init__(self, suite: Suite) -> None:
        self._spaces = suite.spaces
        self._videos: dict[str, tuple[VideoEncoder, int]] = {}
        self.extractors: list[ClipFeatureExtractor] = []
        """Each once, also where several spaces share it."""
        self.sounds: dict[str, AudioEncoder] = {}
        """By space."""
        for name, encoders in suite.encoders.items():
            if (video := encoders.video_encoder) is not None:
                if (extractor := video.extractor) not in self.extractors:
                    self.extractors.append(extractor)
                self._videos[name] = video, self.extractors.index(extractor)
            if encoders.audio is not None:
                self.sounds[name] = encoders.audio

    def represent(self, clips: list[ClipFeatures], sounds: Rows, left_out: str | None) -> Embedded:
        """Return what is made of one video: `clips` by reader, `sounds` by space where there is anything to hear."""
        rows: Rows = {name: _represent(clips[number], video) for name, (video, number) in self._videos.items()}
        duration = clips[-1].end if clips else 0.0
        last_frame = float(clips[-1].times[-1]) if clips else 0.0
        for name in self.sounds:
            segments, vectors = sounds.get(name, ([], np.zeros((0, self._spaces[name].dim), np.float32)))
            rows[name] = [_seen(segment, last_frame) for segment in segments], vectors
        return Embedded(rows, duration, left_out)


def embed(file: Path, suite: Suite, progress: Callable[[float], None] | None = None) -> Embedded:
    """Decode and embed a video. Sound that cannot be decoded is left out; images are what makes a video.

    Raises:
        As decoding: MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError,
            TruncatedMediaError.
    """
    streams = Streams(suite)
    sounds: Rows = {}
    notes: list[str] = []
    with _listening(file, streams) as listening:
        clips = [
            embed_clips(file, extractor, fps=settings().fps, progress=progress) for extractor in streams.extractors
        ]
        for name, hearing in listening.items():
            try:
                if heard := hearing.result():
                    sounds[name] = heard
            except SOUND_IS_BROKEN as error:
                notes.append(sound_left_out(error))
    return streams.represent(clips, sounds, reason(file, notes))


def reason(file: Path, notes: Sequence[str]) -> str | None:
    """Return what a receipt says of a stored file: what of it is not used, by its header and by notes on decoding."""
    return "; ".join([*probe(file).notes, *dict.fromkeys(notes)]) or None


def sound_left_out(error: Exception) -> str:
    """Return what a receipt says of sound that cannot be decoded."""
    return f"its sound is left out: {error}"


@contextmanager
def _listening(file: Path, streams: Streams) -> Iterator[dict[str, Future[SpaceRows | None]]]:
    """Hear the file in a thread while the `with` block looks at it; a block that fails ends that as well."""
    given_up = Event()

    def going_on(_: float) -> None:
        if given_up.is_set():
            raise CancelledError

    with ThreadPoolExecutor(1, "sound") as thread:
        try:
            yield {name: thread.submit(hear_rows, file, sound, going_on) for name, sound in streams.sounds.items()}
        finally:
            given_up.set()
            thread.shutdown(cancel_futures=True)


def _represent(clips: ClipFeatures, encoder: VideoEncoder) -> SpaceRows:
    """Cut the clips into uniform segments, merge static ones; add anomaly-led ones and the whole video's row."""
    cut = uniform_segments(clips.end, settings().segment_seconds)
    runs = group_static_spans(
        cut,
        pool_clips(clips, encoder, cut),
        similarity=settings().merge_threshold,
        max_seconds=settings().max_merged_seconds,
    )
    scores = score_clips(clips, encoder).score
    uniform = [(cut[run.start][0], cut[run.stop - 1][1]) for run in runs]
    led = anomaly_spans(clips.times, scores, clips.end, min_score=settings().anomaly_threshold)
    segments = [_segment(clips, scores, span, "uniform") for span in uniform]
    segments += [_segment(clips, scores, span, "anomaly") for span in led]
    segments.append(_segment(clips, scores, (0.0, clips.end), "video"))
    whole = encoder.embed_video(clips.vectors, scores)
    return segments, np.concatenate([pool_clips(clips, encoder, [*uniform, *led]), whole[None]])


def _seen(segment: Segment, last_frame: float) -> Segment:
    """Return a segment of sound whose key is no later than the last image, in seconds."""
    return segment if segment.key <= last_frame else segment.model_copy(update={"key": last_frame})


def _segment(
    clips: ClipFeatures, anomaly: NDArray[np.float32], span: tuple[float, float], kind: SegmentKind
) -> Segment:
    inside = clips.within(*span)
    key = choose_keyframe(clips.times[inside].tolist(), clips.vectors[inside], clips.usable[inside].tolist())
    return Segment(
        start=span[0],
        end=span[1],
        key=min(max(key, span[0]), span[1]),  # a frame may be shown since before the span
        kind=kind,
        anomaly=float(anomaly[inside].max()),
    )


_PEAK_SECONDS = 2.0
# So much louder (2 dB) than the median of its segment is an event; the loudest second of steady noise is none.
_STANDS_OUT = 1.25


def hear(file: Path, encoder: AudioEncoder, progress: Callable[[float], None] | None = None) -> AudioFeatures | None:
    """Return what an encoder hears in a video; None where it has no sound.

    Args:
        file: the video.
        encoder: of the space.
        progress: is told the time reached, in seconds.

    Raises:
        As `media.sandbox.client.decode_audio`, but for NoAudioStreamError.
    """
    try:
        return encode_audio(decode_audio(file), encoder, progress)
    except NoAudioStreamError:
        return None


def hear_rows(
    file: Path, encoder: AudioEncoder, progress: Callable[[float], None] | None = None
) -> tuple[list[Segment], Vectors] | None:
    """Return what `sound_rows` makes of what `hear` hears; the windows, many more than the rows, go at once."""
    heard = hear(file, encoder, progress)
    return sound_rows(heard) if heard else None


def sound_rows(heard: AudioFeatures) -> tuple[list[Segment], Vectors] | None:
    """Return the segments in which there is something to hear, and their vectors (n, dim), if any.

    They are cut as images are, and the row of the whole video is added. The key of a segment is the loudest time in
    it, when there may be no image any more.
    """
    cut = [span for span in uniform_segments(heard.end, settings().segment_seconds) if _audible(heard, span)]
    if not cut:
        return None
    merged = [span for part in _unbroken(cut) for span in _merged(heard, part)]
    loudest = [peak for span in merged for peak in _peaks(heard, span, cut)]
    spans = [*merged, *loudest, (0.0, heard.end)]
    anomaly = unusualness(heard.times, heard.vectors)

    def segment(span: tuple[float, float], kind: SegmentKind) -> Segment:
        inside = heard.within(*span)
        key = _loudest_time(heard, span)
        return Segment(start=span[0], end=span[1], key=key, kind=kind, anomaly=float(anomaly[inside].max()))

    segments = [segment(span, "uniform") for span in merged] + [segment(span, "anomaly") for span in loudest]
    return [*segments, segment(spans[-1], "video")], pool_audio(heard, spans)


def _peaks(
    heard: AudioFeatures, span: tuple[float, float], cut: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Yield the loudest two seconds of each uniform segment that was merged into a span and says something else."""
    (whole,) = pool_audio(heard, [span])
    for start, end in cut:
        if span[0] <= start and end <= span[1] and end - start > 2 * _PEAK_SECONDS:
            middle = _loudest_time(heard, (start, end))
            first = min(max(start, middle - _PEAK_SECONDS / 2), end - _PEAK_SECONDS)
            peak = (first, first + _PEAK_SECONDS)
            loudness = heard.loudness[heard.within(start, end)]
            stands_out = loudness.max() >= _STANDS_OUT * np.median(loudness)
            if stands_out and pool_audio(heard, [peak])[0] @ whole < settings().merge_threshold:
                yield peak


def _loudest_time(heard: AudioFeatures, span: tuple[float, float]) -> float:
    inside = heard.within(*span)
    return float(heard.times[inside][heard.loudness[inside].argmax()])


def _audible(heard: AudioFeatures, span: tuple[float, float]) -> bool:
    return bool(heard.loudness[heard.within(*span)].max() >= SILENCE_RMS)


def _unbroken(spans: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Divide spans where silence was left out between them."""
    parts: list[list[tuple[float, float]]] = []
    for span in spans:
        if parts and parts[-1][-1][1] == span[0]:
            parts[-1].append(span)
        else:
            parts.append([span])
    return parts


def _merged(heard: AudioFeatures, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    runs = group_static_spans(
        spans,
        pool_audio(heard, spans),
        similarity=settings().merge_threshold,
        max_seconds=settings().max_merged_seconds,
    )
    return [(spans[run.start][0], spans[run.stop - 1][1]) for run in runs]
