"""Record an RTSP stream of a camera into files of a few minutes, without re-encoding the video.

Each file starts at a key frame. Its name, such as CAMERA_20261101T143000Z.mkv, contains the arrival time of that frame
in UTC. `ingest.timestamps` parses it. A growing file is hidden, and `watch.folder` skips it. The format is Matroska,
because a file stays readable up to the point where a power cut interrupts it.

Audio is optional. Audio codecs that Matroska does not support (G.711, G.722, G.726) are stored as PCM. Audio that
cannot be stored or decoded is left out with one warning, and the video is recorded without it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.private_files import make_private_folder

logger = logging.getLogger(__name__)

SEGMENT_SECONDS = 300.0
_OPEN_SECONDS = 15.0
_STALL_SECONDS = 20.0
_OPTIONS = {
    "rtsp_transport": "tcp",  # with UDP, a lost packet corrupts all frames up to the next key frame
    "protocol_whitelist": "rtsp,rtsps,tcp,tls,rtp,udp",
    "format_whitelist": "rtsp,rtp,sdp",
}
_MAX_DELAY = 60.0
_CLOCK_SLACK_SECONDS = 10.0
"""A larger jump of the video timestamps starts a new file. Audio with a larger offset from the video is left out."""
_MAX_NAME_BYTES = 200
_MIN_FREE_BYTES = 512 * 2**20
_MIN_FREE_SHARE = 0.05
"""Recording pauses when less than `_MIN_FREE_BYTES` are free, or on a small disk less than this share."""
_NO_ANSWER = (ConnectionRefusedError, TimeoutError, av.error.HTTPUnauthorizedError)
"""Connection errors that do not depend on audio, so no attempt without audio follows."""

Connect = Callable[[str, str], AbstractContextManager[InputContainer]]
"""Opens a stream, given its URL and the requested media: `video+audio` or `video`."""


def connect(url: str, media: str) -> InputContainer:
    """Open a stream. Reading fails with a timeout if no data arrives for 20 s.

    Args:
        url: rtsp://… or rtsps://…
        media: the media types to request. Other types, such as ONVIF metadata, are not set up.
    """
    return av.open(url, options=_OPTIONS | {"allowed_media_types": media}, timeout=(_OPEN_SECONDS, _STALL_SECONDS))


def camera_name(url: str) -> str:
    """Return the host of a stream as a camera name. The rest of the URL may contain a password.

    Raises:
        InvalidInputError: the URL is not an RTSP address.
    """
    try:
        address = urlsplit(url)
        host = address.hostname if address.scheme in ("rtsp", "rtsps") else None
    except ValueError:  # its message contains a part of the URL
        host = None
    if not host:
        raise InvalidInputError("the address is not that of a camera", fix="write it as rtsp://HOST/PATH")
    return re.sub(r"[^\w.-]+", "-", host)


def check_camera_name(camera: str) -> None:
    """Check that the name of a camera is a valid prefix of a file name.

    Raises:
        InvalidInputError: the name is not valid.
    """
    try:
        fits = len(os.fsencode(camera)) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:
        fits = False
    if not fits or not camera.isprintable() or Path(camera).name != camera or camera.startswith("."):
        raise InvalidInputError(
            f"{camera[:_MAX_NAME_BYTES]!r} cannot be used in file names",
            fix=f"use at most {_MAX_NAME_BYTES} bytes, without slashes, control characters and a leading dot",
        )


def recordings(folder: Path, camera: str) -> list[Path]:
    """Return the completed recordings of a camera in a folder, identified by their names."""
    return _named(folder, re.compile(rf"{re.escape(camera)}_\d{{8}}T\d{{6}}Z(_\d+)?\.mkv"))


def record(
    url: str,
    folder: Path,
    *,
    stop: threading.Event,
    camera: str | None = None,
    seconds: float = SEGMENT_SECONDS,
    connect: Connect = connect,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    wait: Callable[[float], Any] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Record a stream until `stop` is set. After a failure, reconnect after 1, 2, 4 … 60 s.

    Unfinished files of an earlier run are completed first. Only one recorder at a time may use a folder for a camera.
    Recording pauses while the disk is nearly full.

    Args:
        url: rtsp://… or rtsps://…, with user and password if the camera needs them. Credentials are never logged.
        folder: folder of the recordings. It is created with access for this user only if it does not exist.
        stop: ends the recording at the next packet, or after 20 s without a packet.
        camera: prefix of the file names. Default: the host.
        seconds: minimum length of a file in seconds. The file ends at the next key frame.
        connect: opens the stream.
        now: returns the current time, timezone-aware.
        wait: waits for a number of seconds, or until `stop` is set.
        ready: called when the folder exists.

    Raises:
        InvalidInputError: the URL is not an RTSP address, the camera's name cannot be part of a file name, or the
            folder cannot be written.
    """
    host = camera_name(url)
    name = camera or host
    check_camera_name(name)
    try:
        if not folder.exists():
            make_private_folder(folder)
        for unfinished in _named(folder, re.compile(rf"\.{re.escape(name)}_\d{{8}}T\d{{6}}Z\.part")):
            _finish(unfinished)
    except OSError as error:
        raise InvalidInputError(
            f"cannot record into {folder}", why=os_error_message(error), fix="name another folder: --recordings"
        ) from error
    ready()
    recorder = _Recorder(url, folder, name, seconds, stop, connect, now)
    failures = 0
    while not stop.is_set():
        files = recorder.files
        reason = recorder.run().replace(url, host)
        if recorder.files > files:
            failures = 0
        if not stop.is_set():
            delay = min(_MAX_DELAY, 2.0 ** min(failures, 10))
            failures += 1
            logger.warning("%s: %s; connecting again in %.0f s", name, reason, delay)
            (wait or stop.wait)(delay)


