"""Opening a media file with PyAV, with an own error for each way in which that can fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from var_plugin.media.files import check_file
from var_plugin.media.limits import DEFAULT_LIMITS, Limits

logger = logging.getLogger(__name__)

# FFmpeg would take a stream of JPEG images for a single one.
_FORMAT_BY_SUFFIX = {".mjpeg": "mjpeg", ".mjpg": "mjpeg"}
# FFmpeg's names of the formats that hold their media themselves. Playlists and scripts, which make it open other files,
# are told by content, not by file ending: an ffconcat script named .mp4 would be followed.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "flv", "asf",
    "ogg", "dhav", "wav", "mp3", "flac", "aac", "gif", "m4v", "mjpeg",
)  # fmt: skip
# A bare stream of one codec; FFmpeg makes up timestamps for some of them.
_UNTIMED = frozenset({"h264", "hevc", "m4v", "mjpeg", "mpegvideo"})
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
# Names and titles in a file may be in any encoding. PyAV 19 accepts all of them and has no such argument any more.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
OUT_OF_MEMORY = (MemoryError, av.BlockingIOError)
"""What decoding raises where memory ends; the second where a decoder's thread finds no room for its stack."""
BACKWARD_SLACK_SECONDS = 2.0
"""A frame may come a little late in an untidy file; beyond this the clock was set anew."""
MAX_GAP_SECONDS = 3600.0
"""An image may stand for long where nothing moves, and sound begin late; beyond this the clock was set anew."""
# How the files begin that name other files: HLS, FFmpeg's concat script, PLS, session descriptions, DASH and SMIL.
_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"v=0", b"<?xml", b"<mpd", b"<smil")


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a file declares; decoding may find otherwise."""

    duration: float | None
    """Seconds; None where the container does not say."""
    width: int
    height: int
    frame_rate: float | None
    has_audio: bool
    video_codec: str
    pixel_format: str
    """FFmpeg's names; empty where it does not know."""
    audio_codec: str | None
    """Of the track that players take; None where there is no audio, empty where its codec is not known."""
    created_at: str | None
    """The clock time that the recorder wrote into the header, as it stands there."""
    audio_tracks: int = 0
    notes: tuple[str, ...] = ()
    """What of the file is not used, and what is assumed of it."""


