"""How sure a score of the `sound` space makes one: recordings asked for among so many others, and where they are not.

The curves are fitted to recordings that the towers were not trained on, asked for in wordings that they were; measured
are the test part and wordings that no training saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recipes.lite.audio_eval import hear_recordings, unheard
from recipes.lite.audio_sources import Recording
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.score_calibration import TABLE, Trials, fit_confidence, told, trials
from recipes.lite.sound_effect_names import TRAINED
from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.lite.audio import LiteAudioTextEncoder, LiteAudioWeights
from var_plugin.errors import exit_on_error

SIZES = (30, 100, 300)
"""Of the galleries; the last round's folds have no more recordings of other labels."""
_ASKED = 30
"""Recordings of a label that are asked for."""

HELD_OUT = {label: wordings.held_out for label, wordings in WORDINGS.items()}


def fit_confidences(
    recordings: Sequence[Recording],
    vectors: Vectors,
    encode: Callable[[Sequence[str]], Vectors],
    score_statistics: Mapping[str, ScoreStatistics],
) -> dict[str, dict[str, float]]:
    """Return the numbers of a `LogisticCalibrator` for texts and for sounds; arguments as `asked_by_text`."""
    fitted = {
        "text": fit_confidence(asked_by_text(recordings, vectors, encode, TRAINED, score_statistics["text"])),
        "audio": fit_confidence(asked_by_sound(recordings, vectors, score_statistics["audio"])),
    }
    return {
        query: {name: round(value, 5) for name, value in asdict(confidence).items()}
        for query, confidence in fitted.items()
    }


def asked_by_text(
    recordings: Sequence[Recording],
    vectors: Vectors,
    encode: Callable[[Sequence[str]], Vectors],
    wordings: Mapping[str, Sequence[str]],
    background: ScoreStatistics,
) -> list[Trials]:
    """Ask for recordings by their labels' wordings, among recordings of other labels.

    Args:
        recordings: n with labels.
        vectors: (n, dim) of them.
        encode: texts to (texts, dim).
        wordings: of each label.
        background: what a similarity is measured against.
    """
    chosen = _chosen(recordings)
    texts = []
    for turn, place in enumerate(chosen):
        said = wordings[str(recordings[place].label)]
        texts.append(said[turn % len(said)])
    return _trials("recordings, by text", recordings, encode(texts), vectors, chosen, chosen, background)


def asked_by_sound(recordings: Sequence[Recording], vectors: Vectors, background: ScoreStatistics) -> list[Trials]:
    """Ask for recordings by one of the same label and of another source, among recordings of other labels."""
    random = np.random.default_rng(0)
    pairs = []
    for place in _chosen(recordings):
        alike = [
            other
            for other, recording in enumerate(recordings)
            if recording.label == recordings[place].label and recording.source != recordings[place].source
        ]
        if alike:
            pairs.append((place, int(random.choice(alike))))
    asked, own = ([pair[side] for pair in pairs] for side in (0, 1))
    return _trials("recordings, by sound", recordings, vectors[asked], vectors, asked, own, background)


def _chosen(recordings: Sequence[Recording]) -> list[int]:
    """Return the places of as many recordings of every label, as far as there are."""
    random = np.random.default_rng(0)
    labels = np.array([recording.label for recording in recordings])
    return [
        int(place)
        for label in np.unique(labels)
        for place in random.permutation(np.flatnonzero(labels == label))[:_ASKED]
    ]


def _trials(
    among: str,
    recordings: Sequence[Recording],
    queries: Vectors,
    vectors: Vectors,
    asked: Sequence[int],
    own: Sequence[int],
    background: ScoreStatistics,
) -> list[Trials]:
    labels = np.array([recording.label for recording in recordings])
    scores = (queries @ vectors.T - background.mean) / background.std
    unlike = labels[list(asked)][:, None] != labels
    right = scores[np.arange(len(own)), list(own)]
    return [trials(among, right, scores, unlike, size) for size in SIZES if (unlike.sum(1) >= size).any()]


def main() -> None:
    """Print how often weights miss and raise false alarms on the test part."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_calibration", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--weights", type=Path, required=True, help="folder with weights that leave folds out")
    arguments = parser.parse_args()
    weights = LiteAudioWeights(arguments.weights)
    kept, vectors = hear_recordings(unheard(arguments.data, arguments.weights), arguments.weights)
    encode, score_statistics = LiteAudioTextEncoder(arguments.weights).encode, weights.score_statistics()
    asked = {
        "text": asked_by_text(kept, vectors, encode, HELD_OUT, score_statistics["text"]),
        "audio": asked_by_sound(kept, vectors, score_statistics["audio"]),
    }
    print(TABLE)
    for modality, confidence in weights.calibrators().items():
        for found in asked[modality]:
            print(told(found, confidence))


if __name__ == "__main__":
    with exit_on_error("sound_confidence"):
        main()
