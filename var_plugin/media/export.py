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

from var_plugin.errors import InvalidInputError, UnreadableMediaError
from var_plugin.media.container import OUT_OF_MEMORY, main_video_stream, open_media, start_time
from var_plugin.media.guard import probe, write_clip
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.output import OutputFile, Steps

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
        VarPluginError: as `guard.probe`.
    """
    info = probe(video)
    fits = info.video_codec in _MP4_PICTURES and info.audio_codec in {None, *_MP4_SOUND}
    return ".mp4" if fits else ".mkv"


def export_clip(video: Path, start: float, end: float, target: Path, limits: Limits = DEFAULT_LIMITS) -> Clip:
    """Copy the video and the audio from `start` to `end` seconds into a file of their own, in the sandbox.

    Frames depend on the key frame before them, so the clip begins there: up to a few seconds early. `Clip.start` says
    where, and the clip's own clock starts at zero.

    Args:
        video: a local file.
        start: where the part begins, in seconds from the video's start.
        end: where it ends.
        target: the file to write, replaced if it exists; its ending chooses the container (`clip_suffix`).
        limits: what the video may ask for, and how large the clip may be.

    Raises:
        UnreadableMediaError: no frame lies in the part; besides the errors of `guard.probe`.
        InvalidInputError: the part is empty, the target is the video itself, cannot be written or is too large, or its
            container cannot hold the video's streams.
    """
    check_cut(video, start, end, target)
    return Clip(target, *write_clip("copy", video, target, limits, start=start, end=end))


def check_cut(video: Path, start: float, end: float, target: Path) -> None:
    """Raise InvalidInputError for an empty part, and for a clip that would take the place of its video."""
    if not 0 <= start < end:
        raise InvalidInputError(f"no clip from {start} to {end} s", fix="name a start and a later end")
    if video.exists() and target.exists() and target.samefile(video):
        raise InvalidInputError(f"the clip would replace {video}", fix="name another file to write")


def no_picture(video: Path, start: float, end: float) -> UnreadableMediaError:
    """The error for a part of a video in which nothing is shown."""
    return UnreadableMediaError(f"{video} has no picture from {start} to {end} s", fix="name a part inside it")


def copy_clip(video: Path, limits: Limits, output: OutputFile, start: float, end: float) -> Steps:
    """Copy the packets of a part in this process; arguments and errors as `export_clip`."""
    with open_media(video, limits) as source:
        pictures = main_video_stream(source, video, limits)
        sound = source.streams.best("audio")
        zero = start_time(source)
        first = last = _last_key_frame(source, pictures, start + zero)
        _seek(source, first)
        try:
            with output.open() as container:
                copies = {stream: container.add_stream_from_template(stream) for stream in (pictures, sound) if stream}
                for packet in _shown_between(source, pictures, sound, first, end + zero):
                    if packet.stream is pictures:
                        last = max(last, _seconds(packet, packet.pts) + _seconds(packet, packet.duration))
                    offset = round(first / packet.time_base)
                    packet.pts, packet.dts = (packet.pts or 0) - offset, (packet.dts or 0) - offset
                    packet.stream = copies[packet.stream]
                    container.mux(packet)
                    yield max(0.0, last - zero)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise output.refused(video, error) from error
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
