"""Open media files with PyAV, read their headers and decode their streams."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from var_plugin.errors import (
    BrokenTimestampsError,
    NoVideoStreamError,
    PlaylistError,
    TooManyPixelsError,
    TooManyStreamsError,
    UnreadableMediaError,
    VarPluginError,
    os_error_message,
)
from var_plugin.media.decoded import MediaInfo
from var_plugin.media.files import check_file
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

logger = logging.getLogger(__name__)

# FFmpeg would read a stream of JPEG images as a single image.
_FORMAT_BY_SUFFIX = {".mjpeg": "mjpeg", ".mjpg": "mjpeg"}
# FFmpeg's names of the formats that contain their media. Playlists and scripts, which make FFmpeg open other files, are
# excluded here because FFmpeg recognises them by content: it would follow an ffconcat script named .mp4.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "flv", "asf",
    "ogg", "dhav", "wav", "mp3", "flac", "aac", "gif", "m4v", "mjpeg",
)  # fmt: skip
# Elementary streams of one codec, without timestamps. FFmpeg invents timestamps for some of them.
_UNTIMED = frozenset({"h264", "hevc", "m4v", "mjpeg", "mpegvideo"})
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
# Metadata may be in any encoding. PyAV 19 accepts all encodings and no longer has this argument.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
OUT_OF_MEMORY = (MemoryError, av.BlockingIOError)
"""What decoding raises when memory runs out. The second is raised if a decoder thread gets no memory for its stack."""
BACKWARD_SLACK_SECONDS = 2.0
"""Largest step back between timestamps. A larger one means that the clock was reset."""
MAX_GAP_SECONDS = 3600.0
"""Largest gap between timestamps. A larger one means that the clock was reset."""
# First bytes of files that name other files: HLS, FFmpeg's concat script, PLS, session descriptions, DASH and SMIL.
_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"v=0", b"<?xml", b"<mpd", b"<smil")


@contextmanager
def open_media(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[InputContainer]:
    """Open a file for demuxing.

    Raises:
        MediaNotFoundError: the file does not exist.
        EmptyMediaError: the file is empty.
        PlaylistError: the file is a playlist.
        UnreadableMediaError: FFmpeg does not recognise the file.
        TooManyStreamsError: the file has more streams than `limits` allows.
    """
    check_file(path)
    try:
        container: InputContainer = av.open(
            f"file:{path.absolute()}", format=_FORMAT_BY_SUFFIX.get(path.suffix.lower()), options=_OPTIONS, **_METADATA
        )
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _open_error(path, error) from error
    with container:
        if len(container.streams) > limits.streams:
            raise TooManyStreamsError(
                f"{path} has {len(container.streams)} streams",
                why=f"the limit is {limits.streams}",
                fix="keep one video and one audio stream with: ffmpeg -i FILE -c copy SMALLER.mp4",
            )
        yield container


def _open_error(path: Path, error: Exception) -> VarPluginError:
    """Return the error for a file of an unsupported format. Playlists are recognised by their first bytes."""
    with path.open("rb") as file:
        start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_PLAYLIST_STARTS):
        return PlaylistError(
            f"{path} is a playlist or a script",
            why="it only names other files or addresses, which are never opened",
            fix="name the media files themselves",
        )
    if isinstance(error, av.ArgumentError):  # FFmpeg knows the format, but `format_whitelist` excludes it
        return unreadable_error(path, "its format is not supported")
    return unreadable_error(path, os_error_message(error))


def unreadable_error(path: Path, why: str) -> UnreadableMediaError:
    """Return the error for a file that cannot be opened or decoded."""
    return UnreadableMediaError(
        f"cannot read {path} as video or audio",
        why=why,
        fix="check that it plays in a media player, or convert it with ffmpeg",
    )


def main_video_stream(container: InputContainer, path: Path, limits: Limits = DEFAULT_LIMITS) -> VideoStream:
    """Return the video stream with the largest frames, ignoring cover images.

    Raises:
        NoVideoStreamError: the file has audio only.
        TooManyPixelsError: the frames are larger than `limits` allows.
        UnreadableMediaError: the file has neither video nor audio.
    """
    streams = _video_streams(container)
    if streams:
        stream = max(streams, key=lambda stream: stream.width * stream.height)
        check_pixels(stream.width, stream.height, path, limits)
        return stream
    if container.streams.audio and not container.streams.video:
        raise NoVideoStreamError(
            f"{path} has no video stream",
            why="it contains audio only",
            fix="search with it: var-plugin search --audio FILE",
        )
    raise unreadable_error(path, "it has no video stream of a known codec")


def _video_streams(container: InputContainer) -> list[VideoStream]:
    # A stream without a codec context has no known decoder.
    return [
        stream
        for stream in container.streams.video
        if stream.codec_context and not stream.disposition & Disposition.attached_pic
    ]


def check_pixels(width: int, height: int, path: Path, limits: Limits) -> None:
    """Raise TooManyPixelsError if frames are larger than `limits` allows."""
    if width * height > limits.pixels:
        raise TooManyPixelsError(
            f"the frames of {path} are too large",
            why=f"they have {width} x {height} pixels, the limit is {limits.pixels} in total",
            fix="scale them down with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )


def decode_stream(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path, *, keyframes_only: bool = False
) -> Iterator[VideoFrame | AudioFrame]:
    """Yield every frame of a stream and skip damaged packets. `container.decode` would stop at the first one.

    Args:
        container: the open file.
        stream: the stream to decode.
        path: the file, for messages.
        keyframes_only: whether to decode only keyframes.

    Raises:
        UnreadableMediaError: the file is damaged so that no further packet can be read.
    """
    damaged = 0
    try:
        for packet in container.demux(stream):
            if keyframes_only and packet.size and not packet.is_keyframe:
                continue  # not every decoder can skip it
            try:
                yield from (frame for frame in packet.decode() if isinstance(frame, VideoFrame | AudioFrame))
            except OUT_OF_MEMORY:
                raise
            except (av.FFmpegError, ValueError):
                damaged += 1
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise unreadable_error(path, os_error_message(error)) from error
    if damaged:
        logger.warning("%s: skipped %d damaged packets", path, damaged)


def timestamps_error(path: Path, time: float, latest: float) -> BrokenTimestampsError:
    """Return the error for a file whose timestamps jump."""
    return BrokenTimestampsError(
        f"the timestamps of {path} jump",
        why=f"{time:.1f} s comes after {latest:.1f} s",
        fix="split it there, or give it new timestamps with: ffmpeg -fflags +igndts -i FILE -c copy MENDED.mp4",
    )


def start_time(container: InputContainer) -> float:
    """Return the presentation time of the start of the file in seconds."""
    return (container.start_time or 0) / av.time_base


def is_untimed(container: InputContainer) -> bool:
    """Return whether the format has no timestamps. Times then follow from a constant frame rate."""
    return container.format.name in _UNTIMED


def has_decoding_times_only(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether the file has no presentation times. FFmpeg then guesses them, wrongly for reordered frames."""
    return container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")


