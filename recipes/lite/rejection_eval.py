"""Measure how often a search returns a match for a query without one, and rejects a query that has one.

The queries are captions of images. The galleries are other captioned images, shown as static videos, and footage of
street cameras; candidates with similar captions are left out. Both error rates belong together: a threshold that
nothing passes raises no false alarm. Street footage does contain people who stand or sit, so queries that mention a
landscape, water or snow are reported separately: these scenes are certainly absent.

`--fit` fits the calibrator to the first half of the queries; the second half is measured. `--views` adds random views
of the training images for large galleries. These show a few thousand scenes only, which the weights were trained on, so
nothing is fitted to them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recipes.lite.alan_data import AlanData, measuring_parser, read_data
from recipes.lite.alan_examples import Samples
from recipes.lite.flickr8k import CaptionedImages, random_view, read_image
from recipes.lite.lite_alan import fold_clips
from recipes.lite.score_calibration import MISS_RATE, TABLE, caption_similarities, table_row, threshold_for
from var_plugin.config import settings
from var_plugin.encoders.base import ImageArray, LogisticCalibrator, Vectors
from var_plugin.encoders.lite.build import scene
from var_plugin.encoders.lite.video import LiteAlan
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.match_trials import (
    MAX_UNRELATED_SIMILARITY,
    RetrievalTrials,
    draw_trials,
    fit_calibrator,
)

SIZES = (100, 300, 900, 2_000, 10_000, 30_000, 100_000)
_MIN_QUERY_SHARE = 0.1
"""A size is left out if fewer of the queries have enough unrelated segments."""

_NOT_IN_STREETS = re.compile(
    r"\b(snow\w*|ski|skis|skiing|skiers?|sled\w*|water|ocean|sea|lake|river|creek|stream|pond|waterfall|beach|surf\w*|waves?|"
    r"swim\w*|mountain\w*|cliffs?|hills?|woods|forest|desert)\b",
    re.IGNORECASE,
)
"""No clip of the street cameras shows any of these; their first images were checked."""


@dataclass(frozen=True)
class Gallery:
    """Segments and the queries that they are unrelated to.

    Attributes:
        vectors: (m, dim).
        allowed: (n, m), true where segment and query are unrelated.
    """

    vectors: Vectors
    allowed: NDArray[np.bool_]


def main() -> None:
    """Print a table of error rates; with --fit, first fit the calibrator and write it into alan.json."""
    parser = measuring_parser("rejection_eval", main.__doc__, sentences=False)
    parser.add_argument(
        "--views", type=int, default=0, help="random views of each training image; 24 give 100,000 segments"
    )
    parser.add_argument("--fit", action="store_true", help="fit the calibrator and write it into --weights")
    arguments = parser.parse_args()
    encoders, alan = scene(arguments.weights, settings().cache), LiteAlan(arguments.weights)
    data = read_data(arguments, arguments.weights)
    images = data.images["test"]
    if encoders.text is None:
        raise TypeError("the lite suite has no encoder for text")
    queries = encoders.text.encode([captions[0] for captions in images.captions])
    background = encoders.score_statistics["text"]
    vectors = _as_static_video(alan, data, data.image_encoder.encode([read_image(path) for path in images.paths]))
    own = ((queries * vectors).sum(axis=1) - background.mean) / background.std
    middle = len(queries) // 2

    def search(galleries: dict[str, Gallery], half: slice) -> list[RetrievalTrials]:
        results = []
        for name, gallery in galleries.items():
            scores = (queries[half] @ gallery.vectors.T - background.mean) / background.std
            results += [draw_trials(name, own[half], scores, gallery.allowed[half], size) for size in SIZES]
        return [each for each in results if len(each.own) >= _MIN_QUERY_SHARE * middle]

    footage = np.concatenate([fold_clips(alan.model, samples) for samples in data.examples.samples])
    galleries = {
        "other images": Gallery(vectors, caption_similarities(images, images) < MAX_UNRELATED_SIMILARITY),
        "street cameras": Gallery(footage, np.ones((len(queries), len(footage)), bool)),
    }
    if arguments.fit:
        trials = search(galleries, slice(None, middle))
        calibrator = fit_calibrator(trials)
        write_calibrator(calibrator, arguments.weights / "alan.json")
        threshold = threshold_for(trials, calibrator, MISS_RATE)
        print(f"confidence at a miss rate of {MISS_RATE:.0%}: {threshold:.3f}", calibrator)
    else:
        calibrator = alan.calibrators()["text"]
    absent = np.array([is_absent_from_streets(captions[0]) for captions in images.captions])
    galleries["street cameras, certainly absent"] = Gallery(footage, np.repeat(absent[:, None], len(footage), axis=1))
    if arguments.views:
        galleries["views of training images"] = _view_gallery(alan, data, arguments.views)
    print(TABLE)
    for each in search(galleries, slice(middle, None)):
        print(table_row(each, calibrator))


def is_absent_from_streets(caption: str) -> bool:
    """Return whether a caption mentions something that no clip of the street cameras shows."""
    return bool(_NOT_IN_STREETS.search(caption))


def write_calibrator(calibrator: LogisticCalibrator, configuration: Path) -> None:
    """Write the calibrator of text queries into the configuration of the weights."""
    values = json.loads(configuration.read_text())
    values["calibrators"] = {"text": {name: round(value, 5) for name, value in asdict(calibrator).items()}}
    configuration.write_text(json.dumps(values, indent=2) + "\n")


def _as_static_video(alan: LiteAlan, data: AlanData, vectors: Vectors) -> Vectors:
    """Return the vectors of images as clips without motion."""
    still = data.examples.still.motion
    return fold_clips(alan.model, Samples(vectors, still[np.arange(len(vectors)) % len(still)]))


def _view_gallery(alan: LiteAlan, data: AlanData, count: int) -> Gallery:
    others = data.images["train"]
    vectors = np.concatenate([data.image_encoder.encode(views) for views in _views(others, count)])
    unrelated = caption_similarities(data.images["test"], others) < MAX_UNRELATED_SIMILARITY
    return Gallery(_as_static_video(alan, data, vectors), np.repeat(unrelated, count, axis=1))


def _views(data: CaptionedImages, count: int) -> Iterator[Sequence[ImageArray]]:
    """Yield `count` random views of each image."""
    random = np.random.default_rng(0)
    for path in tqdm(data.paths, desc="views"):
        image = read_image(path)
        yield [random_view(image, random) for _ in range(count)]


if __name__ == "__main__":
    with exit_on_error("rejection_eval"):
        main()
