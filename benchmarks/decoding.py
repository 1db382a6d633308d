"""Measure the CPU time of decoding: ffmpeg and PyAV only, and our reader at the frame rates of the suites.

    python benchmarks/decoding.py FILM [--runs 5]

FILM is first encoded at 320x240 and 1920x1080 as H.264 with 25 frames per second and a key frame every two seconds, as
cameras send them. All decoders use one thread and run alternately. The table shows medians of CPU seconds. The command
`ffmpeg` is included if it is installed. At one frame in two seconds the reader decodes key frames only; the row below
decodes all frames.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest.mock import patch

import av
from ingest import FPS, make_film

from var_plugin.media import frames as our_frames
from var_plugin.media.frames import FrameReader

SIZES = {"320x240": (320, 240), "1080p": (1920, 1080)}
NETWORK_SIZE = (224, 224)


def by_pyav(film: Path) -> None:
    """Decode every frame with PyAV and keep none."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def by_ffmpeg(film: Path) -> None:
    """Decode every frame with the ffmpeg command."""
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(film), "-map", "0:v", "-f", "null", "-"]
    subprocess.run(command, check=True)  # noqa: S603


def ours(film: Path, rate: float, *, all_of_them: bool = False) -> None:
    """Read frames at `rate` frames per second in the size of a network."""
    without_key_frames = patch.object(our_frames, "enough_key_frames", lambda *_: None)
    one_thread = patch.object(our_frames, "_THREADS", 1)
    with one_thread:
        if all_of_them:
            with without_key_frames:
                list(FrameReader(film, rate=rate, size=NETWORK_SIZE))
        else:
            list(FrameReader(film, rate=rate, size=NETWORK_SIZE))


def cpu_time(work: Callable[[], None]) -> float:
    """Return the CPU seconds of `work`, including those of child processes."""

    def now() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in usages)

    started = now()
    work()
    return now() - started


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height) in SIZES.items():
            film = Path(folder, f"{name}.mp4")
            seconds = make_film(arguments.film, film, width=width, height=height, key_frames=2 * FPS)
            ways: dict[str, Callable[[], None]] = {"PyAV only, all frames": lambda film=film: by_pyav(film)}
            if shutil.which("ffmpeg"):
                ways["ffmpeg only, all frames"] = lambda film=film: by_ffmpeg(film)
            ways["ours, two frames per second"] = lambda film=film: ours(film, 2)
            ways["ours, one frame in two seconds: key frames"] = lambda film=film: ours(film, 0.5)
            ways["ours, one frame in two seconds, all decoded"] = lambda film=film: ours(film, 0.5, all_of_them=True)
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(arguments.runs):
                for way, work in ways.items():
                    times[way].append(cpu_time(work))
            first = median(times["PyAV only, all frames"])
            lines = [f"\n| {seconds:.0f} s of {name} | CPU, s | times real time | × PyAV only |", "|---|---|---|---|"]
            for way, runs in times.items():
                middle = median(runs)
                lines.append(f"| {way} | {middle:.2f} | {seconds / middle:.0f} | {middle / first:.2f} |")
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
