"""A camera: a small RTSP server (RFC 2326) that plays the H.264 of a film over TCP, again for each client."""

from __future__ import annotations

import base64
import socket
import socketserver
import struct
import threading
import time
from pathlib import Path

import av

_START = b"\x00\x00\x00\x01"


class Camera(socketserver.ThreadingTCPServer):
    """Serves one film at a pace.

    Args:
        film: H.264 in MP4.
        speed: how many seconds of the film pass in one second.
        stalls: True to fall silent at the end of the film instead of closing the connection.
        user: `name:password` that a client must give; None: anyone may look.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, film: Path, *, speed: float = 10.0, stalls: bool = False, user: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.speed, self.stalls, self.user = speed, stalls, user
        self.clients = 0
        self.ended = threading.Event()
        self.parameters, self.units = read_units(film)

    def url(self, user: str = "") -> str:
        """The address to connect to."""
        return f"rtsp://{user + '@' if user else ''}127.0.0.1:{self.server_address[1]}/live"


def read_units(film: Path) -> tuple[list[bytes], list[tuple[float, list[bytes]]]]:
    """Return the parameter sets of a film, and per frame its time and its NAL units."""
    frames = []
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        annexb = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            time_of = float(packet.pts * packet.time_base) if packet.pts is not None else 0.0
            for filtered in annexb.filter(packet) if packet.size else ():
                units = [unit.strip(b"\x00") for unit in bytes(filtered).replace(_START, _START[1:]).split(_START[1:])]
                frames.append((time_of, [unit for unit in units if unit]))
    parameters = [unit for unit in frames[0][1] if unit[0] & 31 in (7, 8)]
    return parameters, frames


class Session(socketserver.StreamRequestHandler):
    """One client."""

    server: Camera

    def handle(self) -> None:
        try:
            while request := self._request():
                self._answer(*request)
        except OSError:  # the client went away
            pass

    def _request(self) -> tuple[str, dict[str, str]] | None:
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        if not lines:
            return None
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return lines[0].split()[0], headers | {"authorization": self._authorization(lines)}

    def _authorization(self, lines: list[str]) -> str:
        return next((line.split(": ", 1)[1] for line in lines if line.lower().startswith("authorization: ")), "")

    def _answer(self, method: str, headers: dict[str, str]) -> None:
        expected = self.server.user and "Basic " + base64.b64encode(self.server.user.encode()).decode()
        more, body, status = {}, "", "200 OK"
        if expected and headers["authorization"] != expected:
            status, more = "401 Unauthorized", {"WWW-Authenticate": 'Basic realm="camera"'}
        elif method == "OPTIONS":
            more = {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"}
        elif method == "DESCRIBE":
            sets = ",".join(base64.b64encode(unit).decode() for unit in self.server.parameters)
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n"
                "a=control:track1\r\n"
            )
            more = {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP":
            more = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1", "Session": "1"}
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

    def _play(self) -> None:
        self.server.clients += 1
        began, sequence = time.monotonic(), 0
        for at, units in self.server.units:
            time.sleep(max(0.0, began + at / self.server.speed - time.monotonic()))
            for unit in units:
                last = unit is units[-1]
                header = struct.pack(
                    ">BBHII", 0x80, 96 | last << 7, sequence & 0xFFFF, round(at * 90_000) & 0xFFFFFFFF, 7
                )
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(header) + len(unit)) + header + unit)
                sequence += 1
        if self.server.stalls:
            self.server.ended.wait()
        self.connection.shutdown(socket.SHUT_RDWR)
