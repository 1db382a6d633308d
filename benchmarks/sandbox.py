"""What the media sandbox costs: the same films decoded in this process and in the sandbox, alternately.

    python benchmarks/sandbox.py [FILM ...]

Without films it encodes two of its own, 320x240 and 1080p. Each is decoded --runs times both ways, 2 frames a second at
224x224, first without motion images, then with those of 320x320 that the `lite` suite looks at. The ratio of the
medians is the price; the range is that of the pairs. Both the wall time of the consumer and the CPU time of both
processes are shown: on idle cores the child also works ahead while its parent embeds, which is not counted here.
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

MOTIONS = {"stills": None, "stills and motion": SIDE}


def encode(path: Path, width: int, height: int, seconds: int) -> Path:
    """Write a film of moving blocks with some noise, 30 frames a second."""
    chance = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, width=width, height=height, options={"preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 60
        base = np.kron(
            chance.integers(0, 255, (height // 40, width // 40, 3), np.uint8), np.ones((40, 40, 1), np.uint8)
        )
        for i in range(seconds * 30):
            image = np.roll(base, (i, 2 * i), axis=(0, 1)) ^ chance.integers(0, 16, (height // 40 * 40, 1, 1), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(width, height)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def measure(
    read: Callable[..., FrameReader | sandbox.Frames], film: Path, motion: int | None = None
) -> tuple[float, float]:
    """Decode once; return wall and CPU seconds, those of the child included."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    count = sum(1 for _ in read(film, rate=2.0, size=(224, 224), motion=motion))
    if not count:
        raise SystemExit(f"{film}: no frames")
    return time.perf_counter() - wall, cpu_seconds() - cpu


def main() -> None:
    """Print one line per film."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="pairs for each film")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        films = options.films or [
            encode(Path(folder, "320x240.mp4"), 320, 240, 300),
            encode(Path(folder, "1920x1080.mp4"), 1920, 1080, 20),
        ]
        for film in films:
            measure(FrameReader, film)
            started = time.perf_counter()
            measure(sandbox.Frames, film)
            first = time.perf_counter() - started
            sys.stdout.write(f"{film.name}: first file, child started for it: {first:.2f} s\n")
            for name, motion in MOTIONS.items():
                pairs = [
                    (measure(FrameReader, film, motion), measure(sandbox.Frames, film, motion))
                    for _ in range(options.runs)
                ]
                sys.stdout.write(f"{film.name}, {name}: {compared('wall', pairs, 0)}; {compared('CPU', pairs, 1)}\n")


def compared(what: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]], unit: int) -> str:
    """Say how long both ways took, in the median, and what one is to the other."""
    here, sandboxed = (median(pair[side][unit] for pair in pairs) for side in (0, 1))
    ratios = sorted(pair[1][unit] / pair[0][unit] for pair in pairs)
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
    return f"{what} {here:.2f} s, sandboxed {sandboxed:.2f} s, ratio {sandboxed / here:.3f} ({spread})"


if __name__ == "__main__":
    main()
