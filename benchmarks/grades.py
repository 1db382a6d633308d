"""Measure how often the first moment of a search is right, by its grade and by its confidence.

    python benchmarks/grades.py DATA [--part validation|test] [--vectors FILE] [--heads FOLDER]

DATA and FILE are those of caption_memory.py, with the collection flickr8k. Every trial is an index of 30 to 300 camera
images and clips without events, and a sentence. In half of the trials something in the index matches: one to ten images
or clips of an event of one source, or a captioned photograph. Sources, and photographs, are divided into halves.
The lead is measured on single images and clips, not on moments, which join neighbouring segments.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from caption_memory import CAMERAS, NORMAL, in_part, load
from comparing import table
from heads import HELP, lite_with_heads
from numpy.typing import NDArray

from recipes.lite.flickr8k import read_flickr8k, read_image
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import UnsupportedModalityError
from var_plugin.retrievers.grades import COMPARED, grade_of_lead, lead

SIZES = (30, 100, 300)
TRIALS = 100
"""Trials per size and kind of event, with a match and without."""
CAPTIONS = 6
"""Trials with captions, per trial of each kind."""
MAX_MATCHES = 10

SENTENCES = {
    "fire": ("a fire", "flames", "something is burning", "a house on fire", "a fire breaks out", "burning car"),
    "smoke": ("smoke", "thick smoke", "smoke in a room", "clouds of smoke", "smoke rises", "a room full of smoke"),
    "accident": (
        "a car crash", "traffic accident", "two cars collide", "a car hits another car", "crashed vehicle",
        "a collision on the road",
    ),
    "armed_person": (
        "a man with a gun", "armed person", "somebody points a pistol", "a robber with a weapon",
        "a man holding a rifle", "gun",
    ),
    "fight": (
        "people fighting", "a brawl", "a man punches another man", "a fight in the street", "someone is beaten",
        "a violent fight",
    ),
    "lying": (
        "a person lying on the floor", "someone has fallen", "a fallen person", "a man lies on the ground",
        "somebody fell down",
    ),
}  # fmt: skip
"""Sentences about events, by label. None of them is a sentence of the caption memory."""
LABELS = {"fire": ("fire", "fire_smoke"), "smoke": ("smoke", "fire_smoke"), "lying": ("fallen", "fall", "lying")}
"""Labels of the images that the sentences of a label describe. Default: the label itself."""


@dataclass(frozen=True)
class Trial:
    """The first moment of a search."""

    kind: str
    size: int
    grade: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Captioned:
    """Photographs (n, dim), and their captions (m, dim) with the index of the photograph of each."""

    images: Vectors
    captions: Vectors
    owners: NDArray[np.int64]


def embed_photographs(data: Path, suite: Suite, part: str) -> Captioned:
    """Embed a half of the test images of Flickr8k, which no weights were trained on."""
    photographs = read_flickr8k(data / "flickr8k")["test"]
    start = 500 * ("validation", "test").index(part)
    paths, captions = photographs.paths[start : start + 500], photographs.captions[start : start + 500]
    encoder = suite.encoders["scene"].image
    if encoder is None:
        raise UnsupportedModalityError("the suite has no image encoder")
    batches = [paths[first : first + 32] for first in range(0, len(paths), 32)]
    images = np.concatenate([encoder.encode([read_image(path) for path in batch]) for batch in batches])
    texts = np.asarray(suite.encode("text", [text for five in captions for text in five], space="scene"), np.float32)
    return Captioned(images, texts, np.repeat(np.arange(len(paths)), [len(five) for five in captions]))


def trials(suite: Suite, items: NDArray[np.str_], vectors: Vectors, photos: Captioned) -> Iterator[Trial]:
    """Yield the trials of a half."""
    random = np.random.default_rng(0)
    encoders = suite.encoders["scene"]
    statistics, calibrate = encoders.score_statistics["text"], encoders.calibrators["text"]
    ordinary = np.flatnonzero(np.isin(items[:, 0], CAMERAS) & (items[:, 1] == NORMAL))
    texts = {kind: suite.encode("text", list(sentences), space="scene") for kind, sentences in SENTENCES.items()}

    def trial(kind: str, query: Vectors, others: Vectors, matches: Vectors) -> Trial:
        scores = (np.concatenate([matches, others]) @ query - statistics.mean) / statistics.std
        ranking = np.argsort(-scores)
        best, *following = scores[ranking[: COMPARED + 1]].tolist()
        grade = grade_of_lead(lead(best, following))
        return Trial(kind, len(others), str(grade), calibrate(best, len(scores)), bool(ranking[0] < len(matches)))

    nothing = vectors[:0]
    for size in SIZES:
        for _ in range(TRIALS):
            others = vectors[random.choice(ordinary, size, replace=False)]
            for kind, queries in texts.items():
                matching = np.flatnonzero(np.isin(items[:, 1], LABELS.get(kind, (kind,))))
                same = matching[items[matching, 2] == items[random.choice(matching), 2]]
                chosen = random.choice(same, min(random.integers(1, MAX_MATCHES + 1), len(same)), replace=False)
                query = queries[random.integers(len(queries))]
                yield trial(kind, query, others, vectors[chosen])
                yield trial(kind, query, others, nothing)
            for caption in random.integers(len(photos.captions), size=CAPTIONS):
                query = photos.captions[caption]
                yield trial("caption", query, others, photos.images[[photos.owners[caption]]])
                yield trial("caption", query, others, nothing)


def report(results: list[Trial]) -> None:
    """Print the tables."""

    def row(name: str, chosen: list[Trial]) -> tuple[str, ...]:
        groups = [chosen, *([trial for trial in chosen if trial.size == size] for size in SIZES)]
        shares = (f"{np.mean([trial.right for trial in group] or [np.nan]):.0%}" for group in groups)
        return (name, f"{len(chosen) / len(results):.0%}", *shares)

    head = ("first moment", "share", "right", *(f"of {size:,}" for size in SIZES))
    rows = [row(f"{grade} match", [t for t in results if t.grade == grade]) for grade in ("strong", "possible", "weak")]
    limits = (0.0, 0.15, 0.5, 0.8, 1.01)
    rows += [
        row(f"confidence {low:.2f} to {min(high, 1):.2f}", [t for t in results if low <= t.confidence < high])
        for low, high in pairwise(limits)
    ]
    table(head, rows)
    kinds = ("caption", *SENTENCES)
    rows = []
    for grade in ("strong", "possible", "weak"):
        chosen = [[t.right for t in results if t.grade == grade and t.kind == kind] for kind in kinds]
        rows.append((f"{grade} match: right (of)", *(f"{np.mean(c or [np.nan]):.0%} ({len(c)})" for c in chosen)))
    table(("", *kinds), rows)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--heads", type=Path, help=HELP)
    arguments = parser.parse_args()
    suite = lite_with_heads(arguments.heads)
    items, vectors = load(arguments.data, suite, arguments.vectors)["scene"]
    inside = in_part(items, arguments.part)
    photographs = embed_photographs(arguments.data, suite, arguments.part)
    report(list(trials(suite, items[inside], vectors[inside], photographs)))


if __name__ == "__main__":
    main()
