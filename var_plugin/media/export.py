"""Clips cut out of a video by copying its packets: fast and lossless, but they can only begin at a key frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from var_plugin.errors import InvalidInputError, UnreadableMediaError, said
from var_plugin.media.container import main_video_stream, open_media, start_time
from var_plugin.media.files import written_whole

# What MP4 holds so that browsers and players show it; everything else goes into Matroska.
_MP4_PICTURES = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})
_MP4_SOUND = frozenset({"aac", "ac3", "mp3", "opus"})
_SEEK_EARLIER_SECONDS = 10.0


@dataclass(frozen=True)
class Clip:
    """A clip on disk and the part of the video that it really shows, in seconds from the video's start."""

    path: Path
    start: float
    end: float


def clip_suffix(video: Path) -> str:
    """Return the file ending, `.mp4` or `.mkv`, of a container that holds the video's streams as they are.

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError: as `probe`.
    """
    with open_media(video) as container:
        pictures = main_video_stream(container, video)
        sound = container.streams.best("audio")
        fits = pictures.codec_context.name in _MP4_PICTURES
        return ".mp4" if fits and (sound is None or sound.codec_context.name in _MP4_SOUND) else ".mkv"


def export_clip(video: Path, start: float, end: float, target: Path) -> Clip:
    """Copy the pictures and the sound from `start` to `end` seconds into a file of their own.

    Pictures depend on the key frame before them, so the clip begins there: up to a few seconds early. `Clip.start` says
    where, and the clip's own clock starts at zero.

    Args:
        video: a local file.
        start: where the part wanted begins, in seconds from the video's start.
        end: where it ends.
        target: the file to write, replaced if it exists; its ending chooses the container (`clip_suffix`).

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError: as `probe`; and where no picture
            lies in the part.
        InvalidInputError: the part is empty, the target is the video itself or cannot be written, or its container
            cannot hold the video's streams.
    """
    check_cut(video, start, end, target)
    with written_whole(target) as unfinished, open_media(video) as source:
        first, last = _copy(source, video, start, end, unfinished)
    return Clip(target, first, last)


def check_cut(video: Path, start: float, end: float, target: Path) -> None:
    """Raise InvalidInputError for an empty part, and for a clip that would take the place of its video."""
    if not 0 <= start < end:
        raise InvalidInputError(f"no clip from {start} to {end} s", fix="name a start and a later end")
    if video.exists() and target.exists() and target.samefile(video):
        raise InvalidInputError(f"the clip would replace {video}", fix="name another file to write")


def no_picture(video: Path, start: float, end: float) -> UnreadableMediaError:
    """The error for a part of a video in which nothing is shown."""
    return UnreadableMediaError(f"{video} has no picture from {start} to {end} s", fix="name a part inside it")


def not_written(video: Path, target: Path, error: Exception) -> InvalidInputError:
    """The error for a target whose container does not take the streams, or that cannot be written to its end."""
    return InvalidInputError(
        f"cannot write a clip of {video.name} as a {target.suffix} file",
        why=said(error),
        fix="name another target, such as one that ends in .mkv",
    )


def _copy(source: InputContainer, video: Path, start: float, end: float, target: Path) -> tuple[float, float]:
    """Copy the packets; return where the pictures begin and end, in seconds from the video's start."""
    pictures = main_video_stream(source, video)
    sound = source.streams.best("audio")
    zero = start_time(source)
    first = last = _last_key_frame(source, pictures, start + zero)
    _seek(source, first)
    try:
        with av.open(str(target), "w") as output:
            copies = {stream: output.add_stream_from_template(stream) for stream in (pictures, sound) if stream}
            for packet in _shown_between(source, pictures, sound, first, end + zero):
                if packet.stream is pictures:
                    last = max(last, _seconds(packet, packet.pts) + _seconds(packet, packet.duration))
                offset = round(first / packet.time_base)
                packet.pts, packet.dts = (packet.pts or 0) - offset, (packet.dts or 0) - offset
                packet.stream = copies[packet.stream]
                output.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise not_written(video, target, error) from error
    if last <= start + zero:
        raise no_picture(video, start, end)
    return first - zero, last - zero


def _last_key_frame(source: InputContainer, pictures: VideoStream, wanted: float) -> float:
    """Return the time of the last key frame that is shown by `wanted`, or else of the first one of all."""
    for position in (wanted, start_time(source)):
        _seek(source, position)
        found = list(takewhile(lambda time: time <= wanted, _key_frames(source, pictures)))
        if found:
            return found[-1]
    _seek(source, start_time(source))
    return next(_key_frames(source, pictures), wanted)


def _seek(source: InputContainer, time: float) -> None:
    """Go well before the time: Matroska and MPEG-TS may land behind what they are asked for."""
    source.seek(round(max(start_time(source), time - _SEEK_EARLIER_SECONDS) * av.time_base))


def _key_frames(source: InputContainer, pictures: VideoStream) -> Iterator[float]:
    for packet in source.demux(pictures):
        if packet.is_keyframe and packet.pts is not None:
            yield _seconds(packet, packet.pts)


def _shown_between(
    source: InputContainer, pictures: VideoStream, sound: Stream | None, first: float, end: float
) -> Iterator[Packet[Any]]:
    """Yield what is shown from the key frame at `first` on and decoded before the end."""
    for packet in source.demux([stream for stream in (pictures, sound) if stream]):
        if packet.pts is None or packet.dts is None:
            continue
        if packet.stream is pictures and _seconds(packet, packet.dts) >= end:
            return
        if first <= _seconds(packet, packet.pts) and _seconds(packet, packet.dts) < end:
            yield packet


def _seconds(packet: Packet[Any], stamp: int | None) -> float:
    return float((stamp or 0) * packet.time_base)
