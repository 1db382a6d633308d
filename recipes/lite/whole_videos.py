"""Is a long video with a fight told from one without by its one vector, and what does anomaly-led sampling add to that?

The vectors of held-out streams of two to five minutes, half of them with one fight, are compared with the words "people
fighting", once for each share by which the mean of all clips is moved towards the anomaly-led ones.
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

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

_WORDS = "people fighting"
_SECONDS = (120.0, 300.0)


@torch.inference_mode()
def similarities(
    model: ResidualAlanModel, streams: Sequence[Samples], words: Vectors, shares: Sequence[float] = SHARES
) -> NDArray[np.float32]:
    """Return (shares, streams): how near the words (dim,) are to each stream's vector with each share."""
    found = np.empty((len(shares), len(streams)), np.float32)
    for column, samples in enumerate(streams):
        clips = torch.from_numpy(lite_alan.fold_clips(model, samples))[None]
        for row, share in enumerate(shares):
            model.anomaly_share.fill_(share)
            vector = model(clips, torch.ones(clips.shape[:2], dtype=torch.bool)).vectors[0]
            found[row, column] = float(vector @ torch.from_numpy(words))
    return found


def held_out_streams(
    examples: Examples, left: Sequence[int], count: int, seed: int
) -> tuple[list[Samples], list[bool]]:
    """Return so many streams of the clips `left`, and of each whether there is a fight in it: in every other one."""
    random = np.random.default_rng(seed)
    maker = StreamMaker(examples, left, random)
    fights = [number % 2 == 0 for number in range(count)]
    return [maker.stream(random.uniform(*_SECONDS), fight=fight).samples for fight in fights], fights


def main() -> None:
    """Print the area under the curve of streams with a fight against those without, for each share."""
    from sklearn.metrics import roc_auc_score

    parser = measuring_parser("whole_videos", main.__doc__)
    parser.add_argument("--streams", type=int, default=20, help="per fold; there are six folds")
    arguments = parser.parse_args()
    data, text = read_data(arguments, arguments.weights), LiteTextEncoder(arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    parts, fights = [], []
    for number, (model, left) in enumerate(lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe())):
        streams, truth = held_out_streams(data.examples, left, arguments.streams, seed=number)
        parts.append(similarities(model, streams, lite_alan.encode_texts(model, text, [_WORDS])[0]))
        fights += truth
    found, truths = np.concatenate(parts, axis=1), np.array(fights)
    drawn = np.random.default_rng(0).integers(0, len(truths), (1000, len(truths)))
    for share, row in zip(SHARES, found, strict=True):
        areas = [roc_auc_score(truths[rows], row[rows]) for rows in drawn]
        low, high = np.percentile(areas, [2.5, 97.5])
        print(f"share {share}: area {roc_auc_score(truths, row):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    with exit_on_error("whole_videos"):
        main()
