"""Measure whether the vector of a long video reveals a fight, and what anomaly-led sampling adds.

The vectors of held-out streams of two to five minutes, half of them with one fight, are compared with the text "people
fighting" for several weights of the anomaly-led clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.lite import lite_alan
from recipes.lite.alan_data import measuring_parser, read_data
from recipes.lite.alan_examples import Examples, Samples
from recipes.lite.alan_motion import read_sentences
from recipes.lite.long_video_eval import StreamMaker
from var_plugin.encoders.alan.residual import ResidualAlanModel
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.image_text import LiteTextEncoder
from var_plugin.errors import exit_on_error

ANOMALY_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)

_WORDS = "people fighting"
_SECONDS = (120.0, 300.0)


@torch.inference_mode()
def similarities(
    model: ResidualAlanModel, streams: Sequence[Samples], words: Vectors, weights: Sequence[float] = ANOMALY_WEIGHTS
) -> NDArray[np.float32]:
    """Return the similarity (weights, streams) of the text to each stream's vector at each anomaly weight.

    Args:
        model: the trained model.
        streams: the samples of each stream.
        words: (dim,), the vector of the text.
        weights: weights of the anomaly-led clips in the vector of a video.
    """
    result = np.empty((len(weights), len(streams)), np.float32)
    for column, samples in enumerate(streams):
        clips = torch.from_numpy(lite_alan.fold_clips(model, samples))[None]
        for row, weight in enumerate(weights):
            model.anomaly_weight.fill_(weight)
            vector = model(clips, torch.ones(clips.shape[:2], dtype=torch.bool)).vectors[0]
            result[row, column] = float(vector @ torch.from_numpy(words))
    return result


def held_out_streams(
    examples: Examples, held_out: Sequence[int], count: int, seed: int
) -> tuple[list[Samples], list[bool]]:
    """Return `count` streams of the held-out clips and whether each contains a fight; every other one does."""
    random = np.random.default_rng(seed)
    maker = StreamMaker(examples, held_out, random)
    fights = [number % 2 == 0 for number in range(count)]
    return [maker.stream(random.uniform(*_SECONDS), fight=fight).samples for fight in fights], fights


def main() -> None:
    """Print the AUC of streams with a fight against those without, for each anomaly weight."""
    from sklearn.metrics import roc_auc_score

    parser = measuring_parser("whole_videos", main.__doc__)
    parser.add_argument("--streams", type=int, default=20, help="number of streams per fold; there are six folds")
    arguments = parser.parse_args()
    data, text = read_data(arguments, arguments.weights), LiteTextEncoder(arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    parts, fights = [], []
    for number, (model, held_out) in enumerate(lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe())):
        streams, truth = held_out_streams(data.examples, held_out, arguments.streams, seed=number)
        parts.append(similarities(model, streams, lite_alan.encode_texts(model, text, [_WORDS])[0]))
        fights += truth
    scores, truths = np.concatenate(parts, axis=1), np.array(fights)
    resamples = np.random.default_rng(0).integers(0, len(truths), (1000, len(truths)))
    for weight, row in zip(ANOMALY_WEIGHTS, scores, strict=True):
        aucs = [roc_auc_score(truths[rows], row[rows]) for rows in resamples]
        low, high = np.percentile(aucs, [2.5, 97.5])
        print(f"anomaly weight {weight}: AUC {roc_auc_score(truths, row):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    with exit_on_error("whole_videos"):
        main()
