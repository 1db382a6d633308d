"""From the sound of one video to the rows that represent it. Silence has no rows, nor has a video without sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from var_plugin.encoders.base import SoundEncoder, Vectors
from var_plugin.encoders.sound import SILENCE, Heard, listen, pool_sound
from var_plugin.encoders.unusual import unusualness
from var_plugin.errors import NoAudioStreamError
from var_plugin.media.guard import decode_audio
from var_plugin.media.segments import static_runs, uniform_segments
from var_plugin.settings import settings
from var_plugin.types import Segment


def embed_sound(
    file: Path, encoder: SoundEncoder, last_frame: float, progress: Callable[[float], None] | None = None
) -> tuple[list[Segment], Vectors] | None:
    """Return the segments of a video in which there is something to hear, and their vectors (n, dim), if any.

    Args:
        file: the video.
        encoder: of the space.
        last_frame: time of the last picture, in seconds; a segment's key frame is no later.
        progress: is told the time reached, in seconds.

    Raises:
        As `media.guard.decode_audio`, but for NoAudioStreamError.
    """
    try:
        heard = listen(decode_audio(file), encoder, progress)
    except NoAudioStreamError:
        return None
    return _represent(heard, last_frame)


def _represent(heard: Heard, last_frame: float) -> tuple[list[Segment], Vectors] | None:
    """Cut what was heard into uniform segments, merge the ones that sound the same, and add the whole video's row."""
    cut = [span for span in uniform_segments(heard.end, settings().segment_seconds) if _audible(heard, span)]
    if not cut:
        return None
    spans = [span for part in _unbroken(cut) for span in _merged(heard, part)]
    anomaly = unusualness(heard.times, heard.vectors)

    def segment(span: tuple[float, float]) -> Segment:
        inside = heard.within(*span)
        loudest = float(heard.times[inside][heard.loudness[inside].argmax()])
        return Segment(start=span[0], end=span[1], key=min(loudest, last_frame), anomaly=float(anomaly[inside].max()))

    whole = segment((0.0, heard.end)).model_copy(update={"kind": "video"})
    return [*map(segment, spans), whole], pool_sound(heard, [*spans, (0.0, heard.end)])


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
