"""Opening a media file with PyAV, with an own error for each way in which that can fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from var_plugin.errors import NoVideoStreamError, UnreadableMediaError
from var_plugin.media.files import check_file

# FFmpeg's names of the formats that hold their media themselves. Playlists and scripts, which make it open other files,
# are told by content, not by file ending: an ffconcat script named .mp4 would be followed.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "h264", "hevc", "flv", "asf",
    "ogg", "dhav", "wav", "mp3", "flac", "aac", "gif",
)  # fmt: skip
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a file declares; decoding may find otherwise."""

    duration: float | None
    """Seconds; None where the container does not say."""
    width: int
    height: int
    frame_rate: float | None
    has_audio: bool


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a file for demuxing.

    Raises:
        MediaNotFoundError: nothing is there.
        EmptyMediaError: the file holds no bytes.
        UnreadableMediaError: FFmpeg does not recognise it.
    """
    check_file(path)
    try:
        container = av.open(f"file:{path.absolute()}", options=_OPTIONS)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(path, str(error)) from error
    with container:
        yield container


def unreadable(path: Path, why: str) -> UnreadableMediaError:
    """The error for a file that opens but makes no sense, or does not open."""
    return UnreadableMediaError(
        f"cannot read {path} as a video",
        why=why,
        fix="check that it plays in a media player, or convert it with ffmpeg",
    )


def main_video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream a player would show: the largest picture that is not a cover image.

    Raises:
        NoVideoStreamError: there is sound only.
        UnreadableMediaError: there is neither picture nor sound.
    """
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if pictures:
        return max(pictures, key=lambda stream: (stream.width or 0) * (stream.height or 0))
    if container.streams.audio:
        raise NoVideoStreamError(
            f"{path} has no moving pictures",
            why="it holds sound only",
            fix="search with it: var-plugin search --audio FILE",
        )
    raise unreadable(path, "it holds neither pictures nor sound")


def start_time(container: InputContainer) -> float:
    """Return the presentation time, in seconds, that players call zero."""
    return (container.start_time or 0) / av.time_base


def declared_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how long the header says the pictures go on, in seconds."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def probe(path: Path) -> MediaInfo:
    """Read what the header declares, without decoding.

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoVideoStreamError: as `open_media` and
            `main_video_stream`.
    """
    with open_media(path) as container:
        stream = main_video_stream(container, path)
        rate = stream.average_rate
        return MediaInfo(
            duration=declared_duration(container, stream),
            width=stream.width,
            height=stream.height,
            frame_rate=float(rate) if rate else None,
            has_audio=bool(container.streams.audio),
        )
