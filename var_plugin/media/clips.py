"""Clips cut out of a video by copying its packets: fast and lossless, but they can only begin at a key frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
from var_plugin.media.aac import audio_part, mux_audio
from var_plugin.media.audio import AUDIO_ERRORS, SAMPLE_RATE, audio_streams
from var_plugin.media.cache import MediaCache
from var_plugin.media.container import (
    OUT_OF_MEMORY,
    has_decoding_times_only,
    is_untimed,
    main_video_stream,
    open_media,
    probe,
    start_time,
)
from var_plugin.media.files import atomic_write
from var_plugin.media.frames import Frame, FrameReader, image_at
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.output import OutputFile, Steps
from var_plugin.media.sandbox.client import frame_at, write_clip
from var_plugin.media.sandbox.client import probe as probe_in_sandbox

# What MP4 holds so that browsers and players show it; everything else goes into Matroska.
_MP4_IMAGES = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})
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
        VarPluginError: as `sandbox.probe`.
    """
    info = probe_in_sandbox(video)
    fits = info.video_codec in _MP4_IMAGES and info.audio_codec in {None, *_MP4_SOUND}
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
        UnreadableMediaError: no frame lies in the part; besides the errors of `sandbox.probe`.
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


def no_image(video: Path, start: float, end: float) -> UnreadableMediaError:
    """The error for a part of a video in which nothing is shown."""
    return UnreadableMediaError(f"{video} has no frame from {start} to {end} s", fix="name a part inside it")


def copy_clip(video: Path, limits: Limits, output: OutputFile, start: float, end: float) -> Steps:
    """Copy the packets of a part in this process; arguments and errors as `export_clip`."""
    with open_media(video, limits) as source:
        stream = main_video_stream(source, video, limits)
        zero = start_time(source)
        try:
            plan = _plan(source, stream, output, start + zero, end + zero)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            plan = _Plan(start, end, obstacle=f"it cannot be searched: {os_error_message(error)}")
        if plan.obstacle is None and plan.end <= start + zero:
            raise no_image(video, start, end)
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
            except AUDIO_ERRORS as error:
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


def _key_frames(source: InputContainer, images: VideoStream) -> Iterator[float]:
    for packet in source.demux(images):
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


_TIME_BASE = Fraction(1, 90_000)
_USUAL_RATE = 30.0
_RATES = (1, 240)
_LEAST_RATE = 10.0
_LONG_FRAME_SECONDS = 0.5


@dataclass(frozen=True)
class Finish:
    """How true to its video a clip is made."""

    widest: int | None
    """Pixels; wider images are scaled down. None: as wide as in the video."""
    fastest: float | None
    """Frames a second at most. None: every frame of the video."""
    rate_factor: int
    """x264's: lower is truer and takes more room."""


FULL = Finish(widest=None, fastest=None, rate_factor=18)
ENCODING_LIMITS = replace(DEFAULT_LIMITS, memory=2 * DEFAULT_LIMITS.memory)
"""The encoder holds some tens of frames besides the decoder's."""
SMALL = Finish(widest=1280, fastest=_USUAL_RATE, rate_factor=26)


def encode_clip(
    video: Path, start: float, end: float, target: Path, finish: Finish = FULL, limits: Limits = ENCODING_LIMITS
) -> Clip:
    """Encode the frames and the audio from `start` to `end` seconds into a file of their own, in the sandbox.

    It holds the frames that are shown in the part, in the shape and turned as they are shown, and mono audio of 16 kHz.
    It begins at `start`, or with the first frame after it where that follows within half a frame. Audio that cannot be
    decoded is left out, and `Clip.notes` says so.

    Args:
        video: a local file.
        start: where the clip begins, in seconds from the video's start.
        end: where it ends; the video may end before.
        target: the file to write, replaced if it exists; its ending chooses the container.
        finish: size, frames and quality.
        limits: what the video may ask for, and how large the clip may be.

    Raises:
        InvalidInputError: the part is empty, or the target is the video itself, cannot be written, is too large, or is
            of a kind that does not take H.264 and AAC.
        UnreadableMediaError: no frame lies in the part; besides what opening and decoding raise.
    """
    check_cut(video, start, end, target)
    return Clip(target, *write_clip("encode", video, target, limits, start=start, end=end, finish=asdict(finish)))


def encode_part(
    video: Path, limits: Limits, output: OutputFile, start: float, end: float, finish: Mapping[str, Any]
) -> Steps:
    """Encode a part in this process; arguments and errors as `encode_clip`."""
    try:
        with output.open() as container:
            return (yield from _encode(video, start, end, container, Finish(**finish), limits))
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise output.refused(video, error) from error


