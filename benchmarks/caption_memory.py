"""Measure the event scores of the caption memory of the lite suite on labelled images, clips and recordings.

    python benchmarks/caption_memory.py DATA [--part validation|test] [--vectors FILE] [--heads FOLDER]

DATA is the folder of the collections that tests/data.py describes. Without it, the script says so and ends. Sources
(scenes, films, recordings) are divided into halves by their hash: constants are chosen on `validation`, figures are
reported on `test`. Each task compares labelled items with normal items of the same collection, and, in a second column,
with the normal items of all camera collections. Intervals are 95 % bootstrap intervals over sources. The baseline is
the similarity to the name of the kind. Chance is 0.5. --vectors stores the vectors, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from comparing import print_line, table
from heads import HELP, lite_with_heads
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from recipes.lite.cctv_fights import read_cctv_fights
from var_plugin.config import settings
from var_plugin.encoders.audio_features import audio_vector
from var_plugin.encoders.caption_memory import CaptionMemory
from var_plugin.encoders.clip_features import embed_clips
from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnsupportedModalityError

NORMAL = "normal"
CAMERAS = ("fire_cctv", "accident_cctv", "accident clips", "weapon_cctv", "fall clips", "cctv_fights", "normal clips")
"""Collections of camera footage."""
RESAMPLES = 300
ACCIDENT_FPS = 6.0
"""Labels per second of the accident clips."""


@dataclass(frozen=True)
class Item:
    """A labelled item of a collection."""

    collection: str
    label: str
    source: str
    """Items of one source belong to the same half."""
    unit: str = ""
    """Unit of resampling, if it is smaller than the source."""


@dataclass(frozen=True)
class Task:
    """Items with one of the labels are to score higher for the kind than normal items of the collection."""

    kind: str
    collection: str
    labels: tuple[str, ...]
    space: str = "scene"
    normal: tuple[str, ...] = (NORMAL,)


BACKGROUND = (
    "air conditioner", "children playing", "dog bark", "drilling", "engine idling", "jackhammer", "street music",
    "car horn",
)  # fmt: skip
URBANSOUND8K = (
    "air conditioner", "car horn", "children playing", "dog bark", "drilling", "engine idling", "gun shot",
    "jackhammer", "siren", "street music",
)  # fmt: skip
TASKS = (
    Task("fire", "fire_cctv", ("fire", "fire_smoke")),
    Task("fire", "fire_pictures", ("fire",)),
    Task("smoke", "fire_cctv", ("smoke", "fire_smoke")),
    Task("traffic accident", "accident_cctv", ("accident",)),
    Task("traffic accident", "accident clips", ("accident",)),
    Task("weapon", "weapon_cctv", ("armed_person",)),
    Task("person lying down", "fall_pictures", ("fallen",)),
    Task("person lying down", "fall clips", ("fall", "lying")),
    Task("fall", "fall clips", ("fall",)),
    Task("shooting", "urbansound8k", ("gun shot",), "sound", BACKGROUND),
    Task("siren", "urbansound8k", ("siren",), "sound", BACKGROUND),
    Task("fire", "esc10", ("Fire crackling",), "sound"),
)


def images(data: Path, suite: Suite) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Yield the labelled images."""
    encoder = suite.encoders["scene"].image
    if encoder is None:
        raise UnsupportedModalityError("the suite has no image encoder")
    for name in ("accident_cctv", "fire_cctv", "fire_pictures", "weapon_cctv", "fall_pictures"):
        for row in read_rows(data / name / "index.csv"):
            # Images of persons without a weapon, and without persons, are normal.
            label = NORMAL if row["label"] in ("none", "person") else row["label"]
            image = Image.open(data / name / row["file"]).convert("RGB")
            image = image.resize(encoder.size[::-1], Image.Resampling.BICUBIC)
            unit = row["file"] if name == "fall_pictures" else ""  # stock images without a common scene
            yield Item(name, label, f"{name}/{row['source']}", unit), encoder.encode([np.asarray(image)])[0]


