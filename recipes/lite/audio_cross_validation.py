"""Cross-validate the recipe of the towers of the `sound` space over sources.

The towers are trained on three quarters of the sources and measured on the rest, four times. The wordings that serve as
queries are held out together with the sources. The network is fixed and was trained on all parts but the validation
part. The source of a labelled sound effect is its package. The test part is not used.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recipes.lite.audio_dataset import EncodedSet, build_training_data, collect
from recipes.lite.audio_eval import best_text
from recipes.lite.audio_prompts import Phrasings, class_phrasings, phrasings
from recipes.lite.audio_sources import Recording
from recipes.lite.lite_audio import AudioModel, Recipe, load_network, train_towers
from recipes.lite.sound_effect_names import TRAINED
from recipes.lite.yamnet import Yamnet, read_class_names
from var_plugin.encoders.audio_features import AudioFeatures, pool_audio
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.weights import LITE
from var_plugin.errors import exit_on_error

_FOLDS = 4
_TEXTS_PER_LABEL = 3


def folds(recordings: Sequence[Recording]) -> NDArray[np.int64]:
    """Return the fold of each recording, -1 without a label.

    A source has one fold. The sources of every label are spread over all folds.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        if recording.label:
            sources[recording.label].add(recording.source)
    fold: dict[str, int] = {}
    for of_label in sources.values():
        for position, source in enumerate(np.random.default_rng(7).permutation(sorted(of_label))):
            fold.setdefault(str(source), position % _FOLDS)
    return np.array([fold[recording.source] if recording.label else -1 for recording in recordings])


def cross_validate(
    parts: Sequence[EncodedSet], classifier: tuple[Tensor, Tensor], names: Phrasings, recipe: Recipe
) -> dict[str, dict[str, float]]:
    """Return, by collection and label, the share of recordings whose most similar text is of their label.

    The texts of a collection's own labels compete for its recordings. For sound effects the texts of all labels do.

    Args:
        parts: the encoded recordings.
        classifier: the teacher's weight (521, 1024) and bias (521,).
        names: phrasings of the teacher's classes.
        recipe: the hyperparameters of the towers.
    """
    recordings = [recording for part in parts for recording in part.recordings]
    collections = np.array([recording.collection for recording in recordings])
    labels = np.array([str(recording.label) for recording in recordings])
    fold, correct = folds(recordings), np.full(len(recordings), np.nan)
    for number in range(_FOLDS):
        trained, queries = _wordings(number)
        texts = phrasings([trained[label] for label in TRAINED]), names
        torch.manual_seed(recipe.seed)
        model = AudioModel(recipe)
        shares = {**dict(recipe.shares), "left out": 0.0}
        data = build_training_data(_without(parts, fold == number), classifier, texts, shares)
        train_towers(model, data, recipe)
        vectors = np.concatenate([_vectors(part, model) for part in parts])
        for collection in np.unique(collections[fold == number]):
            rows = np.flatnonzero((fold == number) & (collections == collection) & vectors.any(1))
            competing = (
                queries if collection == "named" else {label: queries[label] for label in np.unique(labels[rows])}
            )
            correct[rows] = best_text(vectors[rows], labels[rows], model.encode_texts, competing)
    return {
        str(collection): _shares(labels[rows], correct[rows])
        for collection in np.unique(collections)
        if (rows := (collections == collection) & ~np.isnan(correct)).any()
    }


def _wordings(fold: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the wordings of every label that are trained in a fold, and those that serve as queries."""
    trained, queries = {}, {}
    for label, (first, *others) in TRAINED.items():
        held_out = others[fold::_FOLDS] or others[-1:]
        trained[label] = [first, *(text for text in others if text not in held_out)]
        queries[label] = list(islice(cycle(held_out), _TEXTS_PER_LABEL))
    return trained, queries


def _without(parts: Sequence[EncodedSet], held_out: NDArray[np.bool_]) -> list[EncodedSet]:
    """Remove the labels of the held-out recordings and move them to the collection "left out", which is never drawn."""
    masks = iter(held_out)

    def masked(recording: Recording) -> Recording:
        return replace(recording, label=None, collection="left out") if next(masks) else recording

    return [replace(part, recordings=[masked(recording) for recording in part.recordings]) for part in parts]


@torch.inference_mode()
def _vectors(part: EncodedSet, model: AudioModel) -> Vectors:
    """Return vectors (recordings, dim), pooled from the unmodified windows; zeros for recordings without windows."""
    windows = model.sound_tower(torch.from_numpy(part.embeddings[0].astype(np.float32))).numpy()
    vectors = np.zeros((len(part.recordings), windows.shape[1]), np.float32)
    rows, firsts = np.unique(part.features.recording, return_index=True)
    for row, inside in zip(rows, np.split(np.arange(len(windows)), firsts[1:]), strict=True):
        loudness = np.asarray(part.features.loudness[inside])
        features = AudioFeatures(times=inside.astype(float), vectors=windows[inside], loudness=loudness, end=math.inf)
        vectors[row] = pool_audio(features, [(-math.inf, math.inf)])[0]
    return vectors


def _shares(labels: NDArray[np.str_], correct: NDArray[np.float64]) -> dict[str, float]:
    by_label = {str(label): float(correct[labels == label].mean()) for label in np.unique(labels)}
    return {name: round(share, 3) for name, share in {"all": float(correct.mean()), **by_label}.items()}


def main() -> None:
    """Print the results of `cross_validate` as JSON."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_cross_validation", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the sound effects and features")
    parser.add_argument("--network", type=Path, default=LITE, help="folder with the weights whose network is used")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    yamnet = Yamnet(arguments.data / "audio" / "yamnet.tflite")
    network = load_network(arguments.network)
    parts = [raw.encode(network) for raw in collect(arguments.data, arguments.cache, yamnet).values()]
    names = class_phrasings(read_class_names(arguments.data / "audio" / "yamnet_class_map.csv"), arguments.cache)
    print(json.dumps(cross_validate(parts, yamnet.classifier(), names, Recipe()), indent=2))


if __name__ == "__main__":
    with exit_on_error("audio_cross_validation"):
        main()
