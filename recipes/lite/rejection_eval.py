"""How often does a search say "found" when what is asked for is not there, and "nothing like that" when it is?

Captions of images are asked for in footage without and with their image, shown as a still film: among other
captioned images, those left out whose captions say something alike, and among footage of street cameras. The two
errors belong together: a bar that nothing passes raises no false alarm. Streets and shops do show people who stand or
sit, as many captions want, so those that name a landscape, water or snow are told apart: these are surely not there.

The first half of the queries is what `--fit` fits the confidence to, the second half is measured. There are not enough
images for large galleries, so `--views` adds crops of the training part, mirrored and in other light: as many
segments as wanted, but of some thousand scenes only, and of scenes that the weights were trained on. Nothing is fitted
to them.
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
from recipes.lite.score_calibration import (
    MISSES,
    TABLE,
    UNRELATED,
    Trials,
    fit_confidence,
    likenesses,
    threshold_for,
    told,
    trials,
)
from var_plugin.encoders.base import ImageArray, LogisticCalibrator, Vectors
from var_plugin.encoders.lite.build import scene
from var_plugin.encoders.lite.video import LiteAlan
from var_plugin.errors import exit_on_error

SIZES = (100, 300, 900, 2_000, 10_000, 30_000, 100_000)
_FEWEST = 0.1
"""Of the queries must have enough unrelated segments, or a size is left out."""

_IN_NO_STREET = re.compile(
    r"\b(snow\w*|ski|skis|skiing|skiers?|sled\w*|water|ocean|sea|lake|river|creek|stream|pond|waterfall|beach|surf\w*|waves?|"
    r"swim\w*|mountain\w*|cliffs?|hills?|woods|forest|desert)\b",
    re.IGNORECASE,
)
"""None of the street cameras' clips shows any of these: their first images were looked at."""


@dataclass(frozen=True)
class Gallery:
    """Segments, and which of them have nothing to do with which query."""

    vectors: Vectors
    """(m, dim)."""
    allowed: NDArray[np.bool_]
    """(n, m)."""


def main() -> None:
    """Print a table; with --fit, fit the confidence first and write it into the weights' configuration."""
    parser = measuring_parser("no_match", main.__doc__, sentences=False)
    parser.add_argument("--views", type=int, default=0, help="views of each training image; 24 for 100,000 segments")
    parser.add_argument("--fit", action="store_true", help="fit the confidence of --weights anew")
    arguments = parser.parse_args()
    encoders, alan = scene(arguments.weights), LiteAlan(arguments.weights)
    data = read_data(arguments, arguments.weights)
    asked, stills = data.images["test"], data.stills
    if encoders.text is None:
        raise TypeError("the lite suite has no encoder for text")
    queries = encoders.text.encode([captions[0] for captions in asked.captions])
    background = encoders.score_statistics["text"]
    shown = _film(alan, data, stills.encode([read_image(path) for path in asked.paths]))
    own = ((queries * shown).sum(axis=1) - background.mean) / background.std
    middle = len(queries) // 2

    def ask(galleries: dict[str, Gallery], half: slice) -> list[Trials]:
        found = []
        for name, gallery in galleries.items():
            scores = (queries[half] @ gallery.vectors.T - background.mean) / background.std
            found += [trials(name, own[half], scores, gallery.allowed[half], size) for size in SIZES]
        return [each for each in found if len(each.own) >= _FEWEST * middle]

    footage = np.concatenate([fold_clips(alan.model, samples) for samples in data.examples.samples])
    galleries = {
        "other images": Gallery(shown, likenesses(asked, asked) < UNRELATED),
        "street cameras": Gallery(footage, np.ones((len(queries), len(footage)), bool)),
    }
    if arguments.fit:
        fitting = ask(galleries, slice(None, middle))
        confidence = fit_confidence(fitting)
        write(confidence, arguments.weights / "alan.json")
        print(f"confidence of 20 % misses: {threshold_for(fitting, confidence, MISSES):.3f}", confidence)
    else:
        confidence = alan.calibrators()["text"]
    absent = np.array([names_no_street(captions[0]) for captions in asked.captions])
    galleries["street cameras, surely absent"] = Gallery(footage, np.repeat(absent[:, None], len(footage), axis=1))
    if arguments.views:
        galleries["views of training images"] = _view_gallery(alan, data, arguments.views)
    print(TABLE)
    for found in ask(galleries, slice(middle, None)):
        print(told(found, confidence))


def names_no_street(caption: str) -> bool:
    """Tell whether a caption names what none of the clips of street cameras shows."""
    return bool(_IN_NO_STREET.search(caption))


def write(confidence: LogisticCalibrator, configuration: Path) -> None:
    """Write the confidence of texts into the configuration of the weights, and leave the rest as it is."""
    kept = json.loads(configuration.read_text())
    kept["calibrators"] = {"text": {name: round(value, 5) for name, value in asdict(confidence).items()}}
    configuration.write_text(json.dumps(kept, indent=2) + "\n")


def _film(alan: LiteAlan, data: AlanData, vectors: Vectors) -> Vectors:
    """Return images as clips in which nothing moves."""
    still = data.examples.still.motion
    return fold_clips(alan.model, Samples(vectors, still[np.arange(len(vectors)) % len(still)]))


def _view_gallery(alan: LiteAlan, data: AlanData, count: int) -> Gallery:
    others = data.images["train"]
    seen = np.concatenate([data.stills.encode(views) for views in _views(others, count)])
    unlike = likenesses(data.images["test"], others) < UNRELATED
    return Gallery(_film(alan, data, seen), np.repeat(unlike, count, axis=1))


def _views(data: CaptionedImages, count: int) -> Iterator[Sequence[ImageArray]]:
    """Yield so many random views of each image."""
    random = np.random.default_rng(0)
    for path in tqdm(data.paths, desc="views"):
        image = read_image(path)
        yield [random_view(image, random) for _ in range(count)]


if __name__ == "__main__":
    with exit_on_error("no_match"):
        main()
