"""Clips: parts of a video as files.

`export_clip` copies packets, which is fast and lossless, but the clip begins at a keyframe. `encode_clip` encodes the
exact part. `playable_clip` writes a clip that browsers play. All of them decode in the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError, UnreadableMediaError, os_error_message
from var_plugin.media.audio import AUDIO_ERRORS, audio_streams, decode_audio
from var_plugin.media.container import (
    OUT_OF_MEMORY,
    has_decoding_times_only,
    is_untimed,
    main_video_stream,
    open_media,
    probe,
    start_time,
)
from var_plugin.media.decoded import SAMPLE_RATE, Frame
from var_plugin.media.frames import FrameReader, image_at
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.output import ClipSteps, OutputFile
from var_plugin.media.sandbox.client import probe as probe_in_sandbox
from var_plugin.media.sandbox.client import write_clip

# Codecs that players support in MP4. Other codecs are written to Matroska.
_MP4_VIDEO_CODECS = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})
_MP4_AUDIO_CODECS = frozenset({"aac", "ac3", "mp3", "opus"})
# The MP4 muxer accepts the header of these codecs but fails later.
_NOT_IN_MP4 = frozenset({"eac3"})
_SEEK_EARLIER_SECONDS = (10.0, 40.0, 160.0, math.inf)
_LATE_AUDIO_SECONDS = 2.0


@dataclass(frozen=True)
class Clip:
    """A clip file and the part of the video that it shows, in seconds from the start of the video."""

    path: Path
    start: float
    end: float
    notes: tuple[str, ...] = ()
    """Deviations from a plain copy or encoding, such as audio that is left out."""


def clip_suffix(video: Path) -> str:
    """Return the suffix, `.mp4` or `.mkv`, of a container for an unchanged copy of the video's streams.

    Raises:
        VarPluginError: as `sandbox.client.probe`.
    """
    info = probe_in_sandbox(video)
    fits = info.video_codec in _MP4_VIDEO_CODECS and info.audio_codec in {None, *_MP4_AUDIO_CODECS}
    return ".mp4" if fits else ".mkv"


def export_clip(video: Path, start: float, end: float, target: Path, limits: Limits = DEFAULT_LIMITS) -> Clip:
    """Copy the video and audio packets from `start` to `end` seconds to a clip, in the sandbox.

    Frames depend on the keyframe before them, so the clip begins at that keyframe, up to a few seconds early.
    `Clip.start` is its time. The timestamps of the clip start at zero.

    Audio that the container cannot hold is encoded as AAC. A part that cannot be copied, such as one whose frames have
    no timestamps, is encoded as by `encode_clip`. `Clip.notes` says so in both cases.

    Args:
        video: a local file.
        start: start of the part in seconds from the start of the video.
        end: end of the part in seconds.
        target: the file to write or replace. Its suffix selects the container (`clip_suffix`).
        limits: limits for decoding the video and for the size of the clip.

    Raises:
        UnreadableMediaError: the part has no frames.
        InvalidInputError: the part is empty, the target is the video itself, cannot be written or exceeds the limit, or
            the container cannot hold the streams.
        VarPluginError: as `sandbox.client.probe`.
    """
    _check_part(video, start, end, target)
    limits = replace(limits, memory=2 * limits.memory)  # for encoding, if the part cannot be copied
    span = write_clip("copy", video, target, limits, start=start, end=end)
    return Clip(target, span.start, span.end, span.notes)


def _check_part(video: Path, start: float, end: float, target: Path) -> None:
    """Raise InvalidInputError if the part is empty or the clip would replace its video."""
    if not 0 <= start < end:
        raise InvalidInputError(
            f"cannot cut a clip from {start} to {end} s", fix="choose a start of at least 0 and a later end"
        )
    if video.exists() and target.exists() and target.samefile(video):
        raise InvalidInputError(f"the clip would replace {video}", fix="choose another file to write")


def _no_frame_error(video: Path, start: float, end: float) -> UnreadableMediaError:
    return UnreadableMediaError(f"{video} has no frame from {start} to {end} s", fix="choose a part within the video")


def copy_clip(video: Path, limits: Limits, output: OutputFile, start: float, end: float) -> ClipSteps:
    """Copy the packets of a part in this process. Arguments and errors as `export_clip`."""
    with open_media(video, limits) as source:
        stream = main_video_stream(source, video, limits)
        zero = start_time(source)
        try:
            plan = _plan(source, stream, output, start + zero, end + zero)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            plan = _Plan(start, end, obstacle=f"it is not seekable: {os_error_message(error)}")
        if plan.obstacle is None and plan.end <= start + zero:
            raise _no_frame_error(video, start, end)
        if plan.obstacle is None:
            try:
                notes = yield from _copy(source, stream, video, output, plan, end + zero)
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, OSError, ValueError) as error:
                raise output.error(video, error) from error
            return plan.start - zero, plan.end - zero, notes
    first, last, notes = yield from encode_part(video, limits, output, start, end, asdict(FULL_QUALITY))
    return first, last, (f"the video is encoded because it cannot be copied: {plan.obstacle}", *notes)


@dataclass
class _Plan:
    """The part to copy, in presentation times of the file in seconds."""

    start: float
    """Time of the keyframe."""
    end: float
    """End of the last frame."""
    decoding_times: list[int] = field(default_factory=list)
    """Decoding time of each video packet, in its time base."""
    obstacle: str | None = None
    """Reason why the part cannot be copied."""


def _plan(source: InputContainer, stream: VideoStream, output: OutputFile, start: float, end: float) -> _Plan:
    """Read the video packets of a part to find its start and end, and whether it can be copied."""
    plan = _Plan(start, start)
    if not _supports(output, stream):
        plan.obstacle = f"a {output.suffix} file cannot hold {stream.codec_context.name}"
    elif is_untimed(source) or (has_decoding_times_only(source, stream) and stream.codec_context.has_b_frames):
        plan.obstacle = "its frames have no presentation times"
    if plan.obstacle:
        return plan
    plan.start = plan.end = first = _latest_keyframe(source, stream, start)
    _seek(source, first)
    untimed: list[Packet[Any]] = []  # Matroska has no decoding times, and FFmpeg derives them only after some packets
    for packet in source.demux(stream):
        if not packet.size or (packet.pts is None and not (plan.decoding_times or untimed)):
            continue
        if packet.pts is None or (packet.dts is None and plan.decoding_times):
            plan.obstacle = "not every frame has a timestamp"
            return plan
        time = _seconds(packet, packet.pts)
        if time < first:
            continue
        if packet.dts is None:
            untimed.append(packet)
        else:
            if not plan.decoding_times:
                step = packet.duration or 1
                plan.decoding_times = [packet.dts - (len(untimed) - i) * step for i in range(len(untimed))]
            if plan.decoding_times and packet.dts <= plan.decoding_times[-1]:
                plan.obstacle = "its decoding times are not increasing"
                return plan
            # After the end, only frames that are shown before an earlier packet's frame are included.
            if _seconds(packet, packet.dts) >= end and time >= plan.end:
                plan.end = max(plan.end, min(end, time))
                return plan
            plan.decoding_times.append(packet.dts)
        plan.end = max(plan.end, time + _seconds(packet, packet.duration))
    plan.decoding_times = plan.decoding_times or [packet.pts or 0 for packet in untimed]
    return plan


def _copy(
    source: InputContainer, stream: VideoStream, video: Path, output: OutputFile, plan: _Plan, end: float
) -> Generator[float, None, tuple[str, ...]]:
    """Copy the video and the audio that the container supports. Encode other audio. Return notes."""
    tracks = audio_streams(source)
    copied = [track for track in tracks if _supports(output, track)]
    notes = [] if copied else [f"its audio ({track.codec_context.name}) is encoded as AAC" for track in tracks[:1]]
    zero, count = start_time(source), 0
    with output.open() as container:
        copies = {track.index: container.add_stream_from_template(track) for track in (stream, *copied)}
        encoded = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if notes else None
        _seek(source, plan.start)
        latest: dict[int, int] = {}
        decoding_times = iter(plan.decoding_times)
        for packet in _packets(source, stream, copied, plan, end):
            index, offset = packet.stream_index, round(plan.start / packet.time_base)
            pts, dts = (packet.pts or 0) - offset, (packet.dts or 0) - offset
            if index == stream.index:
                dts = next(decoding_times) - offset
                count += 1
                if count == len(plan.decoding_times):  # the last frame is shown until the end
                    packet.duration = max(packet.duration or 0, round((plan.end - plan.start) / packet.time_base) - pts)
            elif dts <= latest.get(index, dts - 1):
                continue  # audio whose timestamps go back
            latest[index] = dts
            packet.pts, packet.dts, packet.stream = pts, dts, copies[index]
            container.mux(packet)
            yield max(0.0, plan.start + float(pts * packet.time_base) - zero)
        if encoded is not None:
            try:
                samples = yield from _audio_part(video, plan.start - zero, plan.end - zero)
            except AUDIO_ERRORS as error:
                notes = [f"its audio is left out: {error}"]
            else:
                _mux_audio(container, encoded, samples)
    return tuple(notes)


def _supports(output: OutputFile, stream: VideoStream | AudioStream) -> bool:
    """Return whether the container of the output supports a stream. Nothing is written to the output itself."""
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


def _latest_keyframe(source: InputContainer, stream: VideoStream, time: float) -> float:
    """Return the time of the latest keyframe at or before `time`, or else of the first keyframe."""
    for earlier in _SEEK_EARLIER_SECONDS:
        _seek(source, time, earlier)
        times = list(takewhile(lambda keyframe: keyframe <= time, _keyframe_times(source, stream)))
        if times:
            return times[-1]
    _seek(source, start_time(source))
    return next(_keyframe_times(source, stream), time)


def _seek(source: InputContainer, time: float, earlier: float = _SEEK_EARLIER_SECONDS[0]) -> None:
    """Seek to `earlier` seconds before the time. Seeking in Matroska and MPEG-TS may land after the requested time."""
    # These formats seek by decoding time, which may be earlier than the first presentation time.
    margin = _SEEK_EARLIER_SECONDS[0] if source.format.name in ("mpeg", "mpegts") else 0.0
    source.seek(round(max(start_time(source) - margin, time - earlier) * av.time_base))


def _keyframe_times(source: InputContainer, stream: VideoStream) -> Iterator[float]:
    for packet in source.demux(stream):
        if packet.is_keyframe and packet.pts is not None:
            yield _seconds(packet, packet.pts)


def _packets(
    source: InputContainer, stream: VideoStream, audio: Sequence[AudioStream], plan: _Plan, end: float
) -> Iterator[Packet[Any]]:
    """Yield the video packets of a plan and the audio packets of the same time, which may be later in the file."""
    count = 0
    for packet in source.demux([stream, *audio]):
        if packet.pts is None:
            continue
        time = _seconds(packet, packet.pts)
        if packet.stream is stream:
            if time >= end + _LATE_AUDIO_SECONDS and count == len(plan.decoding_times):
                return
            if plan.start <= time and count < len(plan.decoding_times):
                count += 1
                yield packet
        elif plan.start <= time < end and packet.dts is not None:
            yield packet


def _seconds(packet: Packet[Any], stamp: int | None) -> float:
    return float((stamp or 0) * packet.time_base)


_TIME_BASE = Fraction(1, 90_000)
_DEFAULT_FPS = 30.0
_MIN_FPS, _MAX_FPS = 1, 240
_MIN_FPS_FOR_FIRST_FRAME = 10.0
_LONG_FRAME_SECONDS = 0.5
_AUDIO_FRAME_SAMPLES = 1024


@dataclass(frozen=True)
class EncodingOptions:
    """Size, frame rate and quality of an encoded clip."""

    max_width: int | None
    """Pixels. Wider frames are scaled down. None: no limit."""
    max_fps: float | None
    """Frames per second. None: every frame of the video."""
    crf: int
    """Constant rate factor of x264. Lower values give higher quality and larger files."""


FULL_QUALITY = EncodingOptions(max_width=None, max_fps=None, crf=18)
BROWSER_QUALITY = EncodingOptions(max_width=1280, max_fps=_DEFAULT_FPS, crf=26)
ENCODING_LIMITS = replace(DEFAULT_LIMITS, memory=2 * DEFAULT_LIMITS.memory)
"""The encoder holds some tens of frames in addition to those of the decoder."""


def encode_clip(
    video: Path,
    start: float,
    end: float,
    target: Path,
    encoding: EncodingOptions = FULL_QUALITY,
    limits: Limits = ENCODING_LIMITS,
) -> Clip:
    """Encode the frames and the audio from `start` to `end` seconds as a clip, in the sandbox.

    The frames are rotated and shaped as displayed. The audio is mono at 16 kHz. The clip begins at `start`, or with the
    first frame after it if that follows within half a frame. Audio that cannot be decoded is left out, and `Clip.notes`
    says so.

    Args:
        video: a local file.
        start: start of the clip in seconds from the start of the video.
        end: end of the clip in seconds. The video may end earlier.
        target: the file to write or replace. Its suffix selects the container.
        encoding: size, frame rate and quality.
        limits: limits for decoding the video and for the size of the clip.

    Raises:
        InvalidInputError: the part is empty, or the target is the video itself, cannot be written, exceeds the limit,
            or has a container without H.264 and AAC.
        UnreadableMediaError: the part has no frames.
        VarPluginError: the errors of opening and decoding the video.
    """
    _check_part(video, start, end, target)
    span = write_clip("encode", video, target, limits, start=start, end=end, encoding=asdict(encoding))
    return Clip(target, span.start, span.end, span.notes)


def encode_part(
    video: Path, limits: Limits, output: OutputFile, start: float, end: float, encoding: Mapping[str, Any]
) -> ClipSteps:
    """Encode a part in this process. Arguments and errors as `encode_clip`."""
    try:
        with output.open() as container:
            return (yield from _encode(video, start, end, container, EncodingOptions(**encoding), limits))
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise output.error(video, error) from error


def _encode(
    video: Path, start: float, end: float, output: OutputContainer, encoding: EncodingOptions, limits: Limits
) -> ClipSteps:
    info = probe(video, limits)
    fps = info.frame_rate or _DEFAULT_FPS
    height, width = _size(image_at(video, start, limits=limits), encoding.max_width)
    video_stream = output.add_stream(
        "libx264",
        rate=round(min(max(fps, _MIN_FPS), _MAX_FPS)),
        options={"preset": "veryfast", "crf": str(encoding.crf)},
    )
    video_stream.width, video_stream.height, video_stream.pix_fmt = width, height, "yuv420p"
    video_stream.codec_context.time_base = _TIME_BASE
    samples, notes = np.zeros(0, np.float32), list[str]()
    if info.has_audio:
        try:
            samples = yield from _audio_part(video, start, end, limits)
        except AUDIO_ERRORS as error:
            notes.append(f"its audio is left out: {error}")
    audio_stream = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if len(samples) else None
    frames = FrameReader(video, rate=encoding.max_fps, size=(height, width), start=start, end=end, limits=limits)
    first = frame = None
    for frame in _skip_short_first_frame(frames, 0.5 / max(fps, _MIN_FPS_FOR_FIRST_FRAME)):
        first = frame.time if first is None else first
        output.mux(video_stream.encode(_video_frame(frame.image, frame.time - first)))
        yield frame.time
    if first is None or frame is None:
        raise _no_frame_error(video, start, end)
    last = min(end, frames.end)
    if last - frame.time > _LONG_FRAME_SECONDS:  # containers do not store the duration of the last frame
        output.mux(video_stream.encode(_video_frame(frame.image, last - first - 1 / _DEFAULT_FPS)))
    output.mux(video_stream.encode(None))
    if audio_stream is not None:
        _mux_audio(output, audio_stream, samples[round((first - start) * SAMPLE_RATE) :])
    return first, last, tuple(notes)


def _skip_short_first_frame(frames: Iterable[Frame], min_seconds: float) -> Iterator[Frame]:
    """Drop the first frame if it is shown for less than `min_seconds`, because some players fail on such a frame."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    second = next(frames, None)
    if second is None or second.time - first.time >= min_seconds:
        yield first
    if second is not None:
        yield second
    yield from frames