def clips(data: Path, suite: Suite) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Yield the clips of the videos."""
    for row in read_rows(data / "accident_cctv" / "clips.csv"):
        labels = row["accident_per_frame"]
        for start, end, vector in video(data / "accident_cctv" / row["file"], suite):
            frames = labels[int(start * ACCIDENT_FPS) : max(int(start * ACCIDENT_FPS) + 1, round(end * ACCIDENT_FPS))]
            accident = 2 * frames.count("1") >= max(1, len(frames))
            source = f"accident_cctv/{row['scene']}"
            yield Item("accident clips", "accident" if accident else NORMAL, source), vector
    for row in read_rows(data / "fall_clips" / "index.csv"):
        spans = re.findall(r"[Ff]all\w*[^\[;]*\[([\d.]+) to ([\d.]+)\]", row["authors_note"])
        for start, end, vector in video(data / "fall_clips" / row["file"], suite):
            label = NORMAL
            if any(start < float(last) and end > float(first) for first, last in spans):
                label = "fall"
            elif row["label"] == "fall" and start >= max(float(last) for _, last in spans):
                label = "lying"
            source = f"fall_clips/{row['scene']}"
            yield Item("fall clips", label, source, row["file"]), vector
    for row in read_rows(data / "normal_clips" / "index.csv"):
        for _, _, vector in video(data / "normal_clips" / row["file"], suite):
            yield Item("normal clips", NORMAL, f"normal_clips/{row['source']}"), vector
    for clip in read_cctv_fights(data / "cctv_fights"):
        for _, _, vector in video(clip.path, suite):
            yield Item("cctv_fights", "fight" if clip.fight else NORMAL, f"cctv_fights/{clip.source}"), vector


def video(path: Path, suite: Suite) -> Iterator[tuple[float, float, NDArray[np.float32]]]:
    """Yield start, end and vector of each clip."""
    encoder = suite.encoders_for("video").video_encoder
    if encoder is None:
        raise UnsupportedModalityError("the suite has no video encoder")
    features = embed_clips(path, encoder.extractor, fps=settings().fps)
    vectors = encoder.embed_spans(features.vectors, [slice(i, i + 1) for i in range(len(features.times))])
    yield from zip(features.times, [*features.times[1:], features.end], vectors, strict=True)


def recordings(data: Path, suite: Suite) -> Iterator[tuple[Item, NDArray[np.float32]]]:
    """Yield the recordings."""
    encoder = suite.encoders["sound"].audio
    if encoder is None:
        raise UnsupportedModalityError("the suite has no audio encoder")
    for path in sorted((data / "audio" / "urbansound8k").rglob("*.opus")):
        source, label = path.stem.split("-")[:2]
        yield Item("urbansound8k", URBANSOUND8K[int(label)], f"urbansound8k/{source}"), audio_vector(path, encoder)
    for path in sorted((data / "audio" / "esc10").rglob("*.ogg")):
        label = path.parent.name[6:]
        item = Item("esc10", label if label == "Fire crackling" else NORMAL, f"esc10/{path.stem.split('-')[1]}")
        yield item, audio_vector(path, encoder)


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def load(data: Path, suite: Suite, file: Path | None) -> dict[str, tuple[NDArray[np.str_], NDArray[np.float32]]]:
    """Return the items (n, 4) and vectors (n, dim) per space, from `file` if it exists."""
    if file and file.exists():
        stored = np.load(file)
        return {space: (stored[f"{space}-items"], stored[f"{space}-vectors"]) for space in ("scene", "sound")}
    pairs = {"scene": [*images(data, suite), *clips(data, suite)], "sound": [*recordings(data, suite)]}
    result = {
        space: (
            np.array([(item.collection, item.label, item.source, item.unit or item.source) for item, _ in items]),
            np.stack([vector for _, vector in items]),
        )
        for space, items in pairs.items()
    }
    if file:
        parts = {
            f"{space}-{name}": part
            for space in result
            for name, part in zip(("items", "vectors"), result[space], strict=True)
        }
        np.savez(file, **parts)
    return result


def in_part(items: NDArray[np.str_], part: str) -> NDArray[np.bool_]:
    """Return which items belong to a half of the sources."""
    halves = np.array([int(hashlib.sha256(source.encode()).hexdigest(), 16) % 2 for source in items[:, 2]])
    return halves == ("validation", "test").index(part)


def auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve."""
    count = positive.sum()
    ranks = rankdata(scores)[positive].sum() - count * (count + 1) / 2
    return float(ranks / (count * (~positive).sum()))