def file_duration(container: InputContainer) -> float | None:
    """Return the declared duration of the longest stream in seconds."""
    if not container.duration:
        return None
    # Matroska counts its duration from zero, not from the first frame.
    offset = start_time(container) if "matroska" in container.format.name else 0.0
    return container.duration / av.time_base - max(0.0, offset)


def _codec_name(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context else ""


def declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the declared duration of a video stream in seconds."""
    if is_untimed(container):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return file_duration(container)


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Read what the header declares, without decoding.

    Raises:
        VarPluginError: the errors of `open_media` and `main_video_stream`.
    """
    with open_media(path, limits) as container:
        stream = main_video_stream(container, path, limits)
        rate = stream.average_rate
        audio = container.streams.best("audio")
        return MediaInfo(
            duration=declared_duration(container, stream),
            width=stream.width,
            height=stream.height,
            frame_rate=float(rate) if rate else None,
            has_audio=bool(container.streams.audio),
            video_codec=stream.codec_context.name,
            pixel_format=stream.codec_context.pix_fmt or "",
            audio_codec=_codec_name(audio) if audio else None,
            audio_tracks=len(container.streams.audio),
            notes=tuple(_notes(container, stream)),
            created_at=container.metadata.get("creation_time") or stream.metadata.get("creation_time"),
        )


def _notes(container: InputContainer, stream: VideoStream) -> Iterator[str]:
    videos, tracks = len(_video_streams(container)), len(container.streams.audio)
    if videos > 1:
        yield f"only the largest of its {videos} video streams is used ({stream.width} x {stream.height})"
    if tracks > 1:
        yield f"only one of its {tracks} audio tracks is used, the first that is not silent"
    if is_untimed(container) and (rate := stream.guessed_rate or stream.average_rate):
        yield f"it has no timestamps: its frames are placed at {float(rate):g} frames a second"
