"""How fast footage is indexed with the `lite` suite, all streams on, beside what decoding and embedding alone cost.

    python benchmarks/ingest.py FILM [--runs 5]

FILM is made 320x240 at 25 frames a second first, H.264 with its sound. The floor is measured in the same run: the CPU
seconds of decoding every image and every sound once (PyAV, nothing else), and of the networks on frames, motion
images and windows of sound that are ready in memory. Two cores could do both in half their sum; the ratio says how
near the whole of indexing comes to that, writing to Milvus Lite and all checks included. Runs alternate; medians.
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
    """Write the images of `source` at 25 a second, and its sound; return the seconds."""
    frames = FrameReader(source, rate=FPS, size=(height, width))
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        images = made.add_stream("libx264", rate=FPS, width=width, height=height)
        images.pix_fmt = "yuv420p"
        images.codec_context.gop_size = key_frames
        heard = given.streams.best("audio")
        sound = made.add_stream_from_template(heard) if heard else None
        written = 0
        for frame in frames:
            while written / FPS <= frame.time + 0.5 / FPS:  # footage of fewer frames repeats them
                made.mux(images.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
                written += 1
        made.mux(images.encode(None))
        for packet in given.demux(heard) if sound else ():
            if packet.dts is not None:
                packet.stream = sound
                made.mux(packet)
    return written / FPS


def decode(film: Path) -> None:
    """Decode everything once, on one thread, and keep nothing."""
    for kind in ("video", "audio"):
        with av.open(str(film)) as container:
            stream = container.streams.best(kind)
            if stream:
                stream.thread_type, stream.codec_context.thread_count = "NONE", 1
                for _ in container.decode(stream):
                    pass


def embedder(film: Path, suite: vp.Suite) -> Callable[[], None]:
    """Return what runs the networks alone, on input that is ready."""
    scene, sound = suite.encoders["scene"], suite.encoders["sound"]
    if scene.video_encoder is None or sound.audio is None:
        raise SystemExit("the suite has no encoder for footage")
    extractor, listener = scene.video_encoder.extractor, sound.audio
    frames = list(FrameReader(film, rate=settings().fps, size=extractor.size, motion=extractor.motion_size))
    windows = np.stack([window for _, window in Windows([read_audio(film)], listener.window, listener.hop)])

    def embed() -> None:
        for first in range(0, len(frames), BATCH):
            extractor.encode(frames[first : first + BATCH])
        listener.encode(windows)

    return embed


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds, those of children that live included."""
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
        for run in range(-1, arguments.runs):  # the first is for loading
            for name, work in zip(rows, (lambda: decode(film), embed, ingest), strict=True):
                found = measured(work)
                if run >= 0:
                    rows[name].append(found)
            for video in index.videos():
                index.delete(video.video_id)
    wall = {name: median(found[0] for found in runs) for name, runs in rows.items()}
    cpu = {name: median(found[1] for found in runs) for name, runs in rows.items()}
    floor = (cpu["decoding alone"] + cpu["networks alone"]) / CORES
    lines = [f"{seconds:.0f} s of film; medians of {arguments.runs}", ""]
    lines += ["| | wall, s | CPU, s | times real time |", "|---|---|---|---|"]
    lines += [f"| {name} | {wall[name]:.2f} | {cpu[name]:.2f} | {seconds / wall[name]:.1f} |" for name in rows]
    lines += ["", f"indexing over the floor on {CORES} cores ({floor:.2f} s): {wall['indexing'] / floor:.2f}"]
    lines += [f"CPU time of indexing over that of both: {cpu['indexing'] / (floor * CORES):.2f}"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
