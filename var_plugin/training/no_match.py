"""How often does a search say "found" when what is asked for is not there, and "nothing like that" when it is?

Captions of pictures are asked for in footage without and with their picture, shown as a still film: among other
captioned pictures, those left out whose captions say something alike, and among footage of street cameras. The two
errors belong together: a bar that nothing passes raises no false alarm.

There are not enough pictures for large galleries, so `--views` adds crops of the training part, mirrored and in other
light: as many segments as wanted, but of some thousand scenes only, and of scenes that the weights were trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from var_plugin.encoders.base import Background, Confidence, Picture, Vectors
from var_plugin.encoders.lite_alan import LiteAlan
from var_plugin.encoders.lite_suite import scene
from var_plugin.settings import settings
from var_plugin.training.alan_data import measuring_parser, read_data
from var_plugin.training.alan_examples import Samples
from var_plugin.training.confidence import UNRELATED, likenesses
from var_plugin.training.flickr8k import CaptionedPictures, random_view, read_picture
from var_plugin.training.lite_alan import fold_clips

SIZES = (100, 300, 900, 2_000, 10_000, 30_000, 100_000)
_MISSES = 0.2


def best_scores(
    similarity: NDArray[np.floating], allowed: NDArray[np.bool_], size: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return each query's best similarity (n,) among `size` of the rows (n, m) it is allowed; NaN where too few."""
    best = np.full(len(similarity), np.nan)
    for query, row in enumerate(similarity):
        rows = np.flatnonzero(allowed[query])
        if len(rows) >= size:
            best[query] = row[random.choice(rows, size, replace=False)].max()
    return best


def told(own: NDArray[np.floating], others: NDArray[np.floating], sure: Confidence, size: int) -> str:
    """Return a row of the table for the scores of the right answer (n,) and of the best other one (n,)."""
    known = np.isfinite(others)
    without, found = others[known], np.maximum(own, others)[known]

    def passing(scores: NDArray[np.floating]) -> float:
        return float(np.mean([sure(score, size) >= settings().least_confidence for score in scores]))

    alarms = (without >= np.quantile(found, _MISSES)).mean()
    numbers = (1 - passing(found), passing(without), alarms, (own[known] > without).mean())
    return " | ".join(f"{100 * number:.0f} %" for number in numbers)


def main() -> None:
    """Print a table."""
    parser = measuring_parser("no_match", main.__doc__, sentences=False)
    parser.add_argument("--views", type=int, default=0, help="views of each training picture; 24 for 100,000 segments")
    arguments = parser.parse_args()
    encoders, model = scene(arguments.weights), LiteAlan(arguments.weights).model
    data = read_data(arguments, arguments.weights)
    asked, stills, examples = data.pictures["test"], data.stills, data.examples
    if encoders.text is None:
        raise TypeError("the lite suite has no encoder for text")
    queries = encoders.text.encode([captions[0] for captions in asked.captions])

    def film(vectors: Vectors) -> Vectors:
        """Return pictures as clips in which nothing moves."""
        return fold_clips(model, Samples(vectors, examples.still.motion[np.arange(len(vectors)) % len(examples.still)]))

    shown = film(stills.encode([read_picture(path) for path in asked.paths]))
    footage = np.concatenate([fold_clips(model, samples) for samples in examples.samples])
    background, confidence = encoders.backgrounds["text"], encoders.confidences["text"]
    galleries = {
        "other pictures": (shown, likenesses(asked, asked) < UNRELATED),
        "street cameras": (footage, np.ones((len(queries), len(footage)), bool)),
    }
    if arguments.views:
        others = data.pictures["train"]
        unlike = likenesses(asked, others) < UNRELATED
        seen = np.concatenate([stills.encode(views) for views in _views(others, arguments.views)])
        galleries["views of training pictures"] = (film(seen), np.repeat(unlike, arguments.views, axis=1))
    print("among | segments | missed | false alarms | false alarms where 20 % are missed | right one first")
    for name, (gallery, allowed) in galleries.items():
        for size in SIZES:
            found = table_row(queries, shown, gallery, allowed, background, confidence, size)
            if found:
                print(f"{name} | {size} | {found}")


def _views(data: CaptionedPictures, count: int) -> Iterator[Sequence[Picture]]:
    """Yield so many random views of each picture."""
    random = np.random.default_rng(0)
    for path in tqdm(data.paths, desc="views"):
        picture = read_picture(path)
        yield [random_view(picture, random) for _ in range(count)]


def table_row(
    queries: Vectors,
    own: Vectors,
    gallery: Vectors,
    allowed: NDArray[np.bool_],
    background: Background,
    confidence: Confidence,
    size: int,
) -> str | None:
    """Return a row of the table, or None where nearly all queries have fewer unrelated segments than that."""
    similarity = (queries @ gallery.T - background.mean) / background.std
    right = ((queries * own).sum(axis=1) - background.mean) / background.std
    others = best_scores(similarity, allowed, size, np.random.default_rng(0))
    return told(right, others, confidence, size) if np.isfinite(others).mean() > 0.1 else None


if __name__ == "__main__":
    main()
