"""Calibrate the scores of the `sound` space: fit curves that map a score and a gallery size to a match probability.

The curves are fitted to recordings that the towers were not trained on, with wordings that they were trained on. The
program measures them on the test part with held-out wordings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recipes.lite.audio_eval import encode_recordings, held_out_recordings
from recipes.lite.audio_sources import Recording
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.score_calibration import TABLE, table_row
from recipes.lite.sound_effect_names import TRAINED
from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.lite.audio import LiteAudioTextEncoder, LiteAudioWeights
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.match_trials import RetrievalTrials, draw_trials, fit_calibrator

SIZES = (30, 100, 300)
"""Sizes of the galleries. The last folds have no more recordings of other labels."""
_QUERIES_PER_LABEL = 30

HELD_OUT = {label: wordings.held_out for label, wordings in WORDINGS.items()}


def fit_calibrators(
    recordings: Sequence[Recording],
    vectors: Vectors,
    encode: Callable[[Sequence[str]], Vectors],
    statistics: Mapping[str, ScoreStatistics],
) -> dict[str, dict[str, float]]:
    """Return the parameters of the calibrators of text and audio queries; arguments as in `text_trials`."""
    calibrators = {
        "text": fit_calibrator(text_trials(recordings, vectors, encode, TRAINED, statistics["text"])),
        "audio": fit_calibrator(audio_trials(recordings, vectors, statistics["audio"])),
    }
    return {
        query: {name: round(value, 5) for name, value in asdict(calibrator).items()}
        for query, calibrator in calibrators.items()
    }


def text_trials(
    recordings: Sequence[Recording],
    vectors: Vectors,
    encode: Callable[[Sequence[str]], Vectors],
    wordings: Mapping[str, Sequence[str]],
    statistics: ScoreStatistics,
) -> list[RetrievalTrials]:
    """Search for recordings by wordings of their labels, among recordings of other labels.

    Args:
        recordings: n labelled recordings.
        vectors: (n, dim), their vectors.
        encode: maps texts to vectors (texts, dim).
        wordings: the wordings of each label.
        statistics: turn similarities into z-scores.
    """
    rows = _query_rows(recordings)
    texts = []
    for number, row in enumerate(rows):
        of_label = wordings[str(recordings[row].label)]
        texts.append(of_label[number % len(of_label)])
    return _trials("recordings, by text", recordings, encode(texts), vectors, rows, rows, statistics)


def audio_trials(
    recordings: Sequence[Recording], vectors: Vectors, statistics: ScoreStatistics
) -> list[RetrievalTrials]:
    """Search for recordings by a recording of the same label and another source, among recordings of other labels."""
    random = np.random.default_rng(0)
    pairs = []
    for row in _query_rows(recordings):
        matches = [
            other
            for other, recording in enumerate(recordings)
            if recording.label == recordings[row].label and recording.source != recordings[row].source
        ]
        if matches:
            pairs.append((row, int(random.choice(matches))))
    queries, own = ([pair[side] for pair in pairs] for side in (0, 1))
    return _trials("recordings, by audio", recordings, vectors[queries], vectors, queries, own, statistics)


def _query_rows(recordings: Sequence[Recording]) -> list[int]:
    """Return up to `_QUERIES_PER_LABEL` random positions of recordings of every label."""
    random = np.random.default_rng(0)
    labels = np.array([recording.label for recording in recordings])
    return [
        int(row)
        for label in np.unique(labels)
        for row in random.permutation(np.flatnonzero(labels == label))[:_QUERIES_PER_LABEL]
    ]


def _trials(
    gallery: str,
    recordings: Sequence[Recording],
    queries: Vectors,
    vectors: Vectors,
    query_rows: Sequence[int],
    own_rows: Sequence[int],
    statistics: ScoreStatistics,
) -> list[RetrievalTrials]:
    labels = np.array([recording.label for recording in recordings])
    scores = (queries @ vectors.T - statistics.mean) / statistics.std
    unrelated = labels[list(query_rows)][:, None] != labels
    own = scores[np.arange(len(own_rows)), list(own_rows)]
    return [draw_trials(gallery, own, scores, unrelated, size) for size in SIZES if (unrelated.sum(1) >= size).any()]


def main() -> None:
    """Print the miss rates and false-alarm rates of weights on the test part."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.audio_calibration", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/")
    parser.add_argument("--weights", type=Path, required=True, help="folder with weights that have held-out folds")
    arguments = parser.parse_args()
    weights = LiteAudioWeights(arguments.weights)
    recordings, vectors = encode_recordings(held_out_recordings(arguments.data, arguments.weights), arguments.weights)
    encode, statistics = LiteAudioTextEncoder(arguments.weights).encode, weights.score_statistics()
    by_modality = {
        "text": text_trials(recordings, vectors, encode, HELD_OUT, statistics["text"]),
        "audio": audio_trials(recordings, vectors, statistics["audio"]),
    }
    print(TABLE)
    for modality, calibrator in weights.calibrators().items():
        for trials in by_modality[modality]:
            print(table_row(trials, calibrator))


if __name__ == "__main__":
    with exit_on_error("audio_calibration"):
        main()
