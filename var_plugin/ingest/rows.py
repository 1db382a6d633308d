"""From one video to the rows that represent it: segments with their key frames, anomaly scores and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.anomaly import score_clips
from var_plugin.encoders.base import ClipReader, Vectors, VideoEncoder
from var_plugin.encoders.sound import Heard
from var_plugin.encoders.suite import Suite
from var_plugin.encoders.video import Clips, embed_clips, pool
from var_plugin.errors import (
    BrokenTimestampsError,
    DecoderCrashedError,
    DecodingMemoryError,
    DecodingTimeoutError,
    TooLongMediaError,
    UnreadableMediaError,
)
from var_plugin.ingest.sound_rows import hear, sound_rows
from var_plugin.media.segments import anomaly_spans, key_frame, static_runs, uniform_segments
from var_plugin.settings import settings
from var_plugin.types import Segment, SegmentKind

Rows = dict[str, tuple[list[Segment], Vectors]]
"""Per space, segments and their vectors (n, dim)."""

_SOUND_IS_BROKEN = (
    BrokenTimestampsError, DecoderCrashedError, DecodingMemoryError, DecodingTimeoutError, TooLongMediaError,
    UnreadableMediaError,
)  # fmt: skip


@dataclass(frozen=True)
class Embedded:
    """What is made of one video."""

    rows: Rows
    """Of every space that takes pictures or sounds; none in the latter where there is nothing to hear."""
    duration: float
    """Seconds."""
    left_out: str | None
    """What of the video could not be used, and why."""


def embed(file: Path, suite: Suite, progress: Callable[[float], None] | None = None) -> Embedded:
    """Decode and embed a video. Sound that cannot be decoded is left out; pictures are what makes a video.

    Raises:
        As decoding: MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError,
            TruncatedMediaError.
    """
    rows: Rows = {}
    duration = last_frame = 0.0
    read: dict[ClipReader, Clips] = {}
    left_out = None
    with _listening(file, suite) as sounds:
        for name, encoders in suite.encoders.items():
            if (video := encoders.frames) is not None:
                if video.reader not in read:
                    read[video.reader] = embed_clips(file, video.reader, rate=settings().clip_rate, progress=progress)
                clips = read[video.reader]
                rows[name] = _represent(clips, video)
                duration, last_frame = clips.end, float(clips.times[-1])
        for name, sound in sounds.items():
            rows[name] = [], np.zeros((0, suite.encoders[name].space.dim), np.float32)
            try:
                if heard := sound.result():
                    rows[name] = sound_rows(heard, last_frame) or rows[name]
            except _SOUND_IS_BROKEN as error:
                left_out = f"its sound is left out: {error}"
    return Embedded(rows, duration, left_out)


@contextmanager
def _listening(file: Path, suite: Suite) -> Iterator[dict[str, Future[Heard | None]]]:
    """Hear the file in a thread while the `with` block looks at it; a block that fails ends that as well."""
    given_up = Event()

    def going_on(_: float) -> None:
        if given_up.is_set():
            raise CancelledError

    with ThreadPoolExecutor(1, "sound") as thread:
        try:
            yield {
                name: thread.submit(hear, file, encoders.sound, going_on)
                for name, encoders in suite.encoders.items()
                if encoders.sound is not None
            }
        finally:
            given_up.set()
            thread.shutdown(cancel_futures=True)


def _represent(clips: Clips, encoder: VideoEncoder) -> tuple[list[Segment], Vectors]:
    """Cut the clips into uniform segments, merge static ones; add anomaly-led ones and the whole video's row."""
    cut = uniform_segments(clips.end, settings().segment_seconds)
    runs = static_runs(
        cut, pool(clips, encoder, cut), similarity=settings().static_similarity, longest=settings().static_seconds
    )
    scores = score_clips(clips, encoder).score
    uniform = [(cut[run.start][0], cut[run.stop - 1][1]) for run in runs]
    led = anomaly_spans(clips.times, scores, clips.end, least=settings().anomaly_peak)
    segments = [_segment(clips, scores, span, "uniform") for span in uniform]
    segments += [_segment(clips, scores, span, "anomaly") for span in led]
    segments.append(_segment(clips, scores, (0.0, clips.end), "video"))
    whole = encoder.whole(clips.vectors, scores)
    return segments, np.concatenate([pool(clips, encoder, [*uniform, *led]), whole[None]])


def _segment(clips: Clips, anomaly: NDArray[np.float32], span: tuple[float, float], kind: SegmentKind) -> Segment:
    inside = clips.within(*span)
    return Segment(
        start=span[0],
        end=span[1],
        key=key_frame(clips.times[inside].tolist(), clips.directions[inside], clips.usable[inside].tolist()),
        kind=kind,
        anomaly=float(anomaly[inside].max()),
    )
