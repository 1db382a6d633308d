"""From the sound of one video to the rows that represent it. Silence has no rows, nor has a video without sound.

A second of noise drowns in the mean of eight, so the loudest two seconds of each segment have a row as well, in which
it stands out. Cutting everything into pieces of two seconds would take twice the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from var_plugin.encoders.base import SoundEncoder, Vectors
from var_plugin.encoders.sound import Heard, listen, pool_sound
from var_plugin.encoders.unusual import unusualness
from var_plugin.errors import NoAudioStreamError
from var_plugin.media.audio import SILENCE
from var_plugin.media.guard import decode_audio
from var_plugin.media.segments import static_runs, uniform_segments
from var_plugin.settings import settings
from var_plugin.types import Segment, SegmentKind

_PEAK_SECONDS = 2.0
# So much louder (2 dB) than the median of its segment is an event; the loudest second of steady noise is none.
_STANDS_OUT = 1.25


def hear(file: Path, encoder: SoundEncoder, progress: Callable[[float], None] | None = None) -> Heard | None:
    """Return what an encoder hears in a video; None where it has no sound.

    Args:
        file: the video.
        encoder: of the space.
        progress: is told the time reached, in seconds.

    Raises:
        As `media.guard.decode_audio`, but for NoAudioStreamError.
    """
    try:
        return listen(decode_audio(file), encoder, progress)
    except NoAudioStreamError:
        return None


def hear_rows(
    file: Path, encoder: SoundEncoder, progress: Callable[[float], None] | None = None
) -> tuple[list[Segment], Vectors] | None:
    """Return what `sound_rows` makes of what `hear` hears; the windows, many more than the rows, go at once."""
    heard = hear(file, encoder, progress)
    return sound_rows(heard) if heard else None


def sound_rows(heard: Heard) -> tuple[list[Segment], Vectors] | None:
    """Return the segments in which there is something to hear, and their vectors (n, dim), if any.

    They are cut as pictures are, and the row of the whole video is added. The key of a segment is the loudest time in
    it, when there may be no picture any more.
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
    return [*segments, segment(spans[-1], "video")], pool_sound(heard, spans)


def _peaks(
    heard: Heard, span: tuple[float, float], cut: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Yield the loudest two seconds of each uniform segment that was merged into a span and says something else."""
    (whole,) = pool_sound(heard, [span])
    for start, end in cut:
        if span[0] <= start and end <= span[1] and end - start > 2 * _PEAK_SECONDS:
            middle = _loudest_time(heard, (start, end))
            first = min(max(start, middle - _PEAK_SECONDS / 2), end - _PEAK_SECONDS)
            peak = (first, first + _PEAK_SECONDS)
            loudness = heard.loudness[heard.within(start, end)]
            stands_out = loudness.max() >= _STANDS_OUT * np.median(loudness)
            if stands_out and pool_sound(heard, [peak])[0] @ whole < settings().static_similarity:
                yield peak


def _loudest_time(heard: Heard, span: tuple[float, float]) -> float:
    inside = heard.within(*span)
    return float(heard.times[inside][heard.loudness[inside].argmax()])


def _audible(heard: Heard, span: tuple[float, float]) -> bool:
    return bool(heard.loudness[heard.within(*span)].max() >= SILENCE)


def _unbroken(spans: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Divide spans where silence was left out between them."""
    parts: list[list[tuple[float, float]]] = []
    for span in spans:
        if parts and parts[-1][-1][1] == span[0]:
            parts[-1].append(span)
        else:
            parts.append([span])
    return parts


def _merged(heard: Heard, spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    runs = static_runs(
        spans, pool_sound(heard, spans), similarity=settings().static_similarity, longest=settings().static_seconds
    )
    return [(spans[run.start][0], spans[run.stop - 1][1]) for run in runs]
