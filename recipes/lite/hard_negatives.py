"""Do the words "people fighting" find fights before hugs, dances and sport, which are people who move as well?

Such images come from the test part of Flickr8k, by their captions; the fights from cctv_fights, each seen by a model
that was trained on other sources. An image has no motion, so it is compared in three ways: as an image, as a film in
which nothing moves, and as one of a moving camera.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.lite import lite_alan
from recipes.lite.alan_data import measuring_parser, read_data
from recipes.lite.alan_examples import Examples, Samples
from recipes.lite.alan_motion import read_sentences
from recipes.lite.flickr8k import CaptionedImages, read_image
from var_plugin.encoders.alan.residual import ResidualAlanModel
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.lite.image_text import LiteTextEncoder
from var_plugin.errors import exit_on_error

WORDS = "people fighting"

_LIVELY = re.compile(
    r"\b(hug\w*|embrac\w*|danc\w*|soccer|football|basketball|volleyball|rugby|hockey|tennis|wrestl\w*|karate|martial|"
    r"gymnast\w*|race|jump\w*)\b",
    re.IGNORECASE,
)
_SAYING_SO = 2
"""Of an image's five captions, so many must."""


def lively(images: CaptionedImages) -> list[Path]:
    """Return the images whose captions speak of hugs, dances, jumps or sport."""
    return [
        path
        for path, captions in zip(images.paths, images.captions, strict=True)
        if sum(bool(_LIVELY.search(caption)) for caption in captions) >= _SAYING_SO
    ]


def compare(
    model: ResidualAlanModel, words: Vectors, stills: Vectors, examples: Examples, left: list[int]
) -> dict[str, NDArray[np.bool_]]:
    """Return for each fight among the clips left out, and each still (n, d), whether the fight is nearer to the words.

    Returns:
        (fights, stills) in each way of seeing a still.
    """
    fights = np.array(
        [
            l2_normalize(lite_alan.fold_clips(model, lite_alan.as_looked_at(examples.samples[index])).mean(axis=0))
            @ words
            for index in left
            if examples.clips[index].fight
        ]
    )
    random = np.random.default_rng(0)

    def film(scenes: Samples) -> Vectors:
        rows = random.integers(0, len(scenes), len(stills))
        return lite_alan.fold_clips(model, Samples(stills, scenes.motion[rows]))

    with torch.inference_mode():
        images = np.asarray(model.clips(torch.from_numpy(stills)).numpy())
    shown = {"as images": images, "as still film": film(examples.still), "as moving film": film(examples.camera)}
    return {name: fights[:, None] > (vectors @ words)[None] for name, vectors in shown.items()}


def main() -> None:
    """Print, in percent, how many pairs of a fight and another image are ranked right."""
    arguments = measuring_parser("hard_negatives", main.__doc__).parse_args()
    data, text = read_data(arguments, arguments.weights), LiteTextEncoder(arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    stills = data.stills.encode([read_image(path) for path in lively(data.images["test"])])
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for model, left in lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe()):
        words = lite_alan.encode_texts(model, text, [WORDS])[0]
        for name, right in compare(model, words, stills, data.examples, left).items():
            found.setdefault(name, []).append(right)
    print(f"{len(stills)} images of hugs, dances, jumps and sport; pairs ranked right, percent:")
    for name, parts in found.items():
        print(f"{name}: {100 * np.concatenate(parts).mean():.1f}")


if __name__ == "__main__":
    with exit_on_error("hard_negatives"):
        main()
