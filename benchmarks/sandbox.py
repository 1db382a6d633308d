"""Measure the cost of the sandbox: decode the same videos in this process and in the sandbox, alternately.

    python benchmarks/sandbox.py [VIDEO ...]

Without arguments it encodes two videos, 320x240 and 1080p. Each video is decoded --runs times both ways at 2 frames per
second and 224x224, first without motion images, then with the 320x320 motion images of the `lite` suite. It prints the
median wall time of the caller, the median CPU time of both processes, the ratio of the medians, and the range of the
ratios of the pairs. On idle cores the child also decodes ahead while its parent embeds, which is not measured here.
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

from var_plugin.encoders.backbones.motion import SIDE
from var_plugin.media.frames import FrameReader
from var_plugin.media.sandbox import client as sandbox

MOTIONS = {"frames": None, "frames and motion images": SIDE}


def encode(path: Path, width: int, height: int, seconds: int) -> Path:
    """Write a video of moving blocks with some noise at 30 frames per second."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, width=width, height=height, options={"preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 60
        base = np.kron(rng.integers(0, 255, (height // 40, width // 40, 3), np.uint8), np.ones((40, 40, 1), np.uint8))
        for i in range(seconds * 30):
            image = np.roll(base, (i, 2 * i), axis=(0, 1)) ^ rng.integers(0, 16, (height // 40 * 40, 1, 1), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(width, height)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def measure(
    read: Callable[..., FrameReader | sandbox.Frames], video: Path, motion: int | None = None
) -> tuple[float, float]:
    """Decode a video. Return wall seconds and CPU seconds, including those of the child."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    count = sum(1 for _ in read(video, rate=2.0, size=(224, 224), motion=motion))
    if not count:
        raise SystemExit(f"{video}: no frames")
    return time.perf_counter() - wall, cpu_seconds() - cpu


def main() -> None:
    """Print one line per video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="pairs for each video")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [
            encode(Path(folder, "320x240.mp4"), 320, 240, 300),
            encode(Path(folder, "1920x1080.mp4"), 1920, 1080, 20),
        ]
        for video in videos:
            measure(FrameReader, video)
            started = time.perf_counter()
            measure(sandbox.Frames, video)
            first = time.perf_counter() - started
            sys.stdout.write(f"{video.name}: first file, child started for it: {first:.2f} s\n")
            for name, motion in MOTIONS.items():
                pairs = [
                    (measure(FrameReader, video, motion), measure(sandbox.Frames, video, motion))
                    for _ in range(options.runs)
                ]
                sys.stdout.write(f"{video.name}, {name}: {compare('wall', pairs, 0)}; {compare('CPU', pairs, 1)}\n")


def compare(what: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]], unit: int) -> str:
    """Return the medians of both ways, their ratio and the range of the ratios of the pairs."""
    direct, sandboxed = (median(pair[side][unit] for pair in pairs) for side in (0, 1))
    ratios = sorted(pair[1][unit] / pair[0][unit] for pair in pairs)
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
    return f"{what} {direct:.2f} s, sandboxed {sandboxed:.2f} s, ratio {sandboxed / direct:.3f} ({spread})"


if __name__ == "__main__":
    main()
