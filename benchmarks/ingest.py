"""Measure the speed of indexing with the `lite` suite, relative to decoding and embedding only.

    python benchmarks/ingest.py FILM [--runs 5]

FILM is first encoded at 320x240 with 25 frames per second as H.264, with its audio. The floor is measured in the same
run: the CPU seconds of decoding all video and audio once (PyAV only), and of the networks on frames, motion images and
audio windows in memory. Two cores could do both in half of their sum. The ratio compares the whole of indexing with
that, including writes to Milvus Lite and all checks. Runs alternate; the table shows medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import numpy as np
from cpu import cpu_seconds

import var_plugin as vp
from var_plugin.config import settings
from var_plugin.encoders.audio_features import Windows
from var_plugin.media.audio import read_audio
from var_plugin.media.frames import FrameReader

WIDTH, HEIGHT, FPS = 320, 240, 25
CORES = 2
BATCH = 16


def make_film(source: Path, target: Path, *, width: int = WIDTH, height: int = HEIGHT, key_frames: int = 250) -> float:
    """Write the frames of `source` at 25 frames per second, with its audio; return the duration in seconds."""
    frames = FrameReader(source, rate=FPS, size=(height, width))
    with av.open(str(source)) as source_file, av.open(str(target), "w") as target_file:
        images = target_file.add_stream("libx264", rate=FPS, width=width, height=height)
        images.pix_fmt = "yuv420p"
        images.codec_context.gop_size = key_frames
        audio = source_file.streams.best("audio")
        copied = target_file.add_stream_from_template(audio) if audio else None
        written = 0
        for frame in frames:
            while written / FPS <= frame.time + 0.5 / FPS:  # repeat frames if the source has fewer
                target_file.mux(images.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
                written += 1
        target_file.mux(images.encode(None))
        for packet in source_file.demux(audio) if copied else ():
            if packet.dts is not None:
                packet.stream = copied
                target_file.mux(packet)
    return written / FPS


def decode(film: Path) -> None:
    """Decode everything once on one thread."""
    for kind in ("video", "audio"):
        with av.open(str(film)) as container:
            stream = container.streams.best(kind)
            if stream:
                stream.thread_type, stream.codec_context.thread_count = "NONE", 1
                for _ in container.decode(stream):
                    pass


def embedder(film: Path, suite: vp.Suite) -> Callable[[], None]:
    """Return a function that runs only the networks on inputs in memory."""
    scene, sound = suite.encoders["scene"], suite.encoders["sound"]
    if scene.video_encoder is None or sound.audio is None:
        raise SystemExit("the suite has no encoder for video or audio")
    extractor, listener = scene.video_encoder.extractor, sound.audio
    frames = list(FrameReader(film, rate=settings().fps, size=extractor.size, motion=extractor.motion_size))
    windows = np.stack([window for _, window in Windows([read_audio(film)], listener.window, listener.hop)])

    def embed() -> None:
        for first in range(0, len(frames), BATCH):
            extractor.encode(frames[first : first + BATCH])
        listener.encode(windows)

    return embed


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of `work`, including those of living children."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, vp.open_index(Path(folder, "index.db"), suite="lite") as index:
        film = Path(folder, "film.mp4")
        seconds = make_film(arguments.film, film)
        embed = embedder(film, index.suite)

        def ingest() -> None:
            if not (receipt := index.add(film)).ok:
                raise SystemExit(str(receipt))

        rows: dict[str, list[tuple[float, float]]] = {"decoding alone": [], "networks alone": [], "indexing": []}
        for run in range(-1, arguments.runs):  # the first run loads the models
            for name, work in zip(rows, (lambda: decode(film), embed, ingest), strict=True):
                times = measured(work)
                if run >= 0:
                    rows[name].append(times)
            for video in index.videos():
                index.delete(video.video_id)
    wall = {name: median(times[0] for times in runs) for name, runs in rows.items()}
    cpu = {name: median(times[1] for times in runs) for name, runs in rows.items()}
    floor = (cpu["decoding alone"] + cpu["networks alone"]) / CORES
    lines = [f"{seconds:.0f} s of video; medians of {arguments.runs}", ""]
    lines += ["| | wall, s | CPU, s | times real time |", "|---|---|---|---|"]
    lines += [f"| {name} | {wall[name]:.2f} | {cpu[name]:.2f} | {seconds / wall[name]:.1f} |" for name in rows]
    lines += [""]
    lines += [
        f"wall time of indexing relative to the floor on {CORES} cores ({floor:.2f} s): {wall['indexing'] / floor:.2f}"
    ]
    lines += [f"CPU time of indexing relative to decoding and networks: {cpu['indexing'] / (floor * CORES):.2f}"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
