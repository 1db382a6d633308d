"""Measure whether the text "people fighting" ranks fights above hugs, dances and sport.

These images are from the test part of Flickr8k, selected by their captions. The fights are from cctv_fights, each
encoded by a model that was not trained on its source. An image has no motion, so it is compared in three ways: as an
image, as a static video, and as a video from a moving camera.
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
_MIN_CAPTIONS = 2
"""Minimum number of an image's five captions that must match."""


def lively_images(images: CaptionedImages) -> list[Path]:
    """Return the images whose captions mention hugs, dances, jumps or sport."""
    return [
        path
        for path, captions in zip(images.paths, images.captions, strict=True)
        if sum(bool(_LIVELY.search(caption)) for caption in captions) >= _MIN_CAPTIONS
    ]


def compare(
    model: ResidualAlanModel, words: Vectors, images: Vectors, examples: Examples, held_out: list[int]
) -> dict[str, NDArray[np.bool_]]:
    """Return for each held-out fight and each image whether the fight is more similar to the text.

    Args:
        model: a model that was not trained on the held-out clips.
        words: (dim,), the vector of the text.
        images: (images, d), vectors in the `scene` space.
        examples: the features of the clips.
        held_out: indices of the held-out clips.

    Returns:
        An array (fights, images) for each way of encoding an image.
    """
    fights = np.array(
        [
            l2_normalize(lite_alan.fold_clips(model, lite_alan.at_index_rate(examples.samples[index])).mean(axis=0))
            @ words
            for index in held_out
            if examples.clips[index].fight
        ]
    )
    random = np.random.default_rng(0)

    def as_video(scenes: Samples) -> Vectors:
        rows = random.integers(0, len(scenes), len(images))
        return lite_alan.fold_clips(model, Samples(images, scenes.motion[rows]))

    with torch.inference_mode():
        vectors = np.asarray(model.encode_clips(torch.from_numpy(images)).numpy())
    ways = {
        "as images": vectors,
        "as static video": as_video(examples.still),
        "as moving video": as_video(examples.camera),
    }
    return {name: fights[:, None] > (others @ words)[None] for name, others in ways.items()}


def main() -> None:
    """Print the percentage of pairs of a fight and an image that are ranked correctly."""
    arguments = measuring_parser("hard_negatives", main.__doc__).parse_args()
    data, text = read_data(arguments, arguments.weights), LiteTextEncoder(arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    images = data.image_encoder.encode([read_image(path) for path in lively_images(data.images["test"])])
    results: dict[str, list[NDArray[np.bool_]]] = {}
    for model, held_out in lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe()):
        words = lite_alan.encode_texts(model, text, [WORDS])[0]
        for name, correct in compare(model, words, images, data.examples, held_out).items():
            results.setdefault(name, []).append(correct)
    print(f"{len(images)} images of hugs, dances, jumps and sport; pairs ranked correctly, percent:")
    for name, parts in results.items():
        print(f"{name}: {100 * np.concatenate(parts).mean():.1f}")


if __name__ == "__main__":
    with exit_on_error("hard_negatives"):
        main()