@contextmanager
def open_media(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[InputContainer]:
    """Open a file for demuxing.

    Raises:
        MediaNotFoundError: nothing is there.
        EmptyMediaError: the file holds no bytes.
        PlaylistError: it lists other files.
        UnreadableMediaError: FFmpeg does not recognise it.
        TooManyStreamsError: it holds more streams than `limits` admits.
    """
    check_file(path)
    try:
        container: InputContainer = av.open(
            f"file:{path.absolute()}", format=_FORMAT_BY_SUFFIX.get(path.suffix.lower()), options=_OPTIONS, **_METADATA
        )
    except OUT_OF_MEMORY:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_opened(path, error) from error
    with container:
        if len(container.streams) > limits.streams:
            raise TooManyStreamsError(
                f"{path} holds {len(container.streams)} streams",
                why=f"the limit is {limits.streams}",
                fix="keep one video and one audio stream with: ffmpeg -i FILE -c copy SMALLER.mp4",
            )
        yield container


def _not_opened(path: Path, error: Exception) -> VarPluginError:
    """The error for a file that none of the formats fits; a playlist is none of them, and told by its first bytes."""
    with path.open("rb") as file:
        start = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(_PLAYLIST_STARTS):
        return PlaylistError(
            f"{path} is a playlist or a script",
            why="it only names other files or addresses, and those are never opened",
            fix="name the media files themselves",
        )
    if isinstance(error, av.ArgumentError):  # FFmpeg knows the format, and `format_whitelist` excludes it
        return unreadable_error(path, "its format is none of those that are read")
    return unreadable_error(path, os_error_message(error))


def unreadable_error(path: Path, why: str) -> UnreadableMediaError:
    """The error for a file that opens but makes no sense, or does not open."""
    return UnreadableMediaError(
        f"cannot read {path} as video or audio",
        why=why,
        fix="check that it plays in a media player, or convert it with ffmpeg",
    )


def main_video_stream(container: InputContainer, path: Path, limits: Limits = DEFAULT_LIMITS) -> VideoStream:
    """Return the stream a player would show: the largest image that is not a cover image.

    Raises:
        NoVideoStreamError: there is sound only.
        TooManyPixelsError: the image is larger than `limits` admits.
        UnreadableMediaError: there is neither image nor sound.
    """
    # FFmpeg may find a stream and know no decoder for it: then PyAV gives it no codec context.
    images = _video_streams(container)
    if images:
        stream = max(images, key=lambda stream: stream.width * stream.height)
        check_pixels(stream.width, stream.height, path, limits)
        return stream
    if container.streams.audio and not container.streams.video:
        raise NoVideoStreamError(
            f"{path} has no video stream",
            why="it holds audio only",
            fix="search with it: var-plugin search --audio FILE",
        )
    raise unreadable_error(path, "it holds no video stream of a known codec")


def _video_streams(container: InputContainer) -> list[VideoStream]:
    return [
        stream
        for stream in container.streams.video
        if stream.codec_context and not stream.disposition & Disposition.attached_pic
    ]


def check_pixels(width: int, height: int, path: Path, limits: Limits) -> None:
    """Raise TooManyPixelsError for images that are larger than `limits` admits."""
    if width * height > limits.pixels:
        raise TooManyPixelsError(
            f"the images of {path} are too large",
            why=f"they have {width} x {height} pixels, the limit is {limits.pixels} in all",
            fix="scale them down with: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )


def decode_stream(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path, *, key_frames: bool = False
) -> Iterator[VideoFrame | AudioFrame]:
    """Yield every frame of a stream, passing over damaged packets: `container.decode` would end at the first of them.

    With `key_frames` no others are decoded.

    Raises:
        UnreadableMediaError: the file is damaged so that nothing behind this place can be found.
    """
    damaged = 0
    try:
        for packet in container.demux(stream):
            if key_frames and packet.size and not packet.is_keyframe:
                continue  # not all decoders know to skip it
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
        logger.warning("%s: %d damaged packets were passed over", path, damaged)


def timestamps_error(path: Path, time: float, latest: float) -> BrokenTimestampsError:
    """The error for a file whose clock was set anew on the way, or that was damaged so that it seems so."""
    return BrokenTimestampsError(
        f"the clock of {path} jumps",
        why=f"what belongs at {time:.1f} s comes after {latest:.1f} s",
        fix="split it there, or give it new timestamps with: ffmpeg -fflags +igndts -i FILE -c copy MENDED.mp4",
    )


def start_time(container: InputContainer) -> float:
    """Return the presentation time, in seconds, that players call zero."""
    return (container.start_time or 0) / av.time_base


def is_untimed(container: InputContainer) -> bool:
    """Return whether the format has no timestamps, so that times follow from a constant frame rate."""
    return container.format.name in _UNTIMED


def has_decoding_times_only(container: InputContainer, stream: VideoStream) -> bool:
    """Return whether presentation times are guessed in decoding order, which is wrong where frames are reordered."""
    return container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")


def file_duration(container: InputContainer) -> float | None:
    """Return how long the header says the file goes on, in seconds: the longest of its streams."""
    if not container.duration:
        return None
    # Matroska counts from zero on, whenever its first frame is shown.
    before = start_time(container) if "matroska" in container.format.name else 0.0
    return container.duration / av.time_base - max(0.0, before)


def _codec_name(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context else ""


def declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how long the header says the images go on, in seconds."""
    if is_untimed(container):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return file_duration(container)


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Read what the header declares, without decoding.

    Raises:
        VarPluginError: as `open_media` and `main_video_stream`.
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