def _encode(video: Path, start: float, end: float, output: OutputContainer, finish: Finish, limits: Limits) -> Steps:
    declared = probe(video, limits)
    usual = declared.frame_rate or _USUAL_RATE
    height, width = _size(image_at(video, start, limits=limits), finish.widest)
    images = output.add_stream(
        "libx264",
        rate=round(min(max(usual, _RATES[0]), _RATES[1])),
        options={"preset": "veryfast", "crf": str(finish.rate_factor)},
    )
    images.width, images.height, images.pix_fmt = width, height, "yuv420p"
    images.codec_context.time_base = _TIME_BASE
    samples, notes = np.zeros(0, np.float32), list[str]()
    if declared.has_audio:
        try:
            samples = yield from audio_part(video, start, end, limits)
        except AUDIO_ERRORS as error:
            notes.append(f"its audio is left out: {error}")
    sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if len(samples) else None
    frames = FrameReader(video, rate=finish.fastest, size=(height, width), start=start, end=end, limits=limits)
    first = frame = None
    for frame in _without_remnant(frames, 0.5 / max(usual, _LEAST_RATE)):
        first = frame.time if first is None else first
        output.mux(images.encode(_image(frame.image, frame.time - first)))
        yield frame.time
    if first is None or frame is None:
        raise no_image(video, start, end)
    last = min(end, frames.end)
    if last - frame.time > _LONG_FRAME_SECONDS:  # containers do not keep how long the last frame is shown
        output.mux(images.encode(_image(frame.image, last - first - 1 / _USUAL_RATE)))
    output.mux(images.encode(None))
    if sound is not None:
        mux_audio(output, sound, samples[round((first - start) * SAMPLE_RATE) :])
    return first, last, tuple(notes)


def _without_remnant(frames: Iterable[Frame], shortest: float) -> Iterator[Frame]:
    """Leave out a first frame that is shown for less than `shortest` seconds in the part: players stumble over it."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    second = next(frames, None)
    if second is None or second.time - first.time >= shortest:
        yield first
    if second is not None:
        yield second
    yield from frames


def _image(image: NDArray[np.uint8], time: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = round(time / _TIME_BASE), _TIME_BASE
    return frame


def _size(image: NDArray[np.uint8], widest: int | None) -> tuple[int, int]:
    """Return (height, width) of the clip: that of the image as it is shown, even and not too wide."""
    height, width, _ = image.shape
    share = min(1.0, widest / width) if widest else 1.0
    return max(2, round(height * share) // 2 * 2), max(2, round(width * share) // 2 * 2)


MAX_BYTES = 1 << 30
"""Size of a clip."""

_IMAGES = frozenset({"h264", "vp9", "av1"})
_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SOUND = frozenset({"aac", "mp3", "opus"})


def plays_in_browsers(video: Path) -> bool:
    """Tell whether every current browser plays the streams of a file once they lie in an MP4.

    Raises:
        VarPluginError: as `sandbox.probe`.
    """
    info = probe_in_sandbox(video)
    if info.audio_tracks > 1:  # the first may be silent
        return False
    return info.video_codec in _IMAGES and info.pixel_format in _PIXELS and info.audio_codec in {None, *_SOUND}


def playable_clip(video: Path, start: float, end: float, target: Path) -> Clip:
    """Write the part from `start` to `end` seconds as an MP4 that browsers play; the target ends in .mp4.

    A copied clip begins at the key frame before `start`; one made anew begins with the first frame from there
    on, is at most 1280 pixels wide, has at most 30 frames a second and mono sound of 16 kHz.

    Raises:
        InvalidInputError, UnreadableMediaError: as `export_clip` and `encode_clip`; besides what opening
            and decoding raise.
    """
    if plays_in_browsers(video):
        return export_clip(video, start, end, target, replace(DEFAULT_LIMITS, output=MAX_BYTES))
    return encode_clip(video, start, end, target, SMALL, replace(ENCODING_LIMITS, output=MAX_BYTES))


WIDTH = 320


def cached_thumbnail(find_video: Callable[[], Path], time: float, video_id: str, cache: MediaCache) -> Path:
    """Return a JPEG, 320 pixels wide, of the frame shown at `time` seconds, made now unless it is in the cache.

    There is one file per frame, named after the time of the frame, however many times between two frames are asked for.

    Args:
        find_video: returns the file of the video; called only where the cache lacks the thumbnail.
        time: seconds from the start of the video.
        video_id: names the folder of the cache.
        cache: where it is kept.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
        VarPluginError: what `find_video` raises.
        InvalidInputError: the cache cannot be written.
    """
    target = _target(cache, video_id, time)
    if cache.use(target):
        return target
    frame = frame_at(find_video(), time, width=WIDTH)
    target = _target(cache, video_id, frame.time)
    if not cache.use(target):
        _write(frame.image, target, private=True)
        cache.add(target)
    return target


def write_thumbnail(video: Path, time: float, target: Path) -> Path:
    """Write the frame at `time` seconds of the video as a JPEG 320 pixels wide, over what may be there.

    Raises:
        MediaNotFoundError, UnreadableMediaError: the video is gone, or has no frame there.
        InvalidInputError: the target cannot be written.
    """
    return _write(frame_at(video, time, width=WIDTH).image, target)


def _target(cache: MediaCache, video_id: str, time: float) -> Path:
    return cache.video_folder(video_id) / f"{round(time * 1000)}.jpg"


def _write(image: NDArray[np.uint8], target: Path, *, private: bool = False) -> Path:
    from PIL import Image

    with atomic_write(target, private=private) as unfinished:
        Image.fromarray(image).save(unfinished, "JPEG", quality=85)
    return target