def _video_frame(image: NDArray[np.uint8], time: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = round(time / _TIME_BASE), _TIME_BASE
    return frame


def _size(image: NDArray[np.uint8], max_width: int | None) -> tuple[int, int]:
    """Return the even (height, width) of a clip for an image as displayed."""
    height, width, _ = image.shape
    scale = min(1.0, max_width / width) if max_width else 1.0
    return max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)


def _audio_part(
    video: Path, start: float, end: float, limits: Limits = DEFAULT_LIMITS
) -> Generator[float, None, NDArray[np.float32]]:
    """Return the audio from `start` to `end` seconds as (samples,). Yield the number of decoded seconds.

    Raises:
        VarPluginError: as `audio.decode_audio`.
    """
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    parts, position = [np.zeros(0, np.float32)], 0
    for piece in decode_audio(video, limits):
        parts.append(piece[max(0, first - position) : max(0, last - position)])
        position += len(piece)
        if position >= last:
            break
        yield position / SAMPLE_RATE
    return np.concatenate(parts)


def _mux_audio(container: OutputContainer, stream: AudioStream, samples: NDArray[np.float32]) -> None:
    """Encode samples (n,) at 16 kHz into a stream, from the start of the clip."""
    for first in range(0, len(samples), _AUDIO_FRAME_SAMPLES):
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + _AUDIO_FRAME_SAMPLES], "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), first
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