class _Recorder:
    """Connect to a stream and write its files.

    Args:
        url, folder, name, seconds, stop, connect, now: as `record`.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        name: str,
        seconds: float,
        stop: threading.Event,
        connect: Connect,
        now: Callable[[], datetime],
    ) -> None:
        self._url, self._folder, self._name, self._seconds = url, folder, name, seconds
        self._stop, self._connect, self._now = stop, connect, now
        self._warned = False
        self.files = 0
        """Number of files that were started."""

    def run(self) -> str:
        """Connect and record until the stream ends or fails. Return the reason.

        If nothing can be recorded with audio, the stream is requested again at once without audio.
        """
        try:
            _check_disk(self._folder)
        except OSError as error:
            return str(error)
        files, failure = self.files, ""
        for media in ("video+audio", "video"):
            try:
                with self._connect(self._url, media) as source:
                    for _ in self._write_files(source):
                        if failure:
                            self._warn_of_audio(failure)
                failure = "the stream ended"
                break
            except Exception as error:  # invalid data of a camera must not end the recording
                failure = os_error_message(error) or type(error).__name__
                if self.files > files or self._stop.is_set() or isinstance(error, _NO_ANSWER):
                    break
        return failure

    def _write_files(self, source: InputContainer) -> Iterator[None]:
        """Write the files one after another. Yield after the start of each file."""
        video = next((stream for stream in source.streams.video if stream.codec_context), None)
        if video is None:
            raise ValueError("the stream has no video in a known codec")
        audio = next((stream for stream in source.streams.audio if stream.codec_context), None)
        file: _File | None = None
        arrived = time.monotonic()
        try:
            for packet in source.demux([stream for stream in (video, audio) if stream]):
                if self._stop.is_set():
                    return
                if packet.stream is not video and time.monotonic() - arrived > _STALL_SECONDS:
                    raise TimeoutError(f"no video for {_STALL_SECONDS:.0f} s")
                if packet.dts is None or packet.pts is None or not packet.size:
                    continue
                if packet.stream is not video:
                    if file and (problem := file.write_audio(packet)):
                        self._warn_of_audio(problem)
                    continue
                arrived = time.monotonic()
                if packet.is_keyframe:
                    _check_disk(self._folder)
                if file and (file.clock_jumps(packet) or (packet.is_keyframe and file.length(packet) >= self._seconds)):
                    file.close()
                    file = None
                if file is None and packet.is_keyframe:
                    file = self._begin(video, audio, packet)
                    self.files += 1
                    yield
                if file:
                    file.write(packet)
        finally:
            if file:
                file.close()

    def _begin(self, video: VideoStream, audio: AudioStream | None, first: Packet[Any]) -> _File:
        """Start a file. Leave out the audio if it cannot be stored."""
        at = self._now()
        try:
            return _File(self._folder, self._name, video, audio, first, at)
        except (av.FFmpegError, ValueError) as error:
            if audio is None or isinstance(error, OSError):
                raise
            self._warn_of_audio(f"{audio.codec_context.name} cannot be stored: {os_error_message(error)}")
            return _File(self._folder, self._name, video, None, first, at)

    def _warn_of_audio(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            problem = problem.replace(self._url, camera_name(self._url))
            logger.warning("%s: audio is left out, the video is recorded without it: %s", self._name, problem)


def _check_disk(folder: Path) -> None:
    """Raise OSError if the disk of a folder is nearly full. A file truncated by a full disk may be unreadable."""
    disk = shutil.disk_usage(folder)
    if disk.free < min(_MIN_FREE_BYTES, _MIN_FREE_SHARE * disk.total):
        raise OSError(
            f"recording is paused, the disk of {folder} is nearly full ({disk.free / 2**20:.0f} MB are free);"
            " delete files, or limit the recordings with --quota or --keep-days"
        )


def _presented(packet: Packet[Any]) -> float:
    return float((packet.pts or 0) * packet.time_base)


def _decoded(packet: Packet[Any]) -> float:
    return float((packet.dts or 0) * packet.time_base)


class _File:
    """A growing file that starts at a key frame. Its timestamps start at zero.

    Raises:
        av.FFmpegError, ValueError: the format does not support a stream, or the file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        video: VideoStream,
        audio: AudioStream | None,
        first: Packet[Any],
        at: datetime,
    ) -> None:
        self._path = folder / f".{name}_{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.part"
        self._zero, self._reached = _presented(first), _decoded(first)
        self._latest: dict[bool, int] = {}
        """Last written decoding timestamp of the video (True) and the audio (False)."""
        self._path.touch(mode=0o600)
        # Without the prefix, FFmpeg would parse a colon in the name as the end of a protocol.
        self._output: OutputContainer = av.open(f"file:{self._path.absolute()}", "w", format="matroska")
        try:
            self._video = self._output.add_stream_from_template(video, opaque=True)
            self._audio = _audio_track(self._output, audio) if audio else None
            self._output.start_encoding()
        except BaseException:
            self._output.close()
            self._path.unlink()
            raise

    def length(self, packet: Packet[Any]) -> float:
        """Return the duration of the video before this packet in seconds."""
        return _presented(packet) - self._zero

    def clock_jumps(self, packet: Packet[Any]) -> bool:
        """Return whether the timestamp of a video packet jumps relative to the previous packets."""
        return abs(_decoded(packet) - self._reached) > _CLOCK_SLACK_SECONDS

    def write(self, packet: Packet[Any]) -> None:
        """Write a video packet, unless it is out of order or presented before the first key frame."""
        self._reached = _decoded(packet)
        if self._shift(packet, is_video=True):
            packet.stream = self._video
            self._output.mux(packet)

    def write_audio(self, packet: Packet[Any]) -> str | None:
        """Write an audio packet. Return the reason if it cannot be written, otherwise None."""
        if self._audio is None:
            return None
        distance = _decoded(packet) - self._reached
        if abs(distance) > _CLOCK_SLACK_SECONDS:
            return f"its timestamps differ from those of the video by {distance:.0f} s"
        if not self._shift(packet, is_video=False):
            return None
        try:
            for part in self._audio(packet):
                self._output.mux(part)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            return os_error_message(error) or type(error).__name__
        return None

    def _shift(self, packet: Packet[Any], *, is_video: bool) -> bool:
        """Shift the timestamps of a packet to the start of the file. Return whether the packet can be written."""
        offset = round(self._zero / packet.time_base)
        dts, pts = (packet.dts or 0) - offset, (packet.pts or 0) - offset
        latest = self._latest.get(is_video)
        if pts < 0 or (latest is not None and dts <= latest):
            return False
        self._latest[is_video] = dts
        packet.dts, packet.pts = dts, pts
        return True

    def close(self) -> None:
        """Close the file and rename it to its final name."""
        try:
            self._output.close()
        finally:
            _finish(self._path)


