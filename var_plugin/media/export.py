"""Clips cut out of a video by copying its packets: fast and lossless, but they can only begin at a key frame."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from var_plugin.errors import InvalidInputError, UnreadableMediaError, said
from var_plugin.media.aac import audio_part, mux_audio
from var_plugin.media.audio import BROKEN_AUDIO, SAMPLE_RATE, audio_streams
from var_plugin.media.container import (
    OUT_OF_MEMORY,
    has_decoding_times_only,
    is_untimed,
    main_video_stream,
    open_media,
    start_time,
)
from var_plugin.media.guard import probe, write_clip
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.output import OutputFile, Steps

# What MP4 holds so that browsers and players show it; everything else goes into Matroska.
_MP4_PICTURES = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})
_MP4_SOUND = frozenset({"aac", "ac3", "mp3", "opus"})
# MP4 takes the header of these, and fails later.
_NOT_IN_MP4 = frozenset({"eac3"})
_SEEK_EARLIER_SECONDS = (10.0, 40.0, 160.0, math.inf)
_LATE_AUDIO_SECONDS = 2.0


@dataclass(frozen=True)
class Clip:
    """A clip on disk and the part of the video that it really shows, in seconds from the video's start."""

    path: Path
    start: float
    end: float
    notes: tuple[str, ...] = ()
    """What differs from a plain copy or encoding of the part, such as audio that is left out."""


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

    Audio that the container cannot hold is encoded as AAC. A part that cannot be copied, such as one whose frames have
    no timestamps, is encoded like `encode.encode_clip`. `Clip.notes` says both.

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
    limits = replace(limits, memory=2 * limits.memory)  # it may have to be encoded
    return Clip(target, *write_clip("copy", video, target, limits, start=start, end=end))


def check_cut(video: Path, start: float, end: float, target: Path) -> None:
    """Raise InvalidInputError for an empty part, and for a clip that would take the place of its video."""
    if not 0 <= start < end:
        raise InvalidInputError(f"no clip from {start} to {end} s", fix="name a start and a later end")
    if video.exists() and target.exists() and target.samefile(video):
        raise InvalidInputError(f"the clip would replace {video}", fix="name another file to write")


def no_picture(video: Path, start: float, end: float) -> UnreadableMediaError:
    """The error for a part of a video in which nothing is shown."""
    return UnreadableMediaError(f"{video} has no frame from {start} to {end} s", fix="name a part inside it")


def copy_clip(video: Path, limits: Limits, output: OutputFile, start: float, end: float) -> Steps:
    """Copy the packets of a part in this process; arguments and errors as `export_clip`."""
    from var_plugin.media.encode import FULL, encode_part  # which takes its errors from here

    with open_media(video, limits) as source:
        stream = main_video_stream(source, video, limits)
        zero = start_time(source)
        try:
            plan = _plan(source, stream, output, start + zero, end + zero)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            plan = _Plan(start, end, obstacle=f"it cannot be searched: {said(error)}")
        if plan.obstacle is None and plan.end <= start + zero:
            raise no_picture(video, start, end)
        if plan.obstacle is None:
            try:
                notes = yield from _copy(source, stream, video, output, plan, end + zero)
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, OSError, ValueError) as error:
                raise output.refused(video, error) from error
            return plan.start - zero, plan.end - zero, notes
    first, last, notes = yield from encode_part(video, limits, output, start, end, asdict(FULL))
    return first, last, (f"it is encoded, since it cannot be copied: {plan.obstacle}", *notes)


@dataclass
class _Plan:
    """The part to copy, in presentation times of the file in seconds."""

    start: float
    """Of the key frame."""
    end: float
    """Until then the last frame is shown."""
    decoding: list[int] = field(default_factory=list)
    """Decoding time of each video packet, in its time base."""
    obstacle: str | None = None
    """Why it cannot be copied."""


def _plan(source: InputContainer, stream: VideoStream, output: OutputFile, start: float, end: float) -> _Plan:
    """Read the video packets of a part to see where it begins and ends, and whether it can be copied."""
    plan = _Plan(start, start)
    if not _holds(output, stream):
        plan.obstacle = f"a {output.suffix} file cannot hold {stream.codec_context.name}"
    elif is_untimed(source) or (has_decoding_times_only(source, stream) and stream.codec_context.has_b_frames):
        plan.obstacle = "its frames have no presentation times"
    if plan.obstacle:
        return plan
    plan.start = plan.end = first = _last_key_frame(source, stream, start)
    _seek(source, first)
    unknown: list[Packet[Any]] = []  # Matroska has presentation times only, and FFmpeg sees the rest a little later
    for packet in source.demux(stream):
        if not packet.size or (packet.pts is None and not (plan.decoding or unknown)):
            continue
        if packet.pts is None or (packet.dts is None and plan.decoding):
            plan.obstacle = "not every frame has a timestamp"
            return plan
        time = _seconds(packet, packet.pts)
        if time < first:
            continue
        if packet.dts is None:
            unknown.append(packet)
        else:
            if not plan.decoding:
                step = packet.duration or 1
                plan.decoding = [packet.dts - (len(unknown) - number) * step for number in range(len(unknown))]
            if plan.decoding and packet.dts <= plan.decoding[-1]:
                plan.obstacle = "its decoding times go back"
                return plan
            # Behind the end, only what is shown before a frame that comes earlier in the file.
            if _seconds(packet, packet.dts) >= end and time >= plan.end:
                plan.end = max(plan.end, min(end, time))
                return plan
            plan.decoding.append(packet.dts)
        plan.end = max(plan.end, time + _seconds(packet, packet.duration))
    plan.decoding = plan.decoding or [packet.pts or 0 for packet in unknown]
    return plan


