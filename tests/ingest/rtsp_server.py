"""A camera: a small RTSP server (RFC 2326) that sends a video over TCP to each client, with or without audio."""

from __future__ import annotations

import base64
import math
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

_START = b"\x00\x00\x00\x01"
_FIRST_TIMESTAMP = 123_456_789


@dataclass(frozen=True)
class Payload:
    """The content of one RTP packet."""

    at: float
    """Seconds at which it is sent."""
    timestamp: int
    content: bytes
    marker: bool = True


@dataclass(frozen=True)
class Track:
    """A stream beside the video: its lines of the session description and its packets.

    Args:
        sdp: the media line and what follows it, without the control line.
        type: RTP payload type.
        payloads: in order of time.
        refused: status with which the camera answers when a client wants it; None: it is served.
    """

    sdp: Sequence[str]
    type: int
    payloads: Sequence[Payload] = field(default=(), repr=False)
    refused: str | None = None


class Camera(socketserver.ThreadingTCPServer):
    """Serves one video at an adjustable speed.

    Args:
        film: H.264 or H.265 in a file.
        speed: how many seconds of the film pass in one second.
        stalls: True to fall silent at the end of the film instead of closing the connection.
        user: `name:password` that a client must give; None: anyone may look.
        tracks: other streams beside the video.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        film: Path,
        *,
        speed: float = 10.0,
        stalls: bool = False,
        user: str | None = None,
        tracks: Sequence[Track] = (),
    ) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.speed, self.stalls, self.user = speed, stalls, user
        self.clients = 0
        self.ended = threading.Event()
        self.tracks = [read_video(film), *tracks]

    def url(self, user: str = "") -> str:
        """The address to connect to."""
        return f"rtsp://{user + '@' if user else ''}127.0.0.1:{self.server_address[1]}/live"


def read_video(film: Path) -> Track:
    """Return the video of a film as RTP (RFC 6184 and RFC 7798, one NAL unit per packet)."""
    payloads: list[Payload] = []
    parameters: list[bytes] = []
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        annexb = av.BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        for packet in container.demux(stream):
            if packet.pts is None:  # the end
                continue
            at, timestamp = float(packet.dts * packet.time_base), round(float(packet.pts * packet.time_base) * 90_000)
            for filtered in annexb.filter(packet):
                units = [unit.rstrip(b"\x00") for unit in bytes(filtered).replace(_START, _START[1:]).split(_START[1:])]
                units = [unit for unit in units if unit]
                if not parameters:
                    parameters = [unit for unit in units if _is_parameter_set(codec, unit)]
                payloads += [Payload(at, timestamp, unit, unit is units[-1]) for unit in units]
    sets = [base64.b64encode(unit).decode() for unit in parameters]
    if codec == "h264":
        form = f"packetization-mode=1;sprop-parameter-sets={','.join(sets)}"
    else:
        form = ";".join(f"sprop-{name}={text}" for name, text in zip(("vps", "sps", "pps"), sets, strict=True))
    name = {"h264": "H264", "hevc": "H265"}[codec]
    return Track(["m=video 0 RTP/AVP 96", f"a=rtpmap:96 {name}/90000", f"a=fmtp:96 {form}"], 96, payloads)


def _is_parameter_set(codec: str, unit: bytes) -> bool:
    return unit[0] & 31 in (7, 8) if codec == "h264" else unit[0] >> 1 & 63 in (32, 33, 34)


def tone(codec: str, seconds: float) -> list[bytes]:
    """Encode a tone of 400 Hz, mono, 8 kHz, with a fixed number of bits per sample; return 20 ms each."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8_000, "mono", "s16"
    if codec == "g726":
        encoder.bit_rate = 32_000
    count = round(seconds * 50)
    samples = 8_000 * np.sin(2 * math.pi * 400 * np.arange(160 * count) / 8_000)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], "s16", "mono")
    frame.sample_rate, frame.pts = 8_000, 0
    content = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    size = len(content) // count
    return [content[size * i : size * (i + 1)] for i in range(count)]


class Session(socketserver.StreamRequestHandler):
    """One client."""

    server: Camera

    def setup(self) -> None:
        super().setup()
        self.channels: dict[int, int] = {}
        """Of each track that was set up, by its number."""

    def handle(self) -> None:
        try:
            while request := self._request():
                self._answer(*request)
        except OSError:  # the client went away
            pass

    def _request(self) -> tuple[str, str, dict[str, str]] | None:
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        if not lines:
            return None
        method, url, _ = lines[0].split()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return method, url, headers | {"authorization": self._authorization(lines)}

    def _authorization(self, lines: list[str]) -> str:
        return next((line.split(": ", 1)[1] for line in lines if line.lower().startswith("authorization: ")), "")

    def _answer(self, method: str, url: str, headers: dict[str, str]) -> None:
        expected = self.server.user and "Basic " + base64.b64encode(self.server.user.encode()).decode()
        more, body, status = {}, "", "200 OK"
        if expected and headers["authorization"] != expected:
            status, more = "401 Unauthorized", {"WWW-Authenticate": 'Basic realm="camera"'}
        elif method == "OPTIONS":
            more = {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}
        elif method == "DESCRIBE":
            body = self._description()
            more = {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP":
            number = int(url.rpartition("track")[2])
            if self.server.tracks[number].refused:
                status = self.server.tracks[number].refused
            else:
                channels = headers["transport"].partition("interleaved=")[2].partition(";")[0]
                self.channels[number] = int(channels.partition("-")[0])
                more = {"Transport": f"RTP/AVP/TCP;unicast;interleaved={channels}", "Session": "1"}
        elif method == "PLAY":
            more = {"Session": "1"}
        lines = [
            f"RTSP/1.0 {status}",
            f"CSeq: {headers['cseq']}",
            *(f"{name}: {value}" for name, value in more.items()),
        ]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            self._play()

    def _description(self) -> str:
        lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "t=0 0", "a=control:*"]
        for number, track in enumerate(self.server.tracks):
            lines += [*track.sdp, f"a=control:track{number}"]
        return "\r\n".join(lines) + "\r\n"

    def _play(self) -> None:
        self.server.clients += 1
        began = time.monotonic()
        sequences = dict.fromkeys(self.channels, 0)
        tracks = self.server.tracks
        packets = [(payload.at, number, payload) for number in self.channels for payload in tracks[number].payloads]
        for at, number, payload in sorted(packets, key=lambda packet: packet[:2]):
            time.sleep(max(0.0, began + at / self.server.speed - time.monotonic()))
            kind = tracks[number].type | payload.marker << 7
            sequence = sequences[number] & 0xFFFF
            header = struct.pack(
                ">BBHII", 0x80, kind, sequence, payload.timestamp + _FIRST_TIMESTAMP & 0xFFFFFFFF, 7 + number
            )
            content = header + payload.content
            self.wfile.write(struct.pack(">cBH", b"$", self.channels[number], len(content)) + content)
            sequences[number] += 1
        if self.server.stalls:
            self.server.ended.wait()
        self.connection.shutdown(socket.SHUT_RDWR)
