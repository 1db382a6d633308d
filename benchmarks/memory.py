"""Measure the memory and time of indexing by hours of footage, in one file or in many.

    python benchmarks/memory.py FILM [--hours 1 10] [--stand-ins]
    python benchmarks/memory.py --files 1 10 100

FILM is repeated without encoding until it has that length. Each file is indexed into its own index in its own process.
The kernel's peak memory is shown for the process (networks, Milvus Lite) and for its decoders.

With --stand-ins the three networks of `lite` are loaded and run once and then replaced with noise of the same
dimension, so that ten hours take minutes. The memory of the networks does not depend on the footage. All other steps
are unchanged, because no two seconds have equal vectors.

With --files nothing is decoded: videos of an hour with random clip features are stored one after another in one index.
Only this part can depend on the size of the index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

import var_plugin as vp
from var_plugin.config import CameraClock, settings
from var_plugin.encoders.audio_features import AudioFeatures
from var_plugin.encoders.backbones.motion import SIDE, MotionBackbone
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.lite.audio import LiteAudioEncoder
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.weights import LITE
from var_plugin.ingest.embed import StreamPlan, VideoEmbeddings, build_audio_rows
from var_plugin.ingest.pipeline import VideoSource, prepare

_PAUSE = Fraction(1, 25)  # seconds between two repetitions


def repeat(source: Path, target: Path, hours: float) -> None:
    """Write the packets of a film repeatedly."""
    with av.open(str(source)) as source_file, av.open(str(target), "w") as target_file:
        kinds = [stream for kind in ("video", "audio") if (stream := source_file.streams.best(kind))]
        streams = {stream.index: target_file.add_stream_from_template(stream) for stream in kinds}
        latest = Fraction(0)
        while latest < hours * 3600:
            start = latest
            source_file.seek(0)
            for packet in source_file.demux(kinds):
                if packet.dts is None:
                    continue
                shift = int(start / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                latest = max(latest, (packet.pts + packet.duration) * packet.time_base + _PAUSE)
                packet.stream = streams[packet.stream.index]
                target_file.mux(packet)


def peak(pid: int | str) -> float:
    """Return the peak memory of a living process in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def stand_in() -> None:
    """Replace the outputs of the networks with noise."""
    chance = np.random.default_rng(0)

    def replace(encoder: Any, method: str, example: Any) -> None:
        width = getattr(encoder, method)(example).shape[1]

        def noise(_: Any, items: Any) -> np.ndarray:
            return l2_normalize(chance.standard_normal((len(items), width), np.float32))

        setattr(type(encoder), method, noise)

    replace(LiteImageEncoder(LITE, settings().cache), "encode", np.zeros((1, 224, 224, 3), np.uint8))
    replace(MotionBackbone(settings().cache), "features", np.zeros((1, SIDE, SIDE, 3), np.uint8))
    replace(LiteAudioEncoder(), "encode", np.zeros((1, LiteAudioEncoder.window), np.float32))


def index_one(film: Path) -> None:
    """Index a film and print the seconds, the peaks of this process and of its decoders in MiB, and the rows."""
    with tempfile.TemporaryDirectory() as folder, vp.open_index(Path(folder, "index.db"), suite="lite") as index:
        started = time.perf_counter()
        receipt = index.add(film)
        if not receipt.ok:
            raise SystemExit(str(receipt))
        children = Path("/proc/self/task").glob("*/children")
        decoders = sum(peak(child) for task in children for child in task.read_text().split())
        sys.stdout.write(f"{time.perf_counter() - started} {peak('self')} {decoders} {sum(index.size().values())}\n")


def noise_hour(suite: vp.Suite, number: int) -> VideoEmbeddings:
    """Return the embeddings of an hour of random clips and audio windows."""
    random = np.random.default_rng(number)

    def unit_vectors(count: int, space: str) -> np.ndarray:
        return l2_normalize(random.standard_normal((count, suite.spaces[space].dim), np.float32))

    seconds, clips = 3_600.0, 7_200
    times, usable = np.arange(clips) / 2, np.ones(clips, bool)
    clip_features = ClipFeatures(times=times, vectors=unit_vectors(clips, "scene"), usable=usable, end=seconds)
    middles = np.arange(7_500) * 0.48
    loudness = random.random(len(middles), np.float32) + 0.1
    audio_features = AudioFeatures(
        times=middles, vectors=unit_vectors(len(middles), "sound"), loudness=loudness, end=seconds
    )
    rows = build_audio_rows(audio_features, settings())
    return StreamPlan(suite).build_rows([clip_features], {"sound": rows} if rows else {}, None, settings())


def store_many(sizes: Sequence[int]) -> None:
    """Print the time to store an hour by the hours in the index."""
    sys.stdout.write(
        "| hours | rows | wall, s an hour | CPU, s an hour | peak, MiB | index, MB |\n|---|---|---|---|---|---|\n"
    )
    with (
        tempfile.TemporaryDirectory() as films,
        tempfile.TemporaryDirectory() as folder,
        vp.open_index(Path(folder, "index.db"), suite="lite") as index,
    ):
        took: list[tuple[float, float]] = []
        for number in range(max(sizes)):
            wall, cpu = time.perf_counter(), time.process_time()
            film = Path(films, f"{number}.mp4")
            film.write_text(str(number))  # the content is hashed, not decoded
            source = VideoSource(film, "camera", datetime.now(UTC), CameraClock())
            embeddings = partial(noise_hour, index.suite, number)
            with prepare(index._inner, source, source.fingerprint(), embeddings) as pending:
                pending.store()
            took.append((time.perf_counter() - wall, time.process_time() - cpu))
            if number + 1 in sizes:
                last = np.median(took[-5:], axis=0)
                disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
                numbers = (number + 1, sum(index.size().values()), *last, peak("self"), disk)
                sys.stdout.write("| " + " | ".join(f"{each:,.6g}" for each in numbers) + " |\n")
                sys.stdout.flush()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, nargs="?")
    parser.add_argument("--files", type=int, nargs="+")
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--stand-ins", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        if arguments.stand_ins:
            stand_in()
        index_one(arguments.film)
        return
    if arguments.files:
        store_many(arguments.files)
        return
    lines = ["| hours | minutes | rows | peak, MiB | decoders, MiB | relative to the first |"]
    lines += ["|---|---|---|---|---|---|"]
    first = None
    for hours in arguments.hours:
        with tempfile.TemporaryDirectory() as folder:
            film = Path(folder, "film.mkv")
            repeat(arguments.film, film, hours)
            command = [sys.executable, __file__, str(film), "--one", *["--stand-ins"] * arguments.stand_ins]
            completed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        seconds, process, decoders, rows = map(float, completed.stdout.split())
        first = first or process + decoders
        share = (process + decoders) / first
        lines.append(f"| {hours:g} | {seconds / 60:.1f} | {rows:.0f} | {process:.0f} | {decoders:.0f} | {share:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