def _copy(
    source: InputContainer, stream: VideoStream, video: Path, output: OutputFile, plan: _Plan, end: float
) -> Generator[float, None, tuple[str, ...]]:
    """Copy the video, and the audio that the container holds; other audio is encoded."""
    tracks = audio_streams(source)
    copied = [track for track in tracks if _holds(output, track)]
    notes = [] if copied else [f"its audio ({track.codec_context.name}) is encoded as AAC" for track in tracks[:1]]
    zero, number = start_time(source), 0
    with output.open() as container:
        copies = {track.index: container.add_stream_from_template(track) for track in (stream, *copied)}
        encoded = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if notes else None
        _seek(source, plan.start)
        latest: dict[int, int] = {}
        decoding = iter(plan.decoding)
        for packet in _shown_between(source, stream, copied, plan, end):
            index, offset = packet.stream_index, round(plan.start / packet.time_base)
            pts, dts = (packet.pts or 0) - offset, (packet.dts or 0) - offset
            if index == stream.index:
                dts = next(decoding) - offset
                number += 1
                if number == len(plan.decoding):  # it may be shown for long
                    packet.duration = max(packet.duration or 0, round((plan.end - plan.start) / packet.time_base) - pts)
            elif dts <= latest.get(index, dts - 1):
                continue  # audio that goes back
            latest[index] = dts
            packet.pts, packet.dts, packet.stream = pts, dts, copies[index]
            container.mux(packet)
            yield max(0.0, plan.start + float(pts * packet.time_base) - zero)
        if encoded is not None:
            try:
                samples = yield from audio_part(video, plan.start - zero, plan.end - zero)
            except BROKEN_AUDIO as error:
                notes = [f"its audio is left out: {error}"]
            else:
                mux_audio(container, encoded, samples)
    return tuple(notes)


def _holds(output: OutputFile, stream: VideoStream | AudioStream) -> bool:
    """Return whether the container of the output takes a stream; nothing is written to the output itself."""
    if output.suffix == ".mp4" and stream.codec_context.name in _NOT_IN_MP4:
        return False
    try:
        with OutputFile(output.suffix).open() as scratch:
            scratch.add_stream_from_template(stream)
            scratch.start_encoding()
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError):
        return False
    return True


def _last_key_frame(source: InputContainer, stream: VideoStream, time: float) -> float:
    """Return the time of the last key frame that is shown by `time`, or else of the first one of all."""
    for earlier in _SEEK_EARLIER_SECONDS:
        _seek(source, time, earlier)
        times = list(takewhile(lambda shown: shown <= time, _key_frames(source, stream)))
        if times:
            return times[-1]
    _seek(source, start_time(source))
    return next(_key_frames(source, stream), time)


def _seek(source: InputContainer, time: float, earlier: float = _SEEK_EARLIER_SECONDS[0]) -> None:
    """Go well before the time: Matroska and MPEG-TS may land behind what they are asked for."""
    # In these formats a place is a decoding time, which comes before the first presentation time.
    before = _SEEK_EARLIER_SECONDS[0] if source.format.name in ("mpeg", "mpegts") else 0.0
    source.seek(round(max(start_time(source) - before, time - earlier) * av.time_base))


def _key_frames(source: InputContainer, pictures: VideoStream) -> Iterator[float]:
    for packet in source.demux(pictures):
        if packet.is_keyframe and packet.pts is not None:
            yield _seconds(packet, packet.pts)


def _shown_between(
    source: InputContainer, stream: VideoStream, audio: Sequence[AudioStream], plan: _Plan, end: float
) -> Iterator[Packet[Any]]:
    """Yield the video packets of a plan, and the audio of the same time, which may come a little later in the file."""
    count = 0
    for packet in source.demux([stream, *audio]):
        if packet.pts is None:
            continue
        time = _seconds(packet, packet.pts)
        if packet.stream is stream:
            if time >= end + _LATE_AUDIO_SECONDS and count == len(plan.decoding):
                return
            if plan.start <= time and count < len(plan.decoding):
                count += 1
                yield packet
        elif plan.start <= time < end and packet.dts is not None:
            yield packet


def _seconds(packet: Packet[Any], stamp: int | None) -> float:
    return float((stamp or 0) * packet.time_base)