def _audio_track(output: OutputContainer, source: AudioStream) -> Callable[[Packet[Any]], Iterator[Packet[Any]]]:
    """Add an audio track to a file. Return a function that converts packets of the stream to packets of the track.

    Raises:
        ValueError: the audio can be stored neither unchanged nor as PCM.
    """
    if source.codec_context.name == "aac" and not source.codec_context.extradata:
        raise ValueError("the AAC stream lacks the header that a decoder needs")
    try:
        copied = output.add_stream_from_template(source, opaque=True)
    except ValueError:
        # These codecs need no decoder configuration. Other codecs do, and a camera may not send it.
        if not source.codec_context.codec.canonical_name.startswith(("pcm_", "adpcm_")):
            raise
    else:

        def copy(packet: Packet[Any]) -> Iterator[Packet[Any]]:
            packet.stream = copied
            yield packet

        return copy
    layout, rate = source.codec_context.layout, source.codec_context.sample_rate
    pcm = output.add_stream("pcm_s16le", rate=rate, layout=layout)
    resampler = av.AudioResampler("s16", layout, rate)

    def convert(packet: Packet[Any]) -> Iterator[Packet[Any]]:
        for frame in packet.decode():
            if isinstance(frame, AudioFrame):
                for samples in resampler.resample(frame):
                    yield from pcm.encode(samples)

    return convert


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder whose full name matches the pattern, sorted by name."""
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _finish(unfinished: Path) -> None:
    """Rename a file to its final name. Files that start in the same second are numbered. Empty files are deleted."""
    if unfinished.stat().st_size == 0:
        unfinished.unlink()
        return
    stem = unfinished.name[1:].removesuffix(".part")
    target, number = unfinished.with_name(f"{stem}.mkv"), 1
    while target.exists():
        number += 1
        target = unfinished.with_name(f"{stem}_{number}.mkv")
    unfinished.replace(target)
