"""Recording a camera's RTSP stream into files of a few minutes, without decoding, for as long as one likes.

Each file begins at a key frame and is called CAMERA_20261101T143000Z.mkv after the clock time (UTC) at which that frame
arrived, which `ingest.clock` reads back. While it grows it is a hidden file that `ingest.watch` passes over. Matroska
holds whatever cameras send, G.711 sound as well, and can be read up to where a power cut ended it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from var_plugin.errors import InvalidInputError, said

logger = logging.getLogger(__name__)

SEGMENT_SECONDS = 300.0
_OPEN_SECONDS = 15.0
_STALL_SECONDS = 20.0
_OPTIONS = {
    "rtsp_transport": "tcp",  # a lost packet would spoil all frames up to the next key frame
    "protocol_whitelist": "rtsp,rtsps,tcp,tls,rtp,udp",
    "format_whitelist": "rtsp,rtp,sdp",
}
_LONGEST_DELAY = 60.0
_CLOCK_SLACK_SECONDS = 10.0
"""A stream whose timestamps jump further than this has set its clock anew: a new file begins."""

Connect = Callable[[str], AbstractContextManager[InputContainer]]


def connect(url: str) -> InputContainer:
    """Open a stream; reading from it fails when nothing arrives for 20 s."""
    return av.open(url, options=_OPTIONS, timeout=(_OPEN_SECONDS, _STALL_SECONDS))


def camera_name(url: str) -> str:
    """Return the host of a stream as a name; the rest of an address may hold a password.

    Raises:
        InvalidInputError: it is no RTSP address.
    """
    address = urlsplit(url)
    if address.scheme not in ("rtsp", "rtsps") or not address.hostname:
        raise InvalidInputError("not the address of a camera", fix="name it as rtsp://HOST/PATH")
    return re.sub(r"[^\w.-]+", "-", address.hostname)


def recordings(folder: Path, camera: str) -> list[Path]:
    """Return the files that `record` has completed in a folder for a camera, told by their names."""
    name = re.compile(rf"{re.escape(camera)}_\d{{8}}T\d{{6}}Z(_\d+)?\.mkv")
    return sorted(path for path in folder.glob("*.mkv") if name.fullmatch(path.name))


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
) -> None:
    """Record a stream until told to stop, connecting anew after 1, 2, 4 … 60 s whenever it fails.

    What an earlier run left unfinished is completed first. One recorder at a time may use a folder for a camera.

    Args:
        url: rtsp://… or rtsps://…, with user and password if need be; those are never logged.
        folder: where the files go; made if need be.
        stop: ends the recording at the next packet, or after 20 s without one.
        camera: begins the files' names; default: the host.
        seconds: length of a file; it grows up to the next key frame.
        connect: opens the stream.
        now: the clock time, with zone.
        wait: waits so many seconds, or until told to stop.

    Raises:
        InvalidInputError: the address is no RTSP address, or the camera's name cannot be part of a file's name.
    """
    name = camera or camera_name(url)
    if Path(name).name != name or name.startswith("."):
        raise InvalidInputError(f"{name!r} cannot begin a file's name", fix="leave out slashes and a leading dot")
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f".{name}_*.part"):
        _finish(unfinished)
    failures = 0
    while not stop.is_set():
        try:
            with connect(url) as source:
                for _ in _segments(source, folder, name, seconds, stop, now):
                    failures = 0
            reason = "the stream ended"
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = said(error).replace(url, camera_name(url))
        if not stop.is_set():
            delay = min(_LONGEST_DELAY, 2.0**failures)
            failures += 1
            logger.warning("%s: %s; connecting again in %.0f s", name, reason, delay)
            (wait or stop.wait)(delay)


def _segments(
    source: InputContainer,
    folder: Path,
    name: str,
    seconds: float,
    stop: threading.Event,
    now: Callable[[], datetime],
) -> Iterator[_Segment]:
    """Write one file after the other; yield each time a file was begun."""
    video = source.streams.video[0] if source.streams.video else None
    if video is None:
        raise ValueError("the stream has no pictures")
    sound = source.streams.best("audio")
    streams = [stream for stream in (video, sound) if stream]
    segment: _Segment | None = None
    try:
        for packet in source.demux(streams):
            if stop.is_set():
                return
            if packet.dts is None or packet.pts is None or not packet.size:
                continue
            begins = packet.stream is video and packet.is_keyframe
            if segment and (segment.clock_jumps(packet) or (begins and segment.lasts(packet) >= seconds)):
                segment.close()
                segment = None
            if segment is None and begins:
                segment = _Segment(folder, name, streams, packet, now())
                yield segment
            if segment:
                segment.write(packet)
    finally:
        if segment:
            segment.close()


def _shown(packet: Packet[Any]) -> float:
    return float((packet.pts or 0) * packet.time_base)


def _decoded(packet: Packet[Any]) -> float:
    return float((packet.dts or 0) * packet.time_base)


class _Segment:
    """One file, from a key frame on; its own clock begins at zero."""

    def __init__(self, folder: Path, name: str, streams: list[Stream], first: Packet[Any], at: datetime) -> None:
        self._path = folder / f".{name}_{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.part"
        self._zero = _shown(first)
        self._latest: dict[Stream, int] = {}
        self._reached = _decoded(first)
        self._output: OutputContainer = av.open(str(self._path), "w", format="matroska")
        self._copies = {stream: self._output.add_stream_from_template(stream) for stream in streams}

    def lasts(self, packet: Packet[Any]) -> float:
        """Return how many seconds lie before this packet."""
        return _shown(packet) - self._zero

    def clock_jumps(self, packet: Packet[Any]) -> bool:
        """Tell whether the packet's time has nothing to do with that of the packets before it."""
        return abs(_decoded(packet) - self._reached) > _CLOCK_SLACK_SECONDS

    def write(self, packet: Packet[Any]) -> None:
        """Copy one packet; what is out of order, or shown before the key frame, is left out."""
        stream = packet.stream
        self._reached = _decoded(packet)
        offset = round(self._zero / packet.time_base)
        dts, pts = (packet.dts or 0) - offset, (packet.pts or 0) - offset
        latest = self._latest.get(stream)
        if pts < 0 or (latest is not None and dts <= latest):
            return
        self._latest[stream] = dts
        packet.dts, packet.pts, packet.stream = dts, pts, self._copies[stream]
        self._output.mux(packet)

    def close(self) -> None:
        """End the file and give it its name."""
        try:
            self._output.close()
        finally:
            _finish(self._path)


def _finish(unfinished: Path) -> None:
    """Give a file its name; two that began in the same second are numbered."""
    if unfinished.stat().st_size == 0:
        unfinished.unlink()
        return
    stem = unfinished.name[1:].removesuffix(".part")
    target, number = unfinished.with_name(f"{stem}.mkv"), 1
    while target.exists():
        number += 1
        target = unfinished.with_name(f"{stem}_{number}.mkv")
    unfinished.replace(target)