MAX_BROWSER_CLIP_BYTES = 1 << 30

_BROWSER_VIDEO_CODECS = frozenset({"h264", "vp9", "av1"})
_BROWSER_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_BROWSER_AUDIO_CODECS = frozenset({"aac", "mp3", "opus"})


def plays_in_browsers(video: Path) -> bool:
    """Return whether all current browsers play the streams of a file in an MP4 container.

    Raises:
        VarPluginError: as `sandbox.client.probe`.
    """
    info = probe_in_sandbox(video)
    if info.audio_tracks > 1:  # the first may be silent
        return False
    return (
        info.video_codec in _BROWSER_VIDEO_CODECS
        and info.pixel_format in _BROWSER_PIXEL_FORMATS
        and info.audio_codec in {None, *_BROWSER_AUDIO_CODECS}
    )


def playable_clip(video: Path, start: float, end: float, target: Path) -> Clip:
    """Write the part from `start` to `end` seconds as an MP4 file that browsers play.

    Streams that browsers play are copied, and the clip begins at the keyframe before `start`. Other streams are
    encoded: at most 1280 pixels wide, at most 30 frames per second, with mono audio at 16 kHz.

    Args:
        video: a local file.
        start: start of the part in seconds from the start of the video.
        end: end of the part in seconds.
        target: the file to write or replace. Its suffix is `.mp4`.

    Raises:
        VarPluginError: as `export_clip` and `encode_clip`.
    """
    if plays_in_browsers(video):
        return export_clip(video, start, end, target, replace(DEFAULT_LIMITS, output=MAX_BROWSER_CLIP_BYTES))
    limits = replace(ENCODING_LIMITS, output=MAX_BROWSER_CLIP_BYTES)
    return encode_clip(video, start, end, target, BROWSER_QUALITY, limits)
