"""The shipped weights of the `sound` space score as measured on recordings that they were trained on.

This shows when the weights and the code around them no longer fit together. It does not measure their quality: the card
of the weights has figures on held-out recordings.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from recipes.lite.audio_eval import evaluate
from recipes.lite.audio_sources import Recording, read_recordings, select
from tests.data import data_folder
from var_plugin.encoders.weights import LITE

RECORDINGS_PER_LABEL = 4
MIN_VALUES = {
    "esc10": {"text to audio": 0.95, "audio to audio": 0.95},
    "urbansound8k": {"text to audio": 0.9, "audio to audio": 0.9},
}
"""A little below the values measured on this subset."""


def subset(collection: str) -> list[Recording]:
    """Return the first recordings of every label in one fold of the collection."""
    recordings = select(read_recordings(data_folder("audio").parent), part="test", collection=collection)
    by_label: dict[str | None, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_label[recording.label].append(recording)
    return [recording for group in by_label.values() for recording in group[:RECORDINGS_PER_LABEL]]


@pytest.mark.parametrize("collection", MIN_VALUES)
def test_shipped_weights_recognize_their_training_recordings(collection: str) -> None:
    results = evaluate([(subset(collection), LITE)])
    for measure, minimum in MIN_VALUES[collection].items():
        assert results[measure]["value"] >= minimum, results