def interval(
    positive: NDArray[np.bool_], scores: NDArray[np.floating], sources: NDArray[np.str_]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the AUC over sources."""
    generator = np.random.default_rng(0)
    rows = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    values = []
    for _ in range(RESAMPLES):
        sample = np.concatenate([rows[i] for i in generator.integers(len(rows), size=len(rows))])
        if 0 < positive[sample].sum() < len(sample):
            values.append(auc(positive[sample], scores[sample]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def measure(suite: Suite, part: str, spaces: dict[str, tuple[NDArray[np.str_], NDArray[np.float32]]]) -> None:
    """Print the tables of a half."""
    print_line(f"\nPart: {part}")
    rows, pooled, alarms = [], [], []
    for name, (items, vectors) in spaces.items():
        memory = CaptionMemory.load(suite.encoders[name], settings().cache)
        if memory is None:
            continue
        inside = in_part(items, part)
        items, vectors = items[inside], vectors[inside]
        scores = memory.events(vectors).scores
        word = vectors @ suite.encode("text", memory.kinds, space=name).T
        for task in (task for task in TASKS if task.space == name):
            column = memory.kinds.index(task.kind)
            own = items[:, 0] == task.collection
            positive = own & np.isin(items[:, 1], task.labels)
            normal = own & np.isin(items[:, 1], task.normal)
            if not positive.any() or not normal.any():
                continue  # all sources of the collection are in the other half
            cameras = normal | (np.isin(items[:, 0], CAMERAS) & (items[:, 1] == NORMAL))
            cells = []
            for negative in (normal, cameras):
                chosen = positive | negative
                value = auc(positive[chosen], scores[chosen, column])
                low, high = interval(positive[chosen], scores[chosen, column], items[chosen, 3])
                cells.append(f"{value:.2f} ({low:.2f} to {high:.2f})")
            chosen = positive | normal
            rows.append((
                f"{task.kind}: {task.collection}", f"{positive.sum()}", f"{normal.sum()}",
                f"{len(np.unique(items[chosen, 3]))}", *cells, f"{auc(positive[chosen], word[chosen, column]):.2f}",
                f"{np.mean(scores[positive, column] >= 0.5):.0%}", f"{np.mean(scores[normal, column] >= 0.5):.1%}",
                "yes" if task.kind in memory.counted else "no",
            ))  # fmt: skip
            if name == "scene":
                pooled.append(positive | normal)
        if name == "scene":
            counted = [memory.kinds.index(kind) for kind in memory.kinds if kind in memory.counted]
            chosen = np.any(pooled, axis=0)
            positive = chosen & (items[:, 1] != NORMAL)
            for label, columns in (("all kinds", [*range(len(memory.kinds))]), ("counted kinds", counted)):
                strongest, words = scores[:, columns].max(axis=1), word[:, columns].max(axis=1)
                low, high = interval(positive[chosen], strongest[chosen], items[chosen, 3])
                rows.append((
                    f"pooled, {label}", f"{positive.sum()}", f"{(chosen & ~positive).sum()}",
                    f"{len(np.unique(items[chosen, 3]))}",
                    f"{auc(positive[chosen], strongest[chosen]):.2f} ({low:.2f} to {high:.2f})",
                    "", f"{auc(positive[chosen], words[chosen]):.2f}", f"{np.mean(strongest[positive] >= 0.5):.0%}",
                    f"{np.mean(strongest[chosen & ~positive] >= 0.5):.1%}", "",
                ))  # fmt: skip
            for collection in dict.fromkeys(items[:, 0]):
                normal = (items[:, 0] == collection) & (items[:, 1] == NORMAL)
                if normal.any():
                    alarms.append((
                        collection, f"{normal.sum()}", f"{np.mean(scores[normal].max(axis=1) >= 0.5):.1%}",
                        f"{np.mean(scores[normal][:, counted].max(axis=1) >= 0.5):.1%}",
                    ))  # fmt: skip
    heads = ("kind: collection", "items", "normal", "sources", "AUC within the collection",
             "AUC, normal items of all cameras",
             "AUC of the kind's name", "at 0.5", "normal at 0.5", "counts in lite")  # fmt: skip
    table(heads, iter(rows))
    table(("normal footage", "items", "any kind at 0.5", "any counted kind at 0.5"), iter(alarms))


def main() -> None:
    """Measure one half, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--heads", type=Path, help=HELP)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"Skipped: {arguments.data} does not exist. The collections are not part of the project.")
    suite = lite_with_heads(arguments.heads)
    measure(suite, arguments.part, load(arguments.data, suite, arguments.vectors))


if __name__ == "__main__":
    main()
