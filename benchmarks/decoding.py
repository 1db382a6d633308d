"""What decoding costs: ffmpeg and PyAV alone, beside our reader at the rates that suites ask for.

    python benchmarks/decoding.py FILM [--runs 5]

FILM is made 320x240 and 1920x1080 first, H.264 at 25 images a second, a key frame every two seconds as cameras send
them. All decode on one thread in turn; CPU seconds, medians. The command `ffmpeg` takes part where it is installed. At
one image in two seconds the key frames are enough; the line below has the same with all images decoded.
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
SEEN = (224, 224)


def by_pyav(film: Path) -> None:
    """Decode every image and keep none."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def by_ffmpeg(film: Path) -> None:
    """Decode every image by the command."""
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(film), "-map", "0:v", "-f", "null", "-"]
    subprocess.run(command, check=True)  # noqa: S603


def ours(film: Path, rate: float, *, all_of_them: bool = False) -> None:
    """Read the images of a rate at the size of a network."""
    only_dense = patch.object(our_frames, "enough_key_frames", lambda *_: None)
    one_thread = patch.object(our_frames, "_THREADS", 1)
    with one_thread:
        if all_of_them:
            with only_dense:
                list(FrameReader(film, rate=rate, size=SEEN))
        else:
            list(FrameReader(film, rate=rate, size=SEEN))


def spent(work: Callable[[], None]) -> float:
    """Return CPU seconds, those of a command that was run included."""

    def now() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

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
            ways: dict[str, Callable[[], None]] = {"PyAV alone, all images": lambda film=film: by_pyav(film)}
            if shutil.which("ffmpeg"):
                ways["ffmpeg alone, all images"] = lambda film=film: by_ffmpeg(film)
            ways["ours, two images a second"] = lambda film=film: ours(film, 2)
            ways["ours, one in two seconds: key frames"] = lambda film=film: ours(film, 0.5)
            ways["ours, one in two seconds, all decoded"] = lambda film=film: ours(film, 0.5, all_of_them=True)
            took: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(arguments.runs):
                for way, work in ways.items():
                    took[way].append(spent(work))
            first = median(took["PyAV alone, all images"])
            lines = [f"\n| {seconds:.0f} s of {name} | CPU, s | times real time | × PyAV alone |", "|---|---|---|---|"]
            for way, runs in took.items():
                middle = median(runs)
                lines.append(f"| {way} | {middle:.2f} | {seconds / middle:.0f} | {middle / first:.2f} |")
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
