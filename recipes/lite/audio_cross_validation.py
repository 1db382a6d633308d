"""Try the recipe of the `sound` towers out: trained on three quarters of the sources, measured on the rest, four times.

The wordings that are asked for are left out with the sources. The network stays as it is; it has heard all of them but
the validation part. Of sound effects with telling names the source is the package. What is for the test takes no part.
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

from recipes.lite.audio_dataset import Taught, collect, prepare
from recipes.lite.audio_eval import best_text
from recipes.lite.audio_prompts import Phrasings, class_phrasings, phrasings
from recipes.lite.audio_sources import Recording
from recipes.lite.lite_audio import Recipe, SoundModel, learned_network, train_towers
from recipes.lite.sound_effect_names import TRAINED
from recipes.lite.yamnet import Yamnet, read_class_names
from var_plugin.encoders.audio_features import AudioFeatures, pool_audio
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.weights import LITE
from var_plugin.errors import exit_on_error

_FOLDS = 4
_ASKED = 3
"""Texts of every label in each fold."""


def folds(recordings: Sequence[Recording]) -> NDArray[np.int64]:
    """Return the fold of each recording, -1 without a label: a source has one, and every label's sources are spread."""
    sources: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        if recording.label:
            sources[recording.label].add(recording.source)
    fold: dict[str, int] = {}
    for found in sources.values():
        for place, source in enumerate(np.random.default_rng(7).permutation(sorted(found))):
            fold.setdefault(str(source), place % _FOLDS)
    return np.array([fold[recording.source] if recording.label else -1 for recording in recordings])


def cross_validate(
    taught: Sequence[Taught], classifier: tuple[Tensor, Tensor], names: Phrasings, recipe: Recipe
) -> dict[str, dict[str, float]]:
    """Return, by collection and label, the share of recordings whose most similar text is of their label.

    Of a collection's recordings the texts of its own labels compete, of sound effects those of all labels.

    Args:
        taught: recordings and what the network makes of them.
        classifier: the teacher's weight (521, 1024) and bias.
        names: phrasings of the teacher's classes.
        recipe: how the towers learn.
    """
    recordings = [recording for part in taught for recording in part.recordings]
    collections = np.array([recording.collection for recording in recordings])
    labels = np.array([str(recording.label) for recording in recordings])
    fold, right = folds(recordings), np.full(len(recordings), np.nan)
    for number in range(_FOLDS):
        kept, asked = _wordings(number)
        texts = phrasings([kept[label] for label in TRAINED]), names
        torch.manual_seed(recipe.seed)
        model = SoundModel(recipe)
        shares = {**dict(recipe.shares), "left out": 0.0}
        train_towers(model, prepare(_without(taught, fold == number), classifier, texts, shares), recipe)
        vectors = np.concatenate([_vectors(part, model) for part in taught])
        for collection in np.unique(collections[fold == number]):
            places = np.flatnonzero((fold == number) & (collections == collection) & vectors.any(1))
            own = asked if collection == "named" else {label: asked[label] for label in np.unique(labels[places])}
            right[places] = best_text(vectors[places], labels[places], model.sentences, own)
    return {
        str(collection): _shares(labels[measured], right[measured])
        for collection in np.unique(collections)
        if (measured := (collections == collection) & ~np.isnan(right)).any()
    }


def _wordings(fold: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the wordings of every label that are trained in a fold, and those that are asked for."""
    kept, asked = {}, {}
    for label, (first, *others) in TRAINED.items():
        left = others[fold::_FOLDS] or others[-1:]
        kept[label] = [first, *(text for text in others if text not in left)]
        asked[label] = list(islice(cycle(left), _ASKED))
    return kept, asked


def _without(taught: Sequence[Taught], left_out: NDArray[np.bool_]) -> list[Taught]:
    """Return the same without the labels of some recordings, which are never drawn."""
    marks = iter(left_out)

    def marked(recording: Recording) -> Recording:
        return replace(recording, label=None, collection="left out") if next(marks) else recording

    return [replace(part, recordings=[marked(recording) for recording in part.recordings]) for part in taught]


@torch.inference_mode()
def _vectors(part: Taught, model: SoundModel) -> Vectors:
    """Return (recordings, dim), pooled from the windows as recorded; zeros where there is none."""
    windows = model.sound_tower(torch.from_numpy(part.heard[0].astype(np.float32))).numpy()
    found = np.zeros((len(part.recordings), windows.shape[1]), np.float32)
    places, firsts = np.unique(part.features.recording, return_index=True)
    for place, inside in zip(places, np.split(np.arange(len(windows)), firsts[1:]), strict=True):
        loudness = np.asarray(part.features.loudness[inside])
        heard = AudioFeatures(times=inside.astype(float), vectors=windows[inside], loudness=loudness, end=math.inf)
        found[place] = pool_audio(heard, [(-math.inf, math.inf)])[0]
    return found


def _shares(labels: NDArray[np.str_], right: NDArray[np.float64]) -> dict[str, float]:
    by_label = {str(label): float(right[labels == label].mean()) for label in np.unique(labels)}
    return {name: round(share, 3) for name, share in {"all": float(right.mean()), **by_label}.items()}


def main() -> None:
    """Print what `cross_validate` finds."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_cross_validation", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps effects and features")
    parser.add_argument("--learned", type=Path, default=LITE, help="folder with the weights whose network hears")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    yamnet = Yamnet(arguments.data / "audio" / "yamnet.tflite")
    network = learned_network(arguments.learned)
    taught = [known.heard_by(network) for known in collect(arguments.data, arguments.cache, yamnet).values()]
    names = class_phrasings(read_class_names(arguments.data / "audio" / "yamnet_class_map.csv"), arguments.cache)
    print(json.dumps(cross_validate(taught, yamnet.classifier(), names, Recipe()), indent=2))


if __name__ == "__main__":
    with exit_on_error("sound_folds"):
        main()
